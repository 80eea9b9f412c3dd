"""Chains of operations in NumPy alone; see :mod:`ntcore.chain`.

Each operation takes a few pairs and a few rows, in memory that all operations share, so that what
they leave to each other stays near and nothing new is asked of the system.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import fmean
from typing import Any

import numpy as np

from ntcore.backends.buffers import empty, short_loops
from ntcore.backends.chain_tables import folds, reading, rows_of_chain
from ntcore.backends.numpy_beside import Batches, Beside, area_of
from ntcore.backends.numpy_moments import moderate
from ntcore.backends.numpy_slab import Memory, Slab, Tile
from ntcore.backends.numpy_steps import fold
from ntcore.backends.numpy_steps import run as run_step
from ntcore.backends.once import once
from ntcore.chain import Chain, Step
from ntcore.ops import count

#: Bytes of a value for the pairs and rows that are taken at once: of the usual one, and at most.
SLAB_BYTES, MOST_BYTES = 1 << 21, 1 << 22
#: Pairs that are worth more memory, side by side.
LEAST = 16
#: Entries of a chain whose rows are remembered.
KNOWN = 1 << 14
#: Values that one operation takes beside those that it reads and writes.
MORE = 4


@dataclass(frozen=True)
class Score:
    """What a chain needs beside its operations.

    Attributes
    ----------
    rows : int
        Rows of the last axis, which never meet.
    widest, usual : int
        Entries of the largest value for one of these rows, and of what a step writes on average.
    slots : int
        Values that are there at once.
    last : dict
        The last step that reads a value.
    sums : frozenset of int
        The outputs that are made by adding to them.
    folds : frozenset of Step
        The steps that add row by row to what is made.
    where : dict
        The rows that operations read, as far as they are known and few.
    """

    rows: int
    widest: int
    usual: int
    slots: int
    last: dict[int, int]
    sums: frozenset[int]
    folds: frozenset[Step]
    where: dict[Any, Any] = field(default_factory=dict)


@lru_cache(maxsize=512)
def score_of(chain: Chain) -> Score:
    """Return what a chain needs."""
    rows, steps = rows_of_chain(chain), chain.steps
    folded = frozenset(folds(chain) if rows > 1 else ())
    sums = {s.outputs[0] for s in steps if s.name == "total" or s in folded}
    held = {*chain.inputs, *(i for s in steps for i in s.outputs)} - sums
    sizes = [chain.size(i) for i in held]
    sizes += [n for s in steps if s.tables for n in _between(s, s in folded)]
    last = {i: n for n, s in enumerate(steps) for i in s.inputs if i is not None}
    written = [chain.size(s.outputs[0]) for s in steps if s.outputs[0] in held] or [1]
    widest, usual = (math.ceil(n / rows) for n in (max(sizes, default=1), fmean(written)))
    slots = _alive(chain, last) + MORE
    return Score(rows, widest, usual, slots, last, frozenset(sums), folded)


def _alive(chain: Chain, last: dict[int, int]) -> int:
    """Return how many values are there at once, at most."""
    alive, most = set[int](), 1
    for n, step in enumerate(chain.steps):
        alive.update(i for i in (*step.inputs, *step.outputs) if i is not None)
        most = max(most, len(alive))
        alive = {i for i in alive if last.get(i, -1) > n}
    return most


def _between(step: Step, folded: bool) -> Iterator[int]:
    """Yield the entries there are after each axis that is gathered on, at most."""
    sizes = list(step.sizes)
    for k, table in enumerate(step.tables[:-1] if folded else step.tables):
        parts = [part for _, part in reading(table)] if folded else [table]
        sizes[k] = max((part.index.shape[1] for part in parts), default=0)
        yield math.prod(sizes)


def run(
    chain: Chain,
    arrays: list[np.ndarray],
    sides: tuple[np.ndarray, np.ndarray],
    drawn: tuple[np.ndarray, np.ndarray] | None,
    same: np.ndarray | None,
    counts: tuple[int, int],
    onto: np.ndarray | None = None,
) -> np.ndarray | None:
    """Return what a chain makes, ``(entries, n1 * n2)``, or add it ``onto`` an array.

    None where it cannot.
    """
    kinds = {x.dtype for x in (*arrays, *sides, *(drawn or ()))}
    if len(kinds) > 1 or not all(map(_are_moderate, sides)):
        return None
    (dtype,), n1, n2 = kinds, *((1, counts[0]) if chain.paired else counts)
    starts = dict(zip(chain.outputs, _starts(chain, chain.outputs), strict=False))
    score, target = score_of(chain), onto
    if target is None:
        target = empty((sum(map(chain.size, chain.outputs)), n1 * n2), dtype)
        for i in chain.outputs if same is not None else score.sums:
            target[starts[i] : starts[i] + chain.size(i)] = 0
    made = {i: target[a : a + chain.size(i)] for i, a in starts.items()}
    given = dict(zip(chain.inputs, arrays, strict=True))
    where = score.where if score.rows * score.widest <= KNOWN else {}
    reads = score.rows * score.usual * len(chain.sides) / max(len(sides[0]), 1)
    batches = Batches(chain.paired, sides, drawn, same, (n1, n2), where, reads)
    least = MOST_BYTES // dtype.itemsize // score.widest
    lines = max(min(SLAB_BYTES // dtype.itemsize // score.usual, least), 1)
    groups = list(batches.groups(max(lines, min(LEAST, least))))
    area = max((area_of(*group) for group in groups), default=0)
    memory = Memory(score.slots, score.widest * max(area, min(lines, score.rows * area)), dtype)
    tile = Tile(chain, score.rows, score.last, given, made, onto is not None, memory)
    fine = _run_groups(score, tile, (batches.of(*group) for group in groups), lines)
    for step in chain.steps if fine else ():
        count(step.name)
    return target if fine else None


def _run_groups(score: Score, tile: Tile, groups: Iterator[Beside], lines: int) -> bool:
    """Run a chain on some pairs and rows after the other; return whether it could."""
    with short_loops():
        for beside in groups:
            held = min(max(lines // beside.lanes, 1), score.rows)
            for row in range(0, score.rows, held):
                if not _play(score, Slab(tile, beside, row, min(held, score.rows - row))):
                    return False
    return True


def _starts(chain: Chain, values: tuple[int, ...]) -> list[int]:
    """Return the first row of each of some values, one below the other."""
    return np.cumsum([0, *map(chain.size, values)]).tolist()


def _play(score: Score, slab: Slab) -> bool:
    """Run all operations on some pairs and rows; return whether it could."""
    chain = slab.tile.chain
    for n, step in enumerate(chain.steps):
        for i in step.inputs:
            if i in slab.tile.given and i not in slab.slots:
                slab.load(i)
        if step in score.folds:
            fold(slab, step)
        elif not run_step(slab, n, step):
            return False
        for i in step.outputs:
            if i not in score.sums:
                slab.store(i)
        slab.drop(n, step)
    for i in chain.outputs:  # what comes out as it went in
        if i in slab.tile.given and i not in score.last:
            slab.load(i)
            slab.free(i)
    return True


@once
def _are_moderate(x: np.ndarray) -> bool:
    return moderate(x)
