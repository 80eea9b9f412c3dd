"""Sums of gathered entries in NumPy, in few passes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from ntcore.backends.buffers import empty
from ntcore.ops import Table

#: Strips of a table that are worth slices, and runs of the entries beside them.
MOST_STRIPS, MOST_RUNS = 16, 12
#: How many entries on the second of a run may be.
NEAR = 64

Call = tuple[Any, tuple[Any, ...]]
#: Entries, and for each tap what they read.
Slices = tuple[slice, list[slice]]


def gather_sum(at: Any, x: np.ndarray, table: Table) -> np.ndarray:
    """Replace :func:`ntcore.ops.gather_sum`."""
    out = empty((x.shape[0], table.index.shape[1], x.shape[2]), x.dtype)
    gather(x, table, out)
    return out


def gather(x: np.ndarray, table: Table, out: np.ndarray) -> None:
    """Write what a table gathers of ``(..., M, B)`` to ``(..., M', B)``."""
    for fn, args in gathering(x, table, out):
        fn(*args)


def gathering(x: np.ndarray, table: Table, out: np.ndarray) -> list[Call]:
    """Return the calls that gather.

    By slices where entries are read at equal distances, by an index where these are many.
    """
    slices = _slices(table)
    if slices is None:
        return [(_gathered, (x, table, out))]
    strips, rest = slices
    calls = []
    for entries, sources in strips:
        calls += adding([x[..., s, :] for s in sources], out[..., entries, :])
    return calls if rest is None else [*calls, (_put_gathered, (x, rest, table, out))]


def keeps_all(table: Table) -> bool:
    """Whether a table gathers every entry by itself, in its place."""
    strips = table.strips.strips
    return strips == [(0, table.index.shape[1], (0,))] and not len(table.strips.rest)


def adding(parts: list[np.ndarray], out: np.ndarray) -> list[Call]:
    """Return the calls that write the sum of some parts."""
    if len(parts) < 2:
        return [(np.copyto, (out, parts[0] if parts else 0))]
    first, second, *others = parts
    return [(np.add, (first, second, out)), *((np.add, (out, part, out)) for part in others)]


@lru_cache(maxsize=4096)
def _slices(table: Table) -> tuple[list[Slices], Table | None] | None:
    """Return entries and what they sum as slices, and the table of what is left.

    None where an index does as well for all.
    """
    strips, rest = table.strips.strips, table.strips.rest.tolist()
    if len(strips) > MOST_STRIPS:
        return None
    found = [
        (slice(start, stop), [slice(s, s + stop - start) for s in sources])
        for start, stop, sources in strips
    ]
    each = zip(rest, table.strips.sources.tolist(), strict=True)
    runs = progressions(
        {entry: tuple(i for i in taps if i >= 0) for entry, taps in each}, MOST_RUNS
    )
    if len(runs) <= MOST_RUNS:
        return found + runs, None
    few = 2 * len(rest) <= table.index.shape[1]
    return (found, Table(table.strips.sources.T)) if few else None


def progressions(reads: dict[int, tuple[int, ...]], most: float) -> list[Slices]:
    """Cut entries, and what each of them reads, into runs at equal distances, about ``most``."""
    left, found = dict(reads), list[Slices]()
    while left and len(found) <= most:
        run = max((_run(left, other) for other in islice(left, NEAR)), key=len)
        taps = list(zip(*(left.pop(entry) for entry in run), strict=True))
        found.append((_slice(run), [_slice(own) for own in taps]))
    return found


def _run(left: dict[int, tuple[int, ...]], second: int) -> list[int]:
    """Return the first entry with those that follow at the distance of another one, and alike."""
    first = next(iter(left))
    steps = tuple(b - a for a, b in zip(left[first], left[second], strict=False))
    run, step = [first], second - first
    while step and min(steps, default=1) > 0:
        expected = tuple(a + d for a, d in zip(left[run[-1]], steps, strict=False))
        if left.get(run[-1] + step) != expected or len(expected) != len(left[first]):
            break
        run.append(run[-1] + step)
    return run


def _slice(numbers: Sequence[int]) -> slice:
    first, last = numbers[0], numbers[-1]
    return slice(first, last + 1, numbers[1] - first if len(numbers) > 1 else None)


def _put_gathered(x: np.ndarray, rest: Table, table: Table, out: np.ndarray) -> None:
    """Write the entries between the strips."""
    out[..., table.strips.rest, :] = _gathered(x, rest)


def _gathered(x: np.ndarray, table: Table, out: np.ndarray | None = None) -> np.ndarray:
    total = _tap(x, table, 0, out)
    term = empty(total.shape, x.dtype) if len(table.index) > 1 else None
    for t in range(1, len(table.index)):
        total += _tap(x, table, t, term)
    return total


def _tap(x: np.ndarray, table: Table, t: int, out: np.ndarray | None) -> np.ndarray:
    term = np.take(x, table.index[t], axis=-2, out=out, mode="clip")
    if table.valid is not None:
        term[..., ~table.valid[t], :] = 0
    return term
