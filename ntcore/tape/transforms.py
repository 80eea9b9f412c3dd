"""Derivatives of functions of flat lists of arrays."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ntcore.backend import Array, Backend, Place
from ntcore.errors import DerivativeError
from ntcore.ops import Table
from ntcore.tape.array import Traced, apply, level, value_of
from ntcore.tape.linear import OPS
from ntcore.tape.namespace import Namespace
from ntcore.tape.trace import Tape

Fn = Callable[..., Sequence[Any]]


def tape_of(backend: Backend, primals: Sequence[Any]) -> Tape:
    """Return an empty tape for some arrays; above their own tape, if they are on one."""
    for x in primals:
        if isinstance(x, Traced):
            return Tape(backend_on(x.tape), lower=x.tape)
    return Tape(backend)


def backend_on(tape: Tape) -> Backend:
    """Return the backend of the arrays on a tape: ntcore's layers compute with them as well."""
    if tape.above is None:
        tape.above = _backend_on(tape)
    return tape.above


def _backend_on(tape: Tape) -> Backend:
    below = tape.backend

    def asarray(x: Any, dtype: Any, device: Any) -> Traced:
        if isinstance(x, Traced) and x.tape is tape:
            return x if dtype is None or x.dtype == dtype else space.astype(x, dtype)
        return Traced(below.asarray(x, dtype, device), tape)

    def gather_sum(at: Place, x: Traced, table: Table) -> Traced:
        return apply(tape, OPS["gather_sum"], x, table=table)

    space = Namespace(tape)
    return replace(
        below,
        namespace=space,
        owns=lambda x: isinstance(x, Traced) and x.tape is tape,
        asarray=asarray,
        to_numpy=lambda x: below.to_numpy(value_of(tape, x)),
        device=lambda x: below.device(value_of(tape, x)),
        erf=space.erf,
        normal=lambda *args: Traced(below.normal(*args), tape),
        fused={"gather_sum": gather_sum},
        mutable=False,
        put=None,
        jit=None,
        scan=None,
        stage=None,
        sweep=None,
    )


def vjp(backend: Backend, fn: Fn, *primals: Any) -> tuple[list[Array], Callable[..., list[Array]]]:
    """Return the outputs of ``fn`` and the function from their cotangents to the arguments'.

    Parameters
    ----------
    backend : Backend
        Of the arrays.
    fn : callable
        From arrays to a list of arrays.
    primals : array
        Where to differentiate.

    Returns
    -------
    outputs : list of array
    pull : callable
        From a list of cotangents, ``None`` for 0, to a list of cotangents of ``primals``. Each
        may have one leading axis, of the same size, along which cotangents are independent.

    Raises
    ------
    DerivativeError
        If ``fn`` does something that has no derivative, changes an array or returns integers.
    """
    tape = tape_of(backend, primals)
    primals = tuple(level(tape, x) for x in primals)
    sources = [tape.source(x) for x in primals]
    traced = [Traced(x, tape, s) for x, s in zip(primals, sources, strict=True)]
    outputs = [on_tape(tape, y) for y in fn(*traced)]

    def pull(cotangents: Sequence[Any]) -> list[Array]:
        seeds: dict[int, Array] = {}
        lead: tuple[int, ...] = ()
        for y, g in zip(outputs, cotangents, strict=True):
            if g is not None:
                g = level(tape, g)
                lead = tuple(g.shape[: g.ndim - y.ndim])
                if y.node is not None:
                    seeds[y.node] = seeds[y.node] + g if y.node in seeds else g
        found = tape.pull(seeds, sources)
        return [
            tape.xp.zeros((*lead, *x.shape), dtype=x.dtype) if g is None else g
            for x, g in zip(primals, found, strict=True)
        ]

    weakref.finalize(pull, tape.nodes.clear).atexit = False  # else it would wait for a collection
    return [y.value for y in outputs], pull


def jvp(
    backend: Backend, fn: Fn, primals: Sequence[Any], tangents: Sequence[Any]
) -> tuple[list[Array], list[Array]]:
    """Return the outputs of ``fn`` and their derivatives along ``tangents``.

    Arguments as in :func:`vjp`; errors too.
    """
    tape = tape_of(backend, [*primals, *tangents])
    primals, tangents = ([level(tape, x) for x in each] for each in (primals, tangents))
    sources = [tape.source(x) for x in primals]
    traced = [Traced(x, tape, s) for x, s in zip(primals, sources, strict=True)]
    outputs = [on_tape(tape, y) for y in fn(*traced)]
    active = [y.node if y.node is not None else -1 for y in outputs]
    found = tape.push(dict(zip(sources, tangents, strict=True)), active)
    along = [
        tape.xp.zeros_like(y.value) if t is None else t for y, t in zip(outputs, found, strict=True)
    ]
    tape.nodes.clear()
    return [y.value for y in outputs], along


def on_tape(tape: Tape, y: Any) -> Traced:
    """Return an output as a traced array of floating-point numbers."""
    made = y if isinstance(y, Traced) and y.tape is tape else Traced(y, tape)
    if not tape.xp.isdtype(made.dtype, "real floating"):
        raise DerivativeError(
            f"f returns {made.dtype} numbers, which have no derivative; return real floating-point "
            "arrays."
        )
    return made
