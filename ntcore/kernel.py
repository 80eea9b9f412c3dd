"""The forward interpreter: inputs to moments under a plan, tile by tile.

First each batch goes through the network alone, and the edges that a layer reads variances of
are kept. Then the block between the batches is computed in tiles of pairs, sized so that the
widest edge of a tile stays in cache; where both batches are one, only tiles on and above the
diagonal are computed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TypeVar

from ntcore.backend import Array, Place, host
from ntcore.cov import Cov, Layout, diagonal_to_user, layout_of, select, to_user
from ntcore.inputs import leaves_of
from ntcore.moments import Moments
from ntcore.need import Need, union
from ntcore.parts import Parts, make_program
from ntcore.plan import Plan
from ntcore.program import Job, Program
from ntcore.source import Span
from ntcore.tiles import Assembly, Grid, Tile, make_grid

T = TypeVar("T")
COMPILED_EXAMPLES = 32
Progress = Callable[[int, int], None]
Sides = dict[int, Cov]


@dataclass(frozen=True)
class Output:
    """The arrays of one output edge, as the user sees them; None where not asked for."""

    nngp: Array
    ntk: Array | None
    cov1: Array | None
    cov2: Array | None


def evaluate(job: Job, progress: Progress | None = None) -> dict[int, Output]:
    """Return the arrays of every output edge."""
    side1 = _side(job, "side1")
    side2 = side1 if job.same else _side(job, "side2")
    program = make_program(job, _budget(job))
    grid = make_grid(*job.counts, _pairs_per_tile(job, program.widest, job.plan.blocks), job.same)
    edges = job.plan.output_edges
    kernels = {e: _Pair(job.at, grid) for e in edges}
    tiles = list(grid)

    def compute(tile: Tile) -> dict[int, tuple[Array, Array | None]]:
        moments = _tile(job, program, grid, tile, side1, side2)
        return {edge: _arrays(job, m) for edge, m in moments.items()}

    for done, (tile, arrays) in enumerate(_in_order(job, compute, tiles)):
        for edge, both in arrays.items():
            kernels[edge].put(tile, *both)
        if progress is not None:
            progress(done + 1, len(tiles))
    results = {}
    for e in edges:
        nngp, ntk = kernels[e].result() if tiles else _empty(job, e)
        results[e] = Output(nngp, ntk, _side_array(job, e, side1), _side_array(job, e, side2))
    return results


def _in_order(
    job: Job, compute: Callable[[Tile], T], tiles: list[Tile]
) -> Iterator[tuple[Tile, T]]:
    """Yield every tile with its result, in order, a few of them under way at once.

    Threads pay where the library lets go of the interpreter lock inside its operations.
    """
    workers = 1 if job.traced else min(job.at.backend.workers(job.at.device), len(tiles))
    if workers <= 1:
        for tile in tiles:
            yield tile, compute(tile)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[Tile, Future[T]]] = deque()
        for tile in tiles:
            waiting.append((tile, pool.submit(copy_context().run, compute, tile)))
            if len(waiting) > 2 * workers:
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()


class _Pair:
    """The two arrays of an output edge in the making."""

    def __init__(self, at: Place, grid: Grid) -> None:
        self._parts = Assembly(at, grid), Assembly(at, grid)

    def put(self, tile: Tile, *arrays: Array | None) -> None:
        for part, x in zip(self._parts, arrays, strict=True):
            if x is not None:
                part.put(tile, x[: tile.stop1 - tile.start1, : tile.stop2 - tile.start2, ...])

    def result(self) -> tuple[Array | None, ...]:
        return tuple(part.result() for part in self._parts)


# --- one tile -----------------------------------------------------------------------------------


def _tile(
    job: Job, program: Program | Parts, grid: Grid, tile: Tile, side1: Sides, side2: Sides
) -> dict[int, Moments]:
    one = _span(job, tile.start1, tile.stop1, grid.step1)
    two = _span(job, tile.start2, tile.stop2, grid.step2)
    same = _coincident(job, tile, one, two)

    def attach(edge: int, m: Moments) -> Moments:
        sides = [_examples(job.at, s.get(edge), w) for s, w in ((side1, one), (side2, two))]
        return Moments(m.nngp, m.ntk, sides[0], sides[1], same)

    return program.run(one, two, attach)


def _examples(at: Place, side: Cov | None, span: Span) -> Cov | None:
    if side is None:
        return None
    return Cov(span.of(at, side.data, side.data.ndim - 1), side.layout)


def _span(job: Job, start: int, stop: int, step: int) -> Span:
    """Fill ragged tiles up where a new size means compiling anew."""
    return Span(start, stop, stop - start if job.at.backend.stage is None else step)


def _coincident(job: Job, tile: Tile, one: Span, two: Span) -> Array | None:
    """Mark the pairs of a tile that are one example twice; None where there are none.

    Where a tile is compiled, every tile gets a mask, so that one compilation serves them all.
    """
    diagonal = job.same and tile.on_diagonal
    if not diagonal and job.at.backend.stage is None:
        return None
    np = host().namespace
    i = np.arange(one.start, one.start + one.width)
    j = np.arange(two.start, two.start + two.width)
    return job.at.index((i[:, None] == j[None, :]) & diagonal)


# --- each batch with itself ---------------------------------------------------------------------


def _side(job: Job, block: str) -> Sides:
    """Push a batch through the network alone; return, for each edge, what is read of it."""
    kept = _kept(job.plan, block)
    count = job.counts[1 if block == "side2" else 0]
    if not kept or not count:
        return {}
    parts: dict[int, list[Array]] = {edge: [] for edge in kept}
    program = Program(job, block)
    step = _examples_per_tile(job, program.widest, count)
    for start in range(0, count, step):
        span = _span(job, start, min(start + step, count), step)

        def attach(edge: int, m: Moments, span: Span = span) -> Moments:
            if edge in kept:
                data = select(job.at, m.nngp, kept[edge]).data
                parts[edge].append(data[..., : span.stop - span.start])
            return Moments(m.nngp, None, m.nngp, m.nngp)

        program.run(span, span, attach)
    joined = {e: p[0] if len(p) == 1 else job.at.xp.concat(p, axis=-1) for e, p in parts.items()}
    return {e: Cov(x, kept[e]) for e, x in joined.items()}


def _kept(plan: Plan, block: str) -> dict[int, Layout]:
    """Return the layout of what layers or the caller read of each edge."""
    needs: dict[int, Need | None] = {}
    for step in plan.steps:
        for i in step.inputs:
            edge = plan.edges[i]
            shape = edge.shape2 if block == "side2" else edge.shape1
            needs[i] = union([needs.get(i), step.layer.sides(shape)])
    for i in leaves_of(plan.outputs):
        needs[i] = union([needs.get(i), getattr(plan.edges[i], block)])
    kept = {}
    for i, need in needs.items():
        if need is not None:
            edge = plan.edges[i]
            sizes = (edge.shape2 if block == "side2" else edge.shape1).spatial
            kept[i] = layout_of(need, sizes, sizes, paired=True)
    return kept


# --- sizes and results --------------------------------------------------------------------------


def _budget(job: Job) -> int:
    return job.at.backend.tile_bytes(job.at.device)


def _pairs_per_tile(job: Job, widest: int, blocks: int) -> int:
    """Return how many pairs a tile holds so that its widest edge fits the cache."""
    if job.traced:
        return max(job.counts[0] * job.counts[1], 1)
    return max(1, _budget(job) // (widest * blocks * job.plan.itemsize))


def _examples_per_tile(job: Job, widest: int, count: int) -> int:
    """Return how many examples of a batch go through the network at once.

    Where a tile is compiled their number does not depend on the batch, so that one compilation
    serves batches of every size.
    """
    pairs = _pairs_per_tile(job, widest, 1)
    if job.at.backend.stage is not None and not job.traced:
        pairs = min(pairs, COMPILED_EXAMPLES)
    return max(1, min(count, pairs))


def _arrays(job: Job, m: Moments) -> tuple[Array, Array | None]:
    nngp = _user(job, m.nngp)
    if job.plan.blocks == 1:
        return nngp, None
    return nngp, job.at.xp.zeros_like(nngp) if m.ntk is None else _user(job, m.ntk)


def _empty(job: Job, edge: int) -> tuple[Array, Array | None]:
    """Return the kernels of a batch without examples."""
    layout = job.plan.edges[edge].layout()
    one, two = layout.sizes1, layout.sizes2
    space = (
        one if job.diagonal_spatial else [n for pair in zip(one, two, strict=True) for n in pair]
    )
    shape = (*job.counts, *space)
    nngp = job.at.xp.zeros(shape, dtype=job.at.dtype, device=job.at.device)
    return nngp, nngp if job.plan.options.ntk else None


def _user(job: Job, cov: Cov) -> Array:
    return (diagonal_to_user if job.diagonal_spatial else to_user)(job.at, cov)


def _side_array(job: Job, edge: int, sides: Sides) -> Array | None:
    if job.plan.edges[edge].side1 is None or edge not in sides:
        return None
    return _user(job, sides[edge])
