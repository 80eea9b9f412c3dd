"""The loops of a chain: every operation on a few pairs at a time, so that all stays in cache.

Values lie as ``(entries, lanes)``: the pairs of a group side by side. Entries are those of some
rows of the last axis, ``(outer, rows, positions)``, where rows of it never meet. A chain comes as
rows of integers, one for each operation (the columns are named below), with a table of integers
that some of them point into.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ntcore.backends.numba_loops import CHUNK, LANES, U, compiled, exact
from ntcore.backends.numba_moments import alike, one_by_lanes
from ntcore.backends.numba_sums import affine_row
from ntcore.backends.numba_windows import window

#: What an operation is; a nonlinearity, the last, is numbered as in ``numba_moments``.
LOAD, STORE, WINDOW, AFFINE, PRODUCT, BETWEEN, PUT, TOTAL, DUAL = range(9)
#: Columns of an operation: what it is, the slots that it reads and writes, the outer entries and
#: the positions of what it writes, where its integers or the rows of a block begin, and the first
#: rows of its variances. A nonlinearity writes over what it reads.
WHAT, ONE, TWO, OUT, OUT2, OUTER, WIDTH, AT, FIRST1, FIRST2 = range(10)


@compiled
def _dual(
    kind: int, k: Any, slope: Any, tangent: bool, outer: int, skip: int, first: int, count: int,
    ints: Any, at1: int, at2: int, one: Any, two: Any, first1: int, first2: int, wide1: int,
    wide2: int, ones: Any, twos: Any, run: int, spare: Any, other: Any,
) -> None:  # fmt: skip
    """Write moments over the entries that they are of."""
    a, done, lanes = 0, 0, ones.size
    most = min(CHUNK, spare.size)
    for m in range(outer):
        for e in range(m * skip + first, m * skip + first + count):
            r1, r2 = (first1 + ints[at1 + e]) * wide1, (first2 + ints[at2 + e]) * wide2
            if run:
                for v in range(0, lanes, LANES):
                    q1, j = one[U(r1 + ones[v])], r2 + twos[v]
                    one_by_lanes(kind, k, slope, tangent, a + v, q1, two, j)
            else:
                if a + lanes - done > most:
                    alike(kind, k, slope, tangent, done, spare, other, a - done)
                    done = a
                for i in range(lanes):
                    spare[a - done + i], other[a - done + i] = one[r1 + ones[i]], two[r2 + twos[i]]
            a += lanes
    if not run:
        alike(kind, k, slope, tangent, done, spare, other, a - done)


@exact
def _between(
    x: Any, out: Any, more: bool, outer: int, skip: int, first: int, count: int, ints: Any,
    at1: int, at2: int, one: Any, two: Any, first1: int, first2: int, wide1: int, wide2: int,
    ones: Any, twos: Any, run: int, scale: Any,
) -> None:  # fmt: skip
    """Multiply the examples that every entry compares, and add what was there."""
    a, lanes = 0, ones.size
    for m in range(outer):
        for e in range(m * skip + first, m * skip + first + count):
            r1, r2 = (first1 + ints[at1 + e]) * wide1, (first2 + ints[at2 + e]) * wide2
            if run:
                for v in range(0, lanes, LANES):
                    u, j = one[U(r1 + ones[v])], r2 + twos[v]
                    if more:
                        for i in range(LANES):
                            z = u * two[U(j + i)] + x[U(a + v + i)]
                            out[U(a + v + i)] = z * scale
                    else:
                        for i in range(LANES):
                            out[U(a + v + i)] = (u * two[U(j + i)]) * scale
            else:
                for i in range(lanes):
                    z = one[r1 + ones[i]] * two[r2 + twos[i]]
                    out[a + i] = (z + x[a + i] if more else z) * scale
            a += lanes


@compiled
def _total(x: Any, entries: int, lanes: int, y: Any, pairs: Any, used: int, scale: Any) -> None:
    """Add all entries up in halves, in their place, and then to what was there."""
    while entries > 1:
        half = (entries + 1) // 2
        far = half * lanes
        for i in range((entries - half) * lanes):
            x[U(i)] += x[U(far + i)]
        entries = half
    for i in range(used):
        y[pairs[i]] += x[i] * scale


@compiled
def _put(
    x: Any, y: Any, n: int, ints: Any, at: int, at1: int, first1: int, skip: int, first: int,
    count: int, side: Any, wide: int, ones: Any, itself: Any,
) -> None:  # fmt: skip
    """Copy a block, with variances where an entry compares one position of one example."""
    y[:n] = x[:n]
    lanes = ones.size
    for each in range(ints[at]):
        whole = ints[at + 1 + each]
        m, e = whole // skip, whole % skip - first
        if 0 <= e < count:
            a, row = (m * count + e) * lanes, (ints[at1 + whole] + first1) * wide
            for i in range(lanes):
                if itself[i]:
                    y[a + i] = side[row + ones[i]]


@compiled
def _load(
    source: Any, y: Any, at: int, outer: int, skip: int, first: int, count: int, pairs: Any
) -> None:
    a, lanes = 0, pairs.size
    together = pairs[lanes - 1] - pairs[0] == lanes - 1
    for m in range(outer):
        for e in range(at + m * skip + first, at + m * skip + first + count):
            if together:
                y[a : a + lanes] = source[e, pairs[0] : pairs[0] + lanes]
            else:
                for i in range(lanes):
                    y[a + i] = source[e, pairs[i]]
            a += lanes


@compiled
def _store(
    x: Any, target: Any, at: int, outer: int, skip: int, first: int, count: int, pairs: Any,
    used: int,
) -> None:  # fmt: skip
    a, lanes = 0, pairs.size
    together = pairs[used - 1] - pairs[0] == used - 1
    for m in range(outer):
        for e in range(at + m * skip + first, at + m * skip + first + count):
            if together:
                target[e, pairs[0] : pairs[0] + used] = x[a : a + used]
            else:
                for i in range(used):
                    target[e, pairs[i]] = x[a + i]
            a += lanes


@compiled
def _operate(
    code: Any, scale: Any, bias: Any, ints: Any, work: Any, rows: int, row: int, held: int,
    one: Any, two: Any, wide1: int, wide2: int, drawn1: Any, drawn2: Any, ones: Any, twos: Any,
    length: int, itself: Any,
) -> None:  # fmt: skip
    """Run one operation on one group of pairs and some rows, ``row`` and after."""
    op, outer, width, at = code[WHAT], code[OUTER], code[WIDTH], code[AT]
    first, count, skip, lanes = row * width, held * width, rows * width, ones.size
    x, y, out, more = work[code[ONE]], work[code[TWO]], work[code[OUT]], code[TWO] >= 0
    spare, other, n = work[work.shape[0] - 2], work[work.shape[0] - 1], outer * count * lanes
    first1, first2, slope = code[FIRST1], code[FIRST2], work[code[OUT2]]
    if op == WINDOW:
        window(x, out, y, more, ints, at, row, held, lanes, scale, bias, spare, other)
    elif op == AFFINE:
        affine_row(x[:n], out[:n], scale, bias, y[:n], more)
    elif op == PRODUCT:
        for e in range(n):
            out[e] = x[e] * y[e]
    elif op == BETWEEN:
        _between(
            x, out, code[ONE] >= 0, outer, skip, first, count, ints, at, ints[at - 1],
            drawn1, drawn2, first1, first2, wide1, wide2, ones, twos, length, scale,
        )  # fmt: skip
    elif op == PUT:
        at1 = ints[at - 1]
        _put(x, out, n, ints, at, at1, first1, skip, first, count, one, wide1, ones, itself)
    else:
        _dual(
            op - DUAL, x, slope, more, outer, skip, first, count, ints, at, ints[at - 1], one, two,
            first1, first2, wide1, wide2, ones, twos, length, spare, other,
        )  # fmt: skip


@compiled
def run(
    code: Any, scales: Any, ints: Any, source: Any, target: Any, side1: Any, side2: Any,
    drawn1: Any, drawn2: Any, same: Any, ones: Any, twos: Any, pairs: Any, used: Any, runs: Any, rows: int, step: int,
    work: Any,
) -> None:  # fmt: skip
    """Run a chain on group after group of pairs ``(ones[g], twos[g])``, some rows at a time.

    ``used`` says how many lanes of a group are pairs, and ``runs`` how many in a row are of one
    example and of neighbours. The last two slots of ``work`` are for the windows.
    """
    itself = np.zeros(ones.shape[1], np.bool_)
    one, two, wide1, wide2 = side1.ravel(), side2.ravel(), side1.shape[1], side2.shape[1]
    rows1, rows2 = drawn1.ravel(), drawn2.ravel()
    for g in range(ones.shape[0]):
        if same.size:
            for lane in range(itself.size):
                itself[lane] = same[ones[g, lane], twos[g, lane]]
        for row in range(0, rows, step):
            held = min(step, rows - row)
            for c in range(code.shape[0]):
                op, outer, at = code[c, WHAT], code[c, OUTER], code[c, AT]
                width = code[c, WIDTH]
                first, count, skip = row * width, held * width, rows * width
                if op == LOAD:
                    slot = work[code[c, OUT]]
                    _load(source, slot, at, outer, skip, first, count, pairs[g])
                elif op == STORE:
                    slot = work[code[c, ONE]]
                    _store(slot, target, at, outer, skip, first, count, pairs[g], used[g])
                elif op == TOTAL:
                    n, slot = outer * held * width, work[code[c, ONE]]
                    _total(slot, n, ones.shape[1], target[at], pairs[g], used[g], scales[c, 0])
                else:
                    _operate(
                        code[c], scales[c, 0], scales[c, 1], ints, work, rows, row, held, one, two,
                        wide1, wide2, rows1, rows2, ones[g], twos[g], runs[g], itself,
                    )  # fmt: skip
