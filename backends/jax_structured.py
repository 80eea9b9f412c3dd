"""Gradients in factors, from the equations of a JAX function.

A function of one example is traced into equations. Those that take an array made of parameters
alone together with one that depends on the example are where parameters meet data. The signals
that arrive there come from one backward pass per row, in which no gradient of a parameter is
formed; products with a matrix, and convolutions, then keep the gradient in its two factors, and
every other equation is differentiated on its own, so that the sum is exact whatever it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jax import lax

CALLS = ("jit", "pjit", "closed_call", "core_call", "remat", "checkpoint", "remat2")
OUTPUT = -1  # stands for the output among the equations, where it is made of parameters alone
VIEWS = ("transpose", "reshape", "squeeze", "expand_dims", "broadcast_in_dim", "copy", "copy_p")


@dataclass
class Equations:
    """A function as a list of equations, calls of other functions written out.

    Attributes
    ----------
    theta : list of Var
        Its parameters.
    known : dict
        Values of all other inputs and constants.
    lines : list of JaxprEqn
        In order.
    out : Var
        Its output.
    """

    theta: list[Any]
    known: dict[Any, Any]
    lines: list[Any] = field(default_factory=list)
    out: Any = None
    alias: dict[Any, Any] = field(default_factory=dict)
    constants: set[Any] = field(default_factory=set)

    def name(self, v: Any) -> Any:
        """Return the variable, or the literal, that a variable of an inner function stands for."""
        while not isinstance(v, jex.Literal) and v in self.alias:
            v = self.alias[v]
        return v

    def inputs(self, line: Any) -> list[Any]:
        """Return what an equation takes."""
        return [self.name(v) for v in line.invars]


def equations(fn: Callable[..., Any], theta: Any, rest: Sequence[Any]) -> Equations:
    """Return the equations of ``fn(theta, *rest)`` where it is."""
    closed = jax.make_jaxpr(lambda t, r: fn(t, *r))(tuple(theta), tuple(rest))
    jaxpr = closed.jaxpr
    count = len(theta)
    made = Equations(list(jaxpr.invars[:count]), {})
    made.known.update(zip(jaxpr.constvars, closed.consts, strict=True))
    made.constants.update(jaxpr.constvars)
    made.known.update(zip(jaxpr.invars[count:], jax.tree.leaves(tuple(rest)), strict=True))
    _write_out(made, jaxpr)
    made.out = made.name(jaxpr.outvars[0])
    return made


def _write_out(made: Equations, jaxpr: Any) -> None:
    for line in jaxpr.eqns:
        inner = line.params.get("jaxpr") or line.params.get("call_jaxpr")
        if line.primitive.name not in CALLS or inner is None:
            made.lines.append(line)
            continue
        if isinstance(inner, jex.ClosedJaxpr):
            made.known.update(zip(inner.jaxpr.constvars, inner.consts, strict=True))
            inner = inner.jaxpr
        fresh = _renamed(inner)
        made.constants.update(fresh.constvars)
        made.alias.update(zip(fresh.invars, [made.name(v) for v in line.invars], strict=True))
        made.known.update(
            {
                new: made.known[old]
                for new, old in zip(fresh.constvars, inner.constvars, strict=True)
            }
        )
        _write_out(made, fresh)
        made.alias.update(zip(line.outvars, [made.name(v) for v in fresh.outvars], strict=True))


def _renamed(jaxpr: Any) -> Any:
    """Return an inner function with variables of its own: it may be called twice."""
    names: dict[Any, Any] = {}

    def new(v: Any) -> Any:
        if isinstance(v, jex.Literal):
            return v
        if v not in names:
            names[v] = jex.Var(v.aval)
        return names[v]

    lines = [
        line.replace(invars=[new(v) for v in line.invars], outvars=[new(v) for v in line.outvars])
        for line in jaxpr.eqns
    ]
    return jaxpr.replace(
        constvars=[new(v) for v in jaxpr.constvars],
        invars=[new(v) for v in jaxpr.invars],
        outvars=[new(v) for v in jaxpr.outvars],
        eqns=lines,
    )


# --- where parameters meet data ------------------------------------------------------------------


@dataclass
class Meeting:
    """What depends on parameters alone, and the equations where that meets data."""

    pure: set[Any]
    pure_lines: list[int]
    data_lines: list[int]
    lines: list[int]


def meetings(eqs: Equations) -> Meeting:
    """Find the equations that take arrays made of parameters alone, and data."""
    pure: set[Any] = set(eqs.theta)
    constant: set[Any] = set(eqs.constants)
    lines, alone, rest = [], [], []
    for i, line in enumerate(eqs.lines):
        given = eqs.inputs(line)
        arrays = [v for v in given if not isinstance(v, jex.Literal) and v not in constant]
        if all(v in pure for v in arrays):
            alone.append(i)
            (pure if arrays else constant).update(line.outvars)
            continue
        rest.append(i)
        if any(v in pure for v in arrays):
            lines.append(i)
    return Meeting(pure, alone, rest, lines)


def run(eqs: Equations, values: dict[Any, Any], wanted: Sequence[int], bumps: Any = None) -> None:
    """Evaluate some equations; ``bumps`` are added to what those with an entry put out."""
    for i in wanted:
        line = eqs.lines[i]
        given = [v.val if isinstance(v, jex.Literal) else values[v] for v in eqs.inputs(line)]
        found = _bind(line, given)
        if bumps is not None and i in bumps:
            found = [y if b is None else y + b for y, b in zip(found, bumps[i], strict=True)]
        values.update(zip(line.outvars, found, strict=True))


@cache
def _nothing() -> Any:
    """Return the equations of a function that does nothing."""
    return jax.make_jaxpr(lambda: ())().jaxpr


def _bind(line: Any, given: list[Any]) -> list[Any]:
    """Evaluate one equation, as a function of its own."""
    pairs = {
        v: x for v, x in zip(line.invars, given, strict=True) if not isinstance(v, jex.Literal)
    }
    alone = _nothing().replace(
        invars=list(pairs), outvars=line.outvars, eqns=[line], effects=line.effects
    )
    found = jex.jaxpr_as_fun(jex.ClosedJaxpr(alone, []))(*pairs.values())
    return list(found)


def factors(
    fn: Callable[..., Any], theta: Sequence[Any], rest: Sequence[Any], seeds: Any
) -> tuple[list[Any], list[Any]]:
    """Return, for each parameter, what its gradient for one example is made of.

    Returns
    -------
    arrays : list
        For each parameter, ``[g]`` with ``g`` of shape ``(rows, *parameter)``, or pairs ``[(a, d),
        ...]``.
    inputs : list
        For each parameter, None or the number of inputs.
    """
    eqs = equations(fn, theta, rest)
    meeting = meetings(eqs)
    values = {**eqs.known, **dict(zip(eqs.theta, theta, strict=True))}
    run(eqs, values, meeting.pure_lines)
    bumps = {i: [_zero(v.aval) for v in eqs.lines[i].outvars] for i in meeting.lines}
    data = list(
        {
            v: None
            for i in meeting.lines
            for v in eqs.inputs(eqs.lines[i])
            if not isinstance(v, jex.Literal) and v not in meeting.pure
        }
    )

    def forward(bumps: Any) -> Any:
        inside = dict(values)
        run(eqs, inside, meeting.data_lines, bumps)
        out = eqs.out.val if isinstance(eqs.out, jex.Literal) else inside[eqs.out]
        return out, [inside[v] for v in data]

    _, pull, inside = jax.vjp(forward, bumps, has_aux=True)
    signals = jax.vmap(pull)(seeds)[0]
    if eqs.out in meeting.pure:
        signals = {**signals, OUTPUT: [seeds]}
    values.update(zip(data, inside, strict=True))
    return _gradients(eqs, meeting, values, signals, theta, meeting.pure_lines)


def _zero(aval: Any) -> Any:
    inexact = jnp.issubdtype(aval.dtype, jnp.inexact)
    return jnp.zeros(aval.shape, aval.dtype) if inexact else None


def _gradients(
    eqs: Equations, meeting: Meeting, values: Any, signals: Any, theta: Any, pure_lines: list[int]
) -> tuple[list[Any], list[Any]]:
    roots = _roots(eqs, meeting, pure_lines)
    uses: dict[Any, list[int]] = {}
    for i in meeting.lines:
        for v in eqs.inputs(eqs.lines[i]):
            for root in roots.get(v, ()) if not isinstance(v, jex.Literal) else ():
                if i not in uses.setdefault(root, []):
                    uses[root].append(i)
    kept: dict[Any, list[Any]] = {}
    for root, lines in uses.items():
        read = [_read(eqs, meeting, root, i, values, signals, pure_lines) for i in lines]
        if None not in read and len({r[0] for r in read}) == 1 and eqs.out not in meeting.pure:
            kept[root] = [(r[0][0], r[1]()) for r in read]
    rest = [k for k, v in enumerate(eqs.theta) if v not in kept]
    formed = _formed(eqs, meeting, values, signals, theta, pure_lines, rest)
    arrays: list[Any] = [[formed[k]] if k in formed else None for k in range(len(theta))]
    inputs: list[Any] = [None] * len(theta)
    for k, v in enumerate(eqs.theta):
        if v in kept:
            arrays[k], inputs[k] = [pair for _, pair in kept[v]], kept[v][0][0]
    return arrays, inputs


def _roots(eqs: Equations, meeting: Meeting, pure_lines: list[int]) -> dict[Any, set[Any]]:
    """Return the parameters that each array made of parameters depends on."""
    roots: dict[Any, set[Any]] = {v: {v} for v in eqs.theta}
    for i in pure_lines:
        line = eqs.lines[i]
        found: set[Any] = set()
        for v in eqs.inputs(line):
            if not isinstance(v, jex.Literal):
                found |= roots.get(v, set())
        roots.update(dict.fromkeys(line.outvars, found))
    return roots


def _formed(
    eqs: Equations, meeting: Meeting, values: Any, signals: Any, theta: Any, pure: Any, which: Any
) -> dict[int, Any]:
    """Return gradients of some parameters from the equations where they meet data, alone."""
    if not which:
        return {}

    def meet(*own: Any) -> Any:
        inside = {**values, **{eqs.theta[k]: t for k, t in zip(which, own, strict=True)}}
        run(eqs, inside, pure)
        found: dict[Any, Any] = {}
        for i in meeting.lines:
            given = [
                v.val if isinstance(v, jex.Literal) else inside[v] for v in eqs.inputs(eqs.lines[i])
            ]
            outs = _bind(eqs.lines[i], given)
            found[i] = [y if z is not None else None for y, z in zip(outs, signals[i], strict=True)]
        if OUTPUT in signals:
            found[OUTPUT] = [inside[eqs.out]]
        return found

    _, pull = jax.vjp(meet, *(theta[k] for k in which))
    return dict(zip(which, jax.vmap(pull)(signals), strict=True))


# --- products and convolutions -------------------------------------------------------------------


def _read(
    eqs: Equations, meeting: Meeting, root: Any, i: int, values: Any, signals: Any, pure: list[int]
) -> Any:
    """Return ``((inputs, frame), () -> (a, d))`` of a meeting, or None if it has no such form."""
    line = eqs.lines[i]
    given = eqs.inputs(line)
    sides = [v for v in given if not isinstance(v, jex.Literal) and v in meeting.pure]
    if len(sides) != 1 or line.primitive.name not in ("dot_general", "conv_general_dilated"):
        return None
    chain = _views(eqs, sides[0], root, pure)
    if chain is None:
        return None
    signal = signals[i][0]
    if line.primitive.name == "dot_general":
        return _of_product(line, given.index(sides[0]), values, given, signal, chain)
    return _of_convolution(line, values, given, signal, chain) if given[1] is sides[0] else None


def _views(eqs: Equations, v: Any, root: Any, pure: list[int]) -> Any:
    """Return how ``v`` is a rearrangement of a parameter, or None if it is something else."""
    by_output = {out: eqs.lines[i] for i in pure for out in eqs.lines[i].outvars}
    chain: list[Any] = []
    while v is not root:
        line = by_output[v]
        above = eqs.inputs(line)[0]
        same = math.prod(v.aval.shape) == math.prod(above.aval.shape)
        if line.primitive.name not in VIEWS or not same or len(eqs.inputs(line)) != 1:
            return None
        chain.append((line.primitive.name, str(sorted(line.params.items(), key=str))))
        v = above
    return tuple(chain)


def _of_product(line: Any, side: int, values: Any, given: Any, signal: Any, chain: Any) -> Any:
    (contracted, batch) = line.params["dimension_numbers"]
    if batch[0]:
        return None
    other = given[1 - side]
    axes = tuple(contracted[1 - side])
    free = [k for k in range(len(other.aval.shape)) if k not in axes]
    inputs = math.prod(other.aval.shape[k] for k in axes)
    positions = math.prod(other.aval.shape[k] for k in free)

    def pair() -> Any:
        a = jnp.transpose(values[other], (*free, *axes)).reshape(1, positions, inputs)
        flat = (positions, -1) if side == 1 else (-1, positions)
        d = signal.reshape(signal.shape[0], *flat)
        d = jnp.swapaxes(d, 1, 2) if side == 1 else d
        return a, d[:, None]

    return (inputs, (side, tuple(contracted[side]), chain)), pair


def _of_convolution(line: Any, values: Any, given: Any, signal: Any, chain: Any) -> Any:
    p = line.params
    numbers = p["dimension_numbers"]
    groups = p["feature_group_count"] * p["batch_group_count"]
    if groups != 1 or any(d != 1 for d in p["lhs_dilation"]):
        return None
    x, taps = given[0], [given[1].aval.shape[k] for k in numbers.rhs_spec[2:]]
    inputs = math.prod(taps) * given[1].aval.shape[numbers.rhs_spec[1]]

    def pair() -> Any:
        a = _patches(values[x], numbers.lhs_spec, taps, p)
        d = jnp.transpose(signal, (0, *(1 + k for k in numbers.out_spec)))
        d = jnp.swapaxes(d, 1, 2).reshape(d.shape[0], d.shape[2], -1)
        return a.reshape(1, -1, inputs), d[:, None]

    frame = (str(p["window_strides"]), str(p["padding"]), str(numbers), chain)
    return (inputs, frame), pair


def _patches(x: Any, spec: Any, taps: list[int], p: Any) -> Any:
    """Return ``(batch, *positions, taps, channels)``."""
    x = jnp.transpose(x, (spec[0], *spec[2:], spec[1]))
    pads = [(0, 0, 0), *((lo, hi, 0) for lo, hi in p["padding"]), (0, 0, 0)]
    x = lax.pad(x, jnp.zeros((), x.dtype), pads)
    strides, steps = p["window_strides"], p["rhs_dilation"]
    sizes = [
        (x.shape[k + 1] - steps[k] * (t - 1) - 1) // strides[k] + 1 for k, t in enumerate(taps)
    ]
    found = []
    for tap in _grid(taps):
        start = [0, *(t * d for t, d in zip(tap, steps, strict=True)), 0]
        stop = [
            x.shape[0],
            *(s + (n - 1) * w + 1 for s, n, w in zip(start[1:-1], sizes, strides, strict=True)),
            x.shape[-1],
        ]
        found.append(lax.slice(x, start, stop, (1, *strides, 1)))
    return jnp.stack(found, axis=-2)


def _grid(sizes: list[int]) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = [()]
    for n in sizes:
        found = [(*t, k) for t in found for k in range(n)]
    return found


def _every(view: Any, counts: list[Any]) -> Callable[..., Any]:
    """Return the function from all arrays to the factors of all examples."""

    def every(theta: Any, constants: Any, leaves: Any, seeds: Any) -> Any:
        def one(*example: Any) -> Any:
            arrays, inputs = factors(
                lambda t, c, e: view.single(t, c, e), theta, (tuple(constants), example), seeds
            )
            counts[:] = inputs
            return arrays

        if view.out is None:
            return jax.tree.map(lambda x: x[None], one(*leaves))
        return jax.vmap(one, in_axes=view.vmap_axes)(*leaves)

    return every


def _parts(arrays: Any, inputs: list[Any]) -> list[Any]:
    return [
        [(part,) if n is None else (*part, n) for part in parts]
        for parts, n in zip(arrays, inputs, strict=True)
    ]


def structured(view: Any, seeds: Any) -> list[Any]:
    """Return, for each parameter, the parts of its gradients for all examples.

    A part is ``(g,)`` with ``g`` of shape ``(n, rows, ...)``, or ``(a, d, inputs)`` as in
    ``ntcore.empirical.contract.Factored``.
    """
    key = tuple(x.shape for x in view.batch.leaves)
    where = ("inputs", view.fn.key, view.batch.key, view.which, view.out, key, seeds.shape)
    inputs = view.compiled.setdefault(where, [])
    arrays = view.compile("structured", _every(view, inputs), key, seeds.shape)(*view.arrays, seeds)
    return _parts(arrays, inputs)


def outline(view: Any, seeds: Any) -> list[Any]:
    """Return what :func:`structured` returns, with shapes in place of arrays."""
    inputs: list[Any] = []
    arrays = jax.eval_shape(_every(view, inputs), *view.arrays, seeds)
    return _parts(arrays, inputs)


def count(view: Any) -> tuple[float, float, float]:
    """Return operations, intermediate entries and the largest array of a function."""
    theta, constants, leaves = view.arrays
    eqs = equations(lambda t, c, e: view.whole(t, c, e), theta, (constants, leaves))
    made = [eqs.lines[i] for i in meetings(eqs).data_lines]
    sizes = [
        math.prod(v.aval.shape)
        for line in made
        for v in line.outvars
        if line.primitive.name not in VIEWS
    ]
    flops = 0.0
    for line in eqs.lines:
        size = 2.0 * math.prod(line.outvars[0].aval.shape)
        shapes = [v.aval.shape for v in line.invars]
        if line.primitive.name == "dot_general":
            flops += size * math.prod(shapes[0][k] for k in line.params["dimension_numbers"][0][0])
        elif line.primitive.name == "conv_general_dilated":
            spec = line.params["dimension_numbers"].rhs_spec
            flops += size * math.prod(shapes[1]) / shapes[1][spec[0]]
    return flops, float(sum(sizes)), float(max(sizes, default=0))
