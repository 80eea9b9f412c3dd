"""One block of second moments: the only file that knows the order of axes and the storage.

A block holds ``K[p, p']`` by cyclic diagonals: on each spatial axis row ``r`` holds the entries
``K[p, (p + r) mod size2]`` for every ``p``, so that the offset ``p' - p`` is ``r`` up to a
multiple of ``size2``. Nothing is stored twice, every row has one length whatever its offset, and
a full block has exactly ``size1 * size2`` entries per axis.

The array of a block has the axes ``(R1, P1, R2, P2, ..., n1, n2)``: rows and positions of each
spatial axis, then the examples, which are contiguous. A *paired* block compares example ``i`` of
one batch with example ``i`` of the other and has one example axis ``(..., n)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ntcore.backend import Array, Place, host
from ntcore.need import Need, Offsets
from ntcore.ops import Table, gather_sum, inner_products, leading_sum, paired_products
from ntcore.record import Record, leaf, record

Axis = tuple[int, int, Offsets]
Tap = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Layout:
    """What a block stores: sizes of both images, offsets per axis, crossed or paired examples.

    A row may hold entries whose offset is not asked for, at the other side of its seam; their
    values mean nothing and nothing reads them.
    """

    sizes1: tuple[int, ...]
    sizes2: tuple[int, ...]
    offsets: tuple[Offsets, ...]
    paired: bool = False

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return len(self.sizes1)

    @property
    def rows(self) -> tuple[tuple[int, ...], ...]:
        """The rows stored on each axis, in ascending order."""
        return tuple(rows_of(self.axis(k)) for k in range(self.ndim))

    @property
    def entries(self) -> int:
        """Stored entries per pair of examples."""
        return math.prod(len(r) * s for r, s in zip(self.rows, self.sizes1, strict=True))

    def axis(self, k: int) -> Axis:
        """Return the sizes and offsets of one axis."""
        return self.sizes1[k], self.sizes2[k], self.offsets[k]


@lru_cache(maxsize=4096)
def rows_of(axis: Axis) -> tuple[int, ...]:
    """Return the rows that hold the offsets of an axis."""
    _, size2, offsets = axis
    return tuple(sorted({d % size2 for d in offsets}))


def layout_of(
    need: Need, sizes1: tuple[int, ...], sizes2: tuple[int, ...], paired: bool = False
) -> Layout:
    """Return the smallest layout that holds a need."""
    return Layout(sizes1, sizes2, need.axes, paired)


@record
class Cov(Record):
    """A block of second moments: an array and the layout that explains it."""

    data: Array = leaf()
    layout: Layout = None  # type: ignore[assignment]

    def affine(self, scale: Any, bias: Any = None) -> Cov:
        """Return ``scale * K + bias``; a bias of None is 0."""
        plain = isinstance(scale, float) and scale == 1.0
        data = self.data if plain else self.data * scale
        return Cov(data if bias is None else data + bias, self.layout)

    def __add__(self, other: Cov) -> Cov:
        return Cov(self.data + other.data, self.layout)

    def times(self, factor: Array) -> Cov:
        """Return the block multiplied entry by entry with an array of its own shape."""
        return Cov(self.data * factor, self.layout)


# --- reading a block at other positions ---------------------------------------------------------


@lru_cache(maxsize=4096)
def _table(before: Axis, after: Axis, taps: tuple[Tap, ...]) -> Table:
    """Return, for each tap and output entry of one axis, the input entry that it reads."""
    np = host().namespace
    (size1, size2, have), want = before, after[2]
    rows = rows_of(before)
    place = np.full(size2, -1, dtype=np.int64)
    place[list(rows)] = np.arange(len(rows))
    p_out, q_out = positions(after)
    wanted = np.isin(q_out - p_out, list(want))
    index = []
    for sources1, sources2 in taps:
        p, q = np.asarray(sources1)[p_out], np.asarray(sources2)[q_out]
        row = place[(q - p) % size2]
        read = (p >= 0) & (q >= 0)
        if bool(np.any(wanted & read & ~np.isin(q - p, list(have)))):
            raise AssertionError("the plan holds too few offsets for this layer")
        index.append(np.where(read & (row >= 0), row * size1 + p, -1).reshape(-1))
    return Table(np.stack(index))


@lru_cache(maxsize=1024)
def positions(axis: Axis) -> tuple[Any, Any]:
    """Return the two positions that every entry of an axis compares, as ``(rows, size1)``."""
    np = host().namespace
    size1, size2, _ = axis
    rows = np.asarray(rows_of(axis), dtype=np.int64)
    p = np.broadcast_to(np.arange(size1)[None, :], (len(rows), size1))
    return p, (p + rows[:, None]) % size2


def read(at: Place, cov: Cov, out: Layout, taps: tuple[tuple[Tap, ...], ...]) -> Cov:
    r"""Return :math:`K'[p, p'] = \sum_t K[a_t(p), b_t(p')]` on every axis in turn.

    ``taps[k]`` lists, for axis ``k``, the pairs ``(a_t, b_t)`` of source positions of every
    output position, with -1 where the source is padding.
    """
    data, now = cov.data, cov.layout
    for k in range(out.ndim):
        table = _table(now.axis(k), out.axis(k), taps[k])
        data = _gather(at, data, k, table, (len(out.rows[k]), out.sizes1[k]))
    return Cov(data, out)


def _gather(at: Place, data: Array, k: int, table: Table, after: tuple[int, ...]) -> Array:
    """Apply a table to the axes ``2k`` and ``2k + 1`` of the array of a block."""
    sizes = data.shape
    outer, inner = sizes[: 2 * k], sizes[2 * k + 2 :]
    flat = at.xp.reshape(
        data, (math.prod(outer), sizes[2 * k] * sizes[2 * k + 1], math.prod(inner))
    )
    return at.xp.reshape(gather_sum(at, flat, table), (*outer, *after, *inner))


def select(at: Place, cov: Cov, out: Layout) -> Cov:
    """Return the rows of a block that a layout asks for."""
    if any(not want <= have for have, want in zip(cov.layout.offsets, out.offsets, strict=True)):
        raise AssertionError("the plan holds too few offsets for this layer")
    data = cov.data
    for k, (have, want) in enumerate(zip(cov.layout.rows, out.rows, strict=True)):
        if have != want:
            rows = host().namespace.asarray([have.index(r) for r in want])
            data = at.xp.take(data, at.index(rows), axis=2 * k)
    return Cov(data, out)


def weigh(at: Place, cov: Cov, weights1: tuple[Any, ...], weights2: tuple[Any, ...]) -> Cov:
    """Multiply entry ``[p, p']`` by a host weight of ``p`` and one of ``p'``, per axis."""
    np, layout, data = host().namespace, cov.layout, cov.data
    for k in range(layout.ndim):
        p, q = positions(layout.axis(k))
        w = np.asarray(weights1[k])[p] * np.asarray(weights2[k])[q]
        shape = (1,) * (2 * k) + w.shape + (1,) * (data.ndim - 2 * k - 2)
        data = data * at.asarray(w.reshape(shape))
    return Cov(data, layout)


def total(at: Place, cov: Cov) -> Cov:
    """Return the sum of all stored entries of each pair of examples, as a block without space."""
    data = cov.data
    for _ in range(2 * cov.layout.ndim):
        data = leading_sum(at, data)
    return Cov(data, Layout((), (), (), cov.layout.paired))


# --- inputs and variances -----------------------------------------------------------------------


def of_inputs(at: Place, x1: Array, x2: Array, layout: Layout) -> Cov:
    r"""Return :math:`K[p, p'] = \frac{1}{C} \sum_c x_1[p, c]\, x_2[p', c]` of two batches.

    ``x1`` and ``x2`` have the shape ``(n, *spatial, C)``.
    """
    channels = x1.shape[-1]
    a = _at_first(at, _batch_behind_space(at, x1, layout.ndim), layout)
    b = _at_second(at, _batch_behind_space(at, x2, layout.ndim), layout)
    if layout.paired:
        return Cov(paired_products(at, a, b) / channels, layout)
    return Cov(inner_products(at, a, b) / channels, layout)


def variances(cov: Cov) -> Array:
    """Return offset 0 of a paired block, with the shape ``(P1, P2, ..., n)``."""
    data = cov.data
    for k, rows in enumerate(cov.layout.rows):
        data = data[(*(slice(None),) * k, rows.index(0), ...)]
    return data


def spread(at: Place, q1: Array, q2: Array, layout: Layout) -> tuple[Array, Array]:
    """Return two arrays of variances ``(P1, P2, ..., n)`` so that they broadcast over a block."""
    first, second = _at_first(at, q1, layout), _at_second(at, q2, layout)
    if layout.paired:
        return first, second
    return first[..., :, None], second[..., None, :]


def put_variances(at: Place, cov: Cov, q1: Array, same: Array) -> Cov:
    """Replace offset 0 of the pairs marked in ``same`` by their exact variance.

    ``q1`` comes from :func:`spread`; ``same`` has the shape ``(n1, n2)``.
    """
    layout, mask = cov.layout, same
    for k, rows in enumerate(layout.rows):
        zero = at.index(host().namespace.asarray([r == 0 for r in rows]))
        mask = mask & at.xp.reshape(zero, (-1, *(1,) * (2 * (layout.ndim - k) + 1)))
    return Cov(at.xp.where(mask, at.xp.broadcast_to(q1, cov.data.shape), cov.data), layout)


def _batch_behind_space(at: Place, x: Array, ndim: int) -> Array:
    return at.xp.permute_dims(x, (*range(1, ndim + 1), 0, *range(ndim + 1, x.ndim)))


def _at_first(at: Place, x: Array, layout: Layout) -> Array:
    """Give every spatial axis of ``(P1, P2, ..., rest)`` an axis of rows of length 1."""
    space, rest = x.shape[: layout.ndim], x.shape[layout.ndim :]
    return at.xp.reshape(x, (*(n for size in space for n in (1, size)), *rest))


def _at_second(at: Place, x: Array, layout: Layout) -> Array:
    """Read ``(Q1, Q2, ..., rest)`` at the second position of every row and first position."""
    for k in range(layout.ndim):
        _, q = positions(layout.axis(k))
        x = at.xp.take(x, at.index(q.reshape(-1)), axis=2 * k)
        x = at.xp.reshape(x, (*x.shape[: 2 * k], *q.shape, *x.shape[2 * k + 1 :]))
    return x


# --- the user's arrays --------------------------------------------------------------------------


def to_user(at: Place, cov: Cov) -> Array:
    """Return a block that holds every offset as ``(n1, n2, P1, Q1, P2, Q2, ...)``."""
    np, layout, data = host().namespace, cov.layout, cov.data
    for k in range(layout.ndim):
        size1, size2 = layout.sizes1[k], layout.sizes2[k]
        p, q = np.arange(size1)[:, None], np.arange(size2)[None, :]
        table = Table((((q - p) % size2) * size1 + p).reshape(1, -1))
        data = _gather(at, data, k, table, (size1, size2))
    return _examples_first(at, data, 2 * layout.ndim)


def diagonal_to_user(at: Place, cov: Cov) -> Array:
    """Return offset 0 of a block as ``(n1, n2, P1, P2, ...)``."""
    return _examples_first(at, variances(cov), cov.layout.ndim)


def of_user(at: Place, x: Array, layout: Layout) -> Cov:
    """Return the block of an array ``(n1, n2, P1, Q1, P2, Q2, ...)``."""
    data = _examples_last(at, x, 2 * layout.ndim)
    for k in range(layout.ndim):
        p, q = positions(layout.axis(k))
        table = Table((p * layout.sizes2[k] + q).reshape(1, -1))
        data = _gather(at, data, k, table, p.shape)
    return Cov(data, layout)


def diagonal_of_user(at: Place, x: Array, layout: Layout) -> Cov:
    """Return the block of an array ``(n1, n2, P1, P2, ...)`` that holds offset 0 alone."""
    return Cov(_at_first(at, _examples_last(at, x, layout.ndim), layout), layout)


def _examples_first(at: Place, data: Array, space: int) -> Array:
    return at.xp.permute_dims(data, (*range(space, data.ndim), *range(space)))


def _examples_last(at: Place, x: Array, space: int) -> Array:
    examples = x.ndim - space
    return at.xp.permute_dims(x, (*range(examples, x.ndim), *range(examples)))
