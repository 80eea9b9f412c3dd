"""Reading a block at other positions, and weighing and adding its entries."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from ntcore import ops
from ntcore.backend import Array, Place, host, is_number
from ntcore.cov.examples import spread
from ntcore.cov.layout import Axis, Cov, Layout, positions, rows_of
from ntcore.cov.matrices import sums, weighed_sum
from ntcore.ops import Table, gather_sum, gather_sums, product

Tap = tuple[tuple[int, ...], tuple[int, ...]]


@lru_cache(maxsize=4096)
def _table(before: Axis, after: Axis, taps: tuple[Tap, ...], partial: bool) -> Table:
    """Return, for each tap and output entry of one axis, the input entry that it reads."""
    np = host().namespace
    (size1, size2, have), want = before, after[2]
    rows = rows_of(before)
    place = np.full(size2, -1, dtype=np.int64)
    place[list(rows)] = np.arange(len(rows))
    p_out, q_out = positions(after)
    wanted = np.isin(q_out - p_out, list(want))
    index = []
    for sources1, sources2 in taps:
        p, q = np.asarray(sources1)[p_out], np.asarray(sources2)[q_out]
        row = place[(q - p) % size2]
        read = (p >= 0) & (q >= 0)
        if not partial and bool(np.any(wanted & read & ~np.isin(q - p, list(have)))):
            raise AssertionError("the plan holds too few offsets for this layer")
        index.append(np.where(read & (row >= 0), row * size1 + p, -1).reshape(-1))
    return Table(np.stack(index))


@lru_cache(maxsize=8192)
def _tables(
    before: Layout, after: Layout, taps: tuple[tuple[Tap, ...], ...], partial: bool
) -> tuple[Table, ...]:
    """Return the table of every axis."""
    axes = range(after.ndim)
    return tuple(_table(before.axis(k), after.axis(k), taps[k], partial) for k in axes)


def read(
    at: Place,
    cov: Cov,
    out: Layout,
    taps: tuple[tuple[Tap, ...], ...],
    partial: bool = False,
    scale: Any = None,
    bias: Any = None,
    plus: Cov | None = None,
) -> Cov:
    r"""Return :math:`K'[p, p'] = \sum_t K[a_t(p), b_t(p')]` on every axis in turn.

    ``taps[k]`` lists, for axis ``k``, the pairs ``(a_t, b_t)`` of source positions of every
    output position, with -1 where the source is padding. Of a partial block only what is there is
    added. The result is that of :func:`affine`, in the same pass.
    """
    shape = cov.data.shape
    examples, tables = shape[2 * out.ndim :], _tables(cov.layout, out, taps, partial)
    sizes = [shape[2 * k] * shape[2 * k + 1] for k in range(out.ndim)]
    data = at.xp.reshape(cov.data, (*sizes, math.prod(examples)))
    if plus is None:
        found = gather_sums(at, data, tables, scale, bias)
    else:
        sizes = [table.index.shape[1] for table in tables]
        more = at.xp.reshape(plus.data, (*sizes, data.shape[-1]))
        found = gather_sums(at, data, tables, scale, bias, more)
    return Cov(at.xp.reshape(found, (*out.space, *examples)), out)


@lru_cache(maxsize=1024)
def dense_table(size1: int, size2: int) -> Table:
    """Return which entry of all rows of an axis the entry ``(p, q)`` is."""
    np = host().namespace
    p, q = np.arange(size1)[:, None], np.arange(size2)[None, :]
    return Table((((q - p) % size2) * size1 + p).reshape(1, -1))


@lru_cache(maxsize=1024)
def rows_table(axis: Axis) -> Table:
    """Return which ``(p, q)`` every entry of the rows of an axis is."""
    p, q = positions(axis)
    return Table((p * axis[1] + q).reshape(1, -1))


def gather(at: Place, data: Array, k: int, table: Table, after: tuple[int, ...]) -> Array:
    """Apply a table to the axes ``2k`` and ``2k + 1`` of the array of a block."""
    sizes = data.shape
    outer, inner = sizes[: 2 * k], sizes[2 * k + 2 :]
    flat = at.xp.reshape(
        data, (math.prod(outer), sizes[2 * k] * sizes[2 * k + 1], math.prod(inner))
    )
    return at.xp.reshape(gather_sum(at, flat, table), (*outer, *after, *inner))


def affine(at: Place, cov: Cov, scale: Any, bias: Any = None, plus: Cov | None = None) -> Cov:
    """Return ``scale * K + bias + plus``, where what is None is left out."""
    scale = None if is_number(scale) and scale == 1 else scale
    if scale is None and bias is None and plus is None:
        return cov
    more = None if plus is None else plus.data
    return Cov(ops.affine(at, cov.data, scale, bias, more), cov.layout)


def weigh(at: Place, cov: Cov, weights1: tuple[Any, ...], weights2: tuple[Any, ...]) -> Cov:
    """Multiply entry ``[p, p']`` by a host weight of ``p`` and one of ``p'``, per axis."""
    np, layout, data, alike = host().namespace, cov.layout, cov.data, 1.0
    for k in range(layout.ndim):
        p, q = positions(layout.axis(k))
        one, two = np.asarray(weights1[k]), np.asarray(weights2[k])
        if (one == one[0]).all() and (two == two[0]).all():
            alike *= float(one[0] * two[0])
            continue
        w = one[p] * two[q]
        shape = (1,) * (2 * k) + w.shape + (1,) * (data.ndim - 2 * k - 2)
        data = data * at.asarray(w.reshape(shape))
    return Cov(data if alike == 1 else ops.affine(at, data, alike), layout)


def weighed_total(at: Place, cov: Cov, out: Layout, one: Array, two: Array) -> Cov:
    r"""Return :math:`\sum_{p, p'} u[p]\, K[p, p']\, v[p']` of each pair of examples.

    ``one`` and ``two`` have the shape ``(P1, P2, ..., n)``, or ``n`` is 1 where all examples share
    them; ``out`` is ``summed``.
    """
    both = spread(at, one, two, cov.layout)
    if cov.layout.dense:
        return Cov(weighed_sum(at, cov.data, *both), out)
    weights = product(at, *both)
    return Cov(total(at, Cov(product(at, cov.data, weights), cov.layout)).data, out)


def total(at: Place, cov: Cov) -> Cov:
    """Return the sum of all stored entries of each pair of examples, as a block without space."""
    if cov.layout.dense:
        return Cov(sums(at, cov.data), Layout((), (), ()))
    data = ops.total(at, cov.data, 2 * cov.layout.ndim)
    return Cov(data, Layout((), (), (), cov.layout.paired))
