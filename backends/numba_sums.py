"""Sums of entries, scales and products, compiled by numba."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from ntcore.backend import is_number
from ntcore.backends.buffers import empty
from ntcore.backends.numba_loops import CHUNK, are_pairs, compiled, rows_of
from ntcore.ops import REFERENCE, Table


def gather_sum(at: Any, x: np.ndarray, table: Table) -> np.ndarray:
    """Every entry in one pass: strips of them as vectors, the rest one by one."""
    out = empty((x.shape[0], table.index.shape[1], x.shape[2]), x.dtype)
    if table.valid is None and len(table.index) == 1 and not table.strips.strips:
        return np.take(x, table.index[0], axis=1, out=out, mode="clip")
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
    affine_row(x.reshape(-1), out.reshape(-1), factor, shift, more.reshape(-1), added)
    return out


def product(at: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """One pass over all pairs of two batches, too."""
    shape = np.broadcast_shapes(x.shape, y.shape)
    out = empty(shape, x.dtype)
    if not (x.dtype == y.dtype and are_pairs(shape, x, y)):
        return np.multiply(x, y, out=out)
    lead, (n1, n2) = shape[:-2], shape[-2:]
    rows = rows_of(x.shape[:-2], lead), rows_of(y.shape[:-2], lead)
    _products(x.reshape(-1, n1), y.reshape(-1, n2), *rows, out.reshape(-1, n1, n2))
    return out


@compiled
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


@compiled
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


@compiled
def _finish(y: np.ndarray, scale: Any, bias: Any, plus: np.ndarray, added: bool) -> None:
    """:func:`affine_row` in place; with one function for both, neither would be a vector's."""
    if added:
        for i in range(y.size):
            y[i] = (y[i] * scale + bias) + plus[i]
    else:
        for i in range(y.size):
            y[i] = y[i] * scale + bias


@compiled
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


@compiled
def affine_row(
    x: np.ndarray, y: np.ndarray, scale: Any, bias: Any, plus: np.ndarray, added: bool
) -> None:
    if added:
        for i in range(y.size):
            y[i] = (x[i] * scale + bias) + plus[i]
    else:
        for i in range(y.size):
            y[i] = x[i] * scale + bias


@compiled
def _write(y: np.ndarray, u: np.ndarray, v: np.ndarray, w: np.ndarray, taps: int) -> None:
    if taps == 1:
        y[:] = u
    elif taps == 2:
        for i in range(y.size):
            y[i] = u[i] + v[i]
    else:
        for i in range(y.size):
            y[i] = (u[i] + v[i]) + w[i]


@compiled
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
