"""The forward interpreter: inputs to moments under a plan, tile by tile.

First each batch goes through the network alone, and the edges that a layer reads variances of
are kept. Then the block between the batches is computed in tiles of pairs, sized so that the
widest edge of a tile stays in cache; where both batches are one, only tiles on and above the
diagonal are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from ntcore.backend import Array, host
from ntcore.beside import settled, with_sides
from ntcore.company import Beside, Company
from ntcore.mapping import mapped
from ntcore.outputs import Both
from ntcore.parts import Parts, make_program
from ntcore.program import Job, Program
from ntcore.sizing import (
    check_budget,
    for_all_threads,
    kept_by_a_thread,
    pairs_per_tile,
    span_of,
    threads,
    workers,
)
from ntcore.source import Span
from ntcore.tasks import in_order
from ntcore.tiles import Assembly, Grid, Tile, make_grid

#: Tiles for each thread that are enough to be shared evenly, whatever their number.
MANY = 3

Progress = Callable[[int, int], None]
#: The arrays of each output edge.
Arrays = dict[int, Both]


@dataclass(frozen=True)
class Output:
    """The arrays of one output edge, as the user sees them; None where not asked for.

    Masks have the batch first and the channels last.
    """

    nngp: Array | None
    ntk: Array | None
    cov1: Array | None
    cov2: Array | None
    mask1: Array | None
    mask2: Array | None


def evaluate(job: Job, progress: Progress | None = None) -> dict[int, Output]:
    """Return the arrays of every output edge."""
    job, besides = settled(mapped(job))
    program = make_program(job)
    check_budget(job, program.widest)
    kind = program.chained, program.merged
    pairs = pairs_per_tile(job, program.widest, job.plan.blocks, *kind)
    if len(program) == 1 and not any(kind):
        pairs = for_all_threads(job, program.widest, pairs)
    grid = make_grid(*job.counts, pairs, job.same, even=job.at.backend.stage is None)
    edges = job.plan.output_edges
    kernels = {e: _Pair(job, e, grid) for e in edges}
    tiles = list(grid)

    def put(tile: Tile, arrays: Arrays) -> None:
        for edge, both in arrays.items():
            kernels[edge].put(tile, *both)

    for done, _ in enumerate(_tiles(job, program, grid, tiles, besides, put)):
        if progress is not None:
            progress(done + 1, len(tiles))
    results = {}
    for e in edges:
        nngp, ntk = kernels[e].result() if tiles else _empty(job, e)
        sides = (job.side(e, b.sides) for b in besides)
        results[e] = Output(nngp, ntk, *sides, *(b.masks.get(e) for b in besides))
    return results


def _tiles(
    job: Job,
    program: Program | Parts,
    grid: Grid,
    tiles: list[Tile],
    besides: tuple[Beside, Beside],
    put: Callable[[Tile, Arrays], None],
) -> Iterator[Tile]:
    """Compute and put every tile, and yield it when it is there.

    Tiles run side by side, or the parts of one tile where tiles are few.
    """

    def part(task: tuple[Tile, int]) -> Any:
        with job.at.backend.holding(kept_by_a_thread(job)):
            company = company_of(job, grid, task[0], besides)
            return program.part(task[1], *company.spans, company)

    def whole(tile: Tile) -> Arrays:
        """Put a tile while it is in cache, where that takes no order; return what is left."""
        with job.at.backend.holding(kept_by_a_thread(job)):
            company = company_of(job, grid, tile, besides)
            arrays = program.arrays(program.parts(*company.spans, company), company)
        if not _are_written_to(job, arrays):
            return arrays
        put(tile, arrays)
        return {}

    if len(program) == 1 or _are_shared_evenly(len(tiles), workers(job)):
        for tile, arrays in in_order(threads(job), whole, tiles, len(tiles)):
            put(tile, arrays)
            yield tile
        return
    found = []
    tasks = product(tiles, range(len(program)))
    for (tile, _), result in in_order(threads(job), part, tasks, len(tiles) * len(program)):
        found.append(result)
        if len(found) == len(program):
            put(tile, program.arrays(found, company_of(job, grid, tile, besides)))
            yield tile
            found = []


def _are_written_to(job: Job, arrays: Arrays) -> bool:
    """Whether arrays are only numbers, which go to places of their own in a larger array."""
    backend = job.at.backend
    if not backend.mutable or job.traced:
        return False
    return not any(
        x is not None and backend.is_followed(x) for both in arrays.values() for x in both
    )


def _are_shared_evenly(tiles: int, threads: int) -> bool:
    """Whether no thread waits long for others when each takes whole tiles."""
    return tiles % threads == 0 or tiles >= MANY * threads


class _Pair:
    """The two arrays of an output edge in the making."""

    def __init__(self, job: Job, edge: int, grid: Grid) -> None:
        nngp, ntk = (Assembly(job.at, grid, edge in job.diagonal) for _ in range(2))
        self._parts = nngp, ntk

    def put(self, tile: Tile, *arrays: Array | None) -> None:
        for part, x in zip(self._parts, arrays, strict=True):
            if x is not None:
                n1, n2 = tile.stop1 - tile.start1, tile.stop2 - tile.start2
                part.put(tile, x if x.shape[:2] == (n1, n2) else x[:n1, :n2, ...])

    def result(self) -> tuple[Array | None, ...]:
        return tuple(part.result() for part in self._parts)


# --- one tile -----------------------------------------------------------------------------------


def company_of(job: Job, grid: Grid, tile: Tile, besides: tuple[Beside, Beside]) -> Company:
    """Return what goes with the pairs of a tile."""
    one = span_of(job, tile.start1, tile.stop1, grid.step1)
    two = span_of(job, tile.start2, tile.stop2, grid.step2)
    if not job.plan.keeps:
        batches = (0, one), (0 if job.same else 1, two)
        besides = tuple(  # type: ignore[assignment]
            with_sides(job, k, b, s.start, s.stop)
            for (k, s), b in zip(batches, besides, strict=True)
        )
    return Company(job.at, besides, (one, two), _coincident(job, tile, one, two))


def _coincident(job: Job, tile: Tile, one: Span, two: Span) -> Array | None:
    """Mark the pairs of a tile that are one example twice; None where there are none.

    Where a tile is compiled, every tile of one batch with itself gets a mask, so that one
    compilation serves them all.
    """
    diagonal = job.same and tile.on_diagonal
    if not job.same or (not diagonal and job.at.backend.stage is None):
        return None
    np = host().namespace
    i = np.arange(one.start, one.start + one.width)
    j = np.arange(two.start, two.start + two.width) if diagonal else np.full(two.width, -1)
    return job.at.index(i)[:, None] == job.at.index(j)[None, :]


# --- results --------------------------------------------------------------------------


def _empty(job: Job, edge: int) -> tuple[Array, Array | None]:
    """Return the kernels of a batch without examples."""
    layout = job.plan.edges[edge].layout()
    one, two = layout.sizes1, layout.sizes2
    every = [n for pair in zip(one, two, strict=True) for n in pair]
    space = one if edge in job.diagonal else every
    shape = (*job.counts, *space)
    nngp = job.at.xp.zeros(shape, dtype=job.at.dtype, device=job.at.device)
    return nngp, nngp if job.plan.options.ntk else None
