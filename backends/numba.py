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

from ntcore.backend import is_number
from ntcore.backends.buffers import empty
from ntcore.backends.numpy import moderate
from ntcore.ops import REFERENCE, Table

#: Sums and products may contract, nothing else may change: results stay what the source says.
_compile = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})

#: Examples that fill a vector.
LANES = 16

#: Entries that stay in the first cache.
CHUNK = 2048


# --- sums of entries ----------------------------------------------------------------------------


def gather_sum(at: Any, x: np.ndarray, table: Table) -> np.ndarray:
    """Every entry in one pass: strips of them as vectors, the rest one by one."""
    out = empty((x.shape[0], table.index.shape[1], x.shape[2]), x.dtype)
    _gather(x, table, out, _last(x, None, None, None))
    return out


def gather_sums(
    at: Any,
    x: np.ndarray,
    tables: tuple[Table, ...],
    scale: Any = None,
    bias: Any = None,
    plus: np.ndarray | None = None,
) -> np.ndarray:
    """The last gather writes the result."""
    last = _last(x, scale, bias, plus)
    sizes = x.shape
    for k, table in enumerate(tables):
        outer, inner = math.prod(sizes[:k]), math.prod(sizes[k + 1 :])
        out = empty((outer, table.index.shape[1], inner), x.dtype)
        final = k == len(tables) - 1
        after = last if final and last else _last(x, None, None, None)
        if after[4]:
            after = (*after[:3], after[3].reshape(out.shape), True)
        _gather(x.reshape(outer, sizes[k], inner), table, out, after)
        sizes = (*sizes[:k], out.shape[1], *sizes[k + 1 :])
        x = out
    x = x.reshape(sizes)
    return x if last and tables else affine(at, x, scale, bias, plus)


def _gather(x: np.ndarray, table: Table, out: np.ndarray, after: tuple[Any, ...]) -> None:
    x = np.ascontiguousarray(x)
    plus = after[3] if after[4] else x
    _sum(x, *_rows_of(table), out, *after[:3], plus, after[4])


def affine(
    at: Any, x: np.ndarray, scale: Any = None, bias: Any = None, plus: np.ndarray | None = None
) -> np.ndarray:
    """One pass where the scale and the bias are plain numbers."""
    last = _last(x, scale, bias, plus)
    if not last or (plus is not None and plus.shape != x.shape):
        return REFERENCE["affine"](at, x, scale, bias, plus)
    out, x = empty(x.shape, x.dtype), np.ascontiguousarray(x)
    factor, shift, _, more, added = last
    _affine(x.reshape(-1), out.reshape(-1), factor, shift, more.reshape(-1), added)
    return out


def product(at: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """One pass over all pairs of two batches, too."""
    shape = np.broadcast_shapes(x.shape, y.shape)
    out = empty(shape, x.dtype)
    if not (x.dtype == y.dtype and _are_pairs(shape, x, y)):
        return np.multiply(x, y, out=out)
    lead, (n1, n2) = shape[:-2], shape[-2:]
    rows = _rows(x.shape[:-2], lead), _rows(y.shape[:-2], lead)
    _products(x.reshape(-1, n1), y.reshape(-1, n2), *rows, out.reshape(-1, n1, n2))
    return out


@_compile
def _products(
    x: np.ndarray, y: np.ndarray, rows1: np.ndarray, rows2: np.ndarray, out: np.ndarray
) -> None:
    for a in range(out.shape[0]):
        for i in range(out.shape[1]):
            u = x[rows1[a], i]
            for j in range(out.shape[2]):
                out[a, i, j] = u * y[rows2[a], j]


def _last(x: np.ndarray, scale: Any, bias: Any, plus: np.ndarray | None) -> tuple[Any, ...]:
    """Return the scale, the bias and what is added as the loops take them; () if they cannot."""
    if not all(y is None or is_number(y) for y in (scale, bias)):
        return ()
    if plus is not None and plus.dtype != x.dtype:
        return ()
    kind = x.dtype.type
    more = x if plus is None else np.ascontiguousarray(plus)
    changes = not (scale is None and bias is None and plus is None)
    return kind(1 if scale is None else scale), kind(bias or 0), changes, more, plus is not None


@lru_cache(maxsize=8192)
def _rows_of(table: Table) -> tuple[np.ndarray, np.ndarray]:
    return _strip_rows(table), _rest_rows(table)


def _strip_rows(table: Table) -> np.ndarray:
    """Return the strips of a table as rows: start, stop, number of taps, their sources."""
    found = table.strips.strips
    rows = np.zeros((len(found), 3 + table.index.shape[0]), dtype=np.int64)
    for row, (start, stop, sources) in zip(rows, found, strict=True):
        row[: 3 + len(sources)] = [start, stop, len(sources), *sources]
    return rows


def _rest_rows(table: Table) -> np.ndarray:
    """Return the other entries of a table as rows: entry, number of taps, their sources."""
    rest, sources = table.strips.rest, table.strips.sources
    return np.column_stack([rest, (sources >= 0).sum(axis=1), sources])


@_compile
def _sum(
    x: np.ndarray,
    strips: np.ndarray,
    rest: np.ndarray,
    out: np.ndarray,
    scale: Any,
    bias: Any,
    scaled: bool,
    plus: np.ndarray,
    added: bool,
) -> None:
    """Strip after strip, then the other entries one by one."""
    inner = x.shape[2]
    for a in range(x.shape[0]):
        source, target = x[a].reshape(-1), out[a].reshape(-1)
        more = plus[a].reshape(-1) if added else source
        for r in range(strips.shape[0]):
            start, stop, taps = strips[r, 0] * inner, strips[r, 1] * inner, strips[r, 2]
            for i in range(start, stop, CHUNK):
                n = min(CHUNK, stop - i)
                y = target[i : i + n]
                _add_up(source, y, strips[r, 3 : 3 + taps], inner, i - start)
                if scaled:
                    _finish(y, scale, bias, more[i : i + n], added)
        for r in range(rest.shape[0]):
            i = rest[r, 0] * inner
            y = target[i : i + inner]
            _add_up(source, y, rest[r, 2 : 2 + rest[r, 1]], inner, 0)
            if scaled:
                _finish(y, scale, bias, more[i : i + inner], added)


@_compile
def _finish(y: np.ndarray, scale: Any, bias: Any, plus: np.ndarray, added: bool) -> None:
    """:func:`_affine` in place; one function for both would keep either from being a vector's."""
    if added:
        for i in range(y.size):
            y[i] = (y[i] * scale + bias) + plus[i]
    else:
        for i in range(y.size):
            y[i] = y[i] * scale + bias


@_compile
def _add_up(x: np.ndarray, y: np.ndarray, entries: np.ndarray, inner: int, ahead: int) -> None:
    """Write the sum of the strips that begin ``ahead`` of each of some entries."""
    taps = entries.size
    if taps == 0:
        y[:] = 0
    for t in range(0, taps, 3):
        few, a = min(taps - t, 3), entries[t] * inner + ahead
        b = entries[t + 1] * inner + ahead if few > 1 else a
        c = entries[t + 2] * inner + ahead if few > 2 else a
        n = y.size
        if t == 0:
            _write(y, x[a : a + n], x[b : b + n], x[c : c + n], few)
        else:
            _add(y, x[a : a + n], x[b : b + n], x[c : c + n], few)


@_compile
def _affine(
    x: np.ndarray, y: np.ndarray, scale: Any, bias: Any, plus: np.ndarray, added: bool
) -> None:
    if added:
        for i in range(y.size):
            y[i] = (x[i] * scale + bias) + plus[i]
    else:
        for i in range(y.size):
            y[i] = x[i] * scale + bias


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


def _loops(moments: Pointwise) -> tuple[Any, ...]:
    """Return the loops over operands of one shape, and over all pairs of two batches."""

    @_compile
    def alike(k: Any, q1: Any, q2: Any, moment: Any, slope: Any) -> None:
        for i in range(k.size):
            moment[i], slope[i] = moments(k[i], q1[i], q2[i])

    @_compile
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


FUSED: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (gather_sum, gather_sums, affine, product, rectifier, arcsine)
}


def _dual(name: str, at: Any, k: np.ndarray, q1: np.ndarray, q2: np.ndarray) -> Any:
    loops = _LOOPS[name].get(k.dtype)
    same = k.dtype == q1.dtype == q2.dtype
    if loops is None or not (same and moderate(q1) and moderate(q2)):
        return REFERENCE[name](at, k, q1, q2)
    alike, pairs = loops
    shape = np.broadcast_shapes(k.shape, q1.shape, q2.shape)
    moment, slope = empty(shape, k.dtype), empty(shape, k.dtype)
    if not _are_pairs(shape, q1, q2):
        operands = (_whole(x, shape).reshape(-1) for x in (k, q1, q2))
        alike(*operands, moment.reshape(-1), slope.reshape(-1))
        return moment, slope
    lead, (n1, n2) = shape[:-2], shape[-2:]
    whole = (math.prod(lead), n1, n2)
    first, second = q1.reshape(-1, n1), q2.reshape(-1, n2)
    rows = _rows(q1.shape[:-2], lead), _rows(q2.shape[:-2], lead)
    k = _whole(k, shape).reshape(whole)
    pairs(k, first, second, *rows, moment.reshape(whole), slope.reshape(whole))
    return moment, slope


@lru_cache(maxsize=1024)
def _rows(few: tuple[int, ...], lead: tuple[int, ...]) -> np.ndarray:
    """Return which row of an array that broadcasts each row of the result takes."""
    own = np.arange(math.prod(few)).reshape(few)
    return np.ascontiguousarray(np.broadcast_to(own, lead)).reshape(-1)


def _are_pairs(shape: tuple[int, ...], q1: np.ndarray, q2: np.ndarray) -> bool:
    """Whether every example of one batch meets every one of another."""
    if len(shape) < 2 or shape[-2:] == (1, 1) or min(q1.ndim, q2.ndim) < 2:
        return False
    return q1.shape[-2:] == (shape[-2], 1) and q2.shape[-2:] == (1, shape[-1])


def _whole(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.ascontiguousarray(x if x.shape == shape else np.broadcast_to(x, shape))
