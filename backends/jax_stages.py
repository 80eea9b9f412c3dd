"""How JAX compiles: one layer at a time, or many parts of a kernel as one loop.

XLA on the CPU would merge the stencils of several layers and compute them over and over. Eager
calls compile every layer alone; inside a traced function a fence around each layer does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from typing import Any

import jax
import jax.numpy as xp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun

with jax.ensure_compile_time_eval():  # the first kernel of a program may be inside its own jit
    _CONCRETE = type(xp.zeros(()))


def is_traced(x: Any) -> bool:
    """Whether the values of an array are unknown now."""
    return not isinstance(x, (_CONCRETE, np.ndarray, np.generic))


#: Whether a whole program is being traced, of which nothing is compiled on its own but what is
#: whole again.
_merging: ContextVar[bool] = ContextVar("merging", default=False)


@cache
def stage(
    fn: Callable[..., Any], static: tuple[int, ...], whole: bool = False
) -> Callable[..., Any]:
    """Compile a function as a computation of its own, inside a traced one too.

    What is staged inside is computed with the rest where it is ``whole``, unless that is whole too.
    """
    if whole:
        fn = partial(_merged, fn)
    alone = jax.jit(fn, static_argnums=static)
    inside = jax.jit(partial(_fenced, fn, static), static_argnums=static)

    def staged(*args: Any) -> Any:
        if _merging.get():
            return _fenced(fn, static, *args) if whole else fn(*args)
        if _sweeping.get():
            return _shared(fn, static, args)
        traced = any(is_traced(x) for x in _arrays(_without(args, static)))
        return (inside if traced else alone)(*args)

    return staged


def _merged(fn: Callable[..., Any], *args: Any) -> Any:
    token = _merging.set(True)
    try:
        return fn(*args)
    finally:
        _merging.reset(token)


def _fenced(fn: Callable[..., Any], static: tuple[int, ...], *args: Any) -> Any:
    """Call ``fn`` so that XLA on the CPU cannot merge its loops with those around it."""

    def call(given: tuple[Any, ...]) -> Any:
        rest = iter(given)
        return fn(*(args[i] if i in static else next(rest) for i in range(len(args))))

    return fence(call, _without(args, static))


def fence(call: Callable[[Any], Any], given: Any) -> Any:
    """Return ``call(given)``, a computation that XLA on the CPU does not look into.

    A conditional is what it does not look through. It asks whether a number equals itself, which
    holds unless the number is NaN, and then everything is. The number comes from the largest array,
    which is no constant. Arrays pass the conditional without their axes of one entry: XLA would
    order those at will on either side, and copy from one to the other.
    """
    numbers = [x for x in _arrays(given) if xp.issubdtype(x.dtype, xp.floating) and x.size]
    largest = max(numbers, key=lambda x: x.size, default=None)
    if largest is None:
        return call(given)
    shapes = jax.eval_shape(call, given)

    def inside(slim: Any) -> Any:
        return _slim(call(_shaped(slim, given)))

    def nan(slim: Any) -> Any:
        found = jax.eval_shape(inside, slim)
        return jax.tree.map(_unknown, found)

    def fenced(given: Any) -> Any:
        slim, first = _slim(given), largest.reshape(-1)[0]
        return _shaped(jax.lax.cond(first == first, inside, nan, slim), shapes)

    return jax.lax.platform_dependent(given, cpu=fenced, default=call)


def _unknown(like: Any) -> Any:
    """Return an array of NaN, in both parts of complex numbers."""
    is_complex = xp.issubdtype(like.dtype, xp.complexfloating)
    nan = complex(np.nan, np.nan) if is_complex else np.nan
    return xp.full(like.shape, nan).astype(like.dtype)


def together(fn: Callable[..., tuple[Any, Any]], args: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return both arrays of ``fn(*args)``, which are of one shape, computed in one loop.

    XLA on the CPU gives every array a loop of its own, and stores what is on the way to two of
    them; one array of complex numbers is both.
    """
    if jax.eval_shape(fn, *args)[0].dtype not in (np.float32, np.float64):
        return fn(*args)  # there are complex numbers of these alone

    def packed(given: tuple[Any, ...]) -> Any:
        return jax.lax.complex(*fn(*given))

    def on_cpu(*given: Any) -> tuple[Any, Any]:
        both = fence(packed, given)
        return xp.real(both), xp.imag(both)

    found: tuple[Any, Any] = jax.lax.platform_dependent(*args, cpu=on_cpu, default=fn)
    return found


def _slim(tree: Any) -> Any:
    return jax.tree.map(xp.squeeze, tree)


def _shaped(slim: Any, like: Any) -> Any:
    return jax.tree.map(lambda x, y: xp.reshape(x, xp.shape(y)), slim, like)


def _without(args: tuple[Any, ...], static: tuple[int, ...]) -> tuple[Any, ...]:
    return tuple(x for i, x in enumerate(args) if i not in static)


def _arrays(tree: Any) -> list[Any]:
    return [x for x in jax.tree.leaves(tree) if isinstance(x, jax.Array)]


# --- parts ---------------------------------------------------------------------------------------

#: Whether parts are being traced, whose layers share what is alike in all of them.
_sweeping: ContextVar[bool] = ContextVar("sweeping", default=False)


@dataclass(frozen=True)
class Traced:
    """A function of arrays, with the tables it reads as arguments of their own.

    Attributes
    ----------
    jaxpr : jaxpr
        What it does; the tables are its constants.
    tables : tuple of array
        Their values.
    tree : tree structure
        That of its result.
    """

    jaxpr: Any
    tables: tuple[Any, ...]
    tree: Any

    def __call__(self, tables: Sequence[Any], given: Sequence[Any]) -> list[Any]:
        """Compute with other tables of the same shapes."""
        found: list[Any] = jaxpr_as_fun(ClosedJaxpr(self.jaxpr, tables))(*given)
        return found


@dataclass(frozen=True)
class Alike:
    """A function that equals others of the same signature, whatever their tables hold."""

    does: int
    example: Traced = field(compare=False)


def sweep(fns: tuple[Callable[..., Any], ...], args: tuple[Any, ...]) -> list[Any]:
    """Call functions that may differ in their tables: those that do nothing else share a loop."""
    results: list[Any] = _swept(fns, args)
    return results


@partial(jax.jit, static_argnums=0)
def _swept(fns: tuple[Callable[..., Any], ...], args: tuple[Any, ...]) -> list[Any]:
    token = _sweeping.set(True)
    try:
        parts = [_traced(fn, args) for fn in fns]
    finally:
        _sweeping.reset(token)
    given, results = jax.tree.leaves(args), {}
    kinds: dict[int, list[int]] = {}
    known: dict[int, Any] = {}
    for n, part in enumerate(parts):
        kinds.setdefault(_signature(part.jaxpr, known), []).append(n)
    for members in kinds.values():
        for n, found in zip(members, _looped([parts[n] for n in members], given), strict=True):
            results[n] = jax.tree.unflatten(parts[n].tree, found)
    return [results[n] for n in range(len(fns))]


def _looped(parts: list[Traced], given: list[Any]) -> list[list[Any]]:
    """Compute parts of one kind in a loop over their tables; derivatives compute each again."""
    first, columns = parts[0], list(zip(*(p.tables for p in parts), strict=True))
    own = [i for i, column in enumerate(columns) if not _equal(column)]
    stacked = [np.stack(columns[i]) for i in own]

    @partial(jax.checkpoint, prevent_cse=False)
    def body(rows: tuple[Any, list[Any]]) -> list[Any]:
        mine = dict(zip(own, rows[1], strict=True))
        return first([mine.get(i, x) for i, x in enumerate(first.tables)], given)

    if len(parts) == 1:
        return [body((0, stacked))]
    found = jax.lax.map(body, (np.arange(len(parts)), stacked))
    return [[x[n] for x in found] for n in range(len(parts))]


def _equal(column: tuple[Any, ...]) -> bool:
    return all(x is column[0] or np.array_equal(x, column[0]) for x in column[1:])


def _traced(fn: Callable[..., Any], args: Sequence[Any]) -> Traced:
    closed, shapes = jax.make_jaxpr(fn, return_shape=True)(*args)
    return Traced(closed.jaxpr, tuple(map(np.asarray, closed.consts)), jax.tree.structure(shapes))


def _shared(fn: Callable[..., Any], static: tuple[int, ...], args: tuple[Any, ...]) -> Any:
    """Call a layer by the one compilation of all that differ from it in tables alone."""
    given, tree = jax.tree.flatten(_without(args, static))
    fixed = tuple((i, args[i]) for i in static)
    kinds = tuple(jax.typeof(x) for x in given)
    layer, call = _layer(fn, fixed, tree, kinds, bool(jax.config.jax_enable_x64))
    return jax.tree.unflatten(layer.tree, call(layer.tables, given))


@lru_cache(maxsize=4096)
def _layer(
    fn: Callable[..., Any], fixed: tuple[Any, ...], tree: Any, kinds: tuple[Any, ...], wide: bool
) -> tuple[Traced, Callable[..., Any]]:
    def flat(*given: Any) -> Any:
        args = list(jax.tree.unflatten(tree, given))
        for i, value in fixed:
            args.insert(i, value)
        return fn(*args)

    found = _traced(
        flat, [jax.ShapeDtypeStruct(k.shape, k.dtype, weak_type=k.weak_type) for k in kinds]
    )
    return found, _call(Alike(_signature(found.jaxpr, {}), found))


@lru_cache(maxsize=4096)
def _call(alike: Alike) -> Callable[..., Any]:
    return jax.jit(lambda tables, given: fence(partial(alike.example, tables), given))


#: Every signature there is, by a number that stands for it.
_signatures: dict[Any, int] = {}


def _signature(jaxpr: Any, known: dict[int, Any]) -> int:
    """Return a number for what a jaxpr does, up to the values of its constants."""
    numbers = {v: n for n, v in enumerate((*jaxpr.constvars, *jaxpr.invars))}
    rows: list[Any] = [tuple(v.aval for v in numbers)]

    def number(v: Any) -> Any:
        return (str(v.val), v.aval) if isinstance(v, Literal) else numbers[v]

    for eqn in jaxpr.eqns:
        params = tuple((k, _parameter(v, known)) for k, v in eqn.params.items())
        rows.append((eqn.primitive.name, params, tuple(map(number, eqn.invars))))
        for v in eqn.outvars:
            numbers[v] = len(numbers)
            rows.append(v.aval)
    rows.append(tuple(map(number, jaxpr.outvars)))
    return _signatures.setdefault(tuple(rows), len(_signatures))


def _parameter(value: Any, known: dict[int, Any]) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(_parameter(v, known) for v in value)
    if isinstance(value, ClosedJaxpr):
        if id(value) not in known:
            constants = tuple(np.asarray(c).tobytes() for c in value.consts)
            known[id(value)] = _signature(value.jaxpr, known), constants
        return known[id(value)]
    if isinstance(value, Jaxpr):
        return _signature(value, known)
    return getattr(value, "__qualname__", type(value)) if callable(value) else str(value)
