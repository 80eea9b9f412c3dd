"""The loops of a chain: every operation on a few pairs at a time, so that all stays in cache.

Values lie as ``(entries, lanes)``: the pairs of a group side by side. Entries are those of some
rows of the last axis, ``(outer, rows, positions)``, where rows of it never meet. A chain comes as
rows of integers, one for each operation (the columns are named below), with a table of integers
that some of them point into.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ntcore.backends.numba_beside import (
    are_within,
    between,
    between_beside,
    dual,
    dual_beside,
    dual_brought,
    put,
)
from ntcore.backends.numba_folds import fold, give
from ntcore.backends.numba_loops import LANES, U, compiled
from ntcore.backends.numba_moments import GELU
from ntcore.backends.numba_sums import affine_row
from ntcore.backends.numba_vectors import read, write
from ntcore.backends.numba_windows import window

#: What an operation is; a nonlinearity, the last, is numbered as in ``numba_moments``.
LOAD, STORE, WINDOW, AFFINE, PRODUCT, BETWEEN, PUT, TOTAL, FOLD, DUAL = range(10)
#: Columns of an operation: what it is, the slots that it reads and writes, the outer entries and
#: the positions of what it writes, where its integers or the rows of a block begin, and the first
#: rows of its variances, negative where they are entries of the block itself. A nonlinearity writes
#: over what it reads. Products of examples have more of them: how many, and pairs of first rows,
#: come where the first of these columns says.
WHAT, ONE, TWO, OUT, OUT2, OUTER, WIDTH, AT, FIRST1, FIRST2 = range(10)


@compiled
def _total(x: Any, entries: int, y: Any, to: int, pairs: Any, whole: Any, scale: Any) -> None:
    """Add all entries up in halves, in their place, and then to what was there."""
    while entries > 1:
        half = (entries + 1) // 2
        far = half * pairs.size
        for i in range((entries - half) * pairs.size):
            x[U(i)] += x[U(far + i)]
        entries = half
    give(x, 0, y, to, pairs, whole, scale, True)


@compiled
def _load(
    source: Any, wide: int, y: Any, at: int, outer: int, skip: int, first: int, count: int,
    pairs: Any, whole: Any,
) -> None:  # fmt: skip
    a = 0
    for m in range(outer):
        for e in range(at + m * skip + first, at + m * skip + first + count):
            for v in range(whole.size):
                if whole[v]:
                    write(y, a, read(source, e * wide + pairs[v * LANES]))
                else:
                    for i in range(LANES):
                        y[a + i] = source[e * wide + max(pairs[v * LANES + i], 0)]
                a += LANES


@compiled
def _store(
    x: Any, target: Any, wide: int, at: int, outer: int, skip: int, first: int, count: int,
    pairs: Any, whole: Any, more: bool,
) -> None:  # fmt: skip
    one, a = x.dtype.type(1), 0
    for m in range(outer):
        for e in range(at + m * skip + first, at + m * skip + first + count):
            give(x, a, target, e * wide, pairs, whole, one, more)
            a += pairs.size


@compiled
def _nonlinear(
    kind: int, code: Any, scale: Any, bias: Any, ints: Any, x: Any, slope: Any, more: bool,
    row: int, rows: int, held: int, one: Any, two: Any, wide1: int, wide2: int, ones: Any,
    twos: Any, along: int, bounds: Any, spare: Any, other: Any,
) -> bool:  # fmt: skip
    """Write moments over entries; return whether their variances are not too far from one."""
    outer, width, at = code[OUTER], code[WIDTH], code[AT]
    first, count, skip, lanes = row * width, held * width, rows * width, ones.size
    first1, first2, n = code[FIRST1], code[FIRST2], outer * count * lanes
    if first1 < 0:
        if not are_within(x, n // lanes, lanes, ints, at, bounds):
            return False
        for i in range(n):
            spare[U(i)] = x[U(i)] + bias
        dual_beside(
            kind, x, slope, more, outer, skip, first, count, ints, at, ints[at - 1], spare,
            spare, 0, 0, lanes,
        )  # fmt: skip
    elif kind >= GELU or scale != 1:
        dual_brought(
            kind, x, slope, more, outer, skip, first, count, ints, at, ints[at - 1], one, two,
            first1, first2, wide1, wide2, ones, twos, scale, bias, spare, other,
        )  # fmt: skip
    elif along == 2:
        dual_beside(
            kind, x, slope, more, outer, skip, first, count, ints, at, ints[at - 1], one, two,
            first1, first2, lanes,
        )  # fmt: skip
    elif along == 1:
        dual(
            kind, x, slope, more, outer, skip, first, count, ints, at, ints[at - 1], one, two,
            first1, first2, wide1, wide2, ones, twos,
        )  # fmt: skip
    else:
        dual(
            kind, x, slope, more, outer, skip, first, count, ints, ints[at - 1], at, two, one,
            first2, first1, wide2, wide1, twos, ones,
        )  # fmt: skip
    return True


@compiled
def _operate(
    code: Any, scale: Any, bias: Any, ints: Any, work: Any, rows: int, row: int, held: int,
    beside: Any, wides: Any, ones: Any, twos: Any, along: int, itself: Any, bounds: Any,
) -> bool:  # fmt: skip
    """Run one operation on one group of pairs and some rows, ``row`` and after.

    Return whether it could: variances that come up on the way may be too far from one.
    """
    op, outer, width, at = code[WHAT], code[OUTER], code[WIDTH], code[AT]
    first, count, skip, lanes = row * width, held * width, rows * width, ones.size
    x, y, out, more = work[code[ONE]], work[code[TWO]], work[code[OUT]], code[TWO] >= 0
    spare, other, n = work[work.shape[0] - 2], work[work.shape[0] - 1], outer * count * lanes
    first1, slope = code[FIRST1], work[code[OUT2]]
    one, two, drawn1, drawn2 = beside
    wide1, wide2, apart1, apart2 = wides
    if op == WINDOW:
        window(x, out, y, more, ints, at, row, held, lanes, scale, bias, spare, other)
    elif op == AFFINE:
        affine_row(x[:n], out[:n], scale, bias, y[:n], more)
    elif op == PRODUCT:
        for e in range(n):
            out[e] = x[e] * y[e]
    elif op == BETWEEN:
        firsts1, firsts2, many = first1 + 1, first1 + 2, ints[first1]
        if along == 2:
            between_beside(
                out, outer, skip, first, count, ints, at, ints[at - 1], firsts1, firsts2, many,
                drawn1, drawn2, lanes, scale,
            )  # fmt: skip
        elif along:
            between(
                out, outer, skip, first, count, ints, at, ints[at - 1], firsts1, firsts2, many,
                drawn1, drawn2, apart1, apart2, ones, twos, scale,
            )  # fmt: skip
        else:
            between(
                out, outer, skip, first, count, ints, ints[at - 1], at, firsts2, firsts1, many,
                drawn2, drawn1, apart2, apart1, twos, ones, scale,
            )  # fmt: skip
    elif op == PUT:
        at1 = ints[at - 1]
        put(x, out, n, ints, at, at1, first1, skip, first, count, one, wide1, ones, itself)
    else:
        return _nonlinear(
            op - DUAL, code, scale, bias, ints, x, slope, more, row, rows, held, one, two, wide1,
            wide2, ones, twos, along, bounds, spare, other,
        )  # fmt: skip
    return True


@compiled
def _mark(same: Any, ones: Any, twos: Any, pairs: Any, itself: Any) -> None:
    """Mark the pairs of a group that are one example twice."""
    for i in range(pairs.size if same.size else 0):
        itself[i] = pairs[i] >= 0 and same[ones[i], twos[i]]


@compiled
def _copy(x: Any, wide: int, lanes: Any, y: Any) -> None:
    """Bring what belongs to the pairs of a group side by side."""
    n = lanes.size
    for r in range(y.size // n):
        for i in range(n):
            y[U(r * n + i)] = x[r * wide + lanes[i]]


@compiled
def run(
    code: Any, scales: Any, ints: Any, source: Any, more: Any, target: Any, onto: bool,
    beside: Any, wides: Any, copies: Any, same: Any, ones: Any, twos: Any, pairs: Any, whole: Any,
    along: int, rows: int, step: int, work: Any, bounds: Any,
) -> bool:  # fmt: skip
    """Run a chain on group after group of pairs, some rows at a time; return whether it could.

    Values are loaded from ``source`` or, after its last row, from ``more``, and with ``onto`` they
    are added to what ``target`` holds; ``beside`` has the variances of both batches and then the
    examples, whose rows begin ``wides`` apart, ``copies`` the space to bring them side by side.
    Pairs come as in ``numba_groups``. The last two slots of ``work`` are for the windows.
    """
    lanes = ones.shape[1]
    rows_of = (beside, wides) if along < 2 else (copies, (lanes, lanes, lanes, lanes))
    every, fine = np.arange(lanes), True
    itself, sums = np.zeros(lanes, np.bool_), np.empty(lanes, work.dtype)
    made, wide, given = target.reshape(-1), target.shape[1], source.reshape(-1)
    others = more.reshape(-1)
    for g in range(ones.shape[0]):
        _mark(same, ones[g], twos[g], pairs[g], itself)
        lanes1, lanes2 = ones[g], twos[g]
        if along == 2:
            for k in range(4):
                _copy(beside[k], wides[k], (lanes1, lanes2)[k % 2], copies[k])
            lanes1, lanes2 = every, every
        for row in range(0, rows, step):
            held = min(step, rows - row)
            for c in range(code.shape[0]):
                op, outer, at = code[c, WHAT], code[c, OUTER], code[c, AT]
                width, slot = code[c, WIDTH], work[code[c, ONE]]
                first, count, skip = row * width, held * width, rows * width
                if op == LOAD:
                    slot, after = work[code[c, OUT]], at - source.shape[0]
                    there = (outer, skip, first, count, pairs[g], whole[g])
                    if after < 0:
                        _load(given, wide, slot, at, *there)
                    else:
                        _load(others, wide, slot, after, *there)
                elif op == STORE:
                    there = (outer, skip, first, count, pairs[g], whole[g])
                    _store(slot, made, wide, at, *there, onto)
                elif op == TOTAL:
                    _total(slot, outer * count, made, at * wide, pairs[g], whole[g], scales[c, 0])
                elif op == FOLD:
                    fold(
                        slot, made, wide, code[c, FIRST1], ints, at, row, held, pairs[g], whole[g],
                        scales[c, 0], work[work.shape[0] - 2], work[work.shape[0] - 1], sums,
                    )  # fmt: skip
                else:
                    fine &= _operate(
                        code[c], scales[c, 0], scales[c, 1], ints, work, rows, row, held, *rows_of,
                        lanes1, lanes2, along, itself, bounds,
                    )  # fmt: skip
    return fine
