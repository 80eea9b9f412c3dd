"""Axes and broadcasting in the sweeps."""

from __future__ import annotations

import math
from typing import Any

from ntcore.backend import Array


def normal(axis: int, ndim: int) -> int:
    """Return an axis counted from the front."""
    return axis + ndim if axis < 0 else axis


def axes_of(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """Return the axes that a reduction sums over."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(normal(a, ndim) for a in (axis if isinstance(axis, tuple) else (axis,)))


def unbroadcast(xp: Any, g: Array, shape: tuple[int, ...], lead: int) -> Array:
    """Sum a cotangent over the axes along which an argument of ``shape`` was broadcast."""
    front = tuple(g.shape[:lead])
    extra = g.ndim - lead - len(shape)
    grown = tuple(
        lead + extra + k
        for k, size in enumerate(shape)
        if size == 1 and g.shape[lead + extra + k] != 1
    )
    axes = (*range(lead, lead + extra), *grown)
    summed = xp.sum(g, axis=axes) if axes else g
    return summed if tuple(summed.shape) == (*front, *shape) else xp.reshape(summed, front + shape)


def spread(xp: Any, t: Array, shape: tuple[int, ...]) -> Array:
    """Broadcast a tangent to the shape of an output."""
    return t if tuple(t.shape) == shape else xp.broadcast_to(t, shape)


def size_of(shape: tuple[int, ...]) -> int:
    """Return the number of entries."""
    return math.prod(shape)
