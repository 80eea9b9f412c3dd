"""The way back through a kernel, whose tiles are computed again one by one.

What a tile reads is cut out, its layers run once more, now followed one by one, and what comes of
it is added to the gradients of the arrays it was cut from. So no more is held than one tile takes
on each thread, and of a tile in parts no more than a part.

Many tiles read the variances of one example, or what layers made of its features. These are
variables of their own: their gradients are added up over the tiles, and go through the network
once in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial, reduce
from typing import Any

from ntcore import kernel
from ntcore.backend import Array, Backend
from ntcore.beside import asides_of, settled, with_sides
from ntcore.company import Beside, Company
from ntcore.excerpt import Excerpt, State, Sums, Window, arrays_in, excerpt_of, put_in
from ntcore.mapping import features_of, mapped, widest_map
from ntcore.moments import Moments
from ntcore.parts import Parts, program_within
from ntcore.program import Job, Program
from ntcore.sizing import followed_bytes, threads
from ntcore.source import Mapped, Span
from ntcore.tasks import in_order
from ntcore.tiles import Grid, Tile, make_grid, mirrored

BLOCKS, SIDES = ("nngp", "ntk"), ("cov1", "cov2")
ARRAYS = (*BLOCKS, *SIDES)
Gradients = list[Array | None]
Shares = tuple[list[Window], Gradients]
#: What comes back for each array of the result, by its edge and its name.
Weights = dict[tuple[int, str], Array]
NOBODY = Span(0, 0, 0)


@cache
def _layer_by_layer(backend: Backend) -> Backend:
    return replace(backend, chain=None)


class Reverse:
    """The way back through one kernel.

    Parameters
    ----------
    job : Job
        Of whose arrays none is followed.
    gradient : callable
        ``(fn, arrays, cotangents) -> gradients`` of a function that returns a list.
    sought : dict
        The arrays of the job whose gradients are asked for, by identity.
    """

    def __init__(self, job: Job, gradient: Callable[..., Any], sought: dict[int, Array]) -> None:
        at = replace(job.at, backend=_layer_by_layer(job.at.backend))
        self._below = replace(job, at=at)
        self._job, self._besides = settled(mapped(self._below))
        self._gradient, self._sought, self._sums = gradient, dict(sought), Sums(at)
        self._limit = followed_bytes(self._job)
        self._program = program_within(self._job, self._limit)
        self._features = {e: s for e, s in self._job.sources.items() if isinstance(s, Mapped)}
        data = [x for s in self._features.values() for x, _ in s.held]
        self._sought |= {id(x): x for x in data if x is not None}
        for beside, pattern in zip(self._besides, job.patterns, strict=True):
            if job.plan.keeps:
                self._sought |= {id(x.data): x.data for x in beside.sides.values()}
            if self._among(pattern):
                self._sought |= {id(x): x for x in beside.asides.values()}

    def _among(self, tree: Any) -> list[Array]:
        """Return the arrays of a tree whose gradients are asked for."""
        return [x for x in arrays_in(tree, self._job.at) if id(x) in self._sought]

    def run(self, weights: Weights) -> Sums:
        """Return the gradients of the weighted sum of all results."""
        job, program = self._job, self._program
        pair = program.widest * job.plan.blocks * job.plan.itemsize
        grid = make_grid(*job.counts, self._limit // pair, job.same)
        if any(name in BLOCKS for _, name in weights):
            self._add(partial(self._tile, grid, weights), list(grid))
        for batch in (0,) if job.same else (0, 1):
            self._add(*self._sides(batch, weights))
            self._add(partial(self._asides, batch), [job.patterns[batch]])
            self._add(*self._mapping(batch))
        return self._sums

    def _add(self, fn: Callable[[Any], Shares], tasks: Sequence[Any]) -> None:
        """Add what comes of tasks that run side by side, in their order."""
        for _, (windows, grads) in in_order(threads(self._job), fn, tasks, len(tasks)):
            self._sums.add(windows, grads)

    def _back(
        self, fn: Callable[[Any], Any], state: Any, arrays: Sequence[Array], weights: Any
    ) -> Gradients:
        """Return the gradients of a function of a state in arrays that the state holds."""
        return list(self._gradient(lambda *new: fn(put_in(state, arrays, new)), arrays, weights))

    # --- tiles ----------------------------------------------------------------------------------

    def _tile(self, grid: Grid, weights: Weights, tile: Tile) -> Shares:
        """Return what one tile adds to the gradients."""
        job = self._job
        company = kernel.company_of(job, grid, tile, self._besides)
        cut = excerpt_of(job, self._besides, company, self._sought)
        names = [(edge, name) for edge in job.plan.output_edges for name in BLOCKS]
        own = [self._share(weights.get(name), name[0], tile) for name in names]
        through = self._in_parts if isinstance(self._program, Parts) else self._whole
        return cut.windows, through(cut, own)

    def _share(self, whole: Array | None, edge: int, tile: Tile) -> Array | None:
        """Return the weights of a tile, which a symmetric kernel has twice."""
        if whole is None:
            return None
        one, two = slice(tile.start1, tile.stop1), slice(tile.start2, tile.stop2)
        own = whole[one, two, ...]
        if not self._job.same:
            return own
        own = own + mirrored(self._job.at, whole[two, one, ...], edge in self._job.diagonal)
        return own / 2 if tile.on_diagonal else own

    def _whole(self, cut: Excerpt, weights: Gradients) -> Gradients:
        """Return the gradients of a tile whose layers are followed at once."""

        def fn(state: State) -> list[Array | None]:
            job, company = self._entered(state)
            return self._flat(Program(job, "cross").run(*company.spans, company))

        return self._back(fn, cut.state, cut.arrays, weights)

    def _in_parts(self, cut: Excerpt, weights: Gradients) -> Gradients:
        """Return the same where the layers below a cut are followed for one part at a time."""
        program = self._program
        assert isinstance(program, Parts)

        def below(part: int, state: State) -> Moments:
            job, company = self._entered(state)
            sources = job.sources.items()
            arrays = {e: s.arrays(job.at, "cross", *company.spans) for e, s in sources}
            made = program.below(part)(job.layers, arrays, company)
            return Moments(made.nngp, made.ntk)

        def data(part: int, state: State) -> list[Array]:
            return _data(below(part, state))

        def above(both: tuple[State, list[Moments]]) -> list[Array | None]:
            job, company = self._entered(both[0])
            return self._flat(program.join(both[1], company, program.above(job.layers)))

        found = [below(part, cut.state) for part in range(len(program))]
        made = [x for m in found for x in _data(m)]
        back = iter(self._back(above, (cut.state, found), [*cut.arrays, *made], weights))
        total = [next(back) for _ in cut.arrays]
        for part, m in enumerate(found):
            own = [next(back) for _ in _data(m)]
            more = self._back(partial(data, part), cut.state, cut.arrays, own)
            total = [_added(*both) for both in zip(total, more, strict=True)]
        return total

    def _entered(self, state: State) -> tuple[Job, Company]:
        """Return the job of a state and what goes with its examples, their variances included."""
        layers, sources, company = state
        one, two = (span.width for span in company.spans)
        job = replace(self._job, layers=layers, sources=sources, counts=(one, two))
        if job.plan.keeps:
            return job, company
        first, second = company.besides
        both = with_sides(job, 0, first, 0, one), with_sides(job, 1, second, 0, two)
        return job, replace(company, besides=both)

    def _flat(self, found: dict[int, Moments]) -> list[Array | None]:
        """Return the arrays of all output edges."""
        edges = self._job.plan.output_edges
        return [x for e in edges for x in self._job.shown(e, found[e])]

    # --- what belongs to a batch ----------------------------------------------------------------

    def _sides(self, batch: int, weights: Weights) -> tuple[Callable[[Span], Shares], list[Span]]:
        """Return what adds the gradients of the variances of some examples, and the examples."""
        job, beside = self._job, self._besides[batch]
        names = SIDES if job.same else SIDES[batch : batch + 1]
        own = [self._sums.of(side.data) for side in beside.sides.values()]
        covs = [
            reduce(_added, [weights.get((edge, name)) for name in names])
            for edge in job.plan.output_edges
        ]
        bare = replace(self._besides[0], sides={}), replace(self._besides[1], sides={})

        def read(state: State) -> list[Array | None]:
            here, company = self._entered(state)
            width = company.spans[batch].width
            found = with_sides(here, batch, company.besides[batch], 0, width).sides
            out = [here.side(edge, found) for edge in here.plan.output_edges]
            return [found[edge].data for edge in beside.sides] + out

        def share(span: Span) -> Shares:
            company = Company(job.at, bare, (NOBODY, span) if batch else (span, NOBODY))
            cut = excerpt_of(job, self._besides, company, self._sought)
            here = slice(span.start, span.stop)
            asked = [None if x is None else x[..., here] for x in own]
            asked += [None if x is None else x[here, ...] for x in covs]
            return cut.windows, self._back(read, cut.state, cut.arrays, asked)

        if all(x is None for x in (*own, *covs)):
            return share, []
        return share, self._turns(batch, Program(job, ("side1", "side2")[batch]).widest)

    def _turns(self, batch: int, entries: int) -> list[Span]:
        """Return the examples of a batch, as many at a time as can be followed at once."""
        step = max(1, self._limit // (entries * self._job.plan.itemsize))
        count = self._job.counts[batch]
        return [Span(i, min(i + step, count), min(step, count - i)) for i in range(0, count, step)]

    def _mapping(self, batch: int) -> tuple[Callable[[Span], Shares], list[Span]]:
        """Return what adds the gradients of the features of some examples, and the examples."""
        job, none = self._below, Beside({}, {}, {})
        own = [self._sums.of(s.held[batch][0]) for s in self._features.values()]

        def share(span: Span) -> Shares:
            company = Company(job.at, (none, none), (NOBODY, span) if batch else (span, NOBODY))
            cut = excerpt_of(job, (none, none), company, self._sought)
            here = slice(span.start, span.stop)
            one, two = ({e: x[here, ...] for e, x in each.items()} for each in job.masks)

            def read(state: State) -> list[Array]:
                layers, sources, _ = state
                counts = (span.width,) * 2
                part = replace(job, layers=layers, sources=sources, counts=counts)
                found = features_of(replace(part, masks=(one, two)), batch)[1]
                return [f.data for f in found.values()]

            asked = [None if x is None else x[here, ...] for x in own]
            return cut.windows, self._back(read, cut.state, cut.arrays, asked)

        if all(x is None for x in own):
            return share, []
        return share, self._turns(batch, widest_map(job.plan))

    def _asides(self, batch: int, pattern: Any) -> Shares:
        """Return the gradients in the caller's pattern for one batch."""
        arrays, asides = self._among(pattern), self._besides[batch].asides
        if not arrays:
            return [], []

        def read(pattern: Any) -> list[Array]:
            return list(asides_of(replace(self._job, patterns=(pattern, pattern)), batch).values())

        own = [self._sums.of(x) for x in asides.values()]
        windows = [Window(x, (...,)) for x in arrays]
        return windows, self._back(read, pattern, arrays, own)


def _data(m: Moments) -> list[Array]:
    """Return the arrays of moments."""
    return [m.nngp.data] if m.ntk is None else [m.nngp.data, m.ntk.data]


def _added(x: Array | None, y: Array | None) -> Array | None:
    return y if x is None else x if y is None else x + y
