"""What two examples give together for every entry of a slab: a product, or a sum, of their rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ntcore.backends.numpy_beside import Pair
from ntcore.backends.numpy_slab import Slab
from ntcore.chain import Step


def combined(
    slab: Slab, step: Step, fn: Any, of: Pair, firsts: tuple[int, int], out: np.ndarray
) -> None:
    """Write a function of the two rows that every entry reads, ``(entries, lanes)``.

    Rows are read where they lie if they are at equal distances on every axis, and are brought
    side by side first if they are not.
    """
    axes, slots, read = slab.axes(step.outputs[0]), [], []
    for batch, (x, first) in enumerate(zip(of, firsts, strict=True)):
        rows, steps = _rows(slab, step, batch)
        shape = (*axes, *x.shape[1:])
        if steps is not None:
            read.append(_as_they_lie(x, first + int(rows[0]), steps, shape))
        elif x.shape[1:] == (1, slab.lanes):
            slots.append(slab.memory.take())
            brought = slab.memory.view(slots[-1], len(rows), *x.shape[1:])
            read.append(np.take(x[first:], rows, axis=0, out=brought, mode="clip").reshape(shape))
        else:
            read.append(x[first:][rows].reshape(shape))
    fn(*read, out=out.reshape(*axes, of[0].shape[1], of[1].shape[2]))
    slab.memory.free(*slots)


def _as_they_lie(
    x: np.ndarray, start: int, steps: tuple[int, ...], shape: tuple[int, ...]
) -> np.ndarray:
    row = x.strides[0]
    strides = (*(step * row for step in steps), *x.strides[1:])
    return np.ndarray(shape, x.dtype, x, start * row, strides)


def _rows(slab: Slab, step: Step, batch: int) -> tuple[np.ndarray, tuple[int, ...] | None]:
    """Return the rows that the entries of a slab read, and their distances where all are equal."""
    assert step.rows is not None
    every, where = step.rows[batch], slab.beside.where
    key = id(every), slab.row, slab.held
    if key not in where:
        outer, width = slab.split(step.outputs[0])
        rows = every.reshape(outer, slab.tile.rows, width)[:, slab.row : slab.row + slab.held]
        where[key] = rows.reshape(-1), _steps(rows.reshape(slab.axes(step.outputs[0])))
    return where[key]


def _steps(rows: np.ndarray) -> tuple[int, ...] | None:
    """Return how far numbers are apart along every axis, if they are so everywhere."""
    first = int(rows.reshape(-1)[0])
    found = tuple(
        int(np.take(rows, 1, axis=k).reshape(-1)[0]) - first if n > 1 else 0
        for k, n in enumerate(rows.shape)
    )
    last = first + sum((n - 1) * step for n, step in zip(rows.shape, found, strict=True))
    if min(found) < 0 or int(rows.reshape(-1)[-1]) != last:
        return None
    grid = np.ogrid[tuple(slice(n) for n in rows.shape)]
    expected = sum((n * i for n, i in zip(found, grid, strict=True)), first)
    return found if bool((rows == expected).all()) else None
