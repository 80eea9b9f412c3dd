"""Moments of nonlinearities, compiled by numba."""

from __future__ import annotations

from typing import Any

import numpy as np

from ntcore.backends.buffers import empty
from ntcore.backends.numba_loops import (
    CHUNK,
    LANES,
    U,
    are_pairs,
    compiled,
    inlined,
    rows_of,
    whole,
)
from ntcore.backends.numba_pointwise import (
    bell,
    error_function,
    gelu,
    normalized,
    rectified,
    waves,
)
from ntcore.backends.numba_vectors import read, write
from ntcore.backends.numpy_moments import moderate
from ntcore.ops import REFERENCE

# --- loops --------------------------------------------------------------------------------------

#: Which nonlinearity a loop is of.
RECTIFIER, ERROR_FUNCTION, GELU, WAVES, BELL, NORMALIZED = range(6)


# In chains moments are written over what they are of: a loop from one array to itself reads and
# writes at one place, and a chain keeps half as much in cache.


@inlined
def one_by_lanes(
    kind: int, k: Any, slope: Any, tangent: bool, a: int, q1: Any, two: Any, j: int
) -> None:
    """Take one example against as many neighbours as fill a vector."""
    if kind == RECTIFIER:
        moment, rate = rectified(read(k, a), q1, read(two, j))
    else:
        moment, rate = error_function(read(k, a), q1, read(two, j))
    write(k, a, moment)
    write(slope, a, rate * read(slope, a) if tangent else rate)


@compiled
def one_by_many(
    kind: int, k: Any, moment: Any, slope: Any, a: int, q1: Any, two: Any, j: int, n: int
) -> None:
    """Take one example against ``n`` neighbours; entries begin at ``a``, variances at ``j``."""
    for v in range(0, n - LANES + 1, LANES):
        if kind == RECTIFIER:
            found, rate = rectified(read(k, a + v), q1, read(two, j + v))
        else:
            found, rate = error_function(read(k, a + v), q1, read(two, j + v))
        write(moment, a + v, found)
        write(slope, a + v, rate)
    for i in range(n - n % LANES, n):
        if kind == RECTIFIER:
            moment[a + i], slope[a + i] = rectified(k[a + i], q1, two[j + i])
        else:
            moment[a + i], slope[a + i] = error_function(k[a + i], q1, two[j + i])


@compiled
def alike(
    kind: int, k: Any, slope: Any, tangent: bool, a: int, q1: Any, b: int, q2: Any, c: int, n: int
) -> None:
    """Take ``n`` entries from ``a`` on, with as many variances of both batches."""
    if kind == RECTIFIER:
        if tangent:
            for i in range(n):
                k[U(a + i)], rate = rectified(k[U(a + i)], q1[U(b + i)], q2[U(c + i)])
                slope[U(a + i)] *= rate
        else:
            for i in range(n):
                k[U(a + i)], slope[U(a + i)] = rectified(k[U(a + i)], q1[U(b + i)], q2[U(c + i)])
    elif kind == ERROR_FUNCTION:
        if tangent:
            for i in range(n):
                k[U(a + i)], rate = error_function(k[U(a + i)], q1[U(b + i)], q2[U(c + i)])
                slope[U(a + i)] *= rate
        else:
            for i in range(n):
                x, q, r = k[U(a + i)], q1[U(b + i)], q2[U(c + i)]
                k[U(a + i)], slope[U(a + i)] = error_function(x, q, r)
    else:
        _smooth(kind, k, slope, tangent, a, q1, b, q2, c, n)


@compiled
def _smooth(
    kind: int, k: Any, slope: Any, tangent: bool, a: int, q1: Any, b: int, q2: Any, c: int, n: int
) -> None:
    if kind == GELU:
        if tangent:
            for i in range(n):
                k[U(a + i)], rate = gelu(k[U(a + i)], q1[U(b + i)], q2[U(c + i)])
                slope[U(a + i)] *= rate
        else:
            for i in range(n):
                k[U(a + i)], slope[U(a + i)] = gelu(k[U(a + i)], q1[U(b + i)], q2[U(c + i)])
    elif kind == WAVES:
        if tangent:
            for i in range(n):
                k[U(a + i)], rate = waves(k[U(a + i)], q1[U(b + i)], q2[U(c + i)])
                slope[U(a + i)] *= rate
        else:
            for i in range(n):
                k[U(a + i)], slope[U(a + i)] = waves(k[U(a + i)], q1[U(b + i)], q2[U(c + i)])
    else:
        _plain(kind, k, slope, tangent, a, q1, b, q2, c, n)


@compiled
def _plain(
    kind: int, k: Any, slope: Any, tangent: bool, a: int, q1: Any, b: int, q2: Any, c: int, n: int
) -> None:
    if kind == BELL:
        if tangent:
            for i in range(n):
                k[U(a + i)], rate = bell(k[U(a + i)], q1[U(b + i)], q2[U(c + i)])
                slope[U(a + i)] *= rate
        else:
            for i in range(n):
                k[U(a + i)], slope[U(a + i)] = bell(k[U(a + i)], q1[U(b + i)], q2[U(c + i)])
    elif tangent:
        for i in range(n):
            k[U(a + i)], rate = normalized(k[U(a + i)], q1[U(b + i)], q2[U(c + i)])
            slope[U(a + i)] *= rate
    else:
        for i in range(n):
            k[U(a + i)], slope[U(a + i)] = normalized(k[U(a + i)], q1[U(b + i)], q2[U(c + i)])


@compiled
def _pairs(
    kind: int, k: Any, q1: Any, q2: Any, rows1: Any, rows2: Any, moment: Any, slope: Any
) -> None:
    """Take all pairs of two batches, row after row of entries."""
    n1, n2 = q1.shape[1], q2.shape[1]
    one, two = q1.ravel(), q2.ravel()
    if n2 >= LANES and kind < GELU:
        for a in range(rows1.size):
            for i in range(n1):
                at, q, j = (a * n1 + i) * n2, one[rows1[a] * n1 + i], rows2[a] * n2
                one_by_many(kind, k, moment, slope, at, q, two, j, n2)
        return
    # Several rows at a time, so that vectors are full however few examples there are.
    size = n1 * n2
    step = max(CHUNK // size, 1)
    first, second = np.empty(step * size, k.dtype), np.empty(step * size, k.dtype)
    for a in range(0, rows1.size, step):
        rows = min(step, rows1.size - a)
        for b in range(rows):
            for i in range(n1):
                for j in range(n2):
                    first[(b * n1 + i) * n2 + j] = one[rows1[a + b] * n1 + i]
                    second[(b * n1 + i) * n2 + j] = two[rows2[a + b] * n2 + j]
        _copied(kind, k, moment, slope, a * size, first, second, rows * size)


@compiled
def _copied(kind: int, k: Any, moment: Any, slope: Any, a: int, q1: Any, q2: Any, n: int) -> None:
    for v in range(0, n, CHUNK):
        m = min(CHUNK, n - v)
        moment[a + v : a + v + m] = k[a + v : a + v + m]
        alike(kind, moment, slope, False, a + v, q1, v, q2, v, m)


#: Data types that are compiled.
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def rectifier(at: Any, k: np.ndarray, q1: np.ndarray, q2: np.ndarray) -> Any:
    """Both moments in one pass, accurate where ``|k|`` nears its bound."""
    found = _dual(RECTIFIER, k, q1, q2)
    return REFERENCE["rectifier"](at, k, q1, q2) if found is None else found


def arcsine(at: Any, k: np.ndarray, q1: np.ndarray, q2: np.ndarray) -> Any:
    """Both moments in one pass."""
    found = _dual(ERROR_FUNCTION, k, q1, q2)
    return REFERENCE["arcsine"](at, k, q1, q2) if found is None else found


def gelu_moments(at: Any, k: np.ndarray, q1: np.ndarray, q2: np.ndarray) -> Any:
    """Both moments in one pass."""
    found = _dual(GELU, k, q1, q2)
    return REFERENCE["gelu"](at, k, q1, q2) if found is None else found


def wave_moments(at: Any, k: np.ndarray, q1: np.ndarray, q2: np.ndarray) -> Any:
    """Both moments in one pass."""
    found = _dual(WAVES, k, q1, q2)
    return REFERENCE["waves"](at, k, q1, q2) if found is None else found


def bell_moments(at: Any, k: np.ndarray, q1: np.ndarray, q2: np.ndarray) -> Any:
    """Both moments in one pass."""
    found = _dual(BELL, k, q1, q2)
    return REFERENCE["bell"](at, k, q1, q2) if found is None else found


def _dual(kind: int, k: np.ndarray, q1: np.ndarray, q2: np.ndarray) -> Any:
    same = k.dtype == q1.dtype == q2.dtype
    if k.dtype not in DTYPES or not (same and moderate(q1) and moderate(q2)):
        return None
    shape = np.broadcast_shapes(k.shape, q1.shape, q2.shape)
    moment, slope = empty(shape, k.dtype), empty(shape, k.dtype)
    flat, out = whole(k, shape).reshape(-1), (moment.reshape(-1), slope.reshape(-1))
    if not are_pairs(shape, q1, q2):
        one, two = (whole(x, shape).reshape(-1) for x in (q1, q2))
        _copied(kind, flat, *out, 0, one, two, flat.size)
        return moment, slope
    lead, (n1, n2) = shape[:-2], shape[-2:]
    one, two = (np.ascontiguousarray(x.reshape(-1, n)) for x, n in ((q1, n1), (q2, n2)))
    rows = rows_of(q1.shape[:-2], lead), rows_of(q2.shape[:-2], lead)
    _pairs(kind, flat, one, two, *rows, *out)
    return moment, slope
