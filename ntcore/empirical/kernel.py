"""The kernel of two batches: blocks of examples and rows, sized by a budget of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

from ntcore.backend import Array, host
from ntcore.empirical.axes import DIAGONAL, FREE, TRACED, Outputs
from ntcore.empirical.contract import Gradient, arrays_of, one_after_other, rebuilt
from ntcore.empirical.inner import (
    STRIPS,
    Meeting,
    paired_products,
    products,
    symmetric,
    total,
    turned,
)
from ntcore.empirical.view import Exceeded, View

MANY = 2048  # rows of gradients, beside which copies of them take little time

Gradients = Callable[[View, Array, Meeting], list[Gradient]]


@dataclass(frozen=True)
class Chunks:
    """How many examples, and how many diagonal, free and traced rows, are worked on at once.

    Gradients of ``tile`` examples are made at a time, so that what they take fits in the cache.
    What compiled functions take at a time is to fit in the ``rest`` of the budget, in bytes.
    """

    tile: int
    examples: int
    diagonal: int
    free: int
    traced: int
    rest: float | None = None


@dataclass
class Blocks:
    """A kernel in the making.

    Attributes
    ----------
    views : tuple of View
        Both arguments; the same object twice for the symmetric kernel.
    outs : tuple of Outputs
        How the rows of each are sorted.
    gradients : callable
        From a view and cotangents to gradients.
    chunks : Chunks
        How much at once.
    """

    views: tuple[View, View]
    outs: tuple[Outputs, Outputs]
    gradients: Gradients
    chunks: Chunks
    kept: dict[int, tuple[Any, list[Gradient]]] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether the kernel is symmetric."""
        return self.views[0] is self.views[1]

    @property
    def xp(self) -> Any:
        """The namespace of the arrays."""
        return self.views[0].backend.namespace

    def kernel(self) -> Array:
        """Return sums of products, ``(n1, n2, diagonal, free1, free2)``.

        Without ``n2`` where examples are paired; of a symmetric kernel one half is computed.
        """
        every = [list(spans(v.count, self.chunks.examples)) for v in self.views]
        if self.outs[0].paired:
            return self._join([self._block(s, s) for s in every[0]], 0)
        found: dict[tuple[int, int], Array] = {}
        for i, one in enumerate(every[0]):
            for j, two in enumerate(every[1]):
                mirrored = self.same and j < i
                found[i, j] = turned(self.xp, found[j, i]) if mirrored else self._block(one, two)
        rows = [[found[i, j] for j in range(len(every[1]))] for i in range(len(every[0]))]
        return self._join([self._join(row, 1) for row in rows], 0)

    def _join(self, blocks: list[Array], axis: int) -> Array:
        return blocks[0] if len(blocks) == 1 else self.xp.concat(blocks, axis=axis)

    def _block(self, one: range, two: range) -> Array:
        """Return one block of examples, every row of it."""
        out1, out2 = self.outs
        blocks = []
        for d in spans(out1.count(DIAGONAL), self.chunks.diagonal):
            traced = spans(out1.count(TRACED), self.chunks.traced)
            blocks.append(reduce(add, (self._free(one, two, out2, d, t) for t in traced)))
        return self._join(blocks, -3)

    def _free(self, one: range, two: range, out2: Outputs, d: range, t: range) -> Array:
        """Return the products of all free rows, for some diagonal and some traced ones."""
        rows = []
        for f1 in spans(self.outs[0].count(FREE), self.chunks.free):
            left = self._side(0, one, (d, f1, t))
            row = []
            for f2 in spans(out2.count(FREE), self.chunks.free):
                alike = self.same and one == two and f1 == f2
                right = left if alike else self._side(1, two, (d, f2, t))
                row.append(self._products(left, right, (d, f1, f2, t)))
            rows.append(self._join(row, -1))
        return self._join(rows, -2)

    def _side(self, side: int, span: range, rows: tuple[range, range, range]) -> list[Gradient]:
        """Return gradients of some examples and rows; the last ones of each side are kept."""
        if self.kept.get(side, (None,))[0] != (span, rows):
            view, out = self.views[side], self.outs[side]
            self.kept.pop(side, None)  # before the next are made, for the sake of memory
            d, f, t = (slice(r.start, r.stop) for r in rows)
            positions = out.positions(host().namespace)[d, f, t].reshape(-1)
            seeds, meeting = view.seeds(out.shape, positions), self._meeting(rows)
            parts = (
                self.gradients(view.part(s.start + span.start, s.stop + span.start), seeds, meeting)
                for s in spans(len(span), self.chunks.tile)
            )
            self.kept[side] = ((span, rows), one_after_other(view.place, parts, len(span)))
        return self.kept[side][1]

    def _products(self, left: list[Gradient], right: list[Gradient], rows: Any) -> Array:
        """Return the sum over all parameters, one half of it where both sides are the same.

        A compiled function copies what it takes parts of: half of the products is worth that
        where they are many, and there is room.
        """
        count = left[0].count * len(rows[0]) * len(rows[1])
        copies = self.views[0].backend.jit is not None
        if left is right and not (copies and count < MANY):
            try:
                return self._summed(left, right, rows, STRIPS)
            except Exceeded:
                pass
        return self._summed(left, right, rows, 1)

    def _summed(self, left: list[Gradient], right: list[Gradient], rows: Any, strips: int) -> Array:
        """Return the sum over all parameters, compiled in one piece where the library compiles."""
        d, f1, f2, t = map(len, rows)
        sizes = ((d, f1, t), (d, f2, t))
        same, paired, at = left is right, self.outs[0].paired, self.views[0].place
        kinds = [[arrays_of(g)[1] for g in side] for side in (left, right)]

        def run(left: Any, right: Any) -> Array:
            one = [rebuilt(*g) for g in zip(left, kinds[0], strict=True)]
            if same and not paired:
                return symmetric(at, one, sizes, strips)
            two = one if same else [rebuilt(*g) for g in zip(right, kinds[1], strict=True)]
            return total(at, one, two, sizes, paired_products if paired else products)

        both = [[arrays_of(g)[0] for g in side] for side in ((left,) if same else (left, right))]
        key = (tuple(map(tuple, kinds)), sizes, same, paired, strips)
        return self.views[0].compile("products", run, *key)(both[0], None if same else both[1])

    def _meeting(self, rows: tuple[range, range, range]) -> Meeting:
        """Return how many gradients of one side meet how many of the other."""
        d, f, t = map(len, rows)
        one, two = (min(v.count, self.chunks.examples) for v in self.views)
        return Meeting((one, two), ((d, f, t), (d, f, t)), self.outs[0].paired)


def spans(count: int, size: int) -> Iterator[range]:
    """Yield ranges of at most ``size`` that cover ``count``."""
    for start in range(0, count, max(size, 1)):
        yield range(start, min(start + size, count))
