"""What a chain does with what belongs to examples: their variances, or the examples themselves."""

from __future__ import annotations

from typing import Any

from ntcore.backends.numba_loops import CHUNK, LANES, U, compiled, exact
from ntcore.backends.numba_moments import alike, one_by_lanes


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
            r1, r2 = (first1 + ints[at1 + e]) * wide1, (first2 + ints[at2 + e]) * wide2
            for v in range(0, lanes, LANES):
                q1, j = one[U(r1 + ones[v])], r2 + twos[v]
                one_by_lanes(kind, k, slope, tangent, a + v, q1, two, j)
            a += lanes


@compiled
def dual_brought(
    kind: int, k: Any, slope: Any, tangent: bool, outer: int, skip: int, first: int, count: int,
    ints: Any, at1: int, at2: int, one: Any, two: Any, first1: int, first2: int, wide1: int,
    wide2: int, ones: Any, twos: Any, scale: Any, spare: Any, other: Any,
) -> None:  # fmt: skip
    """The same for any pairs, with scaled variances that are brought side by side first."""
    a, done, lanes = 0, 0, ones.size
    most = min(CHUNK, spare.size)
    for m in range(outer):
        for e in range(m * skip + first, m * skip + first + count):
            r1, r2 = (first1 + ints[at1 + e]) * wide1, (first2 + ints[at2 + e]) * wide2
            if a + lanes - done > most:
                alike(kind, k, slope, tangent, done, spare, 0, other, 0, a - done)
                done = a
            for i in range(lanes):
                spare[U(a - done + i)] = one[r1 + ones[i]] * scale
                other[U(a - done + i)] = two[r2 + twos[i]] * scale
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
            r1, r2, start = ints[at1 + e], ints[at2 + e], e
            while e < stop and ints[at1 + e] - r1 == ints[at2 + e] - r2 == e - start:
                e += 1
            n, b, c = (e - start) * lanes, (first1 + r1) * lanes, (first2 + r2) * lanes
            alike(kind, k, slope, tangent, a, one, b, two, c, n)
            a += n


@exact
def between(
    x: Any, out: Any, more: bool, outer: int, skip: int, first: int, count: int, ints: Any,
    at1: int, at2: int, one: Any, two: Any, first1: int, first2: int, wide1: int, wide2: int,
    ones: Any, twos: Any, vectors: bool, scale: Any,
) -> None:  # fmt: skip
    """Multiply the examples that every entry compares, and add what was there."""
    a, lanes = 0, ones.size
    for m in range(outer):
        for e in range(m * skip + first, m * skip + first + count):
            r1, r2 = (first1 + ints[at1 + e]) * wide1, (first2 + ints[at2 + e]) * wide2
            if vectors:
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
                    z = one[U(r1 + i)] * two[U(r2 + i)]
                    out[U(a + i)] = (z + x[U(a + i)] if more else z) * scale
            a += lanes


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
