"""What NumPy does for each operation of a chain, on the values of a slab."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from ntcore.backends.chain_tables import folded, rows_of
from ntcore.backends.numpy_duals import MOMENTS, NO_VARIANCE, OF_PRODUCTS, OF_SUMS
from ntcore.backends.numpy_moments import moderate
from ntcore.backends.numpy_pairs import combined
from ntcore.backends.numpy_slab import Slab
from ntcore.backends.numpy_sums import Slices, adding, keeps_all, progressions
from ntcore.chain import Step
from ntcore.ops import Table


def run(slab: Slab, n: int, *steps: Step) -> bool:
    """Run steps up to the nth; return whether it could: variances may be too far from one."""
    step = steps[0]
    if step.name in MOMENTS:
        return _nonlinear(slab, n, step)
    name = "between" if step.name == "product" and step.rows is not None else step.name
    OPERATIONS[name](slab, n, *steps)
    return True


# --- sums -----------------------------------------------------------------------------------------


def _gather_sums(slab: Slab, n: int, *steps: Step) -> None:
    """Gather for a step, or for two with the same tables and scale."""
    (first, *_), memory, tile = steps, slab.memory, slab.tile
    own = [slab.slots[step.inputs[0]] for step in steps]  # type: ignore[index]
    slots, sizes = _gathered(slab, first, own)
    outer = math.prod(sizes[:-1])
    for step in steps:
        slab.write(step.outputs[0])
    made = [slab.slots[step.outputs[0]] for step in steps]
    x = memory.views(slots, outer, sizes[-1], slab.lanes)
    y = memory.views(made, *_three(slab, first.outputs[0], outer))
    memory.gather(x, rows_of(first.tables[-1], tile.rows, first.sizes[-1], slab.row, slab.held), y)
    if slots != own:
        memory.free(*slots)
    _scale(y, first.scale)
    for step in steps:
        found = slab.read(step.outputs[0])
        if step.bias:
            np.add(found, step.bias, out=found)
        for i in step.inputs[1:]:
            if i is not None:
                np.add(found, slab.read(i), out=found)


def _three(slab: Slab, value: int, outer: int) -> tuple[int, int, int]:
    return outer, math.prod(slab.split(value)) * slab.held // outer, slab.lanes


def _gathered(slab: Slab, step: Step, own: list[int]) -> tuple[list[int], list[int]]:
    """Gather on every axis but the last; return the slots of it, and the entries on each axis."""
    memory, slots = slab.memory, own
    sizes = [*step.sizes[:-1], step.sizes[-1] // slab.tile.rows * slab.held]
    for k, table in enumerate(step.tables[:-1]):
        if keeps_all(table) and table.index.shape[1] == sizes[k]:
            continue
        source, outer, width = slots, math.prod(sizes[:k]), math.prod(sizes[k + 1 :]) * slab.lanes
        x = memory.views(source, outer, sizes[k], width)
        slots, sizes[k] = [memory.take() for _ in own], table.index.shape[1]
        memory.gather(x, table, memory.views(slots, outer, sizes[k], width))
        if source != own:
            memory.free(*source)
    return slots, sizes


def fold(slab: Slab, step: Step) -> None:
    """Gather on every axis but the last, and add every row to what reads it."""
    own = [slab.slots[step.inputs[0]]]  # type: ignore[index]
    (slot,), sizes = _gathered(slab, step, own)
    outer, before = math.prod(sizes[:-1]), sizes[-1] // slab.held
    x = slab.memory.view(slot, outer, slab.held, before, slab.lanes)
    made = slab.tile.made[step.outputs[0]].reshape(outer, -1, *slab.beside.counts)
    made = made[:, :, *slab.beside.group]
    runs = _runs(step.tables[-1], slab.tile.rows, step.sizes[-1])[slab.row :]
    spare = slab.memory.take()
    for r in range(slab.held):
        for entries, taps in runs[r]:
            parts, part = [x[:, r, t] for t in taps], made[:, entries]
            found = parts[0]
            if len(parts) > 1:
                found = slab.memory.view(spare, *found.shape)
                for fn, args in adding(parts, found):
                    fn(*args)
            np.add(part, np.multiply(found, step.scale).reshape(part.shape), out=part)
    slab.memory.free(spare)
    if slot not in own:
        slab.memory.free(slot)


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
