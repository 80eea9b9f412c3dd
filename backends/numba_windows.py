"""Windows in a chain: gathered sums on every axis, for a few pairs at a time."""

from __future__ import annotations

from typing import Any

from ntcore.backends.numba_loops import U, compiled


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


@compiled
def _sum_axis(x: Any, y: Any, ints: Any, at: int, outer: int, size: int, inner: int) -> int:
    """Gather on one axis; return its new size."""
    out = ints[at]
    for a in range(outer):
        for m in range(out):
            start, stop, o = ints[at + 1 + m], ints[at + 2 + m], (a * out + m) * inner
            add_up(x, a * size * inner, inner, ints, start, stop, y, o, inner)
    return out


@compiled
def _sum_rows(
    x: Any, xo: int, y: Any, yo: int, plus: Any, added: bool, ints: Any, at: int, first: int,
    rows: int, before: int, after: int, scale: Any, bias: Any, lanes: int,
) -> None:  # fmt: skip
    """Gather within rows of the last axis, each by a table of its own."""
    for r in range(rows):
        t = ints[at + first + r]
        for line in range(ints[t]):
            # The first entry that is written, how many there are, and what they gather.
            c = ints[t + 1 + line]
            o, n, start = yo + ints[c] * lanes, ints[c + 1] * lanes, c + 3
            stop = start + ints[c + 2]
            if stop - start == 3:
                _three(x, xo, lanes, ints, start, y, o, n, scale, bias, plus, added)
            elif stop - start == 2:
                _two(x, xo, lanes, ints, start, y, o, n, scale, bias, plus, added)
            else:
                add_up(x, xo, lanes, ints, start, stop, y, o, n)
                _finish(y, o, n, scale, bias, plus, added)
        xo, yo = xo + before, yo + after


# Offsets are unsigned where arrays are read: an index that might count from the end cannot be a
# vector's. And they are passed beside whole arrays, since a slice costs as much as a short loop.


@compiled
def add_up(
    x: Any, xo: int, step: int, ints: Any, start: int, stop: int, y: Any, yo: int, n: int
) -> None:
    """Write the sum of the runs of ``n`` numbers that begin at some multiples of a step."""
    if start == stop:
        for i in range(n):
            y[U(yo + i)] = 0
        return
    a = xo + ints[start] * step
    if stop - start == 1:
        for i in range(n):
            y[U(yo + i)] = x[U(a + i)]
        return
    b = xo + ints[start + 1] * step
    if stop - start == 2:
        for i in range(n):
            y[U(yo + i)] = x[U(a + i)] + x[U(b + i)]
        return
    c = xo + ints[start + 2] * step
    for i in range(n):
        y[U(yo + i)] = (x[U(a + i)] + x[U(b + i)]) + x[U(c + i)]
    for t in range(start + 3, stop):
        a = xo + ints[t] * step
        for i in range(n):
            y[U(yo + i)] += x[U(a + i)]


@compiled
def _finish(y: Any, yo: int, n: int, scale: Any, bias: Any, plus: Any, added: bool) -> None:
    if added:
        for i in range(n):
            y[U(yo + i)] = (y[U(yo + i)] * scale + bias) + plus[U(yo + i)]
    else:
        for i in range(n):
            y[U(yo + i)] = y[U(yo + i)] * scale + bias


@compiled
def _three(
    x: Any, xo: int, step: int, ints: Any, start: int, y: Any, yo: int, n: int,
    scale: Any, bias: Any, plus: Any, added: bool,
) -> None:  # fmt: skip
    a, b = xo + ints[start] * step, xo + ints[start + 1] * step
    c = xo + ints[start + 2] * step
    if added:
        for i in range(n):
            z = (x[U(a + i)] + x[U(b + i)]) + x[U(c + i)]
            y[U(yo + i)] = (z * scale + bias) + plus[U(yo + i)]
    else:
        for i in range(n):
            z = (x[U(a + i)] + x[U(b + i)]) + x[U(c + i)]
            y[U(yo + i)] = z * scale + bias


@compiled
def _two(
    x: Any, xo: int, step: int, ints: Any, start: int, y: Any, yo: int, n: int,
    scale: Any, bias: Any, plus: Any, added: bool,
) -> None:  # fmt: skip
    a, b = xo + ints[start] * step, xo + ints[start + 1] * step
    if added:
        for i in range(n):
            z = x[U(a + i)] + x[U(b + i)]
            y[U(yo + i)] = (z * scale + bias) + plus[U(yo + i)]
    else:
        for i in range(n):
            z = x[U(a + i)] + x[U(b + i)]
            y[U(yo + i)] = z * scale + bias
