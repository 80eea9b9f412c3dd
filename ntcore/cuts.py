"""Where a plan is cut into parts that do not meet below, and which parts there are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from ntcore.cov import Layout, layout_of, rows_of
from ntcore.need import Need, Offsets
from ntcore.plan import Edge, Plan
from ntcore.planner import narrowed

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


@lru_cache(maxsize=256)
def find_cut(plan: Plan) -> Cut | None:
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


def shared_out(plan: Plan, cut: Cut, pieces: int) -> Iterator[Need]:
    """Share the rows of an edge out among about as many needs."""
    edge = plan.edges[cut.edge]
    assert edge.cross is not None
    axes = [[offsets] for offsets in edge.cross.axes]
    order = [cut.axis]
    if cut.pool is not None and not plan.edges[plan.steps[cut.pool].output].shape1.ndim:
        order += [k for k in range(len(axes)) if k != cut.axis]
    for k in order:
        axes[k] = _rows_shared_out(edge, k, pieces)
        pieces = math.ceil(pieces / len(axes[k]))
    return (Need(each) for each in product(*axes))


def _rows_shared_out(edge: Edge, k: int, pieces: int) -> list[Offsets]:
    """Cut the offsets of one axis into groups of whole rows."""
    axis = edge.layout().axis(k)
    rows = rows_of(axis)
    each = math.ceil(len(rows) / pieces)
    groups = [frozenset(rows[i : i + each]) for i in range(0, len(rows), each)]
    return [frozenset(d for d in axis[2] if d % axis[1] in group) for group in groups]


@lru_cache(maxsize=256)
def rows_reached(plan: Plan, cut: Cut, needs: tuple[Need, ...]) -> tuple[Layout | None, ...]:
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
