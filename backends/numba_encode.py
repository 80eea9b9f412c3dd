"""Chains as rows of integers, the form in which the loops of ``numba_chain_loops`` take them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ntcore.apart import reads
from ntcore.backends import numba_chain_loops as loops
from ntcore.backends.chain_tables import folded, folds, lines, row_tables, rows_of_chain
from ntcore.backends.numba_moments import (
    BELL,
    ERROR_FUNCTION,
    GELU,
    NORMALIZED,
    RECTIFIER,
    WAVES,
)
from ntcore.chain import Chain, Step
from ntcore.ops import Table

WHAT = {
    "gather_sums": loops.WINDOW,
    "affine": loops.AFFINE,
    "product": loops.PRODUCT,
    "put_variances": loops.PUT,
    "rectifier": loops.DUAL + RECTIFIER,
    "arcsine": loops.DUAL + ERROR_FUNCTION,
    "gelu": loops.DUAL + GELU,
    "waves": loops.DUAL + WAVES,
    "bell": loops.DUAL + BELL,
    "normalize": loops.DUAL + NORMALIZED,
}


@dataclass(frozen=True)
class Code:
    """A chain as the loops take it.

    Attributes
    ----------
    code, scales, ints : array
        See :mod:`ntcore.backends.numba_chain_loops`.
    outputs : tuple of int
        The entries of each output.
    sums : tuple of pair of int
        The first row, and the one after the last, of what is made by adding to it.
    slots : int
        Values that are there at once.
    rows : int
        Rows of the last axis, which never meet.
    widest : int
        Entries of the largest value for one of these rows.
    """

    code: np.ndarray
    scales: np.ndarray
    ints: np.ndarray
    outputs: tuple[int, ...]
    sums: tuple[tuple[int, int], ...]
    slots: int
    rows: int
    widest: int


_encoded: WeakKeyDictionary[Chain, Code] = WeakKeyDictionary()


def encoded(chain: Chain) -> Code:
    """Return a chain as the loops take it."""
    if chain not in _encoded:
        _encoded[chain] = _Encoder(chain).code()
    return _encoded[chain]


class _Encoder:
    """Writes a chain as integers; a slot of work space is free once its value was last read."""

    def __init__(self, chain: Chain) -> None:
        self._chain, self._rows = chain, rows_of_chain(chain)
        self._code: list[list[int]] = []
        self._scales: list[tuple[float, float]] = []
        self._ints: list[np.ndarray] = [np.zeros(1, np.int32)]
        self._length = 1
        self._kept: dict[Any, int] = {}
        self._slots: dict[int, int] = {}
        self._free: list[int] = []
        self._used = 0
        self._widest = 1
        self._sums: list[tuple[int, int]] = []

    def code(self) -> Code:
        """Return the chain as the loops take it."""
        chain = self._chain
        starts = np.cumsum([0, *map(chain.size, chain.inputs)]).tolist()
        given = dict(zip(chain.inputs, starts, strict=False))
        sizes = [chain.size(i) for i in chain.outputs]
        wanted = dict(zip(chain.outputs, np.cumsum([0, *sizes]).tolist(), strict=False))
        self._last = {i: n for n, step in enumerate(chain.steps) for i in step.inputs}
        for n, step in enumerate(chain.steps):
            for i in step.inputs:
                if i is not None and i in given:
                    self._move(loops.LOAD, i, given.pop(i))
                    self._store(i, wanted)
            self._write(n, step, wanted)
            for i in {
                i for i in (*step.inputs, *step.outputs) if i is not None and i in self._slots
            }:
                if self._last.get(i, -1) <= n:
                    self._free.append(self._slots.pop(i))
        for i, row in wanted.items():  # what comes out as it went in
            self._move(loops.LOAD, i, given[i])
            self._move(loops.STORE, i, row)
        return Code(
            np.asarray(self._code, np.int64), np.asarray(self._scales), np.concatenate(self._ints),
            tuple(sizes), tuple(self._sums), self._used + 2, self._rows, self._widest,
        )  # fmt: skip

    def _slot(self, value: int) -> int:
        if value not in self._slots:
            if not self._free:
                self._free.append(self._used)
                self._used += 1
            self._slots[value] = self._free.pop()
        return self._slots[value]

    def _split(self, value: int) -> tuple[int, int]:
        """Return the entries of a value before the last axis, and those of a row of that axis."""
        shape, size = self._chain.shapes[value], self._chain.size(value)
        width = shape[-1] if shape and self._rows > 1 else math.prod(shape[-2:])
        self._widest = max(self._widest, size // self._rows)
        return size // (self._rows * width), width

    def _write(self, n: int, step: Step, wanted: dict[int, int]) -> None:
        """Write a step; what only adds to what is made has no place in between."""
        if step.name == "total":
            self._total(n, step, wanted.pop(step.outputs[0]))
        elif self._rows > 1 and step in folds(self._chain):
            self._fold(step, wanted.pop(step.outputs[0]))
        else:
            self._step(n, step)
            for i in step.outputs:
                self._store(i, wanted)

    def _store(self, value: int, wanted: dict[int, int]) -> None:
        if value in wanted:
            self._move(loops.STORE, value, wanted.pop(value))

    def _move(self, what: int, value: int, row: int) -> None:
        slot = self._slot(value)
        one, out = (0, slot) if what == loops.LOAD else (slot, 0)
        self._code.append([what, one, -1, out, 0, *self._split(value), row, 0, 0])
        self._scales.append((1.0, 0.0))

    def _total(self, n: int, step: Step, row: int) -> None:
        """Add a value up, which is written over."""
        (i,) = step.inputs
        assert i is not None
        slot, split = self._slots[i], self._split(i)
        if self._last[i] > n:
            slot = self._copied(i, step.outputs[0])
        self._sums.append((row, row + 1))
        self._code.append([loops.TOTAL, slot, -1, 0, 0, *split, row, 0, 0])
        self._scales.append((step.scale, 0.0))

    def _fold(self, step: Step, row: int) -> None:
        """Add what is gathered to what is made, row by row of what it is gathered from."""
        (i, *_), table, size = step.inputs, step.tables[-1], step.sizes[-1]
        assert i is not None
        self._sums.append((row, row + self._chain.size(step.outputs[0])))
        sizes, tables = self._leading(step)
        at = self._keep_fold(table, size)
        every = [len(sizes)], sizes, tables, [at, table.index.shape[1]]
        at = self._keep((*sizes, *tables, at), every)
        self._code.append([loops.FOLD, self._slots[i], -1, 0, 0, *self._split(i), at, row, 0])
        self._scales.append((step.scale, 0.0))

    def _keep_fold(self, table: Table, size: int) -> int:
        """Keep, for each row, the entries that read it and what they read of it."""
        key = (id(table), size, "fold")
        if key not in self._kept:
            rows = [
                [i for entry, taps in row for i in (entry, len(taps), *taps)]
                for row in folded(table, self._rows, size)
            ]
            starts = self._length + 2 * len(rows) + np.cumsum([0, *map(len, rows)])
            found = list(pairwise(starts.tolist()))
            self._keep(key, (found, *rows))
        return self._kept[key]

    def _step(self, n: int, step: Step) -> None:
        inputs, what = step.inputs, WHAT[step.name]
        if step.name == "product" and step.rows is not None:
            what = loops.BETWEEN
        if what >= loops.DUAL:
            self._write_over(n, step)
            inputs = step.outputs[: len(inputs)]
        read = [*(-1 if i is None else self._slots[i] for i in inputs), -1, -1]
        written = [self._slot(i) for i in step.outputs]
        at = self._window(step) if step.tables else self._variances(step)
        split, firsts = self._split(step.outputs[0]), step.firsts
        if what == loops.BETWEEN:
            every = (*step.before, step.firsts)
            firsts = self._keep((every, "firsts"), (len(every), every)), 0
        row = [what, read[0], read[1], written[0], written[-1], *split, at, *firsts]
        self._code.append(row)
        self._scales.append((step.scale, step.bias))

    def _write_over(self, n: int, step: Step) -> None:
        """Let what is written take the slots of what is read, copied where that is read again."""
        pairs = list(zip(step.inputs, step.outputs, strict=False))
        for k, (i, out) in enumerate(pairs):
            assert i is not None
            later = [j for j, _ in pairs[k + 1 :]]
            if self._last[i] > n or i in later:
                self._copied(i, out)
            else:
                self._slots[out] = self._slots.pop(i)

    def _copied(self, value: int, out: int) -> int:
        """Copy a value into the slot of another."""
        slot, split = self._slot(out), self._split(value)
        self._code.append([loops.AFFINE, self._slots[value], -1, slot, 0, *split, 0, 0, 0])
        self._scales.append((1.0, 0.0))
        return slot

    def _variances(self, step: Step) -> int:
        if step.rows is None:
            return 0
        one, two = step.rows
        second = self._keep(two, (two,))
        if step.entries is None:
            return self._keep((id(one), second), ([second], one)) + 1
        parts = [second], [len(step.entries)], step.entries
        return self._keep((id(step.entries), second), parts) + 1

    def _keep(self, key: Any, parts: Any) -> int:
        """Append integers to the table unless they are there; return where they begin."""
        name = id(key) if isinstance(key, np.ndarray | Table) else key
        if name not in self._kept:
            self._kept[name] = self._length
            for part in parts:
                self._ints.append(np.asarray(part, np.int32).reshape(-1))
                self._length += self._ints[-1].size
        return self._kept[name]

    def _leading(self, step: Step) -> tuple[list[int], list[int]]:
        """Return the sizes of all axes for one row, and the tables of all axes but the last."""
        outer = list(step.sizes)
        for k, table in enumerate(step.tables[:-2]):  # the next goes through one entry at a time
            outer[k] = table.index.shape[1]
            self._widest = max(self._widest, math.prod(outer) // self._rows)
        sizes = [*step.sizes[:-1], step.sizes[-1] // self._rows]
        return sizes, [self._axis(t) for t in step.tables[:-1]]

    def _window(self, step: Step) -> int:
        sizes, tables = self._leading(step)
        last = step.tables[-1].index.shape[1]
        every = math.prod(t.index.shape[1] for t in step.tables[:-1]) * last
        self._widest = max(self._widest, every // self._rows)
        tables.append(self._by_row(step.tables[-1], step.sizes[-1]))
        return self._keep((*sizes, *tables), ([len(sizes)], sizes, tables, [last // self._rows]))

    def _axis(self, table: Table) -> int:
        """Keep the entries that every entry sums, after where they begin for each."""
        if id(table) not in self._kept:
            index = reads(table)
            there = index.T >= 0
            starts = self._length + 2 + index.shape[1] + np.cumsum([0, *there.sum(axis=1)])
            self._keep(table, ([index.shape[1]], starts, index.T[there]))
        return self._kept[id(table)]

    def _by_row(self, table: Table, size: int) -> int:
        """Keep what each row of the last axis gathers; see :func:`lines`."""
        if (id(table), size) not in self._kept:
            found = []
            for row in row_tables(table, self._rows, size):
                kept = [self._keep((row, n), (line,)) for n, line in enumerate(lines(row))]
                found.append(self._keep((row, "lines"), ([len(kept)], kept)))
            self._keep((id(table), size), (found,))
        return self._kept[id(table), size]
