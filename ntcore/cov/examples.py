"""The variances and masks of examples beside a block of them."""

from __future__ import annotations

import math
from functools import lru_cache

from ntcore.backend import Array, Place, host
from ntcore.cov.layout import Axis, Cov, Layout, positions
from ntcore.cov.matrices import beside, on_offset_zero
from ntcore.fusing import fusable
from ntcore.ops import Table, gather_sums


def variances(cov: Cov) -> Array:
    """Return offset 0 of a paired block, with the shape ``(P1, P2, ..., n)``."""
    data = cov.data
    for k, rows in enumerate(cov.layout.rows):
        data = data[(*(slice(None),) * k, rows.index(0), ...)]
    return data


@fusable
def spread(at: Place, q1: Array, q2: Array, layout: Layout) -> tuple[Array, Array]:
    """Return two arrays of variances ``(P1, P2, ..., n)`` so that they broadcast over a block."""
    if layout.dense:
        return beside(at, q1, q2)
    first, second = at_first(at, q1, layout), at_second(at, q2, layout)
    if layout.paired:
        return first, second
    return first[..., :, None], second[..., None, :]


def hide(at: Place, cov: Cov, mask1: Array, mask2: Array) -> Cov:
    """Return a block that is 0 where either position is masked, by masks ``(P1, P2, ..., n)``."""
    first, second = spread(at, mask1, mask2, cov.layout)
    return Cov(at.xp.where(first | second, at.xp.zeros_like(cov.data), cov.data), cov.layout)


@fusable
def normalize(at: Place, cov: Cov, q1: Array, q2: Array, eps: float) -> tuple[Cov, Array]:
    r"""Return :math:`K / \sqrt{(q_1 + \epsilon)(q_2 + \epsilon)}` and the factor, 0 for 0 / 0.

    The variances have the shape ``(P1, P2, ..., n)``.
    """
    one, two = (inverse_root(at, q + eps) for q in (q1, q2))
    first, second = spread(at, one, two, cov.layout)
    factor = first * second
    return cov.times(factor), factor


def inverse_root(at: Place, v: Array) -> Array:
    """Return one over the square root; 0 where there is none."""
    one = at.xp.ones_like(v)
    some = v > 0
    root = at.xp.sqrt(at.xp.where(some, v, one))
    return at.xp.where(some, one / root, at.xp.zeros_like(v))


@fusable
def put_variances(at: Place, cov: Cov, q1: Array, same: Array) -> Cov:
    """Replace offset 0 of the pairs marked in ``same`` by their exact variance.

    ``q1`` comes from :func:`spread`; ``same`` has the shape ``(n1, n2)``.
    """
    itself = coincident(at, cov.layout, same)
    data = at.xp.where(itself, at.xp.broadcast_to(q1, cov.data.shape), cov.data)
    return Cov(data, cov.layout)


def coincident(at: Place, layout: Layout, same: Array | None) -> Array | None:
    """Return where one position of one example meets itself, to be broadcast over a block.

    ``same`` marks the pairs ``(n1, n2)`` that are one example; a paired block holds no others.
    None where there are none.
    """
    if same is None and not layout.paired:
        return None
    mask = at.index(host().namespace.ones((1,), dtype=bool)) if same is None else same
    if layout.dense:
        return mask[:, :, None, None] & at.index(on_offset_zero(layout))
    examples = mask.ndim
    for k, rows in enumerate(layout.rows):
        zero = at.index(host().namespace.asarray([r == 0 for r in rows]))
        mask = mask & at.xp.reshape(zero, (-1, *(1,) * (2 * (layout.ndim - k) - 1 + examples)))
    return mask


def on_diagonal(at: Place, layout: Layout) -> Array:
    """Return 1 at offset 0 and 0 elsewhere, to multiply a block of two images of one size."""
    every = at.index(host().namespace.ones((1,) * (1 if layout.paired else 2), dtype=bool))
    return at.xp.astype(coincident(at, layout, every), at.dtype)


def at_first(at: Place, x: Array, layout: Layout) -> Array:
    """Give every spatial axis of ``(P1, P2, ..., rest)`` an axis of rows of length 1."""
    space, rest = x.shape[: layout.ndim], x.shape[layout.ndim :]
    return at.xp.reshape(x, (*(n for size in space for n in (1, size)), *rest))


def at_second(at: Place, x: Array, layout: Layout) -> Array:
    """Read ``(Q1, Q2, ..., rest)`` at the second position of every row and first position."""
    if layout.sizes1 == layout.sizes2 and set(layout.rows) <= {(0,)}:
        return at_first(at, x, layout)
    space, rest = x.shape[: layout.ndim], x.shape[layout.ndim :]
    tables = tuple(_second(layout.axis(k)) for k in range(layout.ndim))
    found = gather_sums(at, at.xp.reshape(x, (*space, math.prod(rest))), tables)
    return at.xp.reshape(found, (*layout.space, *rest))


@lru_cache(maxsize=1024)
def _second(axis: Axis) -> Table:
    """Return which second position every entry of an axis compares."""
    return Table(positions(axis)[1].reshape(1, -1), wraps=True)
