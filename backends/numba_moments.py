"""Moments of nonlinearities, compiled by numba."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.extending import overload

from ntcore.backends.arctangent import LONG, SHORT, series
from ntcore.backends.buffers import empty
from ntcore.backends.numba_loops import CHUNK, LANES, U, are_pairs, compiled, rows_of, whole
from ntcore.backends.numpy import moderate
from ntcore.ops import REFERENCE

Pointwise = Callable[[Any, Any, Any], tuple[Any, Any]]


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
        plain = _horner(tuple(map(dtype, series(*SHORT))))

        @compiled
        def short(u: Any, z: Any) -> Any:
            return u * plain(z)

        return short
    one = dtype(1)
    halved = _horner(tuple(map(dtype, series(*LONG))))

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


def _of_type(make: Callable[[type], Pointwise]) -> Pointwise:
    """Return the moments of one pair for whatever data type comes."""
    single, double = make(np.float32), make(np.float64)

    def moments(k: Any, q1: Any, q2: Any) -> Any:
        raise TypeError("for compiled code alone")

    @overload(moments, strict=False)
    def choose(k: Any, q1: Any, q2: Any) -> Any:
        if k == numba.float32:
            return lambda k, q1, q2: single(k, q1, q2)
        return lambda k, q1, q2: double(k, q1, q2)

    return moments


_rectified_of_type, _error_function_of_type = map(_of_type, (_rectified, _error_function))

# What is compiled is found on the disk again only if it refers to others by the names of a module.


@compiled
def rectified(k: Any, q1: Any, q2: Any) -> tuple[Any, Any]:
    """Return the moments of one pair under the rectifier."""
    return _rectified_of_type(k, q1, q2)


@compiled
def error_function(k: Any, q1: Any, q2: Any) -> tuple[Any, Any]:
    """Return the moments of one pair under the error function."""
    return _error_function_of_type(k, q1, q2)


# --- loops --------------------------------------------------------------------------------------

#: Which nonlinearity a loop is of.
RECTIFIER, ERROR_FUNCTION = range(2)


@compiled
def _rectified_tangent(
    k: Any, below: Any, moment: Any, slope: Any, a: int, q1: Any, two: Any, j: int, n: int
) -> None:
    for i in range(n):
        moment[U(a + i)], rate = rectified(k[U(a + i)], q1, two[U(j + i)])
        slope[U(a + i)] = rate * below[U(a + i)]


@compiled
def _rectified_row(
    k: Any, moment: Any, slope: Any, a: int, q1: Any, two: Any, j: int, n: int
) -> None:
    for i in range(n):
        moment[U(a + i)], slope[U(a + i)] = rectified(k[U(a + i)], q1, two[U(j + i)])


@compiled
def _rectified_alike(k: Any, moment: Any, slope: Any, a: int, q1: Any, q2: Any, n: int) -> None:
    for i in range(n):
        moment[U(a + i)], slope[U(a + i)] = rectified(k[U(a + i)], q1[i], q2[i])


@compiled
def _error_function_tangent(
    k: Any, below: Any, moment: Any, slope: Any, a: int, q1: Any, two: Any, j: int, n: int
) -> None:
    for i in range(n):
        moment[U(a + i)], rate = error_function(k[U(a + i)], q1, two[U(j + i)])
        slope[U(a + i)] = rate * below[U(a + i)]


@compiled
def _error_function_row(
    k: Any, moment: Any, slope: Any, a: int, q1: Any, two: Any, j: int, n: int
) -> None:
    for i in range(n):
        moment[U(a + i)], slope[U(a + i)] = error_function(k[U(a + i)], q1, two[U(j + i)])


@compiled
def _error_function_alike(
    k: Any, moment: Any, slope: Any, a: int, q1: Any, q2: Any, n: int
) -> None:
    for i in range(n):
        moment[U(a + i)], slope[U(a + i)] = error_function(k[U(a + i)], q1[i], q2[i])


@compiled
def one_by_many(
    kind: int, k: Any, below: Any, tangent: bool, moment: Any, slope: Any, a: int,
    q1: Any, two: Any, j: int, n: int,
) -> None:  # fmt: skip
    """Take one example against ``n`` neighbours; entries begin at ``a``, variances at ``j``."""
    if kind == RECTIFIER:
        if tangent:
            _rectified_tangent(k, below, moment, slope, a, q1, two, j, n)
        else:
            _rectified_row(k, moment, slope, a, q1, two, j, n)
    elif tangent:
        _error_function_tangent(k, below, moment, slope, a, q1, two, j, n)
    else:
        _error_function_row(k, moment, slope, a, q1, two, j, n)


@compiled
def alike(
    kind: int, k: Any, below: Any, tangent: bool, moment: Any, slope: Any, a: int,
    q1: Any, q2: Any, n: int,
) -> None:  # fmt: skip
    """Take ``n`` entries from ``a`` on, with as many variances of both batches."""
    if kind == RECTIFIER:
        _rectified_alike(k, moment, slope, a, q1, q2, n)
    else:
        _error_function_alike(k, moment, slope, a, q1, q2, n)
    if tangent:
        for i in range(n):
            slope[U(a + i)] *= below[U(a + i)]


@compiled
def _pairs(
    kind: int, k: Any, q1: Any, q2: Any, rows1: Any, rows2: Any, moment: Any, slope: Any
) -> None:
    """Take all pairs of two batches, row after row of entries."""
    n1, n2 = q1.shape[1], q2.shape[1]
    one, two = q1.ravel(), q2.ravel()
    if n2 >= LANES:
        for a in range(rows1.size):
            for i in range(n1):
                at, q = (a * n1 + i) * n2, one[rows1[a] * n1 + i]
                one_by_many(kind, k, k, False, moment, slope, at, q, two, rows2[a] * n2, n2)
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
        alike(kind, k, k, False, moment, slope, a * size, first, second, rows * size)


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


def _dual(kind: int, k: np.ndarray, q1: np.ndarray, q2: np.ndarray) -> Any:
    same = k.dtype == q1.dtype == q2.dtype
    if k.dtype not in DTYPES or not (same and moderate(q1) and moderate(q2)):
        return None
    shape = np.broadcast_shapes(k.shape, q1.shape, q2.shape)
    moment, slope = empty(shape, k.dtype), empty(shape, k.dtype)
    flat, out = whole(k, shape).reshape(-1), (moment.reshape(-1), slope.reshape(-1))
    if not are_pairs(shape, q1, q2):
        one, two = (whole(x, shape).reshape(-1) for x in (q1, q2))
        alike(kind, flat, flat, False, *out, 0, one, two, flat.size)
        return moment, slope
    lead, (n1, n2) = shape[:-2], shape[-2:]
    one, two = (np.ascontiguousarray(x.reshape(-1, n)) for x, n in ((q1, n1), (q2, n2)))
    rows = rows_of(q1.shape[:-2], lead), rows_of(q2.shape[:-2], lead)
    _pairs(kind, flat, one, two, *rows, *out)
    return moment, slope
