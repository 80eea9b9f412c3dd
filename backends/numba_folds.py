"""Gathered sums that end a chain and let rows meet: each row is added to what reads it."""

from __future__ import annotations

from typing import Any

from ntcore.backends.numba_loops import LANES, U, compiled
from ntcore.backends.numba_windows import add_up, gather_leading


@compiled
def fold(
    x: Any, y: Any, to: int, ints: Any, at: int, first: int, rows: int, pairs: Any, whole: Any,
    scale: Any, spare: Any, other: Any, sums: Any,
) -> None:  # fmt: skip
    """Gather on every axis but the last in turn, and add every row to what reads it."""
    axes, sizes, tables, lanes = ints[at], at + 1, at + 1 + ints[at], pairs.size
    before, last, wide = (
        ints[sizes + axes - 1] * lanes,
        ints[tables + axes - 1],
        ints[tables + axes],
    )
    source, row, outer = gather_leading(x, ints, at, rows * before, spare, other)
    if axes == 1:
        _add_rows(source, 0, y, to, ints, last, first, rows, before, pairs, whole, scale, sums)
        return
    size, table = ints[sizes + axes - 2], ints[tables + axes - 2]
    width, many = rows * before, ints[table]
    for a in range(outer):
        block = a * size * width
        for m in range(many):
            start, stop = ints[table + 1 + m], ints[table + 2 + m]
            o, xo = to + (a * many + m) * wide, block + ints[start] * width
            if stop - start == 1:
                _add_rows(
                    source, xo, y, o, ints, last, first, rows, before, pairs, whole, scale, sums
                )
            elif stop - start > 1:
                add_up(source, block, width, ints, start, stop, row, 0, width)
                _add_rows(row, 0, y, o, ints, last, first, rows, before, pairs, whole, scale, sums)


@compiled
def _add_rows(
    x: Any, xo: int, y: Any, to: int, ints: Any, last: int, first: int, rows: int, before: int,
    pairs: Any, whole: Any, scale: Any, sums: Any,
) -> None:  # fmt: skip
    """Add rows to the entries that read them, one entry after the other."""
    lanes = pairs.size
    for r in range(rows):
        t, stop = ints[last + 2 * (first + r)], ints[last + 2 * (first + r) + 1]
        while t < stop:
            o, taps = to + ints[t], ints[t + 1]
            add_up(x, xo, lanes, ints, t + 2, t + 2 + taps, sums, 0, lanes)
            add(sums, y, o, pairs, whole, scale)
            t += 2 + taps
        xo += before


@compiled
def add(x: Any, y: Any, row: int, pairs: Any, whole: Any, scale: Any) -> None:
    """Add one number for each pair to a row of them."""
    for v in range(whole.size):
        a, p = v * LANES, pairs[v * LANES]
        if whole[v]:
            for i in range(LANES):
                y[U(row), U(p + i)] += x[U(a + i)] * scale
        else:
            for i in range(a, a + LANES):
                if pairs[i] >= 0:
                    y[row, pairs[i]] += x[i] * scale
