"""Gradients in factors, from the equations of a JAX function.

A function of one example is traced into equations. Those that take an array made of parameters
alone together with one that depends on the example are where parameters meet data. The signals
that arrive there come from one backward pass per row, in which no gradient of a parameter is
formed; products with a matrix, convolutions and biases then keep the gradient in its two factors,
and every other equation is differentiated on its own, so that the sum is exact whatever it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp

from ntcore.backends.jax_chains import VIEWS, Chain, chain_of
from ntcore.backends.jax_equations import Equations, bind, equations, run
from ntcore.backends.jax_factors import Read, read
from ntcore.backends.jax_trace import OUTPUT, Trace, meetings, traced


@dataclass(frozen=True)
class Use:
    """A use of a parameter in factors."""

    line: int
    read: Read

    def key(self, trace: Trace) -> tuple[Any, ...]:
        """Return what uses with the same signals have in common."""
        return trace.ends[self.line][0], self.read.signal.outputs, self.read.signal.positions


def factors(trace: Trace, theta: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """Return what the gradients of all parameters for one example are made of.

    Returns
    -------
    signals : list of array
        ``(rows, groups, outputs, positions)``.
    arrays : list
        For each parameter, its gradients ``(rows, *parameter)``, or a list of activations
        ``(groups, positions, inputs)``.
    notes : list
        For each parameter None, or for each of its activations the number of inputs, the place of
        its signal in ``signals``, and whether outputs come last there.
    """
    uses = _uses(trace)
    formed = _formed(trace, theta, [k for k, v in enumerate(trace.eqs.theta) if v not in uses])
    groups = {
        use.key(trace): use.read.signal
        for found in uses.values()
        for use in found
        if use.read.inputs
    }
    keys = list(groups)
    signals = [signal.read(trace.signals[key[0]][0]) for key, signal in groups.items()]
    arrays: list[Any] = []
    notes: list[Any] = []
    for k, v in enumerate(trace.eqs.theta):
        if v not in uses:
            arrays.append(formed.get(k))
            notes.append(None)
            continue
        each = uses[v]
        arrays.append([_activations(trace, use, groups[use.key(trace)].groups) for use in each])
        notes.append(
            [
                (max(u.read.inputs, 1), keys.index(u.key(trace)), u.read.signal.outputs_last)
                for u in each
            ]
        )
    return signals, arrays, notes


def _activations(trace: Trace, use: Use, groups: int) -> Any:
    a = use.read.activations(trace.values)
    factor = use.read.factor * trace.ends[use.line][1]
    a = a if isinstance(factor, float) and factor == 1 else a * jnp.asarray(factor, a.dtype)
    return jnp.broadcast_to(a, (groups, *a.shape[1:]))


def _uses(trace: Trace) -> dict[Any, list[Use]]:
    """Return the uses of every parameter that is used in factors alone."""
    eqs, meeting = trace.eqs, trace.meeting
    if eqs.out in meeting.pure:
        return {}
    every: dict[Any, list[Use | None]] = {}
    roots = _roots(eqs, meeting.pure_lines)
    for i in meeting.lines:
        given = [v for v in eqs.inputs(eqs.lines[i]) if not isinstance(v, jex.Literal)]
        made = [v for v in given if v in meeting.pure]
        for v in dict.fromkeys(made):
            for root in roots[v]:
                alone = len(made) == 1 and len(roots[v]) == 1
                every.setdefault(root, []).append(_use(trace, i, v, root) if alone else None)
    kept = {root: [u for u in uses if u] for root, uses in every.items() if None not in uses}
    kept = {root: uses for root, uses in kept.items() if len({u.read.frame for u in uses}) == 1}
    shared = {u.key(trace): u for uses in kept.values() for u in uses if u.read.inputs}
    return {
        root: uses
        for root, uses in kept.items()
        if all(u.read.inputs or u.key(trace) in shared for u in uses)
    }


def _use(trace: Trace, i: int, v: Any, root: Any) -> Use | None:
    eqs, meeting = trace.eqs, trace.meeting
    made_by = {out: eqs.lines[k] for k in meeting.pure_lines for out in eqs.lines[k].outvars}
    numbers = {v: trace.values[v] for v in (*eqs.known, *meeting.constant) if v in trace.values}
    chain: Chain | None = chain_of(eqs, v, root, made_by, numbers)
    found = None if chain is None else read(eqs, i, v, chain)
    return None if found is None else Use(i, found)


def _roots(eqs: Equations, pure_lines: list[int]) -> dict[Any, set[Any]]:
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


def _formed(trace: Trace, theta: Any, which: Sequence[int]) -> dict[int, Any]:
    """Return gradients of some parameters from the equations where they meet data, alone."""
    eqs, values = trace.eqs, trace.values
    if not which:
        return {}
    lines = _lines_of(trace, {eqs.theta[k] for k in which})

    def meet(*own: Any) -> Any:
        inside = {**values, **{eqs.theta[k]: t for k, t in zip(which, own, strict=True)}}
        run(eqs, inside, trace.meeting.pure_lines)
        found: dict[Any, Any] = {}
        for i in lines:
            end, factor = trace.ends[i]
            given = [
                v.val if isinstance(v, jex.Literal) else inside[v] for v in eqs.inputs(eqs.lines[i])
            ]
            outs = zip(bind(eqs.lines[i], given), trace.signals[end], strict=True)
            found[i] = [_scaled(y, factor) if z is not None else None for y, z in outs]
        if OUTPUT in trace.signals:
            found[OUTPUT] = [inside[eqs.out]]
        return found

    _, pull = jax.vjp(meet, *(theta[k] for k in which))
    signals = {i: trace.signals[trace.ends[i][0]] for i in lines}
    if OUTPUT in trace.signals:
        signals[OUTPUT] = trace.signals[OUTPUT]
    found = jax.vmap(pull, axis_size=trace.rows)(signals)
    return dict(zip(which, found, strict=True))


def _scaled(y: Any, factor: Any) -> Any:
    return y if isinstance(factor, float) and factor == 1 else y * jnp.asarray(factor, y.dtype)


def _lines_of(trace: Trace, which: set[Any]) -> list[int]:
    """Return the equations where some of the parameters meet data."""
    eqs, roots = trace.eqs, _roots(trace.eqs, trace.meeting.pure_lines)
    return [
        i
        for i in trace.meeting.lines
        if any(
            roots.get(v, set()) & which
            for v in eqs.inputs(eqs.lines[i])
            if not isinstance(v, jex.Literal)
        )
    ]


# --- all examples --------------------------------------------------------------------------------


def structured(view: Any, seeds: Any) -> list[Any]:
    """Return, for each parameter, the parts of its gradients for all examples.

    A part is ``(g,)`` with ``g`` of shape ``(n, rows, ...)``, or ``(a, d, inputs, False,
    outputs_last)`` as in ``ntcore.empirical.contract.Factored``.
    """
    theta, constants, leaves = view.arrays
    notes: list[Any] = []

    def one(*example: Any) -> Any:
        fn = lambda t, c, e: view.single(t, c, e)  # noqa: E731
        trace = traced(fn, theta, (tuple(constants), example), seeds)
        signals, arrays, notes[:] = factors(trace, theta)
        return signals, arrays

    if view.out is None:
        signals, arrays = jax.tree.map(lambda x: x[None], one(*leaves))
    else:
        signals, arrays = jax.vmap(one, in_axes=view.vmap_axes)(*leaves)
    return [
        [(given,)] if note is None else _parts(given, signals, note)
        for given, note in zip(arrays, notes, strict=True)
    ]


def _parts(given: list[Any], signals: list[Any], notes: Any) -> list[Any]:
    return [
        (a, signals[k], inputs, False, last)
        for a, (inputs, k, last) in zip(given, notes, strict=True)
    ]


def outline(view: Any, seeds: Any) -> list[Any]:
    """Return what :func:`structured` returns, with shapes in place of arrays."""
    found: list[Any] = []

    def run_on(theta: Any, constants: Any, leaves: Any, seeds: Any) -> None:
        parts = structured(view.at(theta, constants, leaves), seeds)
        sized: dict[int, Any] = {}
        for part in (x for each in parts for x in each):
            for x in part[:2]:
                sized.setdefault(id(x), jax.ShapeDtypeStruct(x.shape, x.dtype))
        found[:] = [[(*(sized[id(x)] for x in p[:2]), *p[2:]) for p in each] for each in parts]

    jax.eval_shape(run_on, *view.arrays, seeds)
    return found


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
