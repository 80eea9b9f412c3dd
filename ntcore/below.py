"""What leads to a part of one edge, as a function of arrays and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ntcore.backend import Array, Place
from ntcore.company import Company
from ntcore.layers.base import Layer
from ntcore.listing import Listed, crossed, listed_context, listed_plan
from ntcore.moments import Context, Moments
from ntcore.moves import Move, push
from ntcore.plan import Plan
from ntcore.program import Job, Program
from ntcore.source import Enter, Source, Span

Arrays = tuple[Array | None, ...]

#: The arrays of a tile have been cut out of their batches.
NOWHERE = Span(0, 0, 0)


@dataclass(frozen=True)
class Held:
    """A source whose arrays are those of one tile."""

    tile: Arrays
    moments: Enter

    def arrays(self, at: Place, block: str, one: Span, two: Span) -> Arrays:
        """Return the arrays of the tile."""
        return self.tile

    def enter(self, block: str) -> Enter:
        """Return what makes moments of them."""
        return self.moments


@dataclass(frozen=True)
class Below:
    """The layers that lead to a part of an edge, which a backend may compile as one.

    Attributes
    ----------
    at : Place
        Where.
    plan : Plan
        What leads to the part.
    edge : int
        The edge.
    enters : tuple
        Input edges, and the function from the arrays of each to its moments.
    pool : tuple or None
        The step of the layer that takes the part, and its circumstances.
    """

    at: Place
    plan: Plan
    edge: int
    enters: tuple[tuple[int, Enter], ...]
    pool: tuple[int, Context] | None

    def __call__(
        self, layers: tuple[Layer, ...], arrays: dict[int, Arrays], company: Company
    ) -> Moments:
        """Push the arrays of one tile through all layers."""
        sources: dict[int, Source] = {
            edge: Held(arrays[edge], enter) for edge, enter in self.enters
        }
        job = Job(self.plan, layers, sources, self.at, (0, 0), False, True, frozenset())
        found = Program(job, "cross").run(NOWHERE, NOWHERE, company)[self.edge]
        if self.pool is not None:
            step, ctx = self.pool
            found = push(Move(ctx, layers[step], (self.edge,), -1, ()), found)
        return crossed(self.at, found, company) if company.listed else found

    @property
    def listed(self) -> Below:
        """The same where the company is that of a list of pairs."""
        enters = tuple((edge, Listed(enter)) for edge, enter in self.enters)
        pool = None if self.pool is None else (self.pool[0], listed_context(self.pool[1]))
        return replace(self, plan=listed_plan(self.plan), enters=enters, pool=pool)
