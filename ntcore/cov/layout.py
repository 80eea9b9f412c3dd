"""What a block of second moments stores, and in which order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from ntcore.backend import Array, host
from ntcore.need import Need, Offsets
from ntcore.record import Record, leaf, record

Axis = tuple[int, int, Offsets]


@dataclass(frozen=True)
class Layout:
    """What a block stores: sizes of both images, offsets per axis, crossed or paired examples.

    A block of images without ``offsets`` is ``summed``: it holds the sum of all its entries.

    A ``dense`` block holds every offset, as a matrix for every pair; see
    :mod:`ntcore.cov.matrices`. The others hold rows of offsets. A row may hold entries whose offset
    is not asked for, at the other side of its seam; their values mean nothing and nothing reads
    them.
    """

    sizes1: tuple[int, ...]
    sizes2: tuple[int, ...]
    offsets: tuple[Offsets, ...]
    paired: bool = False
    dense: bool = False

    @property
    def in_rows(self) -> Layout:
        """The same entries as rows of offsets."""
        if not self.dense:
            return self
        return layout_of(Need(self.offsets), self.sizes1, self.sizes2, self.paired)

    @property
    def ndim(self) -> int:
        """Number of spatial axes that are stored."""
        return len(self.offsets)

    @property
    def summed(self) -> bool:
        """Whether the block holds the sum of all entries of two images, and no axes."""
        return len(self.offsets) < len(self.sizes1)

    @property
    def summands(self) -> int:
        """How many entries two images have."""
        return math.prod(self.sizes1) * math.prod(self.sizes2)

    @cached_property
    def rows(self) -> tuple[tuple[int, ...], ...]:
        """The rows stored on each axis, in ascending order."""
        return tuple(rows_of(self.axis(k)) for k in range(self.ndim))

    @cached_property
    def space(self) -> tuple[int, ...]:
        """The shape of a block without its examples."""
        pairs = zip(self.rows, self.sizes1, strict=not self.summed)
        return tuple(n for rows, size in pairs for n in (len(rows), size))

    @cached_property
    def entries(self) -> int:
        """Stored entries per pair of examples."""
        return math.prod(self.space)

    @cached_property
    def whole(self) -> bool:
        """Whether every row of every axis is stored."""
        return all(len(r) == n for r, n in zip(self.rows, self.sizes2, strict=not self.summed))

    def axis(self, k: int) -> Axis:
        """Return the sizes and offsets of one axis."""
        return self.sizes1[k], self.sizes2[k], self.offsets[k]

    def with_axis(self, k: int, axis: Axis) -> Layout:
        """Return the layout with other sizes and offsets on one axis."""
        axes = [axis if i == k else self.axis(i) for i in range(self.ndim)]
        return _joined(axes, self.paired)

    def alone(self, axes: tuple[int, ...]) -> Layout:
        """Return the layout of some axes alone."""
        return _joined([self.axis(k) for k in axes], self.paired)


def _joined(axes: list[Axis], paired: bool) -> Layout:
    sizes1, sizes2, offsets = (tuple(a[i] for a in axes) for i in range(3))
    return Layout(sizes1, sizes2, offsets, paired)  # type: ignore[arg-type]


@lru_cache(maxsize=4096)
def rows_of(axis: Axis) -> tuple[int, ...]:
    """Return the rows that hold the offsets of an axis."""
    _, size2, offsets = axis
    return tuple(sorted({d % size2 for d in offsets}))


@lru_cache(maxsize=8192)
def layout_of(
    need: Need,
    sizes1: tuple[int, ...],
    sizes2: tuple[int, ...],
    paired: bool = False,
    dense: bool = False,
) -> Layout:
    """Return the smallest layout that holds a need, ``dense`` if it may be and the need is all."""
    found = Layout(sizes1, sizes2, need.axes, paired)
    if dense and not paired and found.ndim and found.whole:
        return Layout(sizes1, sizes2, need.axes, dense=True)
    return found


@lru_cache(maxsize=1024)
def positions(axis: Axis) -> tuple[Any, Any]:
    """Return the two positions that every entry of an axis compares, as ``(rows, size1)``."""
    np = host().namespace
    size1, size2, _ = axis
    rows = np.asarray(rows_of(axis), dtype=np.int64)
    p = np.broadcast_to(np.arange(size1)[None, :], (len(rows), size1))
    return p, (p + rows[:, None]) % size2


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
