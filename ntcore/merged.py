"""Programs that a backend compiles as one, where no layer reads the neighbours of an entry.

XLA would compute the stencils of several convolutions over and over, so that layers are compiled
each on its own; what acts entry by entry, or multiplies by matrices, is safe from that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ntcore.backend import Array, Place
from ntcore.below import Arrays, Held
from ntcore.company import Alone, Beside
from ntcore.company import Company as Both
from ntcore.cov import Layout
from ntcore.layers.base import Layer
from ntcore.moments import Moments
from ntcore.moves import Company, staged
from ntcore.plan import Plan
from ntcore.program import Job, Program
from ntcore.source import Enter, Source, Span

Kept = tuple[tuple[int, Layout], ...]


@dataclass(frozen=True)
class Whole:
    """All layers of a program, as a function of arrays and nothing else.

    Attributes
    ----------
    at : Place
        Where.
    plan : Plan
        What to compute.
    block : str
        Which block.
    enters : tuple
        Input edges, and the function from the arrays of each to its moments.
    kept : tuple
        Of a batch alone, the edges that are collected, and the layout of each.
    """

    at: Place
    plan: Plan
    block: str
    enters: tuple[tuple[int, Enter], ...]
    kept: Kept = ()

    def __call__(
        self, layers: tuple[Layer, ...], arrays: dict[int, Arrays], company: Both
    ) -> dict[int, Moments] | dict[int, Array]:
        """Push the arrays of one tile through all layers."""
        sources: dict[int, Source] = {e: Held(arrays[e], enter) for e, enter in self.enters}
        job = Job(self.plan, layers, sources, self.at, (0, 0), False, True, frozenset())
        program = Program(job, self.block)
        if self.block == "cross":
            return program.run(*company.spans, company)
        alone = Alone(self.at, company.besides, company.spans, kept=dict(self.kept))
        program.run(*company.spans, alone)
        return alone.found


class Merged(Program):
    """A program of which a tile is one compiled call."""

    def __init__(self, job: Job, block: str) -> None:
        super().__init__(job, block)
        enters = tuple((edge, source.enter(block)) for edge, source, _ in self._entries)
        self._all = Whole(job.at, job.plan, block, enters)

    def run(self, one: Span, two: Span, company: Company) -> dict[int, Moments]:
        """Push one tile through every layer; return the moments of the outputs."""
        found: dict[int, Moments] = self._called(self._all, one, two, company)
        return found

    def collect(self, beside: Beside, span: Span, kept: dict[int, Layout]) -> dict[int, Array]:
        """Push some examples of a batch through every layer alone; return what is kept of them."""
        whole = replace(self._all, kept=tuple(kept.items()))
        company = Both(self._at, (beside, beside), (span, span))
        found: dict[int, Array] = self._called(whole, span, span, company)
        count = span.stop - span.start
        if count == span.width:
            return found
        return {edge: x[..., :count] for edge, x in found.items()}

    def _called(self, whole: Whole, one: Span, two: Span, company: Company) -> Any:
        at = self._at
        arrays = {edge: s.arrays(at, self._block, one, two) for edge, s, _ in self._entries}
        return staged(at, whole, (), True)(self._job.layers, arrays, company.cut())


def program_of(job: Job, block: str) -> Program:
    """Return the program of a block, compiled as one where that can be."""
    merged = job.at.backend.stage is not None and merges(job.plan)
    return (Merged if merged else Program)(job, block)


@lru_cache(maxsize=256)
def merges(plan: Plan) -> bool:
    """Whether layers multiply by matrices, and no layer is one that XLA would compute again."""
    mixed = False
    for step in plan.steps:
        shapes = tuple(plan.edges[i].shape1 for i in step.inputs)
        multiplies = step.layer.multiplies(*shapes)
        mixed = mixed or multiplies
        if not (multiplies or step.layer.pointwise or step.layer.totals):
            return False
    return mixed
