"""Running a program part by part, where a tile of pairs is too wide for the cache.

The offsets of a covariance do not meet below a layer that mixes them: what leads to a few rows of
one edge is the same network under a smaller need. So everything up to an edge is computed a few
rows at a time, all layers for each part, and the parts are put together there. A layer that adds
its input's entries up, such as a pool, takes each part as it finishes, so that the whole
covariance of its input is never held.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import Any

from ntcore.below import Below
from ntcore.cov import Cov, Layout, joined, select
from ntcore.cuts import Cut, find_cut, rows_reached, shared_out
from ntcore.layers.base import Layer
from ntcore.listing import listed_company
from ntcore.merged import program_of
from ntcore.moments import Moments
from ntcore.moves import Company, Move
from ntcore.need import Need
from ntcore.outputs import Both
from ntcore.planner import narrowed
from ntcore.program import Job, Program
from ntcore.sizing import budget
from ntcore.source import Span
from ntcore.staging import staged

#: A tile holds at least as many pairs where there are: they lie side by side in memory. In a chain
#: fewer take the place of as many.
PAIRS = 64
#: The same where parts are compiled: fewer pairs and larger parts, of which there are fewer to
#: prepare, or more where all pairs are one tile of what the caller compiles. Parts of different
#: sizes are compiled each for itself.
SWEPT_PAIRS, SWEPT, TRACED, KINDS = 16, 32, 64, 3


class Parts:
    """A program whose steps up to an edge run once for each part of the edge's need."""

    merged = False

    def __init__(self, job: Job, cut: Cut, needs: tuple[Need, ...]) -> None:
        plan = job.plan
        self._job, self._cut = job, cut
        self._at, self._axis = job.at, cut.axis
        self._plans = plans = narrowed(plan, cut.edge, needs)
        self._into = cut.edge
        self._pools: list[Move | None] = [None] * len(needs)
        if cut.pool is not None:
            self._into = plan.steps[cut.pool].output
            pool = Program(job, "cross", cut.pool).move(self._into)
            self._pools = [_taking(pool, each) for each in rows_reached(plan, cut, needs)]
        each = zip(plans, self._pools, strict=True)
        self._programs = [Program(replace(job, plan=p), "cross", then=pool) for p, pool in each]
        self._layout = plan.edges[self._into].layout()
        self._rest = self.above(job.layers)
        self.widest = max(p.widest for p in self._programs)

    def __len__(self) -> int:
        return len(self._programs)

    @property
    def chained(self) -> bool:
        """Whether most of the layers of a part run as one chain."""
        return self._programs[0].chained

    def part(self, part: int, one: Span, two: Span, company: Company) -> Moments:
        """Push one tile through the layers below the cut, for one part."""
        return self._programs[part].run(one, two, company)[self._into]

    def parts(self, one: Span, two: Span, company: Company) -> list[Any]:
        """Push one tile through the layers below the cut, for every part.

        What a pool takes of parts that are chains is added up in one place.
        """
        sums = None
        for program in self._adding:
            sums = program.add(company, sums)
            if sums is None:
                break
        if sums is None:
            return [self.part(k, one, two, company) for k in range(len(self))]
        return [self._adding[0].added(sums, company)[self._into]]

    @cached_property
    def _adding(self) -> list[Program]:
        """The program of each part for all rows that a pool writes; none without rows."""
        if self._cut.pool is None or not self._layout.ndim or not self.chained:
            return []
        pool = Program(self._job, "cross", self._cut.pool).move(self._into)
        whole = _taking(pool, self._layout.in_rows)
        return [Program(replace(self._job, plan=p), "cross", then=whole) for p in self._plans]

    def below(self, part: int) -> Below:
        """Return the layers below the cut as a function, for one part."""
        job, pool = self._job, self._pools[part]
        enters = tuple((edge, source.enter("cross")) for edge, source in job.sources.items())
        taking = None if pool is None else (self._cut.start - 1, pool.ctx)
        return Below(job.at, self._plans[part], self._cut.edge, enters, taking)

    def above(self, layers: tuple[Layer, ...]) -> Program:
        """Return the program of the layers above the cut."""
        return Program(replace(self._job, layers=layers), "cross", self._cut.start)

    def join(
        self, found: list[Moments], company: Company, above: Program | None = None
    ) -> dict[int, Moments]:
        """Put the parts of a tile together and push them through the layers above the cut."""
        tangents = [m.ntk for m in found if m.ntk is not None]
        nngp = self._joined([m.nngp for m in found])
        whole = Moments(nngp, self._joined(tangents) if tangents else None)
        env = {self._into: company.edge(self._into, whole)}
        return (above or self._rest).go_on(env, company)

    def arrays(self, found: list[Any], company: Company) -> dict[int, Both]:
        """Return the outputs of all parts of a tile as the user sees them."""
        return {e: self._job.shown(e, m) for e, m in self.join(found, company).items()}

    def _joined(self, found: list[Cov]) -> Cov:
        rows = self._layout.in_rows
        whole = found[0]
        if len(found) > 1 or whole.layout != rows:
            whole = staged(self._at, joined, (0, 2, 3))(self._at, found, rows, self._axis)
        return whole if rows is self._layout else select(self._at, whole, self._layout)


class Swept(Parts):
    """Parts that the backend computes one after the other in one compiled loop."""

    def __init__(self, job: Job, cut: Cut, needs: tuple[Need, ...]) -> None:
        super().__init__(job, cut, needs)
        self._each = tuple(self.below(part).listed for part in range(len(needs)))

    @property
    def kinds(self) -> int:
        """How many parts there are that differ in the sizes of their arrays."""
        return len({tuple(e.entries for e in each.plan.edges) for each in self._each})

    def __len__(self) -> int:
        return 1

    def part(self, part: int, one: Span, two: Span, company: Company) -> Any:
        """Push one tile through the layers below the cut, for all parts."""
        at, sources = self._at, self._job.sources.items()
        arrays = {edge: source.arrays(at, "cross", one, two) for edge, source in sources}
        sweep = at.backend.require("sweep", "computing in parts")
        pairs = staged(at, listed_company, ())(company.cut())
        return sweep(self._each, (self._job.layers, arrays, pairs))

    def join(
        self, found: list[Any], company: Company, above: Program | None = None
    ) -> dict[int, Moments]:
        """Put the parts of a tile together and push them through the layers above the cut."""
        return super().join(found[0], company, above)


def make_program(job: Job) -> Program | Parts:
    """Return the program of the cross block, in parts where a tile exceeds its budget of bytes."""
    whole = program_of(job, "cross")
    if job.traced or job.at.backend.stage is not None:
        return whole if job.at.backend.sweep is None else _swept(job, whole)
    if job.at.backend.chain is not None:
        roomy = _parts(job, whole, PAIRS, budget(job, chained=True))
        if roomy.chained:
            return roomy
    return _shared(job, whole, budget(job))


def program_within(job: Job, limit: int) -> Program | Parts:
    """Return the program of the cross block, in parts where one pair exceeds so many bytes.

    Layers that run one by one are fast where arrays are long, of however few pairs.
    """
    return _shared(job, Program(job, "cross"), limit, 1)


def _shared(job: Job, whole: Program, limit: int, most: int = PAIRS) -> Program | Parts:
    return _parts(job, whole, max(1, min(most, job.counts[0] * job.counts[1])), limit)


def _parts(job: Job, whole: Program, pairs: int, limit: int) -> Program | Parts:
    """Return parts of which so many pairs take no more than a number of bytes."""
    cut, needs = _shares(job, whole, pairs, limit)
    return whole if cut is None or len(needs) == 1 else Parts(job, cut, needs)


def _swept(job: Job, whole: Program) -> Program | Parts:
    pairs = max(1, job.counts[0] * job.counts[1])
    most = pairs if job.traced else min(pairs, SWEPT_PAIRS)
    parts = TRACED if job.traced else SWEPT
    cut, needs = _shares(job, whole, most, budget(job), parts)
    if cut is None or len(needs) == 1:
        return whole
    swept = Swept(job, cut, needs)
    return swept if swept.kinds <= KINDS else whole


def _shares(
    job: Job, whole: Program, pairs: int, limit: int, most: float = math.inf
) -> tuple[Cut | None, tuple[Need, ...]]:
    """Return where to cut, and the parts of a tile of so many pairs."""
    pieces = math.ceil(whole.widest * pairs * job.plan.blocks * job.plan.itemsize / limit)
    cut = find_cut(job.plan) if pieces > 1 else None
    return cut, () if cut is None else tuple(shared_out(job.plan, cut, int(min(pieces, most))))


def _taking(pool: Move, layout: Layout | None) -> Move:
    """Return an additive layer that takes a part of its input to the rows that read it."""
    if layout is None:
        return pool
    return replace(pool, ctx=replace(pool.ctx, layout=layout, partial=True))
