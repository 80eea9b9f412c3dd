"""What a chain does with what belongs to examples: their variances, or the examples themselves."""

from __future__ import annotations

from typing import Any

from ntcore.backends.numba_loops import CHUNK, LANES, U, compiled, exact
from ntcore.backends.numba_moments import alike, one_by_lanes
from ntcore.backends.numba_vectors import read, write


@compiled
def dual(
    kind: int, k: Any, slope: Any, tangent: bool, outer: int, skip: int, first: int, count: int,
    ints: Any, at1: int, at2: int, one: Any, two: Any, first1: int, first2: int, wide1: int,
    wide2: int, ones: Any, twos: Any,
) -> None:  # fmt: skip
    """Write moments over the entries that they are of, one example against its neighbours."""
    a, lanes = 0, ones.size
    for m in range(outer):
        for e in range(m * skip + first, m * skip + first + count):
            r1, r2 = (first1 + ints[U(at1 + e)]) * wide1, (first2 + ints[U(at2 + e)]) * wide2
            for v in range(0, lanes, LANES):
                q1, j = one[U(r1 + ones[U(v)])], r2 + twos[U(v)]
                one_by_lanes(kind, k, slope, tangent, a + v, q1, two, j)
            a += lanes


@compiled
def dual_brought(
    kind: int, k: Any, slope: Any, tangent: bool, outer: int, skip: int, first: int, count: int,
    ints: Any, at1: int, at2: int, one: Any, two: Any, first1: int, first2: int, wide1: int,
    wide2: int, ones: Any, twos: Any, scale: Any, bias: Any, spare: Any,
    other: Any,
) -> None:  # fmt: skip
    """The same for any pairs: variances, scaled and shifted, are brought side by side first."""
    a, done, lanes = 0, 0, ones.size
    most = min(CHUNK, spare.size)
    for m in range(outer):
        for e in range(m * skip + first, m * skip + first + count):
            r1, r2 = (first1 + ints[at1 + e]) * wide1, (first2 + ints[at2 + e]) * wide2
            if a + lanes - done > most:
                alike(kind, k, slope, tangent, done, spare, 0, other, 0, a - done)
                done = a
            for i in range(lanes):
                spare[U(a - done + i)] = one[r1 + ones[i]] * scale + bias
                other[U(a - done + i)] = two[r2 + twos[i]] * scale + bias
            a += lanes
    alike(kind, k, slope, tangent, done, spare, 0, other, 0, a - done)


@compiled
def dual_beside(
    kind: int, k: Any, slope: Any, tangent: bool, outer: int, skip: int, first: int, count: int,
    ints: Any, at1: int, at2: int, one: Any, two: Any, first1: int, first2: int, lanes: int,
) -> None:  # fmt: skip
    """The same with variances that lie side by side, as many entries at once as follow on."""
    a = 0
    for m in range(outer):
        e, stop = m * skip + first, m * skip + first + count
        while e < stop:
            many = following(ints, at1, at2, e, stop)
            b, c = (first1 + ints[at1 + e]) * lanes, (first2 + ints[at2 + e]) * lanes
            n = many * lanes
            alike(kind, k, slope, tangent, a, one, b, two, c, n)
            e, a = e + many, a + n


@exact
def between(
    out: Any, outer: int, skip: int, first: int, count: int, ints: Any, at1: int, at2: int,
    firsts1: int, firsts2: int, many: int, one: Any, two: Any, wide1: int, wide2: int, ones: Any,
    twos: Any, scale: Any,
) -> None:  # fmt: skip
    """Multiply the examples that every entry compares, and add up what their channels give."""
    o, lanes = 0, ones.size
    for m in range(outer):
        for e in range(m * skip + first, m * skip + first + count):
            r1, r2 = ints[at1 + e] * wide1, ints[at2 + e] * wide2
            for v in range(0, lanes, LANES):
                i, j = r1 + ones[U(v)], r2 + twos[U(v)]
                a, b = i + ints[firsts1] * wide1, j + ints[firsts2] * wide2
                total = one[U(a)] * read(two, b)
                for c in range(2, 2 * many, 2):
                    a, b = i + ints[U(firsts1 + c)] * wide1, j + ints[U(firsts2 + c)] * wide2
                    total = total + one[U(a)] * read(two, b)
                write(out, o, total * scale)
                o += LANES


@exact
def between_beside(
    out: Any, outer: int, skip: int, first: int, count: int, ints: Any, at1: int, at2: int,
    firsts1: int, firsts2: int, many: int, one: Any, two: Any, lanes: int, scale: Any,
) -> None:  # fmt: skip
    """The same with examples that lie side by side, as many entries at once as follow on."""
    a = 0
    for m in range(outer):
        e, stop = m * skip + first, m * skip + first + count
        while e < stop:
            n = following(ints, at1, at2, e, stop)
            for c in range(many):
                b = (ints[firsts1 + 2 * c] + ints[at1 + e]) * lanes
                d = (ints[firsts2 + 2 * c] + ints[at2 + e]) * lanes
                factor = scale if c + 1 == many else out.dtype.type(1)
                if c:
                    for i in range(n * lanes):
                        z = out[U(a + i)] + one[U(b + i)] * two[U(d + i)]
                        out[U(a + i)] = z * factor
                else:
                    for i in range(n * lanes):
                        out[U(a + i)] = (one[U(b + i)] * two[U(d + i)]) * factor
            e, a = e + n, a + n * lanes


@compiled
def following(ints: Any, at1: int, at2: int, e: int, stop: int) -> int:
    """Count the entries whose rows follow on in both batches, from one on."""
    r1, r2, n = ints[at1 + e], ints[at2 + e], 1
    while e + n < stop and ints[at1 + e + n] - r1 == ints[at2 + e + n] - r2 == n:
        n += 1
    return n


@compiled
def put(
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
def are_within(x: Any, entries: int, lanes: int, ints: Any, at: int, bounds: Any) -> bool:
    """Whether the entries that are variances are zero or within bounds."""
    low, high = bounds
    for e in range(entries):
        if ints[at + e] == e:
            for i in range(e * lanes, (e + 1) * lanes):
                if x[i] != 0 and not low < x[i] < high:
                    return False
    return True


@compiled
def count_extremes(x: Any, wide: int, rows: int, n: int, low: Any, high: Any) -> int:
    """Count variances that are neither zero nor within bounds."""
    found = 0
    for r in range(rows):
        for i in range(r * wide, r * wide + n):
            z = x[U(i)]
            found += not ((z == 0) | ((z > low) & (z < high)))
    return found
