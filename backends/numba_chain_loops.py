"""The loops of a chain: every operation on a few pairs at a time, so that all stays in cache.

Values lie as ``(entries, lanes)``: the pairs of a group side by side. Entries are those of some
rows of the last axis, ``(outer, rows, positions)``, where rows of it never meet. A chain comes as
rows of integers, one for each operation (the columns are named below), with a table of integers
that some of them point into.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ntcore.backends.numba_beside import are_within, between, dual, dual_beside, dual_brought, put
from ntcore.backends.numba_folds import add, fold
from ntcore.backends.numba_loops import LANES, U, compiled
from ntcore.backends.numba_moments import GELU
from ntcore.backends.numba_sums import affine_row
from ntcore.backends.numba_windows import window

#: What an operation is; a nonlinearity, the last, is numbered as in ``numba_moments``.
LOAD, STORE, WINDOW, AFFINE, PRODUCT, BETWEEN, PUT, TOTAL, FOLD, DUAL = range(10)
#: Columns of an operation: what it is, the slots that it reads and writes, the outer entries and
#: the positions of what it writes, where its integers or the rows of a block begin, and the first
#: rows of its variances, negative where they are entries of the block itself. A nonlinearity writes
#: over what it reads.
WHAT, ONE, TWO, OUT, OUT2, OUTER, WIDTH, AT, FIRST1, FIRST2 = range(10)


@compiled
def _total(x: Any, entries: int, y: Any, pairs: Any, whole: Any, scale: Any) -> None:
    """Add all entries up in halves, in their place, and then to what was there."""
    while entries > 1:
        half = (entries + 1) // 2
        far = half * pairs.size
        for i in range((entries - half) * pairs.size):
            x[U(i)] += x[U(far + i)]
        entries = half
    add(x, y, 0, pairs, whole, scale)


@compiled
def _load(
    source: Any, y: Any, at: int, outer: int, skip: int, first: int, count: int, pairs: Any,
    whole: Any,
) -> None:  # fmt: skip
    a = 0
    for m in range(outer):
        for e in range(at + m * skip + first, at + m * skip + first + count):
            for v in range(whole.size):
                p = pairs[v * LANES]
                if whole[v]:
                    for i in range(LANES):
                        y[U(a + i)] = source[U(e), U(p + i)]
                else:
                    for i in range(LANES):
                        y[a + i] = source[e, max(pairs[v * LANES + i], 0)]
                a += LANES


@compiled
def _store(
    x: Any, target: Any, at: int, outer: int, skip: int, first: int, count: int, pairs: Any,
    whole: Any,
) -> None:  # fmt: skip
    a = 0
    for m in range(outer):
        for e in range(at + m * skip + first, at + m * skip + first + count):
            for v in range(whole.size):
                p = pairs[v * LANES]
                if whole[v]:
                    for i in range(LANES):
                        target[U(e), U(p + i)] = x[U(a + i)]
                else:
                    for i in range(LANES):
                        if pairs[v * LANES + i] >= 0:
                            target[e, pairs[v * LANES + i]] = x[a + i]
                a += LANES


@compiled
def _nonlinear(
    kind: int, code: Any, scale: Any, ints: Any, x: Any, slope: Any, more: bool, row: int,
    rows: int, held: int, one: Any, two: Any, wide1: int, wide2: int, ones: Any, twos: Any,
    along: int, bounds: Any, spare: Any, other: Any,
) -> bool:  # fmt: skip
    """Write moments over entries; return whether their variances are not too far from one."""
    outer, width, at = code[OUTER], code[WIDTH], code[AT]
    first, count, skip, lanes = row * width, held * width, rows * width, ones.size
    first1, first2, n = code[FIRST1], code[FIRST2], outer * count * lanes
    if first1 < 0:
        if not are_within(x, n // lanes, lanes, ints, at, bounds):
            return False
        spare[:n] = x[:n]
        dual_beside(
            kind, x, slope, more, outer, skip, first, count, ints, at, ints[at - 1], spare,
            spare, 0, 0, lanes,
        )  # fmt: skip
    elif kind >= GELU or scale != 1:
        dual_brought(
            kind, x, slope, more, outer, skip, first, count, ints, at, ints[at - 1], one, two,
            first1, first2, wide1, wide2, ones, twos, scale, spare, other,
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
    one: Any, two: Any, wide1: int, wide2: int, drawn1: Any, drawn2: Any, ones: Any, twos: Any,
    along: int, itself: Any, bounds: Any,
) -> bool:  # fmt: skip
    """Run one operation on one group of pairs and some rows, ``row`` and after.

    Return whether it could: variances that come up on the way may be too far from one.
    """
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
        more = code[ONE] >= 0
        if along:
            between(
                x, out, more, outer, skip, first, count, ints, at, ints[at - 1], drawn1, drawn2,
                first1, first2, wide1, wide2, ones, twos, along == 1, scale,
            )  # fmt: skip
        else:
            between(
                x, out, more, outer, skip, first, count, ints, ints[at - 1], at, drawn2, drawn1,
                first2, first1, wide2, wide1, twos, ones, True, scale,
            )  # fmt: skip
    elif op == PUT:
        at1 = ints[at - 1]
        put(x, out, n, ints, at, at1, first1, skip, first, count, one, wide1, ones, itself)
    else:
        return _nonlinear(
            op - DUAL, code, scale, ints, x, slope, more, row, rows, held, one, two, wide1, wide2,
            ones, twos, along, bounds, spare, other,
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
    code: Any, scales: Any, ints: Any, source: Any, more: Any, target: Any, beside: Any,
    copies: Any, n1: int, n2: int, same: Any, ones: Any, twos: Any, pairs: Any, whole: Any,
    along: int, rows: int, step: int, work: Any, bounds: Any,
) -> bool:  # fmt: skip
    """Run a chain on group after group of pairs, some rows at a time; return whether it could.

    Values are loaded from ``source`` or, after its last row, from ``more``; ``beside`` has the
    variances of both batches and then the examples, ``copies`` the space to bring them side by
    side. Pairs come as in ``numba_groups``. The last two slots of ``work`` are for the windows.
    """
    lanes = ones.shape[1]
    one, two, drawn1, drawn2 = beside if along < 2 else copies
    wide1, wide2 = (n1, n2) if along < 2 else (lanes, lanes)
    every, fine = np.arange(lanes), True
    itself, sums = np.zeros(lanes, np.bool_), np.empty(lanes, work.dtype)
    for g in range(ones.shape[0]):
        _mark(same, ones[g], twos[g], pairs[g], itself)
        lanes1, lanes2 = ones[g], twos[g]
        if along == 2:
            for k in range(4):
                _copy(beside[k], (n1, n2)[k % 2], (lanes1, lanes2)[k % 2], copies[k])
            lanes1, lanes2 = every, every
        for row in range(0, rows, step):
            held = min(step, rows - row)
            for c in range(code.shape[0]):
                op, outer, at = code[c, WHAT], code[c, OUTER], code[c, AT]
                width, slot = code[c, WIDTH], work[code[c, ONE]]
                first, count, skip = row * width, held * width, rows * width
                if op == LOAD:
                    slot, after = work[code[c, OUT]], at - source.shape[0]
                    if after < 0:
                        _load(source, slot, at, outer, skip, first, count, pairs[g], whole[g])
                    else:
                        _load(more, slot, after, outer, skip, first, count, pairs[g], whole[g])
                elif op == STORE:
                    _store(slot, target, at, outer, skip, first, count, pairs[g], whole[g])
                elif op == TOTAL:
                    y = target[at : at + 1]
                    _total(slot, outer * count, y, pairs[g], whole[g], scales[c, 0])
                elif op == FOLD:
                    fold(
                        slot, target, code[c, FIRST1], ints, at, row, held, pairs[g], whole[g],
                        scales[c, 0], work[work.shape[0] - 2], work[work.shape[0] - 1], sums,
                    )  # fmt: skip
                else:
                    fine &= _operate(
                        code[c], scales[c, 0], scales[c, 1], ints, work, rows, row, held, one, two,
                        wide1, wide2, drawn1, drawn2, lanes1, lanes2, along, itself, bounds,
                    )  # fmt: skip
    return fine
