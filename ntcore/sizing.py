"""How much of a job is computed at once."""

from __future__ import annotations

from ntcore.program import Job
from ntcore.source import Span

COMPILED_EXAMPLES = 32


def budget(job: Job) -> int:
    """Return the bytes that one block of a tile should take."""
    return job.at.backend.tile_bytes(job.at.device)


def pairs_per_tile(job: Job, widest: int, blocks: int) -> int:
    """Return how many pairs a tile holds so that its widest edge fits the cache."""
    if job.traced:
        return max(job.counts[0] * job.counts[1], 1)
    return max(1, budget(job) // (widest * blocks * job.plan.itemsize))


def examples_per_tile(job: Job, widest: int, count: int) -> int:
    """Return how many examples of a batch go through the network at once.

    Where a tile is compiled their number does not depend on the batch, so that one compilation
    serves batches of every size.
    """
    pairs = pairs_per_tile(job, widest, 1)
    if job.at.backend.stage is not None and not job.traced:
        pairs = min(pairs, COMPILED_EXAMPLES)
    return max(1, min(count, pairs))


def span_of(job: Job, start: int, stop: int, step: int) -> Span:
    """Fill ragged tiles up where a new size means compiling anew."""
    return Span(start, stop, stop - start if job.at.backend.stage is None else step)
