"""Which entries the entries of a result sum: tables that are known before any array is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from ntcore.backend import host


class Table:
    """Which entries an output entry sums: a static, sparse matrix of ones.

    Attributes
    ----------
    index : host array of integers, ``(T, M')``
        The input entry that output entry ``m`` reads at tap ``t``; 0 where it reads none.
    valid : host array of booleans, ``(T, M')``, or None
        Whether it reads one; None where every entry does.
    wraps : bool
        Whether every row reads around its own seam: an index says that in one way for all rows.
    """

    def __init__(self, index: Any, wraps: bool = False) -> None:
        self.index, self.wraps = index.clip(0), wraps
        self.valid = None if (index >= 0).all() else index >= 0

    @cached_property
    def strips(self) -> Strips:
        """Where slices do what an index does not need to; see :class:`Strips`."""
        return _strips(self)


@dataclass(frozen=True)
class Strips:
    """A table as long strips of entries that every tap reads at one distance, and a rest.

    Windows read most entries alike; those at a border are few. A strip may run over some of them,
    and ``rest`` is written after it.

    Attributes
    ----------
    strips : list of tuple
        ``(start, stop, sources)``: output entries ``start <= m < stop``, and for each tap that
        reads something the input entry that ``start`` reads.
    rest : host array of integers, ``(M'',)``
        The other output entries.
    sources : host array of integers, ``(M'', T)``
        The input entries that each of them sums, in the order of the taps, filled up with -1.
    """

    strips: list[tuple[int, int, tuple[int, ...]]]
    rest: Any
    sources: Any


SHORTEST, WIDEST_GAP = 4, 16


def _strips(table: Table) -> Strips:
    np = host().namespace
    size = table.index.shape[1]
    index = table.index if table.valid is None else np.where(table.valid, table.index, -1)
    shift = np.where(index < 0, size + table.index.max(initial=0) + 1, index - np.arange(size))
    inner = np.flatnonzero(np.any(shift[:, 1:] != shift[:, :-1], axis=0)) + 1
    edges = [0, *inner.tolist(), size]
    found: list[list[int]] = []
    for start, stop in pairwise(edges):
        if stop - start < SHORTEST:
            continue
        joins = bool(found) and start - found[-1][1] <= WIDEST_GAP
        if joins and (shift[:, found[-1][0]] == shift[:, start]).all():
            found[-1][1] = stop
        else:
            found.append([start, stop])
    alike = np.zeros(size, dtype=bool)
    for start, stop in found:
        alike[start:stop] = (shift[:, start:stop] == shift[:, start : start + 1]).all(axis=0)
    rest = np.flatnonzero(~alike)
    order = np.argsort(index[:, rest] < 0, axis=0, stable=True)
    return Strips(
        [(a, b, tuple(int(i) for i in index[:, a] if i >= 0)) for a, b in found],
        rest,
        np.ascontiguousarray(np.take_along_axis(index[:, rest], order, axis=0).T),
    )
