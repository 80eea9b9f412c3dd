"""Blocks that hold a matrix of positions for every pair of examples.

Where every offset is asked for and what reads it is a product with matrices, rows of offsets would
only be put in order and out of it again. Such a *dense* block has the axes ``(n1, n2, P, Q)``, with
the positions of all spatial axes joined; no paired block is one.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from ntcore.backend import Array, Place, host
from ntcore.cov.layout import Layout
from ntcore.ops import inner, matmul, pair_products


def matrices_of_inputs(at: Place, x1: Array, x2: Array, layout: Layout, over: int) -> Array:
    r"""Return :math:`\sum_c x_1[p, c]\, x_2[p', c]` divided by a number, of two batches."""
    xp, n1, n2, channels = at.xp, x1.shape[0], x2.shape[0], x1.shape[-1]
    p1, p2 = math.prod(layout.sizes1), math.prod(layout.sizes2)
    one, two = xp.reshape(x1, (n1, p1, channels)), xp.reshape(x2, (n2, p2, channels))
    return pair_products(at, one if over == 1 else one / over, two)


def beside(at: Place, q1: Array, q2: Array) -> tuple[Array, Array]:
    """Return arrays ``(P1, P2, ..., n)`` of either batch so that they broadcast over a block."""
    one, two = _examples_first(at, q1), _examples_first(at, q2)
    return one[:, None, :, None], two[None, :, None, :]


def _examples_first(at: Place, q: Array) -> Array:
    return at.xp.matrix_transpose(at.xp.reshape(q, (-1, q.shape[-1])))


@lru_cache(maxsize=256)
def on_offset_zero(layout: Layout) -> Any:
    """Return the host table ``(P, Q)`` of where two positions are one."""
    np = host().namespace
    found = np.ones((1, 1), dtype=bool)
    for size1, size2 in zip(layout.sizes1, layout.sizes2, strict=True):
        found = np.kron(found, np.eye(size1, size2, dtype=bool))
    return found


def diagonals(at: Place, data: Array, layout: Layout) -> Array:
    """Return offset 0 of a block of images of one size, ``(P1, P2, ..., n1, n2)``."""
    xp, (n1, n2, p, _) = at.xp, data.shape
    flat = xp.reshape(data, (n1, n2, p * p))[:, :, :: p + 1]
    return xp.reshape(xp.permute_dims(flat, (2, 0, 1)), (*layout.sizes1, n1, n2))


def multiplied(at: Place, data: Array, left: Array, right: Array) -> Array:
    """Return ``A1 K A2ᵀ`` of every pair, for matrices of every example or for all of them."""
    xp = at.xp
    left = left if left.ndim == 2 else left[:, None, :, :]
    return matmul(at, matmul(at, left, data), xp.matrix_transpose(right))


def weighed_sum(at: Place, data: Array, first: Array, second: Array) -> Array:
    """Return the sum of all entries times weights such as :func:`beside` returns."""
    rows = matmul(at, at.xp.matrix_transpose(first), data)
    return inner(at, rows, second)[..., 0]


def sums(at: Place, data: Array) -> Array:
    """Return the sum of all entries of every pair."""
    return at.xp.sum(at.xp.sum(data, axis=-1), axis=-1)


def as_user_has(at: Place, data: Array, layout: Layout) -> Array:
    """Return a block as ``(n1, n2, P1, Q1, P2, Q2, ...)``."""
    n = len(layout.sizes1)
    apart = at.xp.reshape(data, (*data.shape[:2], *layout.sizes1, *layout.sizes2))
    order = [i for k in range(n) for i in (2 + k, 2 + n + k)]
    return at.xp.permute_dims(apart, (0, 1, *order))


def from_user(at: Place, x: Array, layout: Layout) -> Array:
    """Return the block of an array ``(n1, n2, P1, Q1, P2, Q2, ...)``."""
    order = (0, 1, *range(2, x.ndim, 2), *range(3, x.ndim, 2))
    joined = math.prod(layout.sizes1), math.prod(layout.sizes2)
    return at.xp.reshape(at.xp.permute_dims(x, order), (*x.shape[:2], *joined))
