"""Fused operations of the NumPy backend, compiled by numba; imported when one is first called.

Every function here makes one pass over arrays that a tile keeps in cache, and lets go of the
interpreter lock, so that tiles run on several threads. No function uses threads of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numba
import numpy as np

from ntcore.ops import REFERENCE, Table

#: Sums and products may contract, nothing else may change: results stay what the source says.
_compile = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})

#: Shorter rows of pairs than this are not worth a loop of their own.
LANES = 8


# --- sums of entries ----------------------------------------------------------------------------


def gather_sum(at: Any, x: np.ndarray, table: Table) -> np.ndarray:
    """Every entry in one pass: strips of them as vectors, the rest one by one."""
    out = np.empty((x.shape[0], table.index.shape[1], x.shape[2]), dtype=x.dtype)
    strips = table.strips
    x = np.ascontiguousarray(x)
    _sum_strips(x, _strip_rows(table), out)
    _sum_rest(x, strips.rest, strips.sources, out)
    return out


@lru_cache(maxsize=4096)
def _strip_rows(table: Table) -> np.ndarray:
    """Return the strips of a table as rows: start, stop, number of taps, their sources."""
    found = table.strips.strips
    rows = np.zeros((len(found), 3 + table.index.shape[0]), dtype=np.int64)
    for row, (start, stop, sources) in zip(rows, found, strict=True):
        row[: 3 + len(sources)] = [start, stop, len(sources), *sources]
    return rows


@_compile
def _sum_strips(x: np.ndarray, strips: np.ndarray, out: np.ndarray) -> None:
    inner = x.shape[2]
    for a in range(x.shape[0]):
        source, target = x[a].reshape(-1), out[a].reshape(-1)
        for r in range(strips.shape[0]):
            taps = strips[r, 2]
            y = target[strips[r, 0] * inner : strips[r, 1] * inner]
            if taps == 0:
                y[:] = 0
            for t in range(0, taps, 3):
                _add_taps(source, y, strips[r, 3 + t : 3 + min(t + 3, taps)], inner, t == 0)


@_compile
def _add_taps(x: np.ndarray, y: np.ndarray, starts: np.ndarray, inner: int, first: bool) -> None:
    """Add up to three strips to ``y``, or write their sum there."""
    n = y.size
    u = x[starts[0] * inner : starts[0] * inner + n]
    v = x[starts[1] * inner : starts[1] * inner + n] if starts.size > 1 else u
    w = x[starts[2] * inner : starts[2] * inner + n] if starts.size > 2 else u
    if first:
        _write(y, u, v, w, starts.size)
    else:
        _add(y, u, v, w, starts.size)


@_compile
def _write(y: np.ndarray, u: np.ndarray, v: np.ndarray, w: np.ndarray, taps: int) -> None:
    if taps == 1:
        y[:] = u
    elif taps == 2:
        for i in range(y.size):
            y[i] = u[i] + v[i]
    else:
        for i in range(y.size):
            y[i] = (u[i] + v[i]) + w[i]


@_compile
def _add(y: np.ndarray, u: np.ndarray, v: np.ndarray, w: np.ndarray, taps: int) -> None:
    if taps == 1:
        for i in range(y.size):
            y[i] += u[i]
    elif taps == 2:
        for i in range(y.size):
            y[i] = (y[i] + u[i]) + v[i]
    else:
        for i in range(y.size):
            y[i] = ((y[i] + u[i]) + v[i]) + w[i]


@_compile
def _sum_rest(x: np.ndarray, rest: np.ndarray, sources: np.ndarray, out: np.ndarray) -> None:
    for a in range(x.shape[0]):
        for r in range(rest.size):
            m = rest[r]
            for b in range(x.shape[2]):
                out[a, m, b] = 0
            for t in range(sources.shape[1]):
                s = sources[r, t]
                if s < 0:
                    break
                for b in range(x.shape[2]):
                    out[a, m, b] += x[a, s, b]


# --- moments of nonlinearities ------------------------------------------------------------------

Pointwise = Callable[[Any, Any, Any], tuple[Any, Any]]


def _series(degree: int, top: float, dtype: type) -> tuple[Any, ...]:
    """Return the coefficients of ``atan(sqrt(z)) / sqrt(z)`` for ``0 <= z <= top``."""

    def ratio(w: np.ndarray) -> np.ndarray:
        root = np.sqrt((w + 1) * (top / 2))
        return np.arctan(root) / root

    chebyshev: Any = np.polynomial.chebyshev.chebinterpolate(ratio, degree)
    series = np.polynomial.Chebyshev(chebyshev, domain=[0, top])
    return tuple(map(dtype, series.convert(kind=np.polynomial.Polynomial).coef))


def _horner(c: tuple[Any, ...]) -> Callable[[Any], Any]:
    """Return the evaluation of a polynomial of degree 10 or 12, without a loop."""
    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12 = (*c, *(type(c[0])(0),) * (13 - len(c)))

    @_compile
    def of(z: Any) -> Any:
        high = c7 + z * (c8 + z * (c9 + z * (c10 + z * (c11 + z * c12))))
        return c0 + z * (c1 + z * (c2 + z * (c3 + z * (c4 + z * (c5 + z * (c6 + z * high))))))

    return of


def _arctangent(dtype: type) -> Callable[[Any, Any], Any]:
    """Return ``(u, z) -> atan(u)`` for ``z = u**2`` and ``0 <= u <= 1``, to the last digit."""
    if dtype is np.float32:
        plain = _horner(_series(10, 1.0, dtype))

        @_compile
        def short(u: Any, z: Any) -> Any:
            return u * plain(z)

        return short
    one = dtype(1)
    halved = _horner(_series(12, math.tan(math.pi / 8) ** 2, dtype))

    @_compile
    def long(u: Any, z: Any) -> Any:
        t = u / (one + math.sqrt(one + z))
        return (t + t) * halved(t * t)

    return long


def _rectified(dtype: type) -> Pointwise:
    r"""The moments of one pair, with :math:`g = \sqrt{q_1 q_2}`.

    The angle is :math:`2\,\mathrm{atan}\sqrt{(g - k) / (g + k)}`: no digits are lost where k nears
    g, and g is exactly k for coincident inputs.
    """
    arctangent = _arctangent(dtype)
    zero, one, pi, share = dtype(0), dtype(1), dtype(math.pi), dtype(1 / (2 * math.pi))

    @_compile
    def moments(k: Any, q1: Any, q2: Any) -> tuple[Any, Any]:
        g = math.sqrt(q1 * q2)
        minus, plus = max(g - k, zero), max(g + k, zero)
        low, high = min(minus, plus), max(minus, plus)
        z = low / high if high > zero else one
        u = math.sqrt(z)
        a = arctangent(u, z)
        a = a + a
        turned = pi - a if k >= zero else a
        return (high * u + turned * k) * share, turned * share

    return moments


def _error_function(dtype: type) -> Pointwise:
    arctangent = _arctangent(dtype)
    zero, one, two, four = map(dtype, (0, 1, 2, 4))
    right, outer, slope = map(dtype, (math.pi / 2, 2 / math.pi, 4 / math.pi))

    @_compile
    def moments(k: Any, q1: Any, q2: Any) -> tuple[Any, Any]:
        g = math.sqrt(q1 * q2)
        square = max((g - k) * (g + k), zero)
        root = math.sqrt(one + two * (q1 + q2) + four * square)
        double = abs(k + k)
        low, high = min(double, root), max(double, root)
        u = low / high
        a = arctangent(u, u * u)
        a = right - a if double > root else a
        return (a if k >= zero else -a) * outer, slope / root

    return moments


def _loops(moments: Pointwise) -> tuple[Any, Any]:
    """Return the loops over operands of one shape, and over all pairs of two batches."""

    @_compile
    def alike(k: Any, q1: Any, q2: Any, moment: Any, slope: Any) -> None:
        for i in range(k.size):
            moment[i], slope[i] = moments(k[i], q1[i], q2[i])

    @_compile
    def pairs(k: Any, q1: Any, q2: Any, moment: Any, slope: Any) -> None:
        for a in range(k.shape[0]):
            for i in range(k.shape[1]):
                q, row, second = q1[a, i], k[a, i], q2[a]
                first_out, second_out = moment[a, i], slope[a, i]
                for j in range(row.size):
                    first_out[j], second_out[j] = moments(row[j], q, second[j])

    return alike, pairs


_LOOPS = {
    name: {np.dtype(t): _loops(make(t)) for t in (np.float32, np.float64)}
    for name, make in (("rectifier", _rectified), ("arcsine", _error_function))
}


def rectifier(at: Any, k: np.ndarray, q1: np.ndarray, q2: np.ndarray) -> Any:
    """Both moments in one pass, accurate where ``|k|`` nears its bound."""
    return _dual("rectifier", at, k, q1, q2)


def arcsine(at: Any, k: np.ndarray, q1: np.ndarray, q2: np.ndarray) -> Any:
    """Both moments in one pass."""
    return _dual("arcsine", at, k, q1, q2)


FUSED = {"gather_sum": gather_sum, "rectifier": rectifier, "arcsine": arcsine}


def _dual(name: str, at: Any, k: np.ndarray, q1: np.ndarray, q2: np.ndarray) -> Any:
    loops = _LOOPS[name].get(k.dtype)
    same = k.dtype == q1.dtype == q2.dtype
    if loops is None or not (same and _moderate(q1) and _moderate(q2)):
        return REFERENCE[name](at, k, q1, q2)
    alike, pairs = loops
    shape = np.broadcast_shapes(k.shape, q1.shape, q2.shape)
    moment, slope = np.empty(shape, k.dtype), np.empty(shape, k.dtype)
    if not _are_pairs(shape, q1, q2):
        operands = (_whole(x, shape).reshape(-1) for x in (k, q1, q2))
        alike(*operands, moment.reshape(-1), slope.reshape(-1))
        return moment, slope
    lead, (n1, n2) = shape[:-2], shape[-2:]
    rows = math.prod(lead)
    whole = (rows, n1, n2)
    first = _whole(q1, (*lead, n1, 1)).reshape(rows, n1)
    second = _whole(q2, (*lead, 1, n2)).reshape(rows, n2)
    k = _whole(k, shape).reshape(whole)
    pairs(k, first, second, moment.reshape(whole), slope.reshape(whole))
    return moment, slope


def _moderate(q: np.ndarray) -> bool:
    """Whether products of two such variances keep all their digits."""
    info = np.finfo(q.dtype)
    least, most = _extremes(np.ascontiguousarray(q).reshape(-1), info.max)
    return most < float(info.max) ** 0.45 and least > (float(info.tiny) / info.eps) ** 0.5


@_compile
def _extremes(q: np.ndarray, large: Any) -> tuple[Any, Any]:
    """The least positive number and the largest one."""
    least, most = large, large - large
    for x in q:
        least = min(least, x if x > 0 else large)
        most = max(most, x)
    return least, most


def _are_pairs(shape: tuple[int, ...], q1: np.ndarray, q2: np.ndarray) -> bool:
    if len(shape) < 2 or shape[-1] < LANES or q1.ndim < 1:
        return False
    return q1.shape[-1] == 1 and (q2.ndim < 2 or q2.shape[-2] == 1)


def _whole(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.ascontiguousarray(np.broadcast_to(x, shape))
