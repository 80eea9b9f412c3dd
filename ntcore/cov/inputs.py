"""The block of two batches of examples."""

from __future__ import annotations

import math

from ntcore.backend import Array, Place
from ntcore.cov.dense import closed
from ntcore.cov.examples import at_first, at_second, spread
from ntcore.cov.layout import Cov, Layout
from ntcore.cov.matrices import matrices_of_inputs
from ntcore.ops import affine, arranged, gram, inner, matmul, product

#: Images have few channels and many positions, and many tiny matrix products cost more than one
#: product of whole arrays for each channel.
FEW_CHANNELS = 4


def of_inputs(at: Place, x1: Array, x2: Array, layout: Layout) -> Cov:
    r"""Return :math:`K[p, p'] = \frac{1}{C} \sum_c x_1[p, c]\, x_2[p', c]` of two batches.

    ``x1`` and ``x2`` have the shape ``(n, *spatial, C)``.
    """
    return products(at, x1, x2, layout, x1.shape[-1])


def products(at: Place, x1: Array, x2: Array, layout: Layout, over: int = 1) -> Cov:
    r"""Return :math:`\sum_c x_1[p, c]\, x_2[p', c]` divided by a number."""
    if layout.dense:
        return Cov(matrices_of_inputs(at, x1, x2, layout, over), layout)
    channels = x1.shape[-1]
    if channels > FEW_CHANNELS and layout.ndim and layout.whole:
        return _all_positions(at, x1, x2, layout, over)
    x1, x2 = (_batch_behind_space(at, x, layout.ndim) for x in (x1, x2))
    if layout.ndim and channels <= FEW_CHANNELS:
        data = _products(at, x1[..., 0], x2[..., 0], layout)
        for c in range(1, channels):
            data = affine(at, _products(at, x1[..., c], x2[..., c], layout), None, None, data)
        return Cov(_divided(at, data, over), layout)
    a, b = at_first(at, x1, layout), at_second(at, x2, layout)
    found = inner(at, a, b) if layout.paired else gram(at, a, b)
    return Cov(found if over == 1 else found / over, layout)


def _products(at: Place, x1: Array, x2: Array, layout: Layout) -> Array:
    """Return the products of every two numbers that a block compares."""
    return product(at, *spread(at, x1, x2, layout))


def _divided(at: Place, data: Array, over: int) -> Array:
    return data if over == 1 else affine(at, data, 1 / over)


def _all_positions(at: Place, x1: Array, x2: Array, layout: Layout, over: int) -> Cov:
    """Return the block of all positions by one product of matrices, or one for each example."""
    xp, n1, n2, channels = at.xp, x1.shape[0], x2.shape[0], x1.shape[-1]
    p1, p2 = math.prod(layout.sizes1), math.prod(layout.sizes2)
    x1, x2 = xp.reshape(x1, (n1, p1, channels)), xp.reshape(x2, (n2, p2, channels))
    if layout.paired:
        found = gram(at, x1, x2)
        dense = arranged(at, found, (1, 2, 0), (p1, p2, n1))
    else:
        rows = xp.reshape(xp.permute_dims(x1, (1, 0, 2)), (p1 * n1, channels))
        columns = xp.reshape(xp.permute_dims(x2, (2, 1, 0)), (channels, p2 * n2))
        found = xp.reshape(matmul(at, rows, columns), (p1, n1, p2, n2))
        dense = arranged(at, found, (0, 2, 1, 3), (p1, p2, n1, n2))
    dense = _divided(at, dense, over)
    return closed(at, dense, layout, tuple(range(layout.ndim)))


def _batch_behind_space(at: Place, x: Array, ndim: int) -> Array:
    return at.xp.permute_dims(x, (*range(1, ndim + 1), 0, *range(ndim + 1, x.ndim)))
