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
from ntcore.company import Alone, Beside, Company
from ntcore.cov import Layout
from ntcore.layers.base import Layer
from ntcore.moments import Moments
from ntcore.outputs import Both
from ntcore.plan import Plan
from ntcore.program import Job, Program
from ntcore.source import Enter, Source, Span
from ntcore.staging import staged

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
    diagonal : frozenset of int
        The output edges of which offset 0 alone is shown.
    """

    at: Place
    plan: Plan
    block: str
    enters: tuple[tuple[int, Enter], ...]
    kept: Kept = ()
    diagonal: frozenset[int] = frozenset()

    def __call__(
        self, layers: tuple[Layer, ...], arrays: dict[int, Arrays], company: Company
    ) -> dict[int, Both] | dict[int, Array]:
        """Push the arrays of one tile through all layers; return what is asked for, and no more."""
        sources: dict[int, Source] = {e: Held(arrays[e], enter) for e, enter in self.enters}
        job = Job(self.plan, layers, sources, self.at, (0, 0), False, True, self.diagonal)
        program = Program(job, self.block)
        if self.block == "cross":
            below = program.enter(*company.spans, company)
            if has_two_ends(self.plan):
                end = Ending(self.at, self.plan, self.diagonal)
                together, given = self.at.backend.together, (layers, below, company)
                both = end(*given) if together is None else together(end, given)
                return {self.plan.output_edges[0]: both}
            return program.arrays([program.go_on(below, company)], company)
        alone = Alone(self.at, company.besides, company.spans, kept=dict(self.kept))
        program.run(*company.spans, alone)
        return alone.found


@dataclass(frozen=True)
class Ending:
    """The layers above the inputs, as a function to both kernels of the output."""

    at: Place
    plan: Plan
    diagonal: frozenset[int]

    def __call__(
        self, layers: tuple[Layer, ...], below: dict[int, Moments], company: Company
    ) -> Both:
        """Push the moments of the inputs through all layers."""
        job = Job(self.plan, layers, {}, self.at, (0, 0), False, True, self.diagonal)
        program = Program(job, "cross")
        (shown,) = program.arrays([program.go_on(dict(below), company)], company).values()
        return shown


class Merged(Program):
    """A program of which a tile is one compiled call."""

    merged = True

    def __init__(self, job: Job, block: str) -> None:
        super().__init__(job, block)
        enters = tuple((edge, source.enter(block)) for edge, source, _ in self._entries)
        self._all = Whole(job.at, job.plan, block, enters, diagonal=job.diagonal)

    def part(self, part: int, one: Span, two: Span, company: Any) -> dict[int, Any]:
        """Push one tile through every layer; return the outputs as the user sees them."""
        found: dict[int, Both] = self._called(self._all, one, two, company)
        return found

    def parts(self, one: Span, two: Span, company: Any) -> list[Any]:
        """Push one tile through every layer, as the only part."""
        return [self.part(0, one, two, company)]

    def arrays(self, found: list[dict[int, Both]], company: Any) -> dict[int, Both]:
        """Return the outputs, which are as the user sees them."""
        return found[0]

    def collect(self, beside: Beside, span: Span, kept: dict[int, Layout]) -> dict[int, Array]:
        """Push some examples of a batch through every layer alone; return what is kept of them."""
        whole = replace(self._all, kept=tuple(kept.items()))
        company = Company(self._at, (beside, beside), (span, span))
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
def has_two_ends(plan: Plan) -> bool:
    """Whether both kernels are asked for of one output, and every layer acts entry by entry."""
    pointwise = all(step.layer.pointwise for step in plan.steps)
    options = plan.options
    return pointwise and options.nngp and options.ntk and len(plan.output_edges) == 1


@lru_cache(maxsize=256)
def merges(plan: Plan) -> bool:
    """Whether no layer is one that XLA would compute again for every neighbour of an entry."""
    for step in plan.steps:
        shapes = tuple(plan.edges[i].shape1 for i in step.inputs)
        apart = step.layer.pointwise or step.layer.totals
        if not (apart or step.layer.multiplies(*shapes)):
            return False
    return True
