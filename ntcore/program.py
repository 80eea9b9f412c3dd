"""The layers of a plan in the order in which they run, ready for tile after tile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ntcore.backend import Array, Place, is_number
from ntcore.cov import Cov
from ntcore.inputs import leaves_of
from ntcore.layers.base import Layer
from ntcore.moments import Context, Moments
from ntcore.moves import Company, Move, push
from ntcore.outputs import Both, side_array, users_arrays
from ntcore.plan import Edge, Plan
from ntcore.record import split
from ntcore.source import Examples, Source, Span
from ntcore.staging import staged
from ntcore.stretches import (
    Beside,
    Drawn,
    Given,
    Stretch,
    affordable,
    can_play,
    find_stretch,
    moments_of,
    play,
)

Masks = dict[int, Array]


@dataclass(frozen=True)
class Job:
    """One kernel to compute.

    Attributes
    ----------
    plan : Plan
        What to compute.
    layers : tuple of Layer
        The layers with their leaves, in the order of the plan's steps.
    sources : dict
        The source of each input edge.
    at : Place
        Where.
    counts : tuple of int
        Number of examples in each batch.
    same : bool
        Whether the second batch is the first.
    traced : bool
        Whether values are unknown now, so that everything is one tile.
    diagonal : frozenset of int
        The edges of which the results hold offset 0 alone.
    masks : tuple of dict
        For each batch, the mask of every input edge that has one, ``(n, *spatial, C)``.
    patterns : tuple
        The caller's pattern for each batch.
    """

    plan: Plan
    layers: tuple[Layer, ...]
    sources: dict[int, Source]
    at: Place
    counts: tuple[int, int]
    same: bool
    traced: bool
    diagonal: frozenset[int]
    masks: tuple[Masks, Masks] = ({}, {})
    patterns: tuple[Any, Any] = (None, None)

    def shown(self, edge: int, m: Moments) -> Both:
        """Return the moments of an output edge as the user sees them."""
        return users_arrays(self.at, self.plan, self.diagonal, edge, m)

    def side(self, edge: int, sides: dict[int, Cov]) -> Array | None:
        """Return the variances of an output edge as the user sees them, if they are asked for."""
        return side_array(self.at, self.plan, self.diagonal, edge, sides)


@dataclass(frozen=True)
class Sums:
    """What several programs made, added up, and the layers of the last as one chain."""

    data: Array
    stretch: Stretch


class Program:
    """The layers of a plan that one block needs, from one step on, ready for tile after tile."""

    #: Whether all layers are compiled as one.
    merged = False

    def __init__(self, job: Job, block: str, start: int = 0, then: Move | None = None) -> None:
        self._at, self._block = job.at, block
        self._stretches = _stretches_of(job, start, then)
        self._job = job
        edges = job.plan.edges
        self._outputs = [i for i in leaves_of(job.plan.outputs) if asked(edges[i], block)]
        self._entries = [
            (edge, source, edges[edge].layout(block))
            for edge, source in job.sources.items()
            if asked(edges[edge], block)
        ]
        last = {i: n for n, step in enumerate(job.plan.steps) for i in step.inputs}
        self._moves = [
            self._move(job, n, last)
            for n, step in enumerate(job.plan.steps)
            if n >= start and asked(edges[step.output], block)
        ]
        layouts = [e[2] for e in self._entries if not start]
        layouts += [m.ctx.layout for m in self._moves]
        self.widest = max((layout.entries for layout in layouts), default=1)
        if then is not None:
            self._moves.append(replace(then, done_with=then.inputs))
            self._outputs = [then.output]

    def _move(self, job: Job, n: int, last: dict[int, int]) -> Move:
        plan, step = job.plan, job.plan.steps[n]
        shapes = tuple(plan.edges[i].shape1 for i in step.inputs)
        ntk = plan.blocks == 2 and self._block == "cross"
        ctx = Context(job.at, shapes, plan.edges[step.output].layout(self._block), ntk)
        done_with = tuple(i for i in set(step.inputs) if last[i] == n and i not in self._outputs)
        return Move(ctx, job.layers[n], step.inputs, step.output, done_with)

    def move(self, output: int) -> Move:
        """Return the layer that writes an edge."""
        return next(m for m in self._moves if m.output == output)

    def __len__(self) -> int:
        """Return how many parts there are: see :mod:`ntcore.parts`."""
        return 1

    @property
    def chained(self) -> bool:
        """Whether most of the layers run as one chain, which keeps its own size."""
        job = self._job
        masked = any(job.masks) or any(p is not None for p in job.patterns)
        if masked or not self._entries or not affordable(job.at, job.plan):
            return False
        kept = [job.plan.kept(block) for block in ("side1", "side2")]
        beside = Beside(lambda edge: (kept[0].get(edge), kept[1].get(edge)), False, whole=True)
        stretch = self._stretch(0, {edge: (each, None) for edge, _, each in self._entries}, beside)
        if stretch is None and (drawn := self._drawn()):
            stretch = self._stretch(0, {}, replace(beside, drawn=drawn))
        return stretch is not None and 2 * stretch.stop > len(self._moves)

    def part(self, part: int, one: Span, two: Span, company: Company) -> dict[int, Moments]:
        """Push one tile through every layer; return the moments of the outputs."""
        return self.run(one, two, company)

    def parts(self, one: Span, two: Span, company: Company) -> list[Any]:
        """Push one tile through every layer, as the only part."""
        return [self.run(one, two, company)]

    def join(self, found: list[dict[int, Moments]], company: Company) -> dict[int, Moments]:
        """Return the only part."""
        return found[0]

    def arrays(self, found: list[Any], company: Company) -> dict[int, Both]:
        """Return the outputs of all parts of a tile as the user sees them."""
        return {edge: self._job.shown(edge, m) for edge, m in self.join(found, company).items()}

    def run(self, one: Span, two: Span, company: Company) -> dict[int, Moments]:
        """Push one tile through every layer; return the moments of the outputs."""
        env: dict[int, Moments] = {}
        n = self._play(0, env, company, self._drawn())
        return self.go_on(env if n else self.enter(one, two, company), company, n)

    def enter(self, one: Span, two: Span, company: Company) -> dict[int, Moments]:
        """Return the moments of one tile that all layers are above."""
        env: dict[int, Moments] = {}
        for edge, source, layout in self._entries:
            arrays = source.arrays(self._at, self._block, one, two)
            enter = staged(self._at, source.enter(self._block), (0, 1))
            env[edge] = company.edge(edge, enter(self._at, layout, *arrays))
        return env

    def _drawn(self) -> Drawn:
        """Return the input edges whose blocks are products of examples, if all of them are."""
        plan, entries = self._job.plan, self._entries
        if not all(isinstance(s, Examples) and not layout.dense for _, s, layout in entries):
            return {}
        return {edge: (layout, plan.edges[edge].shape1.channels) for edge, _, layout in entries}

    def go_on(self, env: dict[int, Moments], company: Company, n: int = 0) -> dict[int, Moments]:
        """Push the moments of some edges through the layers above them, from the nth on."""
        while n < len(self._moves):
            n = self._play(n, env, company) or self._step(n, env, company)
        return {i: env[i] for i in self._outputs}

    def _step(self, n: int, env: dict[int, Moments], company: Company) -> int:
        """Push moments through one layer; return the next."""
        move = self._moves[n]
        inputs = company.layer(move.output, [env[i] for i in move.inputs])
        env[move.output] = company.edge(move.output, push(move, *inputs))
        for i in move.done_with:
            env.pop(i, None)
        return n + 1

    def _play(
        self, n: int, env: dict[int, Moments], company: Company, drawn: Drawn | None = None
    ) -> int:
        """Run as many layers as the backend can as one chain; return the next, 0 if it cannot."""
        stretch = self._playable(n, env, company, drawn)
        found = None if stretch is None else play(self._at, stretch, env, company)
        if stretch is None or found is None:
            return 0
        env.update(moments_of(self._at, stretch, found, company))
        for move in self._moves[n : stretch.stop]:
            for i in move.done_with:
                env.pop(i, None)
        return stretch.stop

    def _playable(
        self, n: int, env: dict[int, Moments], company: Company, drawn: Drawn | None
    ) -> Stretch | None:
        """Return the layers from the nth on that the backend may run as one chain."""
        job = self._job
        if (drawn is not None and not drawn) or not can_play(job.at, job.plan, company):
            return None
        given = {i: (m.nngp.layout, m.ntk.layout if m.ntk else None) for i, m in env.items()}
        beside = Beside(company.side, company.same is not None, drawn or {}, company.alone)
        return self._stretch(n, given, beside)

    def add(self, company: Company, onto: Sums | None) -> Sums | None:
        """Add what comes out of one tile to what is there; None where the layers are no chain."""
        stretch = self._playable(0, {}, company, self._drawn())
        if stretch is None or stretch.stop < len(self._moves):
            return None
        if onto is not None and onto.stretch.written != stretch.written:
            return None
        before = None if onto is None else onto.data
        found = play(self._at, stretch, {}, company, before)
        return None if found is None else Sums(found, stretch)

    def added(self, sums: Sums, company: Company) -> dict[int, Moments]:
        """Return the moments that were added up."""
        return moments_of(self._at, sums.stretch, sums.data, company)

    def _stretch(self, n: int, given: Given, beside: Beside) -> Stretch | None:
        drawn = tuple(beside.drawn.items())
        key = self._block, n, beside.same, beside.whole, tuple(given.items()), drawn
        if key not in self._stretches:
            found = find_stretch(self._at, self._moves, n, given, beside, self._outputs)
            self._stretches[key] = found
        return self._stretches[key]


def _stretches_of(job: Job, start: int, then: Move | None) -> dict[Any, Stretch | None]:
    """Return the stretches that are known, which are the same in every call with these layers."""
    leaves = tuple(leaf for layer in job.layers for leaf in split(layer)[0])
    if job.at.backend.chain is None or not all(x is None or is_number(x) for x in leaves):
        return {}
    last = None if then is None else (then.output, then.ctx.layout)
    return _known(job.plan, start, last, job.layers, leaves)


@lru_cache(maxsize=512)
def _known(
    plan: Plan, start: int, last: Any, layers: tuple[Layer, ...], leaves: tuple[Any, ...]
) -> dict[Any, Stretch | None]:
    return {}


def asked(edge: Edge, block: str) -> bool:
    """Whether anything of a block is asked for at an edge."""
    return getattr(edge, block) is not None
