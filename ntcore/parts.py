"""Running a program part by part, where a tile of pairs is too wide for the cache.

The offsets of a covariance do not meet below a layer that mixes them: what leads to a few rows of
one edge is the same network under a smaller need. So everything up to an edge is computed a few
rows at a time, all layers for each part, and the parts are put together there. A layer that adds
its input's entries up, such as a pool, takes each part as it finishes, so that the whole
covariance of its input is never held.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any

from ntcore.below import Below
from ntcore.cov import Cov, Layout, joined, layout_of, rows_of, select
from ntcore.layers.base import Layer
from ntcore.merged import program_of
from ntcore.moments import Moments
from ntcore.moves import Company, Move, staged
from ntcore.need import Need, Offsets
from ntcore.plan import Edge, Plan
from ntcore.planner import narrowed
from ntcore.program import Job, Program
from ntcore.sizing import budget
from ntcore.source import Span

#: A tile holds at least as many pairs where there are: they lie side by side in memory.
PAIRS = 64
#: The same where parts are compiled: fewer pairs and larger parts, of which there are fewer to
#: prepare. Parts of different sizes are compiled each for itself.
SWEPT_PAIRS, SWEPT, KINDS = 16, 32, 3
#: Parts that compute more than this many times the entries of the whole are not worth it.
OVERLAP = 1.25


@dataclass(frozen=True)
class Cut:
    """Where a plan is cut into parts.

    Attributes
    ----------
    edge : int
        The edge whose rows are shared out.
    axis : int
        The spatial axis of these rows.
    start : int
        The first step above the cut.
    pool : int or None
        The step that takes the parts one by one, where it can: it adds entries up.
    """

    edge: int
    axis: int
    start: int
    pool: int | None


class Parts:
    """A program whose steps up to an edge run once for each part of the edge's need."""

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
            self._pools = [_taking(pool, each) for each in _reached(plan, cut, needs)]
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

    def _joined(self, found: list[Cov]) -> Cov:
        rows = self._layout.in_rows
        whole: Cov = staged(self._at, joined, (0, 2, 3))(self._at, found, rows, self._axis)
        return whole if rows is self._layout else select(self._at, whole, self._layout)


class Swept(Parts):
    """Parts that the backend computes one after the other in one compiled loop."""

    def __init__(self, job: Job, cut: Cut, needs: tuple[Need, ...]) -> None:
        super().__init__(job, cut, needs)
        self._each = tuple(map(self.below, range(len(needs))))

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
        return sweep(self._each, (self._job.layers, arrays, company.cut()))

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
        roomy = _shared(job, whole, budget(job, chained=True))
        if roomy.chained:
            return roomy
    return _shared(job, whole, budget(job))


def program_within(job: Job, limit: int) -> Program | Parts:
    """Return the program of the cross block, in parts where one pair exceeds so many bytes.

    Layers that run one by one are fast where arrays are long, of however few pairs.
    """
    return _shared(job, Program(job, "cross"), limit, 1)


def _shared(job: Job, whole: Program, limit: int, most: int = PAIRS) -> Program | Parts:
    pairs = max(1, min(most, job.counts[0] * job.counts[1]))
    cut, needs = _shares(job, whole, pairs, limit)
    return whole if cut is None or len(needs) == 1 else Parts(job, cut, needs)


def _swept(job: Job, whole: Program) -> Program | Parts:
    pairs = max(1, job.counts[0] * job.counts[1])
    most = pairs if job.traced else min(pairs, SWEPT_PAIRS)
    cut, needs = _shares(job, whole, most, budget(job), SWEPT)
    if cut is None or len(needs) == 1:
        return whole
    swept = Swept(job, cut, needs)
    return swept if swept.kinds <= KINDS else whole


def _shares(
    job: Job, whole: Program, pairs: int, limit: int, most: float = math.inf
) -> tuple[Cut | None, tuple[Need, ...]]:
    """Return where to cut, and the parts of a tile of so many pairs."""
    pieces = math.ceil(whole.widest * pairs * job.plan.blocks * job.plan.itemsize / limit)
    cut = _cut(job.plan) if pieces > 1 else None
    return cut, () if cut is None else tuple(_groups(job.plan, cut, int(min(pieces, most))))


# --- where to cut -------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _cut(plan: Plan) -> Cut | None:
    """Return the highest edge that everything passes through and no layer below mixes rows of."""
    for start in range(len(plan.steps), 0, -1):
        edge = plan.steps[start - 1].output
        axis = _longest(plan.edges[edge])
        if axis is None or not _passes_all(plan, start, edge):
            continue
        pool = start if _only_added(plan, start, edge) else None
        cut = Cut(edge, axis, start if pool is None else start + 1, pool)
        if _is_local(plan, cut):
            return cut
    return None


def _longest(edge: Edge) -> int | None:
    """Return the axis with most rows, None where no axis has two."""
    if edge.cross is None or not edge.cross.axes:
        return None
    rows = [len(r) for r in edge.layout().rows]
    return rows.index(max(rows)) if max(rows) > 1 else None


def _passes_all(plan: Plan, start: int, edge: int) -> bool:
    """Whether the steps from ``start`` on read nothing from below but one edge."""
    above = {i for s in plan.steps[start:] for i in s.inputs} | set(plan.output_edges)
    written = {s.output for s in plan.steps[start:]}
    return above - written == {edge}


def _only_added(plan: Plan, start: int, edge: int) -> bool:
    """Whether nothing reads an edge but the next step, and that adds its entries up."""
    read = {i for s in plan.steps[start + 1 :] for i in s.inputs} | set(plan.output_edges)
    return start < len(plan.steps) and plan.steps[start].layer.additive and edge not in read


def _is_local(plan: Plan, cut: Cut) -> bool:
    """Whether every second row and the others together take as many entries as all rows."""
    edge = plan.edges[cut.edge]
    assert edge.cross is not None
    _, size2, offsets = edge.layout().axis(cut.axis)
    rows = edge.layout().rows[cut.axis]
    axes = edge.cross.axes
    needs = []
    for group in (rows[::2], rows[1::2]):
        own = frozenset(d for d in offsets if d % size2 in group)
        needs.append(Need((*axes[: cut.axis], own, *axes[cut.axis + 1 :])))
    halves = narrowed(plan, cut.edge, tuple(needs))
    reached = [e for e in range(len(plan.edges)) if halves[0].edges[e].cross is not None]
    shared = sum(half.edges[e].entries for half in halves for e in reached)
    return shared <= OVERLAP * sum(plan.edges[e].entries for e in reached)


def _groups(plan: Plan, cut: Cut, pieces: int) -> Iterator[Need]:
    """Share the rows of an edge out among about as many needs."""
    edge = plan.edges[cut.edge]
    assert edge.cross is not None
    axes = [[offsets] for offsets in edge.cross.axes]
    order = [cut.axis]
    if cut.pool is not None and not plan.edges[plan.steps[cut.pool].output].shape1.ndim:
        order += [k for k in range(len(axes)) if k != cut.axis]
    for k in order:
        axes[k] = _shared_out(edge, k, pieces)
        pieces = math.ceil(pieces / len(axes[k]))
    return (Need(each) for each in product(*axes))


def _shared_out(edge: Edge, k: int, pieces: int) -> list[Offsets]:
    """Cut the offsets of one axis into groups of whole rows."""
    axis = edge.layout().axis(k)
    rows = rows_of(axis)
    each = math.ceil(len(rows) / pieces)
    groups = [frozenset(rows[i : i + each]) for i in range(0, len(rows), each)]
    return [frozenset(d for d in axis[2] if d % axis[1] in group) for group in groups]


def _taking(pool: Move, layout: Layout | None) -> Move:
    """Return an additive layer that takes a part of its input to the rows that read it."""
    if layout is None:
        return pool
    return replace(pool, ctx=replace(pool.ctx, layout=layout, partial=True))


@lru_cache(maxsize=256)
def _reached(plan: Plan, cut: Cut, needs: tuple[Need, ...]) -> tuple[Layout | None, ...]:
    """Return, for each part, the rows of what a pool writes that read it; None without rows."""
    assert cut.pool is not None
    step = plan.steps[cut.pool]
    out, edge, k = plan.edges[step.output], plan.edges[cut.edge], cut.axis
    if not out.shape1.ndim:
        return (None,) * len(needs)
    assert out.cross is not None
    axes, size2 = out.cross.axes, out.shape2.spatial[k]
    below = {
        d: step.layer.need(
            Need((*axes[:k], frozenset({d}), *axes[k + 1 :])), edge.shape1, edge.shape2
        )
        for d in axes[k]
    }
    found = []
    for part in needs:
        rows = {d % size2 for d, read in below.items() if not read.axes[k].isdisjoint(part.axes[k])}
        own = frozenset(d for d in axes[k] if d % size2 in rows)
        each = Need((*axes[:k], own, *axes[k + 1 :]))
        found.append(layout_of(each, out.shape1.spatial, out.shape2.spatial))
    return tuple(found)
