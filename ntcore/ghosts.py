"""What stands for arrays while operations are written down; see :mod:`ntcore.recorder`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ntcore.backend import host, is_number
from ntcore.chain import Notes, Step


class Unrecordable(Exception):
    """Something that is no operation of a chain."""


def refuse(*args: Any, **kwargs: Any) -> Any:
    """Stand in for what cannot be recorded."""
    raise Unrecordable


class Ghost:
    """Stands for an array that is not there: nothing can be asked of it."""

    __array_ufunc__ = None

    def __getattr__(self, name: str) -> Any:
        raise Unrecordable(name)


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "pow", "rpow"):
    setattr(Ghost, f"__{_name}__", refuse)
for _name in ("neg", "abs", "lt", "le", "gt", "ge", "and", "or", "invert", "getitem", "bool"):
    setattr(Ghost, f"__{_name}__", refuse)


class Total(Ghost):
    """The sum of all entries of a block, which ends a chain."""

    def __init__(self, on: Notes, number: int, step: Step) -> None:
        self.on, self.number, self.step = on, number, step


class Side(Ghost):
    """The variances of an edge's examples of one batch, or a channel of the examples themselves.

    ``rows`` has the number of a row in place of the examples; ``first`` notes that they are read
    and returns the number of the first among the rows of all edges.
    """

    def __init__(self, on: Notes, rows: Any, first: Callable[[], int], drawn: bool = False) -> None:
        self.on, self.rows, self.first, self.drawn = on, rows, first, drawn

    def __getitem__(self, index: Any) -> Side:
        return Side(self.on, self.rows[index], self.first, self.drawn)


class Batch(Ghost):
    """Examples of one batch, ``(n, *spatial, C)``, or with the batch behind space."""

    def __init__(self, on: Notes, spatial: tuple[int, ...], channels: int, first: Any) -> None:
        self.on, self.spatial, self.channels, self.first = on, spatial, channels, first
        self.shape, self.ndim = (1, *spatial, channels), len(spatial) + 2

    def behind_space(self, axes: tuple[int, ...]) -> Batch:
        """Return the examples with the batch behind space, the only other order there is."""
        found = Batch(self.on, self.spatial, self.channels, self.first)
        found.shape = (*self.spatial, 1, self.channels)
        if tuple(self.shape[i] for i in axes) != found.shape or axes[-2:] != (0, self.ndim - 1):
            raise Unrecordable
        return found

    def __getitem__(self, index: Any) -> Side:
        if not (isinstance(index, tuple) and index[0] is Ellipsis and self.shape[-2] == 1):
            raise Unrecordable
        np, size = host().namespace, math.prod(self.spatial)
        rows = np.arange(size).reshape(self.spatial) + index[1] * size
        return Side(self.on, rows, self.first, drawn=True)


class Picked(Ghost):
    """One row of each of the first axes of a block, picked axis after axis."""

    def __init__(self, value: Any, rows: tuple[int, ...] = ()) -> None:
        self.value, self.rows = value, rows

    def __getitem__(self, index: Any) -> Picked:
        if not isinstance(index, tuple) or len(index) < 2 or not isinstance(index[-2], int):
            raise Unrecordable
        if index[:-2] != (slice(None),) * len(self.rows) or index[-1] is not Ellipsis:
            raise Unrecordable
        return Picked(self.value, (*self.rows, index[-2]))


class _Scaled(Ghost):
    """What may be multiplied by a number."""

    scale = 1.0

    def __mul__(self, other: Any) -> Any:
        if not is_number(other):
            raise Unrecordable
        found = object.__new__(type(self))
        vars(found).update(vars(self), scale=self.scale * float(other))
        return found

    __rmul__ = __mul__


class Spread(_Scaled):
    """What of a side belongs to every entry of a block, by the numbers of rows."""

    def __init__(self, side: Side, rows: Any, first: int, space: tuple[int, ...]) -> None:
        self.on, self.drawn = side.on, side.drawn
        self.rows, self.first, self.space = rows, first, space


class Own(_Scaled):
    """The entries of a block that are the variances of its entries."""

    def __init__(self, value: Any, entries: Any) -> None:
        self.value, self.entries = value, entries


class Same(Ghost):
    """Stands for the pairs that are one example twice."""
