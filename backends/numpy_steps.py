"""What NumPy does for each operation of a chain, on the values of a slab."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import product

import numpy as np

from ntcore.backends.chain_tables import folded, reading, rows_of
from ntcore.backends.numpy_duals import MOMENTS, NO_VARIANCE, OF_PRODUCTS, OF_SUMS
from ntcore.backends.numpy_moments import moderate
from ntcore.backends.numpy_pairs import combined
from ntcore.backends.numpy_slab import Slab
from ntcore.backends.numpy_sums import Slices, adding, keeps_all, progressions
from ntcore.chain import Step
from ntcore.ops import Table


def run(slab: Slab, n: int, step: Step) -> bool:
    """Run the nth step; return whether it could: variances may be too far from one."""
    if step.name in MOMENTS:
        return _nonlinear(slab, n, step)
    name = "between" if step.name == "product" and step.rows is not None else step.name
    OPERATIONS[name](slab, n, step)
    return True


# --- sums -----------------------------------------------------------------------------------------


def _gather_sums(slab: Slab, n: int, step: Step) -> None:
    own, memory, last = slab.slots[step.inputs[0]], slab.memory, step.tables[-1]  # type: ignore[index]
    slot, sizes = _gathered(slab, step, own, step.tables[:-1])
    outer = math.prod(sizes[:-1])
    found = slab.write(step.outputs[0])
    out = slab.slots[step.outputs[0]]
    x = memory.view(slot, outer, sizes[-1], slab.lanes)
    y = memory.view(out, outer, len(found) // outer, slab.lanes)
    memory.gather(x, rows_of(last, slab.tile.rows, step.sizes[-1], slab.row, slab.held), y)
    if slot != own:
        memory.free(slot)
    _scale(found, step.scale)
    if step.bias:
        np.add(found, step.bias, out=found)
    for i in step.inputs[1:]:
        if i is not None:
            np.add(found, slab.read(i), out=found)


def _gathered(slab: Slab, step: Step, own: int, tables: tuple[Table, ...]) -> tuple[int, list[int]]:
    """Gather on every axis but the last; return the slot of it, and the entries on each axis."""
    memory, slot = slab.memory, own
    sizes = [*step.sizes[:-1], step.sizes[-1] // slab.tile.rows * slab.held]
    for k, table in enumerate(tables):
        if keeps_all(table) and table.index.shape[1] == sizes[k]:
            continue
        source, outer, width = slot, math.prod(sizes[:k]), math.prod(sizes[k + 1 :]) * slab.lanes
        x = memory.view(source, outer, sizes[k], width)
        slot, sizes[k] = memory.take(), table.index.shape[1]
        memory.gather(x, table, memory.view(slot, outer, sizes[k], width))
        if source != own:
            memory.free(source)
    return slot, sizes


def fold(slab: Slab, step: Step) -> None:
    """Gather on every axis but the last, and add every row to what reads it.

    Entries of the other axes that read nothing are left as they are.
    """
    sizes = [table.index.shape[1] for table in step.tables]
    made = slab.tile.made[step.outputs[0]].reshape(*sizes, *slab.beside.counts)
    for parts in product(*map(reading, step.tables[:-1])):
        places = (*(entries for entries, _ in parts), slice(None), *slab.beside.group)
        _fold(slab, step, tuple(table for _, table in parts), made[places])


def _fold(slab: Slab, step: Step, leading: tuple[Table, ...], made: np.ndarray) -> None:
    """Fold into some entries of the other axes."""
    own, memory = slab.slots[step.inputs[0]], slab.memory  # type: ignore[index]
    slot, sizes = _gathered(slab, step, own, leading)
    x = memory.view(slot, *sizes[:-1], slab.held, sizes[-1] // slab.held, slab.lanes)
    runs = _runs(step.tables[-1], slab.tile.rows, step.sizes[-1])[slab.row :]
    spare = memory.take()
    for r in range(slab.held):
        for entries, taps in runs[r]:
            parts, part = [x[..., r, t, :] for t in taps], made[..., entries, :, :]
            found = memory.view(spare, *parts[0].shape)
            for fn, args in adding(parts, found) if len(parts) > 1 else ():
                fn(*args)
            np.multiply(found if len(parts) > 1 else parts[0], step.scale, out=found)
            np.add(part, found.reshape(part.shape), out=part)
    memory.free(*{spare, slot} - {own})


@lru_cache(maxsize=1024)
def _runs(table: Table, rows: int, size: int) -> list[list[Slices]]:
    """Return, for each row, runs of entries that read it and what they read."""
    return [
        progressions({entry: tuple(taps) for entry, taps in row}, math.inf)
        for row in folded(table, rows, size)
    ]


def _total(slab: Slab, n: int, step: Step) -> None:
    """Add all entries up in halves, in their place, and then to what was there."""
    x = slab.write_over(n, step, 0)
    entries = len(x)
    while entries > 1:
        half = (entries + 1) // 2
        np.add(x[: entries - half], x[half:entries], out=x[: entries - half])
        entries = half
    ones, twos = slab.beside.group
    made = slab.tile.made[step.outputs[0]].reshape(slab.beside.counts)[ones, twos]
    made += (x[0] * step.scale).reshape(made.shape)


# --- entry by entry -------------------------------------------------------------------------------


def _affine(slab: Slab, n: int, step: Step) -> None:
    i, *plus = step.inputs
    assert i is not None
    x, out = slab.read(i), slab.write(step.outputs[0])
    if step.scale != 1:
        x = np.multiply(x, step.scale, out=out)
    if step.bias:
        x = np.add(x, step.bias, out=out)
    for i in plus:
        if i is not None:
            x = np.add(x, slab.read(i), out=out)
    if x is not out:
        np.copyto(out, x)


def _scale(x: np.ndarray, scale: float) -> None:
    if scale != 1:
        np.multiply(x, scale, out=x)


def _product(slab: Slab, n: int, step: Step) -> None:
    x, y = (slab.read(i) for i in step.inputs if i is not None)
    np.multiply(x, y, out=slab.write(step.outputs[0]))


def _between(slab: Slab, n: int, step: Step) -> None:
    """Multiply the examples that every entry compares, and add up what their channels give."""
    found, drawn = slab.write(step.outputs[0]), slab.beside.drawn
    slot = slab.memory.take()
    product = slab.view(slot, step.outputs[0])
    for c, firsts in enumerate((*step.before, step.firsts)):
        combined(slab, step, np.multiply, drawn, firsts, product if c else found)
        if c:
            np.add(found, product, out=found)
    _scale(found, step.scale)
    slab.memory.free(slot)


def _put_variances(slab: Slab, n: int, step: Step) -> None:
    """Let entries that compare one position of one example be its variance."""
    x, itself = slab.write_over(n, step, 0), slab.beside.itself
    if itself is None or not itself.size or step.rows is None:
        return
    _, width = slab.split(step.outputs[0])
    m, e = np.divmod(step.entries, slab.tile.rows * width)
    e = e - slab.row * width
    here = (e >= 0) & (e < slab.held * width)
    places = (m * slab.held * width + e)[here]
    rows = step.rows[0].reshape(-1)[step.entries[here]] + step.firsts[0]
    own = slab.beside.sides[0].reshape(len(slab.beside.sides[0]), -1)
    first = itself * own.shape[1] // slab.lanes  # one number for each example, or for each pair
    x[places[:, None], itself] = own[rows[:, None], first]


# --- nonlinearities -------------------------------------------------------------------------------


def _nonlinear(slab: Slab, n: int, step: Step) -> bool:
    """Write moments over the entries that they are of."""
    out, memory, own, sides = step.outputs, slab.memory, step.firsts[0] < 0, slab.beside.sides
    if own:
        x = slab.read(step.inputs[0])  # type: ignore[arg-type]
        if not moderate(x[np.arange(len(x)) == step.rows[0].reshape(-1)]):  # type: ignore[index]
            return False
        sides = x[:, None, :], x[:, None, :]
    slots = memory.take(), memory.take()
    p, s = (slab.view(slot, out[0]) for slot in slots)
    firsts, moments = (0, 0) if own else step.firsts, step.name
    if moments in OF_SUMS or step.bias:
        combined(slab, step, np.add, sides, firsts, s)
    if moments in OF_PRODUCTS:
        combined(slab, step, np.multiply, sides, firsts, p)
    _shift(step, p, s)
    none = p == 0 if moments == "rectifier" and (own or slab.beside.zeros) else None
    k, slope = slab.write_over(n, step, 0), slab.write(out[1])
    MOMENTS[moments](k, p, s, slope, k)
    if none is not None:
        np.copyto(slope, NO_VARIANCE, where=none)
    memory.free(*slots)
    if len(step.inputs) > 1:
        np.multiply(slope, slab.read(step.inputs[1]), out=slope)  # type: ignore[arg-type]
    return True


def _shift(step: Step, p: np.ndarray, s: np.ndarray) -> None:
    """Turn products and sums of variances into those of ``scale * q + bias``."""
    if step.name in OF_PRODUCTS:
        _scale(p, step.scale**2)
        if step.bias:
            np.add(p, s * (step.scale * step.bias) + step.bias**2, out=p)
    if step.name in OF_SUMS:
        _scale(s, step.scale)
        if step.bias:
            np.add(s, 2 * step.bias, out=s)


OPERATIONS: dict[str, Callable[..., None]] = {
    "gather_sums": _gather_sums,
    "total": _total,
    "affine": _affine,
    "product": _product,
    "between": _between,
    "put_variances": _put_variances,
}
