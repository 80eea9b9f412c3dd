"""Indexing, as gathering by a static table."""

from __future__ import annotations

import math
from typing import Any

from ntcore.backend import host
from ntcore.ops import Table
from ntcore.tape.array import Traced, apply
from ntcore.tape.linear import OPS
from ntcore.tape.shapes import normal
from ntcore.tape.trace import Tape


def getitem(tape: Tape, x: Traced, key: Any) -> Traced:
    """``x[key]`` for integers, slices, masks and arrays of integers."""
    if x.node is None:
        return Traced(x.value[_plain(tape, key)], tape)
    np = host().namespace
    positions = np.reshape(np.arange(x.size), x.shape)[_on_host(tape, key)]
    flat = apply(tape, OPS["reshape"], x, shape=(1, x.size, 1))
    return _gather(tape, flat, positions.reshape(-1), tuple(positions.shape))


def take(tape: Tape, x: Traced, indices: Any, *, axis: int | None = None) -> Traced:
    """Entries of one axis at some positions."""
    axis = 0 if axis is None else normal(axis, x.ndim)
    index = to_host(tape, indices).reshape(-1)
    index = host().namespace.where(index < 0, index + x.shape[axis], index)
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    sizes = (math.prod(before), x.shape[axis], math.prod(after))
    flat = apply(tape, OPS["reshape"], x, shape=sizes)
    shape = (*before, *tuple(indices.shape), *after)
    return _gather(tape, flat, index, shape)


def take_along_axis(tape: Tape, x: Traced, indices: Any, *, axis: int = -1) -> Traced:
    """Entries of one axis at positions of their own for every other."""
    axis = normal(axis, x.ndim)
    np = host().namespace
    index = to_host(tape, indices)
    grid = list(np.meshgrid(*(np.arange(n) for n in index.shape), indexing="ij"))
    grid[axis] = index
    return getitem(tape, x, tuple(Traced(g, tape) for g in grid))


def _gather(tape: Tape, flat: Traced, index: Any, shape: tuple[int, ...]) -> Traced:
    found = apply(tape, OPS["gather_sum"], flat, table=Table(index[None, :]))
    return apply(tape, OPS["reshape"], found, shape=shape)


def to_host(tape: Tape, x: Any) -> Any:
    """Return the integers of an index as a host array."""
    while isinstance(x, Traced):
        x = x.value
    np = host().namespace
    return x if isinstance(x, np.ndarray) else np.asarray(tape.backend.to_numpy(x))


def _on_host(tape: Tape, key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(_on_host(tape, k) for k in key)
    return to_host(tape, key) if hasattr(key, "dtype") else key


def _plain(tape: Tape, key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(_plain(tape, k) for k in key)
    return key.value if isinstance(key, Traced) else key
