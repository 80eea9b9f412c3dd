"""Which implementation to take, and how much to do at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ntcore.backend import Array
from ntcore.empirical.axes import Outputs
from ntcore.empirical.inner import Meeting, factors_pay
from ntcore.empirical.jacobian import formed
from ntcore.empirical.kernel import Blocks, Chunks
from ntcore.empirical.measure import measured
from ntcore.empirical.products import by_products
from ntcore.empirical.structured import factored, outlined
from ntcore.empirical.view import View
from ntcore.errors import ArgumentError, Unsupported

DEFAULT_BUDGET = 2 << 30
BYTES_PER_FLOP = 0.1  # what a machine moves in the time of one operation of a matrix product

Pair = tuple[View, View]
Outs = tuple[Outputs, Outputs]


@dataclass(frozen=True)
class Cost:
    """What an implementation takes.

    Attributes
    ----------
    flops : float
        Floating-point operations.
    moved : float
        Numbers written and read again.
    per_example, per_row : float
        Numbers held for each example, and for each row of an example.
    """

    flops: float
    moved: float
    per_example: float
    per_row: float

    def time(self, itemsize: int) -> float:
        """Return the time in units of one operation."""
        return self.flops + self.moved * itemsize / BYTES_PER_FLOP


def computed(views: Pair, outs: Outs, implementation: str, memory_budget: float | None) -> Array:
    """Return sums of products of gradients, ``(n1, n2, diagonal, free1, free2)``."""
    name = implementation
    costs: dict[str, Callable[[], Cost]] = {
        "structured_derivatives": lambda: _structured(views, outs),
        "ntk_vector_products": lambda: _products(views, outs),
        "jacobian_contraction": lambda: _jacobian(views, outs),
    }
    if name == "auto":
        itemsize = _itemsize(views[0])
        every = {n: cost() for n, cost in costs.items()}
        name = min(every, key=lambda n: every[n].time(itemsize))
        cost = every[name]
    else:
        cost = costs[name]()
    chunks = chunked(views, outs, cost.per_example, cost.per_row, memory_budget)
    if name == "ntk_vector_products":
        try:
            return by_products(views, outs, chunks)
        except Unsupported:
            if implementation != "auto":
                raise
        return computed(views, outs, "structured_derivatives", memory_budget)
    gradients = factored if name == "structured_derivatives" else formed
    return Blocks(views, outs, gradients, chunks).kernel()


# --- costs ---------------------------------------------------------------------------------------


def _sizes(views: Pair, outs: Outs) -> tuple[float, float, float]:
    """Return the numbers of rows, of pairs of rows, and of rows that are multiplied."""
    one, two = views
    examples = one.count + (0 if one is two else two.count)
    pairs = one.count * (1 if outs[0].paired else two.count) / (2 if one is two else 1)
    d, f, t = outs[0].counts
    return float(examples * d * f * t), float(pairs * d * f * outs[1].counts[1] * t), pairs


def _parameters(view: View) -> int:
    return sum(math.prod(t.shape) for t in view.fn.theta)


def _jacobian(views: Pair, outs: Outs) -> Cost:
    rows, products, _ = _sizes(views, outs)
    work, parameters = measured(views[0]), _parameters(views[0])
    return Cost(
        2 * rows * work.flops + 2 * products * parameters,
        rows * (work.entries + 2 * parameters),
        work.entries,
        2.0 * parameters + 3 * work.largest,
    )


def _products(views: Pair, outs: Outs) -> Cost:
    work, parameters = measured(views[0]), _parameters(views[0])
    one, two = views
    columns = two.count * math.prod(outs[1].shape)
    pairs = columns * (1 if outs[0].paired else one.count)
    return Cost(
        2 * columns * work.flops + 3 * pairs * work.flops,
        pairs * 2 * work.entries + columns * 2 * parameters,
        work.entries,
        2.0 * parameters + 3.0 * one.count * work.largest,
    )


def _structured(views: Pair, outs: Outs) -> Cost:
    rows, products, _ = _sizes(views, outs)
    work = measured(views[0])
    meeting = Meeting(
        (views[0].count, views[1].count), (outs[0].counts, outs[1].counts), outs[0].paired
    )
    flops, moved = rows * work.flops, rows * work.entries
    per_example, per_row, transient = work.entries, 3 * work.largest, 0.0
    for g in outlined(views[0], outs[0].shape):
        if isinstance(g, int):
            flops, moved, per_row = flops + 2 * products * g, moved + rows * g, per_row + 2 * g
            continue
        _, _, groups, outputs, positions = g.d.shape
        taps = groups * outputs * sum(g.inputs)
        per_example += sum(math.prod(a.shape[1:]) for a in g.a)
        per_row += 2 * groups * outputs * positions
        if not meeting.paired and factors_pay(g, meeting):
            flops += 2 * products * positions**2 * groups * (outputs + len(g.a))
            transient = max(transient, products / max(rows, 1) * groups * positions**2)
        else:
            flops += 2 * products * taps + 2 * rows * taps * positions
            per_row += 2.0 * taps
        moved += rows * groups * outputs * positions
    return Cost(flops, moved, per_example, per_row + transient)


# --- chunks --------------------------------------------------------------------------------------


def chunked(
    views: Pair, outs: Outs, per_example: float, per_row: float, memory_budget: float | None
) -> Chunks:
    """Return chunks for a number of entries per example, and per row of an example.

    Raises
    ------
    ArgumentError
        If the kernel itself takes more than the budget.
    """
    one, two = outs
    itemsize = _itemsize(views[0])
    budget = (DEFAULT_BUDGET if memory_budget is None else memory_budget) / itemsize
    pairs = views[0].count * (1 if one.paired else views[1].count)
    d, f, t = one.counts[0], max(o.counts[1] for o in outs), one.counts[2]
    result = pairs * d * one.counts[1] * two.counts[1]
    if memory_budget is not None and result > budget:
        raise ArgumentError(
            f"the kernel alone takes {result * itemsize:,} bytes but memory_budget is "
            f"{memory_budget:,.0f}; give it more, trace axes, or call with fewer examples."
        )
    sides = 1 if views[0] is views[1] else 2
    parameters = _parameters(views[0])
    room = max(budget - 2 * result - parameters, budget / 8) / sides
    most = max(v.count for v in views)
    each = per_example + d * f * t * per_row
    if room >= most * each:
        return Chunks(most, d, f, t)
    room /= 3 - sides  # from here on, two different blocks meet
    if room >= each:
        return Chunks(int(room // each), d, f, t)
    rows = max(1, int((room - per_example) // per_row))
    traced = max(1, min(t, rows // (d * f)))
    diagonal = d if traced > 1 else max(1, min(d, rows // f))
    return Chunks(1, diagonal, max(1, min(f, rows)), traced)


def _itemsize(view: View) -> int:
    eps = float(view.backend.namespace.finfo(view.place.dtype).eps)
    return 8 if eps < 1e-10 else 4
