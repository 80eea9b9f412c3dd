"""Axes of a block as plain matrices of positions, for layers that mix all of them.

On an *open* axis the two positions are two axes of the array, every offset is there, and what a
linear layer does is a product with a matrix from the left and one from the right.
"""

from __future__ import annotations

import math

from ntcore.backend import Array, Place
from ntcore.cov.examples import at_first, at_second
from ntcore.cov.layout import Cov, Layout
from ntcore.cov.matrices import multiplied
from ntcore.cov.read import dense_table, gather, rows_table, weighed_total
from ntcore.cov.select import select
from ntcore.ops import arranged, matmul

Axes = tuple[int, ...]


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
    rest = [n for i, n in enumerate(data.shape) if i // 2 not in axes]
    return arranged(at, data, _order(axes, data.ndim), (first, second, *rest))


def closed(at: Place, data: Array, out: Layout, axes: Axes) -> Cov:
    """Return the block of an array such as :func:`opened` returns, with the rows ``out`` holds."""
    sizes = [s[k] for s in (out.sizes1, out.sizes2) for k in axes]
    data = at.xp.reshape(data, (*sizes, *data.shape[2:]))
    order = _order(axes, data.ndim)
    back = tuple(order.index(i) for i in range(data.ndim))
    data = arranged(at, data, back, tuple(data.shape[i] for i in back))
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
    The sum of all entries is :math:`u_1^\top K u_2`, with the sums of the columns.
    """
    if out.summed:
        first = _column_sums(at, left, cov.layout.sizes1, axes)
        second = _column_sums(at, right, cov.layout.sizes2, axes)
        return weighed_total(at, cov, out, first, second)
    if cov.layout.dense and out.dense and axes == tuple(range(out.ndim)):
        return Cov(multiplied(at, cov.data, left, right), out)
    if cov.layout.dense or out.dense:
        found = sandwich(at, select(at, cov, cov.layout.in_rows), out.in_rows, left, right, axes)
        return select(at, found, out)
    data = opened(at, cov, axes)
    shared = left.ndim == right.ndim == 2
    product = _shared if shared else _each
    return closed(at, product(at, data, left, right, 1 if cov.layout.paired else 2), out, axes)


def _column_sums(at: Place, a: Array, sizes: tuple[int, ...], axes: Axes) -> Array:
    """Return the sums over the rows of matrices as :func:`weighed_total` takes them."""
    xp = at.xp
    sums = xp.sum(a if a.ndim > 2 else a[None, ...], axis=1)
    sums = xp.reshape(sums, (sums.shape[0], *(sizes[k] for k in axes)))
    order = (*(1 + i for i in sorted(range(len(axes)), key=axes.__getitem__)), 0)
    found = xp.permute_dims(sums, order)
    whole = tuple(n if k in axes else 1 for k, n in enumerate(sizes))
    return xp.broadcast_to(xp.reshape(found, (*whole, -1)), (*sizes, sums.shape[0]))


def _shared(at: Place, data: Array, left: Array, right: Array, _: int) -> Array:
    """Multiply ``(P, Q, ...)`` by matrices that all examples share, where it lies."""
    xp, (p, q, *rest) = at.xp, data.shape
    width = math.prod(rest)
    data = matmul(at, left, xp.reshape(data, (p, q * width)))
    data = matmul(at, right, xp.reshape(data, (left.shape[0], q, width)))
    return xp.reshape(data, (*data.shape[:2], *rest))


def _each(at: Place, data: Array, left: Array, right: Array, examples: int) -> Array:
    """Multiply ``(P, Q, ..., examples)`` by matrices of each example, the examples in front."""
    xp, between = at.xp, data.ndim - 2 - examples
    order = (*range(2 + between, data.ndim), *range(2, 2 + between), 0, 1)
    data = arranged(at, data, order, tuple(data.shape[i] for i in order))
    left = _beside(at, left, 0, examples, between)
    right = xp.matrix_transpose(_beside(at, right, examples - 1, examples, between))
    data = matmul(at, matmul(at, left, data), right)
    back = tuple(order.index(i) for i in range(data.ndim))
    return arranged(at, data, back, tuple(data.shape[i] for i in back))


def _beside(at: Place, a: Array, batch: int, examples: int, between: int) -> Array:
    """Give matrices the axes of the examples and of what is between these and the matrices."""
    front = [1] * (examples + between)
    if a.ndim > 2:
        front[batch] = a.shape[0]
    return at.xp.reshape(a, (*front, *a.shape[-2:]))


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
