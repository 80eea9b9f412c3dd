"""The values of a chain for some pairs and some rows of the last axis, as NumPy takes them.

Values lie as ``(outer, rows, positions, lanes)``, the pairs side by side. Where rows of the last
axis meet, all its entries are those of one row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntcore.backends.buffers import empty
from ntcore.backends.numpy_beside import Beside
from ntcore.backends.numpy_sums import gathering
from ntcore.chain import Chain, Step
from ntcore.ops import Table


class Memory:
    """Slots of one size, which are used again and again."""

    def __init__(self, slots: int, size: int, dtype: Any) -> None:
        self._whole = empty((slots, size), dtype)
        self._free = list(range(slots))[::-1]
        self._views: dict[Any, np.ndarray] = {}
        self._gathering: dict[Any, list[Any]] = {}

    def take(self) -> int:
        """Return a slot that nobody uses."""
        return self._free.pop()

    def free(self, *slots: int) -> None:
        """Let others use some slots."""
        self._free.extend(slots)

    def view(self, slot: int, *shape: int) -> np.ndarray:
        """Return the first numbers of a slot as an array."""
        key = slot, shape
        if key not in self._views:
            self._views[key] = self._whole[slot, : math.prod(shape)].reshape(shape)
        return self._views[key]

    def gather(self, x: np.ndarray, table: Table, out: np.ndarray) -> None:
        """Gather from one array that :meth:`view` returned to another."""
        key = id(x), table, id(out)
        if key not in self._gathering:
            self._gathering[key] = gathering(x, table, out)
        for fn, args in self._gathering[key]:
            fn(*args)


@dataclass(frozen=True, eq=False)
class Tile:
    """What a chain reads and writes.

    Attributes
    ----------
    chain : Chain
        The operations.
    rows : int
        Rows of the last axis, which never meet.
    last : dict
        The last step that reads a value.
    given, made : dict
        The arrays that are read and written, ``(entries, n1 * n2)``.
    more : bool
        Whether what is made is added to what is there.
    memory : Memory
        What values lie in.
    """

    chain: Chain
    rows: int
    last: dict[int, int]
    given: dict[int, np.ndarray]
    made: dict[int, np.ndarray]
    more: bool
    memory: Memory


class Slab:
    """The values of a chain for a rectangle of pairs and ``held`` rows from ``row`` on."""

    def __init__(self, tile: Tile, beside: Beside, row: int, held: int) -> None:
        self.tile, self.beside, self.row, self.held = tile, beside, row, held
        self.memory, self.lanes = tile.memory, beside.lanes
        self.slots: dict[int, int] = {}

    def split(self, value: int) -> tuple[int, int]:
        """Return the entries of a value before the last axis, and those of a row of that axis."""
        chain, rows = self.tile.chain, self.tile.rows
        shape = chain.shapes[value]
        width = shape[-1] if shape and rows > 1 else math.prod(shape[-2:])
        return chain.size(value) // (rows * width), width

    def axes(self, value: int) -> tuple[int, ...]:
        """Return the rows and positions of every axis, those of the last that are held."""
        *others, _, width = (1, 1, *self.tile.chain.shapes[value])
        if self.tile.rows > 1:
            return (*others, self.held, width)
        return (1, 1, *self.tile.chain.shapes[value])

    def view(self, slot: int, value: int) -> np.ndarray:
        """Return a slot as it holds a value, ``(entries, lanes)``."""
        return self.memory.view(slot, math.prod(self.split(value)) * self.held, self.lanes)

    def read(self, value: int) -> np.ndarray:
        """Return a value that is there."""
        return self.view(self.slots[value], value)

    def write(self, value: int) -> np.ndarray:
        """Return memory for a value."""
        self.slots[value] = slot = self.memory.take()
        return self.view(slot, value)

    def write_over(self, n: int, step: Step, k: int) -> np.ndarray:
        """Return an input of the nth step in the place of the output of the same number."""
        i, out = step.inputs[k], step.outputs[k]
        assert i is not None
        if self.tile.last[i] <= n and i not in step.inputs[k + 1 :]:
            self.slots[out] = self.slots.pop(i)
            return self.view(self.slots[out], i)
        self.slots[out] = self.memory.take()
        found = self.view(self.slots[out], i)
        np.copyto(found, self.read(i))
        return found

    def drop(self, n: int, step: Step) -> None:
        """Forget what nobody reads after the nth step."""
        for i in (*step.inputs, *step.outputs):
            if i in self.slots and self.tile.last.get(i, -1) <= n:
                self.free(i)

    def free(self, value: int) -> None:
        """Forget a value."""
        self.memory.free(self.slots.pop(value))

    # --- what is outside --------------------------------------------------------------------

    def load(self, value: int) -> None:
        """Read a value that was given; what is asked for as it is given is written at once."""
        place = self._place(self.tile.given[value], value)
        np.copyto(self.write(value).reshape(place.shape), place)
        self.store(value)

    def store(self, value: int) -> None:
        """Write a value if it is asked for."""
        if value in self.tile.made:
            place = self._place(self.tile.made[value], value)
            x = self.read(value).reshape(place.shape)
            if self.tile.more:
                np.add(place, x, out=place)
            else:
                np.copyto(place, x)

    def _place(self, x: np.ndarray, value: int) -> np.ndarray:
        """Return where a value of these pairs and rows lies in an array of all of them."""
        outer, width = self.split(value)
        whole = x.reshape(outer, self.tile.rows, width, *self.beside.counts)
        return whole[:, self.row : self.row + self.held, :, *self.beside.group]
