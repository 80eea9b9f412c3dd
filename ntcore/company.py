"""What goes with the moments of a tile: variances, masks and a pattern of its examples."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from ntcore.backend import Array, Place
from ntcore.cov import Cov, Layout, hide, select
from ntcore.moments import Moments
from ntcore.record import Record, leaf, record
from ntcore.source import Span
from ntcore.staging import staged


@record
class Beside(Record):
    """What belongs to the examples of one batch.

    Attributes
    ----------
    masks : dict
        The mask of each edge that has one, ``(n, *spatial, C)`` or with one channel.
    positions : dict
        The same as the blocks need it: ``(P1, P2, ..., n)``, true where all channels are.
    asides : dict
        What the layer that writes an edge reads of the caller's pattern, one for each example or
        one for all.
    sides : dict
        Variances, or what else layers read of every example with itself, edge by edge.
    start : int
        The first example that ``sides`` are of.
    examples : dict
        The whole batch of each input edge, ``(n, *spatial, C)``.
    """

    masks: dict[int, Array] = leaf()
    positions: dict[int, Array] = leaf()
    asides: dict[int, Array] = leaf()
    sides: dict[int, Cov] = leaf(default_factory=dict)
    start: int = 0
    examples: dict[int, Array] = leaf(default_factory=dict)

    @cached_property
    def _stacked(self) -> dict[tuple[int, ...], Array]:
        return {}

    def rows(self, at: Place, edges: tuple[int, ...]) -> Array:
        """Return the sides of some edges one below the other, ``(rows, n)``."""
        if edges not in self._stacked:
            found = [self.sides[e].data for e in edges]
            flat = [at.xp.reshape(x, (-1, x.shape[-1])) for x in found]
            self._stacked[edges] = at.xp.concat(flat, axis=0)
        return self._stacked[edges]

    def drawn(self, at: Place, edges: tuple[int, ...]) -> Array:
        """Return the examples of some edges one below the other, ``(C * P, n)`` each."""
        key = (-1, *edges)
        if key not in self._stacked:
            found = []
            for x in (self.examples[e] for e in edges):
                turned = at.xp.permute_dims(x, (x.ndim - 1, *range(1, x.ndim - 1), 0))
                found.append(at.xp.reshape(turned, (-1, x.shape[0])))
            self._stacked[key] = at.xp.concat(found, axis=0)
        return self._stacked[key]

    def cut(self, at: Place, span: Span) -> Beside:
        """Return what belongs to some of the examples, without the masks of channels."""
        after = span.after(self.start)
        return Beside(
            {},
            {i: _cut(at, x, span, -1) for i, x in self.positions.items()},
            {i: _cut_aside(at, x, span) for i, x in self.asides.items()},
            {i: _cut_side(at, x, after) for i, x in self.sides.items()},
        )


@record
class Company(Record):
    """What goes with the moments of one tile: some examples of both batches.

    ``listed`` counts the examples of either batch whose pairs are a list; each has as many entries
    as there are pairs then.
    """

    at: Place
    besides: tuple[Beside, Beside] = leaf()
    spans: tuple[Span, Span] = ()  # type: ignore[assignment]
    same: Array | None = leaf(default=None)
    listed: tuple[int, ...] = ()

    def cut(self) -> Company:
        """Return the same company with the arrays of these examples and of no others."""
        one, two = (b.cut(self.at, s) for b, s in self._both)
        first, second = (Span(0, s.width, s.width) for s in self.spans)
        return Company(self.at, (one, two), (first, second), self.same)

    @cached_property
    def _rows(self) -> dict[tuple[int, ...], tuple[Array, Array]]:
        return {}

    def edge(self, edge: int, m: Moments) -> Moments:
        """Return the moments of an edge with what belongs to their examples."""
        mask1, mask2 = (_cut(self.at, b.positions.get(edge), s, -1) for b, s in self._both)
        nngp = _hidden(self.at, m.nngp, mask1, mask2)
        ntk = None if m.ntk is None else _hidden(self.at, m.ntk, mask1, mask2)
        side1, side2 = (
            _cut_side(self.at, b.sides[edge], s.after(b.start)) if edge in b.sides else None
            for b, s in self._both
        )
        return Moments(nngp, ntk, side1, side2, self.same, mask1, mask2)

    def layer(self, output: int, inputs: list[Moments]) -> list[Moments]:
        """Return the inputs of the layer that writes an edge with what it reads of a pattern."""
        aside1, aside2 = (_cut_aside(self.at, b.asides.get(output), s) for b, s in self._both)
        if aside1 is None or aside2 is None:
            return inputs
        return [replace(m, aside1=aside1, aside2=aside2) for m in inputs]

    @property
    def alone(self) -> dict[int, Layout] | None:
        """None; what is kept of every edge where a batch passes by itself."""
        return None

    @property
    def plain(self) -> bool:
        """Whether there are neither masks nor patterns."""
        return not any(b.positions or b.asides for b in self.besides)

    def side(self, edge: int) -> tuple[Layout | None, Layout | None]:
        """Return the layout of what is kept of an edge's examples, for each batch."""
        found = (b.sides.get(edge) for b in self.besides)
        one, two = (None if side is None else side.layout for side in found)
        return one, two

    def rows(self, edges: tuple[int, ...]) -> tuple[Array, Array]:
        """Return the sides of some edges, one below the other, of the examples of each batch."""
        if not edges:
            one, two = (self.at.xp.zeros((0, s.width), dtype=self.at.dtype) for s in self.spans)
            return one, two
        if edges not in self._rows:
            each = ((b.rows(self.at, edges), s.after(b.start)) for b, s in self._both)
            one, two = (s.of(self.at, x, 1) for x, s in each)
            self._rows[edges] = one, two
        return self._rows[edges]

    def drawn(self, edges: tuple[int, ...]) -> tuple[Array, Array] | None:
        """Return the examples of some input edges as rows, of the examples of each batch."""
        if not edges:
            return None
        one, two = (s.of(self.at, b.drawn(self.at, edges), 1) for b, s in self._both)
        return one, two

    @property
    def _both(self) -> tuple[tuple[Beside, Span], ...]:
        return tuple(zip(self.besides, self.spans, strict=True))


def _cut(at: Place, x: Array | None, span: Span, axis: int) -> Array | None:
    return None if x is None else span.of(at, x, axis % x.ndim)


def _cut_aside(at: Place, x: Array | None, span: Span) -> Array | None:
    return x if x is None or x.shape[0] == 1 else _cut(at, x, span, 0)


def _cut_side(at: Place, side: Cov, span: Span) -> Cov:
    return Cov(_cut(at, side.data, span, -1), side.layout)


@record
class Alone(Company):
    """A batch that passes through the network by itself: every block is the side of its edge.

    ``kept`` says what is to be collected of which edge in ``found``.
    """

    kept: dict[int, Layout] = leaf(default_factory=dict)
    found: dict[int, Array] = leaf(default_factory=dict)

    @property
    def alone(self) -> dict[int, Layout]:
        """What is kept of every edge."""
        return self.kept

    def edge(self, edge: int, m: Moments) -> Moments:
        """Return the moments of an edge as the variances of both its batches, and keep them."""
        m = super().edge(edge, Moments(m.nngp))
        if edge in self.kept:
            data = select(self.at, m.nngp, self.kept[edge]).data
            span = self.spans[0]
            self.found[edge] = data[..., : span.stop - span.start]
        return replace(m, side1=m.nngp, side2=m.nngp)


def _hidden(at: Place, cov: Cov, mask1: Array | None, mask2: Array | None) -> Cov:
    if mask1 is None or mask2 is None:
        return cov
    hidden: Cov = staged(at, hide, (0,))(at, cov, mask1, mask2)
    return hidden
