"""Gathered sums that end a chain and let rows meet: each row is added to what reads it."""

from __future__ import annotations

from typing import Any

from ntcore.backends.numba_loops import LANES, compiled
from ntcore.backends.numba_vectors import read, write
from ntcore.backends.numba_windows import add_up, gather_leading


@compiled
def fold(
    x: Any, y: Any, wide: int, to: int, ints: Any, at: int, first: int, rows: int, pairs: Any,
    whole: Any, scale: Any, spare: Any, other: Any, sums: Any,
) -> None:  # fmt: skip
    """Gather on every axis but the last in turn, and add every row to what reads it."""
    axes, sizes, tables = ints[at], at + 1, at + 1 + ints[at]
    before, last, after = (
        ints[sizes + axes - 1] * pairs.size,
        ints[tables + axes - 1],
        ints[tables + axes],
    )
    source, row, outer = gather_leading(x, ints, at, rows * before, spare, other)
    lines = (last, first, rows, before, pairs, whole, scale, sums)
    if axes == 1:
        _add_rows(source, 0, y, wide, to, ints, *lines)
        return
    size, table = ints[sizes + axes - 2], ints[tables + axes - 2]
    width, many = rows * before, ints[table]
    for a in range(outer):
        block = a * size * width
        for m in range(many):
            start, stop = ints[table + 1 + m], ints[table + 2 + m]
            o, xo = to + (a * many + m) * after, block + ints[start] * width
            if stop - start == 1:
                _add_rows(source, xo, y, wide, o, ints, *lines)
            elif stop - start > 1:
                add_up(source, block, width, ints, start, stop, row, 0, width)
                _add_rows(row, 0, y, wide, o, ints, *lines)


@compiled
def _add_rows(
    x: Any, xo: int, y: Any, wide: int, to: int, ints: Any, last: int, first: int, rows: int,
    before: int, pairs: Any, whole: Any, scale: Any, sums: Any,
) -> None:  # fmt: skip
    """Add rows to the entries that read them, one entry after the other."""
    lanes = pairs.size
    for r in range(rows):
        t, stop = ints[last + 2 * (first + r)], ints[last + 2 * (first + r) + 1]
        while t < stop:
            o, taps, a = (to + ints[t]) * wide, ints[t + 1], xo + ints[t + 2] * lanes
            if taps == 1:
                give(x, a, y, o, pairs, whole, scale, True)
            else:
                add_up(x, xo, lanes, ints, t + 2, t + 2 + taps, sums, 0, lanes)
                give(sums, 0, y, o, pairs, whole, scale, True)
            t += 2 + taps
        xo += before


@compiled
def give(x: Any, xo: int, y: Any, to: int, pairs: Any, whole: Any, scale: Any, more: bool) -> None:
    """Write one number for each pair to what is made, or add it to what is there."""
    for v in range(whole.size):
        a, p = v * LANES, pairs[v * LANES]
        if whole[v]:
            given = read(x, xo + a) * scale
            write(y, to + p, read(y, to + p) + given if more else given)
        else:
            for i in range(a, a + LANES):
                if pairs[i] >= 0:
                    z = x[xo + i] * scale
                    y[to + pairs[i]] = y[to + pairs[i]] + z if more else z
