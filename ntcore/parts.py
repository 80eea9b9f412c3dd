"""Running a program part by part, where even one pair of examples is too wide for the cache.

A layer that adds up all its input's entries, such as a global pool, can take them a few rows of
the leading axis at a time. What leads to those rows is the same network under a smaller need: the
planner works it out, and the parts are added as they finish, so that the whole covariance is never
held. A row of the leading axis holds two offsets that are one size apart, and rows are independent
below a layer that mixes none.
"""

from __future__ import annotations

from dataclasses import replace

from ntcore.cov import rows_of
from ntcore.moments import Moments
from ntcore.need import Need
from ntcore.plan import Edge, Plan
from ntcore.planner import narrowed
from ntcore.program import Company, Job, Program, push
from ntcore.source import Span


class Parts:
    """A program whose steps up to an additive layer run once for each part of a need."""

    def __init__(self, job: Job, cut: int, needs: list[Need]) -> None:
        step = job.plan.steps[cut]
        self._edge, self._output = step.inputs[0], step.output
        plans = [narrowed(job.plan, self._edge, need) for need in needs]
        self._parts = [Program(replace(job, plan=plan), "cross") for plan in plans]
        self._pool = Program(job, "cross", cut).move(step.output)
        self._rest = Program(job, "cross", cut + 1)
        self.widest = max(p.widest for p in (*self._parts, self._rest))

    def run(self, one: Span, two: Span, company: Company) -> dict[int, Moments]:
        """Push one tile through every layer; return the moments of the outputs."""
        total: Moments | None = None
        for part in self._parts:
            below = part.run(one, two, company)[self._edge]
            pooled = push(self._pool, below)
            total = pooled if total is None else total.plus(pooled)
        assert total is not None
        return self._rest.go_on({self._output: company.edge(self._output, total)}, company)


def make_program(job: Job, budget: int) -> Program | Parts:
    """Return the program of the cross block, in parts where one pair exceeds a budget of bytes."""
    whole = Program(job, "cross")
    excess = whole.widest * job.plan.blocks * job.plan.itemsize / budget
    cut = _cut(job.plan)
    if excess <= 1 or cut is None or job.traced or job.at.backend.stage is not None:
        return whole
    return Parts(job, cut, _groups(job.plan.edges[job.plan.steps[cut].inputs[0]], excess))


def _cut(plan: Plan) -> int | None:
    """Return the first additive step that everything above it passes through."""
    for n, step in enumerate(plan.steps):
        above = {i for s in plan.steps[n + 1 :] for i in s.inputs} | set(plan.output_edges)
        spatial = plan.edges[step.inputs[0]].shape1.ndim > 0
        if step.layer.additive and spatial and min(above, default=step.output) >= step.output:
            return n
    return None


def _groups(edge: Edge, excess: float) -> list[Need]:
    """Cut the need of an edge into groups of rows of the leading axis."""
    assert edge.cross is not None
    leading, *others = edge.cross.axes
    size2 = edge.shape2.spatial[0]
    rows = rows_of((edge.shape1.spatial[0], size2, leading))
    each = max(1, int(len(rows) / excess))
    groups = [frozenset(rows[i : i + each]) for i in range(0, len(rows), each)]
    return [
        Need((frozenset(d for d in leading if d % size2 in group), *others)) for group in groups
    ]
