"""Pairs of examples as one list, for compilers whose loops over two short axes are slow.

In a list either batch has an example for every pair, and a block of two batches is *paired*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from ntcore.backend import Array, Place
from ntcore.company import Beside, Company
from ntcore.cov import Cov, Layout
from ntcore.moments import Context, Moments
from ntcore.plan import Plan
from ntcore.source import Enter, Span

Counts = tuple[int, int]


@lru_cache(maxsize=4096)
def listed_plan(plan: Plan) -> Plan:
    """Return a plan whose blocks of two batches are lists of pairs."""
    return replace(plan, edges=tuple(replace(edge, listed=True) for edge in plan.edges))


def listed_context(ctx: Context) -> Context:
    """Return the circumstances of a layer whose output is a list of pairs."""
    return replace(ctx, layout=replace(ctx.layout, paired=True))


def listed(at: Place, x: Array, axis: int, batch: int, counts: Counts) -> Array:
    """Return the example of every pair, on the axis of the examples of a batch."""
    axis %= x.ndim
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    examples = (1, counts[1]) if batch else (counts[0], 1)
    single = at.xp.reshape(x, (*before, *examples, *after))
    every = at.xp.broadcast_to(single, (*before, *counts, *after))
    return at.xp.reshape(every, (*before, counts[0] * counts[1], *after))


@dataclass(frozen=True)
class Listed:
    """A function from the arrays of two batches to the moments of their pairs as a list."""

    enter: Enter

    def __call__(self, at: Place, layout: Layout, *arrays: Array | None) -> Moments:
        """Return the moments; the layout is that of the list."""
        m = self.enter(at, replace(layout, paired=False), *arrays)

        def each(cov: Cov) -> Cov:
            *space, n1, n2 = cov.data.shape
            return Cov(at.xp.reshape(cov.data, (*space, n1 * n2)), layout)

        return Moments(each(m.nngp), None if m.ntk is None else each(m.ntk))


def listed_company(company: Company) -> Company:
    """Return what goes with every pair of a tile, by a company that is cut to it."""
    at, (one, two) = company.at, company.spans
    counts = one.width, two.width
    first, second = (_listed_beside(at, b, k, counts) for k, b in enumerate(company.besides))
    same = company.same
    if same is None:  # what is paired is taken for examples with themselves, unless it is told
        same = at.xp.zeros(counts, dtype=at.xp.bool, device=at.device)
    width = counts[0] * counts[1]
    pairs = Span(0, width, width)
    return Company(at, (first, second), (pairs, pairs), at.xp.reshape(same, (width,)), counts)


def _listed_beside(at: Place, beside: Beside, batch: int, counts: Counts) -> Beside:
    def each(x: Array, axis: int) -> Array:
        return listed(at, x, axis, batch, counts)

    return Beside(
        {},
        {i: each(x, -1) for i, x in beside.positions.items()},
        {i: x if x.shape[0] == 1 else each(x, 0) for i, x in beside.asides.items()},
        {i: Cov(each(side.data, -1), side.layout) for i, side in beside.sides.items()},
    )


def crossed(at: Place, m: Moments, company: Company) -> Moments:
    """Return the moments of a list of pairs as those of the two batches that they are of."""

    def each(cov: Cov) -> Cov:
        data = at.xp.reshape(cov.data, (*cov.data.shape[:-1], *company.listed))
        return Cov(data, replace(cov.layout, paired=False))

    return Moments(each(m.nngp), None if m.ntk is None else each(m.ntk))
