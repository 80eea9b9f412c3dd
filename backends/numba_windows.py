"""Windows in a chain: gathered sums on every axis, for a few pairs at a time."""

from __future__ import annotations

from typing import Any

from ntcore.backends.numba_loops import LANES, U, compiled, inlined
from ntcore.backends.numba_vectors import read, write


@compiled
def window(
    x: Any, y: Any, plus: Any, added: bool, ints: Any, at: int, first: int, rows: int, lanes: int,
    scale: Any, bias: Any, spare: Any, other: Any,
) -> None:  # fmt: skip
    """Gather on every axis in turn; the last two go through one entry of the first at a time."""
    axes, sizes, tables = ints[at], at + 1, at + 1 + ints[at]
    before, after = ints[sizes + axes - 1] * lanes, ints[tables + axes] * lanes
    source, row, outer = gather_leading(x, ints, at, rows * before, spare, other)
    last = ints[tables + axes - 1]
    if axes == 1:
        _sum_rows(
            source, 0, y, 0, plus, added, ints, last, first, rows, before, after, scale, bias, lanes
        )
        return
    size, table = ints[sizes + axes - 2], ints[tables + axes - 2]
    width, wide, many = rows * before, rows * after, ints[table]
    for a in range(outer):
        block = a * size * width
        for m in range(many):
            start, stop = ints[table + 1 + m], ints[table + 2 + m]
            o = (a * many + m) * wide
            if stop - start == 1:
                _sum_rows(
                    source, block + ints[start] * width, y, o, plus, added, ints, last, first,
                    rows, before, after, scale, bias, lanes,
                )  # fmt: skip
            else:
                add_up(source, block, width, ints, start, stop, row, 0, width)
                _sum_rows(
                    row, 0, y, o, plus, added, ints, last, first,
                    rows, before, after, scale, bias, lanes,
                )  # fmt: skip


@compiled
def gather_leading(
    x: Any, ints: Any, at: int, inner: int, spare: Any, other: Any
) -> tuple[Any, Any, int]:
    """Gather on every axis but the last two; return the result, what is free, and its blocks."""
    axes, sizes, tables = ints[at], at + 1, at + 1 + ints[at]
    for k in range(axes - 1):
        inner *= ints[sizes + k]
    outer, source, row = 1, x, spare
    for k in range(axes - 2):
        size, target = ints[sizes + k], row
        inner //= size
        outer *= _sum_axis(source, target, ints, ints[tables + k], outer, size, inner)
        source, row, other = target, other, row
    return source, row, outer


@inlined
def _sum_axis(x: Any, y: Any, ints: Any, at: int, outer: int, size: int, inner: int) -> int:
    """Gather on one axis; return its new size."""
    out = ints[at]
    for a in range(outer):
        for m in range(out):
            start, stop, o = ints[at + 1 + m], ints[at + 2 + m], (a * out + m) * inner
            add_up(x, a * size * inner, inner, ints, start, stop, y, o, inner)
    return out


@inlined
def _sum_rows(
    x: Any, xo: int, y: Any, yo: int, plus: Any, added: bool, ints: Any, at: int, first: int,
    rows: int, before: int, after: int, scale: Any, bias: Any, lanes: int,
) -> None:  # fmt: skip
    """Gather within rows of the last axis, each by a table of its own."""
    for r in range(rows):
        t = ints[U(at + first + r)]
        for line in range(ints[U(t)]):
            # The first entry that is written, how many there are, and what they gather.
            c = ints[U(t + 1 + line)]
            o, n, start = yo + ints[U(c)] * lanes, ints[U(c + 1)] * lanes, c + 3
            stop = start + ints[U(c + 2)]
            if stop - start == 3:
                _three(x, xo, lanes, ints, start, y, o, n, scale, bias, plus, added)
            elif stop - start == 2:
                _two(x, xo, lanes, ints, start, y, o, n, scale, bias, plus, added)
            else:
                add_up(x, xo, lanes, ints, start, stop, y, o, n)
                _finish(y, o, n, scale, bias, plus, added)
        xo, yo = xo + before, yo + after


# Runs of numbers are as long as some positions of every pair of a group, and so whole vectors.


@inlined
def add_up(
    x: Any, xo: int, step: int, ints: Any, start: int, stop: int, y: Any, yo: int, n: int
) -> None:
    """Write the sum of the runs of ``n`` numbers that begin at some multiples of a step."""
    if start == stop:
        for i in range(n):
            y[U(yo + i)] = 0
        return
    a = xo + ints[U(start)] * step
    if stop - start == 1:
        for i in range(0, n, LANES):
            write(y, yo + i, read(x, a + i))
        return
    b = xo + ints[U(start + 1)] * step
    if stop - start == 2:
        for i in range(0, n, LANES):
            write(y, yo + i, read(x, a + i) + read(x, b + i))
        return
    c = xo + ints[U(start + 2)] * step
    for i in range(0, n, LANES):
        write(y, yo + i, (read(x, a + i) + read(x, b + i)) + read(x, c + i))
    for t in range(start + 3, stop):
        a = xo + ints[U(t)] * step
        for i in range(0, n, LANES):
            write(y, yo + i, read(y, yo + i) + read(x, a + i))


@inlined
def _finish(y: Any, yo: int, n: int, scale: Any, bias: Any, plus: Any, added: bool) -> None:
    for i in range(yo, yo + n, LANES):
        z = read(y, i) * scale + bias
        write(y, i, z + read(plus, i) if added else z)


@inlined
def _three(
    x: Any, xo: int, step: int, ints: Any, start: int, y: Any, yo: int, n: int,
    scale: Any, bias: Any, plus: Any, added: bool,
) -> None:  # fmt: skip
    a, b = xo + ints[U(start)] * step, xo + ints[U(start + 1)] * step
    c = xo + ints[U(start + 2)] * step
    for i in range(0, n, LANES):
        z = ((read(x, a + i) + read(x, b + i)) + read(x, c + i)) * scale + bias
        write(y, yo + i, z + read(plus, yo + i) if added else z)


@inlined
def _two(
    x: Any, xo: int, step: int, ints: Any, start: int, y: Any, yo: int, n: int,
    scale: Any, bias: Any, plus: Any, added: bool,
) -> None:  # fmt: skip
    a, b = xo + ints[U(start)] * step, xo + ints[U(start + 1)] * step
    for i in range(0, n, LANES):
        z = (read(x, a + i) + read(x, b + i)) * scale + bias
        write(y, yo + i, z + read(plus, yo + i) if added else z)
