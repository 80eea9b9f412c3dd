"""Axes of a block as plain matrices of positions, for layers that mix all of them.

On an *open* axis the two positions are two axes of the array, every offset is there, and what a
linear layer does is a product with a matrix from the left and one from the right.
"""

from __future__ import annotations

import math
from functools import lru_cache

from ntcore.backend import Array, Place, host
from ntcore.cov.examples import at_first, at_second
from ntcore.cov.layout import Axis, Cov, Layout, positions
from ntcore.cov.read import gather
from ntcore.ops import Table, matmul

Axes = tuple[int, ...]


@lru_cache(maxsize=1024)
def dense_table(size1: int, size2: int) -> Table:
    """Return which entry of all rows of an axis the entry ``(p, q)`` is."""
    np = host().namespace
    p, q = np.arange(size1)[:, None], np.arange(size2)[None, :]
    return Table((((q - p) % size2) * size1 + p).reshape(1, -1))


@lru_cache(maxsize=1024)
def rows_table(axis: Axis) -> Table:
    """Return which ``(p, q)`` every entry of the rows of an axis is."""
    p, q = positions(axis)
    return Table((p * axis[1] + q).reshape(1, -1))


def opened(at: Place, cov: Cov, axes: Axes) -> Array:
    """Return ``(P, Q, ..., examples)``: joint positions on axes of which every offset is held.

    Behind them are the rows and positions of the other axes, in their order, and the examples.
    """
    layout, data = cov.layout, cov.data
    for k in axes:
        sizes = layout.sizes1[k], layout.sizes2[k]
        if len(layout.rows[k]) != sizes[1]:
            raise AssertionError("the plan holds too few offsets for this layer")
        data = gather(at, data, k, dense_table(*sizes), sizes)
    first, second = (math.prod(s[k] for k in axes) for s in (layout.sizes1, layout.sizes2))
    data = at.xp.permute_dims(data, _order(axes, data.ndim))
    return at.xp.reshape(data, (first, second, *data.shape[2 * len(axes) :]))


def closed(at: Place, data: Array, out: Layout, axes: Axes) -> Cov:
    """Return the block of an array such as :func:`opened` returns, with the rows ``out`` holds."""
    sizes = [s[k] for s in (out.sizes1, out.sizes2) for k in axes]
    data = at.xp.reshape(data, (*sizes, *data.shape[2:]))
    order = _order(axes, data.ndim)
    data = at.xp.permute_dims(data, tuple(order.index(i) for i in range(data.ndim)))
    for k in axes:
        rows = len(out.rows[k]), out.sizes1[k]
        data = gather(at, data, k, rows_table(out.axis(k)), rows)
    return Cov(data, out)


def _order(axes: Axes, ndim: int) -> tuple[int, ...]:
    front = (*(2 * k for k in axes), *(2 * k + 1 for k in axes))
    return (*front, *(i for i in range(ndim) if i not in front))


def sandwich(at: Place, cov: Cov, out: Layout, left: Array, right: Array, axes: Axes) -> Cov:
    r"""Return :math:`K'[p', q'] = \sum_{p, q} A_1[p', p]\, K[p, q]\, A_2[q', q]` on some axes.

    ``left`` and ``right`` have the shape ``(P', P)`` or, one for each example of a batch,
    ``(n, P', P)``, with the axes joined; on the other axes ``out`` holds the offsets of the block.
    """
    data = opened(at, cov, axes)
    examples = 1 if cov.layout.paired else 2
    data = _times(at, left, data, 0, data.ndim - examples)
    return closed(at, _times(at, right, data, 1, data.ndim - 1), out, axes)


def contract(at: Place, cov: Cov, out: Layout, a: Array, along: Axes, mixed: Axes) -> Cov:
    r"""Return a block contracted with one array on some axes, and multiplied by it on others.

    .. math:: K'[b, o, f;\, b', o', f'] = \sum_{c, c'} A[b, o, c]\, K[b, c, f;\, b', c', f']\,
              A[b', o', c']

    with :math:`b` the positions of the axes ``along``, :math:`c` those of the axes ``mixed``,
    joined, and :math:`f` all others. ``a`` has the shape ``(*along, O, C)``; the axes of ``out``
    are those along, the new ones, whose sizes make up ``O``, and the others.
    """
    data = opened(at, cov, mixed)
    kept = [k for k in range(cov.layout.ndim) if k not in mixed]
    front = [2 + 2 * kept.index(k) + i for k in along for i in (0, 1)]
    order = (*front, 0, 1, *(i for i in range(2, data.ndim) if i not in front))
    data = at.xp.permute_dims(data, order)
    beside = cov.layout.alone(along)
    data = _both_sides(at, at_first(at, a, beside), data, at_second(at, a, beside))
    n = len(front)
    data = at.xp.permute_dims(data, (n, n + 1, *range(n), *range(n + 2, data.ndim)))
    new = range(len(along), out.ndim - len(kept) + len(along))
    return closed(at, data, out, tuple(new))


def _both_sides(at: Place, left: Array, data: Array, right: Array) -> Array:
    """Return ``left K rightᵀ`` of ``data``, ``(*space, C, C', *rest)``, at every place in space."""
    xp, n = at.xp, left.ndim - 2
    space, width, rest = data.shape[:n], data.shape[n + 1], data.shape[n + 2 :]
    data = matmul(at, left, xp.reshape(data, (*space, data.shape[n], -1)))
    data = xp.reshape(data, (*space, left.shape[-2], width, -1))
    data = xp.permute_dims(data, (*range(n), n + 1, n, n + 2))
    data = matmul(at, right, xp.reshape(data, (*space, width, -1)))
    data = xp.reshape(data, (*space, right.shape[-2], left.shape[-2], *rest))
    return xp.permute_dims(data, (*range(n), n + 1, n, *range(n + 2, data.ndim)))


def _times(at: Place, a: Array, data: Array, axis: int, examples: int) -> Array:
    """Contract one axis of an array with the last of ``a``, which may vary along ``examples``."""
    front = (axis,) if a.ndim == 2 else (examples, axis)
    order = (*front, *(i for i in range(data.ndim) if i not in front))
    data = at.xp.permute_dims(data, order)
    flat = at.xp.reshape(data, (*data.shape[: len(front)], -1))
    product = matmul(at, a, flat)
    shape = (*data.shape[: len(front) - 1], product.shape[-2], *data.shape[len(front) :])
    back = tuple(order.index(i) for i in range(len(order)))
    return at.xp.permute_dims(at.xp.reshape(product, shape), back)
