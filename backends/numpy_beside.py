"""What belongs to the examples of a chain's pairs, side by side as the pairs are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

#: Neighbours that are as fast to read beside one number as beside as many: where having as many is
#: soon done with, and where it takes less memory or serves often.
LONG, LONGEST = 16, 128
#: How often variances are read where that is often, and pairs that have their own at most.
OFTEN, FEW = 4, 64
#: Bytes that variances of pairs may take.
MOST_BYTES = 1 << 24
#: Parts of a batch with itself of which a group takes every pair at least once.
ROUGH = 8

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Beside:
    """What belongs to a rectangle of pairs.

    Attributes
    ----------
    group : pair of slice
        The examples of either batch.
    counts : pair of int
        How many there are in either batch.
    lanes : int
        How many pairs there are in the rectangle.
    sides, drawn : pair of array
        The variances of the examples of either batch, and what is drawn of them, ``(rows, i, j)``:
        those of the first are ``(rows, i, 1)`` and those of the second ``(rows, 1, j)`` where
        neighbours are many, and else both have one for every pair, ``(rows, 1, i * j)``.
    itself : array of int, or None
        The pairs that are one example twice.
    where : dict
        The rows that operations read, as far as they are known.
    """

    group: tuple[slice, slice]
    counts: tuple[int, int]
    lanes: int
    sides: Pair
    drawn: Pair
    itself: np.ndarray | None
    where: dict[Any, Any]

    @cached_property
    def zeros(self) -> bool:
        """Whether some variance is 0."""
        return any(bool((x == 0).any()) for x in self.sides)


class Batches:
    """The examples of both batches, of which rectangles of pairs take some.

    ``reads`` says how many entries read each variance of an example.
    """

    def __init__(
        self, paired: bool, sides: Pair, drawn: Pair | None, same: Any, counts: tuple[int, int],
        where: dict[Any, Any], reads: float,
    ) -> None:  # fmt: skip
        self._paired, self._counts, self._same = paired, counts, same
        self._sides, self._drawn = sides, drawn or (sides[0][:0], sides[1][:0])
        self._where = where
        size = sum(x[:, :1].nbytes for x in (*self._sides, *self._drawn))
        few = min(FEW, MOST_BYTES // max(size, 1))
        self._few = few if few >= LONG else 0
        self._long = LONGEST if reads >= OFTEN else LONG

    def groups(self, most: int) -> Iterator[tuple[slice, slice]]:
        """Yield rectangles of pairs that hold about ``most``; of a square, its upper half."""
        n1, n2 = self._counts
        if self._few and n2 < self._long:
            most = min(most, self._few)
        tall = max(1, most // max(n2, 1))
        if self._same is not None:
            tall = min(tall, math.ceil(n1 / ROUGH))
        for i in range(0, n1, tall):
            first = 0 if self._same is None else i
            parts = max(1, math.ceil((n2 - first) / most))
            edges = [first + (n2 - first) * k // parts for k in range(parts + 1)]
            for j, stop in pairwise(edges):
                yield slice(i, min(i + tall, n1)), slice(j, stop)

    def of(self, ones: slice, twos: slice) -> Beside:
        """Return what belongs to a rectangle of pairs."""
        shape = (ones.stop - ones.start, twos.stop - twos.start)
        itself = None if self._same is None else np.flatnonzero(self._same[ones, twos])
        lanes = math.prod(shape)
        apart = lanes > self._few or shape[1] >= (self._long if shape[0] > 1 else LONGEST)
        read = (self._of(x, ones, twos) for x in (self._sides, self._drawn))
        sides, drawn = (_in_place(*x) if apart else _spread(*x) for x in read)
        return Beside((ones, twos), self._counts, lanes, sides, drawn, itself, self._where)

    def _of(self, x: Pair, ones: slice, twos: slice) -> Pair:
        one = x[0][:, None, twos] if self._paired else x[0][:, ones, None]
        return one, x[1][:, None, twos]


def area_of(ones: slice, twos: slice) -> int:
    """Return how many pairs a rectangle holds."""
    return (ones.stop - ones.start) * (twos.stop - twos.start)


def _in_place(one: np.ndarray, two: np.ndarray) -> Pair:
    return np.ascontiguousarray(one), np.ascontiguousarray(two)


def _spread(one: np.ndarray, two: np.ndarray) -> Pair:
    """Return rows of a number for every pair."""
    tall, wide = np.broadcast_shapes(one.shape[1:], two.shape[1:])
    one, two = (np.broadcast_to(x, (len(x), tall, wide)) for x in (one, two))
    one, two = _in_place(one, two)
    return one.reshape(len(one), 1, tall * wide), two.reshape(len(two), 1, tall * wide)
