"""What runs a chain reads of its tables: which rows never meet, and what each row takes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ntcore.apart import are_apart, reads
from ntcore.chain import Chain, Step
from ntcore.ops import Table


def rows_of_chain(chain: Chain) -> int:
    """Return the rows of the last axis if they never meet, and 1 otherwise."""
    if chain.paired:
        return 1
    made = [i for step in chain.steps if step.name != "total" for i in step.outputs]
    values = {*chain.inputs, *made} - {s.outputs[0] for s in folds(chain)}
    shapes = [chain.shapes[i] for i in values]
    found = {shape[-2:-1] for shape in shapes}
    if len(found) > 1 or len({len(shape) for shape in shapes}) > 1 or len(shapes[0]) % 2:
        return 1
    (rows,) = found.pop() or (1,)
    windows = [step for step in chain.steps if step.tables and step not in folds(chain)]
    return rows if all(are_apart(s.tables[-1], rows, s.sizes[-1]) for s in windows) else 1


@lru_cache(maxsize=256)
def folds(chain: Chain) -> tuple[Step, ...]:
    """Return the gathered sums that can be added to what is made row by row."""
    read = {i for step in chain.steps for i in step.inputs}
    return tuple(
        s for s in chain.steps
        if s.tables and not read & set(s.outputs) and not s.bias and s.inputs[1:] in ((), (None,))
        and not are_apart(s.tables[-1], chain.shapes[s.inputs[0]][-2], s.sizes[-1])  # type: ignore[index]
    )  # fmt: skip


@lru_cache(maxsize=4096)
def row_tables(table: Table, rows: int, size: int) -> list[Table]:
    """Return the table of each row by itself."""
    index = reads(table)
    width, before = index.shape[1] // rows, size // rows
    found = []
    for r in range(rows):
        part = index[:, r * width : (r + 1) * width]
        found.append(Table(np.where(part < 0, -1, part - r * before)))
    return found


@lru_cache(maxsize=4096)
def rows_of(table: Table, rows: int, size: int, first: int, held: int) -> Table:
    """Return the table of some rows together, of those of their numbers."""
    if held == rows:
        return table
    width, before = table.index.shape[1] // rows, size // rows
    part = reads(table)[:, first * width : (first + held) * width]
    return Table(np.where(part < 0, -1, part - first * before))


@lru_cache(maxsize=4096)
def folded(table: Table, rows: int, size: int) -> list[list[tuple[int, list[int]]]]:
    """Return, for each row, the entries that read it and what each of them reads of it."""
    index, width = reads(table), size // rows
    found: list[list[tuple[int, list[int]]]] = [[] for _ in range(rows)]
    for entry, taps in enumerate(index.T):
        held = taps[taps >= 0]
        for row in np.unique(held // width).tolist():
            own = held[held // width == row] - row * width
            found[row].append((entry, own.tolist()))
    return found


@lru_cache(maxsize=4096)
def reading(table: Table) -> list[tuple[slice, Table]]:
    """Return the runs of entries that read anything, each with its own table."""
    index = reads(table)
    there = np.flatnonzero((index >= 0).any(axis=0))
    runs = np.split(there, np.flatnonzero(np.diff(there) > 1) + 1) if len(there) else []
    found = [slice(int(run[0]), int(run[-1]) + 1) for run in runs]
    if found == [slice(0, index.shape[1])]:
        return [(found[0], table)]
    return [(run, Table(index[:, run])) for run in found]


@lru_cache(maxsize=8192)
def lines(table: Table) -> list[list[int]]:
    """Return what strips and single entries gather: first entry, length, taps, their sources."""
    strips, rest, sources = table.strips.strips, table.strips.rest, table.strips.sources
    lines = [[start, stop - start, len(taps), *taps] for start, stop, taps in strips]
    for entry, taps in zip(rest.tolist(), sources.tolist(), strict=True):
        there = [i for i in taps if i >= 0]
        lines.append([entry, 1, len(there), *there])
    return lines
