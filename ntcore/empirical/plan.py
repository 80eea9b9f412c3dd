"""Which implementation to take, and how much to do at once."""

from __future__ import annotations

import math

from ntcore.empirical.axes import DIAGONAL, FREE, TRACED, Outputs
from ntcore.empirical.jacobian import formed
from ntcore.empirical.kernel import Chunks, Gradients
from ntcore.empirical.view import View
from ntcore.errors import ArgumentError

DEFAULT_BUDGET = 2 << 30


def choose(
    views: tuple[View, View],
    outs: tuple[Outputs, Outputs],
    implementation: str,
    memory_budget: float | None,
) -> tuple[Gradients, Chunks]:
    """Return how to compute gradients, and how many at once."""
    parameters = sum(math.prod(t.shape) for t in views[0].fn.theta)
    return formed, chunked(views, outs, 0.0, 2.0 * parameters, memory_budget)


def chunked(
    views: tuple[View, View],
    outs: tuple[Outputs, Outputs],
    per_example: float,
    per_row: float,
    memory_budget: float | None,
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
    result = pairs * one.count(DIAGONAL) * one.count(FREE) * two.count(FREE)
    if memory_budget is not None and result > budget:
        raise ArgumentError(
            f"the kernel alone takes {result * itemsize:,} bytes but memory_budget is "
            f"{memory_budget:,.0f}; give it more, trace axes, or call with fewer examples."
        )
    sides = 1 if views[0] is views[1] else 2
    room = max(budget - 2 * result, budget / 4) / sides
    d, f, t = one.count(DIAGONAL), max(o.count(FREE) for o in outs), one.count(TRACED)
    examples = int(room // (per_example + d * f * t * per_row))
    most = max(v.count for v in views)
    if examples >= most:
        return Chunks(most, d, f, t)
    if sides == 1:
        room /= 2  # from here on, two different blocks meet
        examples = int(room // (per_example + d * f * t * per_row))
    if examples >= 1:
        return Chunks(examples, d, f, t)
    rows = max(1, int((room - per_example) // per_row))
    traced = max(1, min(t, rows // (d * f)))
    diagonal = max(1, min(d, rows // f))
    return Chunks(1, diagonal if traced == 1 else d, max(1, min(f, rows)), traced)


def _itemsize(view: View) -> int:
    eps = float(view.backend.namespace.finfo(view.place.dtype).eps)
    return 8 if eps < 1e-10 else 4
