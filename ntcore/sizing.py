"""How much of a job is computed at once."""

from __future__ import annotations

import math

from ntcore.errors import BudgetError
from ntcore.program import Job
from ntcore.source import Mapped, Span
from ntcore.tasks import Threads
from ntcore.tiles import LANES

#: Examples of a batch that go through the network at once where that is compiled, and the most
#: where each of them takes few entries.
COMPILED_EXAMPLES, MOST_EXAMPLES, FEW_ENTRIES = 32, 512, 1 << 15


#: Blocks of a tile that are there at once: what a layer reads, what it writes, a step between the
#: two, and what a branch keeps.
LIVE = 5


#: A chain keeps what is between its layers in cache by itself, and its tiles may be larger.
CHAINED = 8
#: Products of matrices take their time in cache as well, and larger tiles are fewer.
MULTIPLIED = 4
#: Bytes of a tile whose layers act entry by entry and are compiled as one, and of one of a batch
#: with itself, of which nearly half then is not computed.
MERGED, MERGED_HALVES = 1 << 28, 1 << 23
#: Tiles that every thread should have, if they hold as many pairs; and the fewest that are shared.
TILES, FULL, LEAST = 3, 64, 16
#: Entries of the widest edge of a chain that are worth a tile of their own, and of other layers;
#: those of all edges together that are.
WORTH, SHARED, TOGETHER = 1 << 17, 1 << 18, 1 << 22
#: Examples by themselves that are worth filling up to a vector of them.
FEW = 4

#: Tiles, and bytes at most, that all layers may leave for the way back; the blocks that a layer
#: leaves, about; and the part of a tile that is as fast.
FOLLOWED, MOST_FOLLOWED, LEFT, FAST = 64, 1 << 33, 4, 4


def budget(job: Job, chained: bool = False, merged: bool = False) -> int:
    """Return the bytes that one block of a tile should take."""
    dense = any(edge.dense for edge in job.plan.edges)
    usual = job.at.backend.tile_bytes(job.at.device)
    usual *= CHAINED if chained else MULTIPLIED if dense else 1
    usual = int(min(usual, job.at.backend.most_bytes(job.at.device)))
    if merged and not dense:
        usual = max(usual, MERGED_HALVES if job.same else MERGED)
    if job.plan.options.memory_budget is None or job.traced:
        return usual
    left = _left(job) / (4 if chained else 1)  # the rest is for work space and variances
    return max(1, min(usual, int(left // (LIVE * workers(job)))))


def followed_bytes(job: Job) -> int:
    """Return the bytes of one block of a tile where the operations of all layers are followed.

    What they leave for the way back is there at once.
    """
    tile = job.at.backend.tile_bytes(job.at.device)
    most = min(FOLLOWED * tile, MOST_FOLLOWED)
    if job.plan.options.memory_budget is not None:
        kept = job.plan.cost.bytes_kept if job.plan.keeps else 0
        most = min(most, int((_left(job) - kept) // workers(job)))
    return max(1, min(tile // FAST, most // (LEFT * max(1, len(job.plan.steps)))))


def workers(job: Job) -> int:
    """Return how many tiles are under way at once."""
    return 1 if job.traced else max(job.at.backend.workers(job.at.device), 1)


def threads(job: Job) -> Threads:
    """Return the threads that tiles may run on."""
    return Threads(workers(job), job.at.backend.side_by_side)


def _left(job: Job) -> float:
    """Return the bytes that a memory budget leaves for tiles."""
    cost = job.plan.cost
    kept = cost.bytes_kept if job.plan.keeps else 0
    mapped = [s for s in job.sources.values() if isinstance(s, Mapped)]
    features = sum(s.numbers for s in mapped) * job.plan.itemsize
    return (job.plan.options.memory_budget or 0) - cost.bytes_result - kept - features


def kept_by_a_thread(job: Job) -> float:
    """Return the bytes that a thread may keep from earlier tiles under a memory budget."""
    if job.plan.options.memory_budget is None or job.traced:
        return math.inf
    return max(_left(job), 0) / (2 * workers(job))


def check_budget(job: Job, widest: int) -> None:
    """Refuse a memory budget that not even tiles of one pair fit.

    Raises
    ------
    BudgetError
        With the bytes that would do.
    """
    given = job.plan.options.memory_budget
    if given is None or job.traced:
        return
    tiles = LIVE * workers(job) * widest * job.plan.blocks * job.plan.itemsize
    least = int(given - _left(job)) + tiles
    if least > given:
        raise BudgetError(
            f"memory_budget={given:,} bytes is too little for {job.plan.pairs:,} pairs: one pair "
            f"at a time takes {least:,} bytes with the result; give at least as many, or fewer "
            "examples.",
            least,
        )


def pairs_per_tile(
    job: Job, widest: int, blocks: int, chained: bool = False, merged: bool = False
) -> int:
    """Return how many pairs a tile holds so that its widest edge fits the cache."""
    if job.traced:
        return max(job.counts[0] * job.counts[1], 1)
    pairs = max(1, budget(job, chained, merged) // (widest * blocks * job.plan.itemsize))
    if chained:
        pairs = min(pairs, max(_shared_out(job), WORTH // widest))
    if job.plan.keeps:
        return pairs
    each = job.plan.cost.bytes_kept / max(1, job.counts[0] + (0 if job.same else job.counts[1]))
    side = max(1, int(budget(job) / (2 * each)))
    return min(pairs, side * side)


def for_all_threads(job: Job, widest: int, pairs: int) -> int:
    """Return how many pairs a tile of one part holds so that no thread is without one.

    Threads of a small kernel would wait for each other's interpreter lock.
    """
    plan = job.plan
    each = plan.cost.entries / max(1, plan.pairs)
    share = math.ceil(job.counts[0] * job.counts[1] / workers(job))
    if job.same:  # as many rows of tiles as have one for each thread on and above the diagonal
        rows = math.ceil((math.sqrt(8 * workers(job) + 1) - 1) / 2)
        share = math.ceil(job.counts[0] / rows) ** 2
    return min(pairs, max(share, SHARED // widest, int(TOGETHER // max(1, each))))


def _shared_out(job: Job) -> int:
    """Return how many pairs of a chain are a tile, so that every thread has enough to do."""
    share = math.ceil(job.counts[0] * job.counts[1] / workers(job))
    entries = share * job.plan.cost.entries / max(1, job.plan.pairs)
    tiles = max(1, min(TILES, int(entries // TOGETHER)))
    pairs = max(math.ceil(share / tiles), min(share, FULL), LEAST)
    if not job.same:
        return pairs
    side = math.ceil(math.sqrt(pairs) / LANES) * LANES
    return side * side


def examples_per_tile(job: Job, widest: int, count: int) -> int:
    """Return how many examples of a batch go through the network at once.

    Where a tile is compiled their number does not depend on the batch, so that one compilation
    serves batches of every size.
    """
    pairs = pairs_per_tile(job, widest, 1)
    if job.at.backend.stage is not None and not job.traced:
        most = min(MOST_EXAMPLES, FEW_ENTRIES // widest)
        pairs = min(pairs, max(COMPILED_EXAMPLES, most))
    free = job.plan.options.memory_budget is None
    if job.at.backend.chain is not None and FEW <= pairs < count and free:
        pairs = min(pairs, math.ceil(count / workers(job)))
        pairs = math.ceil(pairs / LANES) * LANES
    return max(1, min(count, pairs))


def span_of(job: Job, start: int, stop: int, step: int) -> Span:
    """Fill ragged tiles up where a new size means compiling anew."""
    return Span(start, stop, stop - start if job.at.backend.stage is None else step)
