"""Moments of nonlinearities, compiled by numba."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ntcore.backends.buffers import empty
from ntcore.backends.numba_loops import CHUNK, are_pairs, compiled, rows_of, whole
from ntcore.backends.numpy import moderate
from ntcore.ops import REFERENCE

#: Examples that fill a vector.
LANES = 16

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

    @compiled
    def of(z: Any) -> Any:
        high = c7 + z * (c8 + z * (c9 + z * (c10 + z * (c11 + z * c12))))
        return c0 + z * (c1 + z * (c2 + z * (c3 + z * (c4 + z * (c5 + z * (c6 + z * high))))))

    return of


def _arctangent(dtype: type) -> Callable[[Any, Any], Any]:
    """Return ``(u, z) -> atan(u)`` for ``z = u**2`` and ``0 <= u <= 1``, to the last digit."""
    if dtype is np.float32:
        plain = _horner(_series(10, 1.0, dtype))

        @compiled
        def short(u: Any, z: Any) -> Any:
            return u * plain(z)

        return short
    one = dtype(1)
    halved = _horner(_series(12, math.tan(math.pi / 8) ** 2, dtype))

    @compiled
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

    @compiled
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

    @compiled
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


def _loops(moments: Pointwise) -> tuple[Any, ...]:
    """Return the loops over operands of one shape, and over all pairs of two batches."""

    @compiled
    def alike(k: Any, q1: Any, q2: Any, moment: Any, slope: Any) -> None:
        for i in range(k.size):
            moment[i], slope[i] = moments(k[i], q1[i], q2[i])

    @compiled
    def pairs(k: Any, q1: Any, q2: Any, rows1: Any, rows2: Any, moment: Any, slope: Any) -> None:
        n1, n2 = k.shape[1], k.shape[2]
        if n2 >= LANES:
            for a in range(k.shape[0]):
                one, two = q1[rows1[a]], q2[rows2[a]]
                for i in range(n1):
                    q, row, first_out, second_out = one[i], k[a, i], moment[a, i], slope[a, i]
                    for j in range(n2):
                        first_out[j], second_out[j] = moments(row[j], q, two[j])
            return
        # Several rows at a time, so that vectors are full however few examples there are.
        step = max(CHUNK // (n1 * n2), 1)
        first = np.empty((step, n1, n2), k.dtype)
        second = np.empty((step, n1, n2), k.dtype)
        for a in range(0, k.shape[0], step):
            rows = min(step, k.shape[0] - a)
            for b in range(rows):
                one, two = q1[rows1[a + b]], q2[rows2[a + b]]
                for i in range(n1):
                    for j in range(n2):
                        first[b, i, j] = one[i]
                        second[b, i, j] = two[j]
            alike(
                k[a : a + rows].reshape(-1),
                first[:rows].reshape(-1),
                second[:rows].reshape(-1),
                moment[a : a + rows].reshape(-1),
                slope[a : a + rows].reshape(-1),
            )

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


def _dual(name: str, at: Any, k: np.ndarray, q1: np.ndarray, q2: np.ndarray) -> Any:
    loops = _LOOPS[name].get(k.dtype)
    same = k.dtype == q1.dtype == q2.dtype
    if loops is None or not (same and moderate(q1) and moderate(q2)):
        return REFERENCE[name](at, k, q1, q2)
    alike, pairs = loops
    shape = np.broadcast_shapes(k.shape, q1.shape, q2.shape)
    moment, slope = empty(shape, k.dtype), empty(shape, k.dtype)
    if not are_pairs(shape, q1, q2):
        operands = (whole(x, shape).reshape(-1) for x in (k, q1, q2))
        alike(*operands, moment.reshape(-1), slope.reshape(-1))
        return moment, slope
    lead, (n1, n2) = shape[:-2], shape[-2:]
    sizes = (math.prod(lead), n1, n2)
    first, second = q1.reshape(-1, n1), q2.reshape(-1, n2)
    rows = rows_of(q1.shape[:-2], lead), rows_of(q2.shape[:-2], lead)
    k = whole(k, shape).reshape(sizes)
    pairs(k, first, second, *rows, moment.reshape(sizes), slope.reshape(sizes))
    return moment, slope
