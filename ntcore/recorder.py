"""Operations that are written down instead of computed; see :mod:`ntcore.chain`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ntcore.backend import host, is_number
from ntcore.chain import OWN, Notes, Step
from ntcore.cov import Cov, Layout, positions
from ntcore.ghosts import (
    Ghost,
    Own,
    Picked,
    Same,
    Side,
    Spread,
    Total,
    Unrecordable,
)
from ntcore.ops import Table


class Value(Ghost):
    """A block of a pair of examples, ``(*space, 1, 1)``; its data is a value of a chain."""

    def __init__(self, on: Notes, number: int, shape: tuple[int, ...]) -> None:
        self.on, self.number, self.shape = on, number, shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def space(self) -> tuple[int, ...]:
        """The rows and positions of every axis, as far as they are known."""
        return self.on.shapes[self.number]

    def reshaped(self, shape: tuple[int, ...]) -> Value:
        """Return the same value with other axes."""
        size = math.prod(self.shape)
        known = math.prod(n for n in shape if n != -1)
        new = tuple(size // known if n == -1 else n for n in shape)
        if new[-2:] == (1, 1):
            self.on.reshape(self.number, new[:-2])
        return Value(self.on, self.number, new)

    def __getitem__(self, index: Any) -> Picked:
        return Picked(self)[index]

    def __mul__(self, other: Any) -> Any:
        if is_number(other) and other == 1:
            return self
        return product(None, self, other) if isinstance(other, Value) else affine(None, self, other)

    def __truediv__(self, other: Any) -> Any:
        return affine(None, self, 1 / number(other))

    def __add__(self, other: Any) -> Any:
        more = isinstance(other, Value)
        if is_number(other) and other == 0:
            return self
        return affine(None, self, None, None if more else other, other if more else None)

    __rmul__, __radd__ = __mul__, __add__


# --- operations ---------------------------------------------------------------------------------


def number(x: Any) -> float:
    """Return a number that is known now."""
    if not is_number(x):
        raise Unrecordable
    return float(x)


def _known(scale: Any, bias: Any) -> dict[str, float]:
    return {
        "scale": 1.0 if scale is None else number(scale),
        "bias": 0.0 if bias is None else number(bias),
    }


def _write(
    name: str, inputs: tuple[Any, ...], space: Any, *shapes: Any, **kwargs: Any
) -> tuple[Value, ...]:
    """Add a step; return its outputs, which have ``shapes`` now and the axes ``space``."""
    if not all(x is None or isinstance(x, Value) for x in inputs):
        raise Unrecordable
    return _note(inputs[0].on, name, inputs, space, *shapes, **kwargs)


def _note(
    on: Notes, name: str, inputs: tuple[Any, ...], space: Any, *shapes: Any, **kwargs: Any
) -> tuple[Value, ...]:
    made = tuple(Value(on, on.value(space), shape) for shape in shapes)
    read = tuple(None if x is None else x.number for x in inputs)
    on.steps.append(Step(name, read, tuple(v.number for v in made), **kwargs))
    return made


def gather_sums(
    at: Any,
    x: Value,
    tables: tuple[Table, ...],
    scale: Any = None,
    bias: Any = None,
    plus: Any = None,
) -> Value:
    """Record a sum of gathered entries."""
    if not isinstance(x, Value):
        raise Unrecordable
    shape = (*(t.index.shape[1] for t in tables), x.shape[-1])
    known = _known(scale, bias)
    rest = {"sizes": x.shape[:-1], "tables": tables}
    return _write("gather_sums", (x, plus), shape[:-1], shape, **known, **rest)[0]


def affine(at: Any, x: Any, scale: Any = None, bias: Any = None, plus: Any = None) -> Any:
    """Record a scale, a bias and what is added."""
    if isinstance(x, Total) and bias is None and plus is None:
        return _total(x.on, replace(x.step, scale=x.step.scale * number(scale)))
    if not isinstance(x, Value) or (plus is not None and plus.shape != x.shape):
        raise Unrecordable
    return _write("affine", (x, plus), x.space, x.shape, **_known(scale, bias))[0]


def total(at: Any, x: Value, axes: int) -> Total:
    """Record the sum of all entries."""
    if not isinstance(x, Value) or axes != x.ndim - 2:
        raise Unrecordable
    return _total(x.on, Step("total", (x.number,), ()))


def _total(on: Notes, step: Step) -> Total:
    made = replace(step, outputs=(on.value(()),))
    on.steps.append(made)
    return Total(on, made.outputs[0], made)


def product(at: Any, x: Any, y: Any) -> Value:
    """Record a product of two blocks, or of the examples that every entry compares."""
    if isinstance(x, Spread) and isinstance(y, Spread) and x.drawn and y.drawn:
        if x.scale != 1 or y.scale != 1:
            raise Unrecordable
        where = {"rows": (x.rows, y.rows), "firsts": (x.first, y.first)}
        return _note(x.on, "product", (), x.space, (*x.space, 1, 1), **where)[0]
    if not (isinstance(x, Value) and isinstance(y, Value) and x.shape == y.shape):
        raise Unrecordable
    return _write("product", (x, y), x.space, x.shape)[0]


def dual(name: str) -> Callable[..., Any]:
    """Return what records the moments of a nonlinearity."""
    return lambda at, k, q1, q2: _note_dual(name, k, q1, q2)


def _note_dual(name: str, k: Any, q1: Any, q2: Any, bias: float = 0.0) -> Any:
    """Record moments of entries with their variances, to which a number is added."""
    where: dict[str, Any] = {"bias": bias}
    if _is_own(k, q1) and _is_own(k, q2):
        where |= {"rows": (q1.entries, q2.entries), "firsts": OWN}
    elif isinstance(k, Value) and _are_alike(q1, q2):
        firsts, rows = (q1.first, q2.first), (q1.rows, q2.rows)
        where |= {"rows": rows, "firsts": firsts, "scale": q1.scale}
    else:
        raise Unrecordable
    return _write(name, (k,), k.space, k.shape, k.shape, **where)


def _are_alike(q1: Any, q2: Any) -> bool:
    """Whether both are variances, multiplied with one number."""
    both = isinstance(q1, Spread) and isinstance(q2, Spread)
    return both and not (q1.drawn or q2.drawn) and bool(q1.scale == q2.scale)


def _are_one(*values: Any) -> bool:
    """Whether all are one value of a chain."""
    first = values[0]
    return all(isinstance(x, Value) and x.number == first.number for x in values)


def _is_own(k: Value, q: Any) -> bool:
    """Whether variances are entries of a block, both scaled by one number."""
    if not isinstance(q, Own):
        return False
    if q.scale == 1:
        return _are_one(k, q.value)
    made = next((s for s in k.on.steps if k.number in s.outputs), None)
    if made is None or made.name != "affine" or made.bias or made.scale != q.scale:
        return False
    return made.inputs == (q.value.number, None)


def _own(q: Any, second: bool, layout: Layout) -> Own:
    """Return which entries of a block are the variances of its entries."""
    picked = Picked(q) if isinstance(q, Value) else q
    np, entries = host().namespace, host().namespace.zeros(1, dtype=int)
    for k, row in enumerate(picked.rows):
        place = positions(layout.axis(k))[second].reshape(-1)
        own = row * layout.sizes1[k] + place
        entries = (entries[:, None] * own.size + own).reshape(-1)
    if len(picked.rows) != layout.ndim or entries.size != np.prod(picked.value.space, dtype=int):
        raise Unrecordable
    return Own(picked.value, entries)


def spread(at: Any, q1: Any, q2: Any, layout: Layout) -> tuple[Any, Any]:
    """Return which variance of either batch every entry of a block has."""
    if isinstance(q1, (Value, Picked)) and isinstance(q2, (Value, Picked)) and layout.paired:
        return _own(q1, False, layout), _own(q2, True, layout)
    if not isinstance(q1, Side) or not isinstance(q2, Side):
        raise Unrecordable
    places = _entries(layout)
    one, two = (_picked(q, p, layout) for q, p in zip((q1, q2), places, strict=True))
    return one, two


def _picked(q: Side, place: Any, layout: Layout) -> Spread:
    """Return the rows of a side that entries have by their positions."""
    np, rows = host().namespace, q.rows.reshape(-1)
    if np.array_equal(rows, np.arange(rows[0], rows[0] + rows.size)):
        return Spread(q, place, q.first() + int(rows[0]), layout.space)
    return Spread(q, rows[place], q.first(), layout.space)


@lru_cache(maxsize=512)
def _entries(layout: Layout) -> tuple[Any, Any]:
    """Return the two positions, numbered, that every entry of a block compares."""
    np = host().namespace
    one = two = np.zeros(1, dtype=np.int32)
    for k in range(layout.ndim):
        p, q = (x.reshape(-1).astype(np.int32) for x in positions(layout.axis(k)))
        one = (one[:, None] * layout.sizes1[k] + p).reshape(-1)
        two = (two[:, None] * layout.sizes2[k] + q).reshape(-1)
    return one, two


def normalize(at: Any, cov: Cov, q1: Any, q2: Any, eps: float) -> tuple[Cov, Value]:
    """Record a division by the roots of both variances."""
    moment, factor = _note_dual("normalize", cov.data, *spread(at, q1, q2, cov.layout), eps)
    return Cov(moment, cov.layout), factor


def put_variances(at: Any, cov: Cov, q1: Spread, same: Same) -> Cov:
    """Record that some entries become variances."""
    if not isinstance(q1, Spread) or not isinstance(cov.data, Value):
        raise Unrecordable
    one, two = _entries(cov.layout)
    entries = (one == two).nonzero()[0] if cov.layout.sizes1 == cov.layout.sizes2 else one[:0]
    where = {"rows": (q1.rows, q1.rows), "firsts": (q1.first, q1.first), "entries": entries}
    x = cov.data
    return Cov(_write("put_variances", (x,), x.space, x.shape, **where)[0], cov.layout)
