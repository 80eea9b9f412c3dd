"""Which implementation to take, and how much to do at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from ntcore.backend import Array
from ntcore.empirical.axes import Outputs
from ntcore.empirical.inner import Meeting, factors_pay
from ntcore.empirical.jacobian import formed
from ntcore.empirical.kernel import Blocks, Chunks
from ntcore.empirical.measure import measured
from ntcore.empirical.products import by_products
from ntcore.empirical.structured import factored, outlined
from ntcore.empirical.view import Exceeded, View
from ntcore.errors import ArgumentError, Unsupported

DEFAULT_BUDGET = 2 << 30
ROW_BY_ROW = 1.2  # a product of weights for each row of an example, beside one for all of them
TILES = 2  # that pass while gradients are made, and stay in cache
GROWS = 1.25  # at least, of what compiled functions were reckoned to take, at every replanning
REPLANS = 8  # with smaller pieces, where compiled functions take more than was reckoned with
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
    kept : tuple of float
        Numbers held until gradients are multiplied, for each example and for each row of one.
    passing : tuple of float
        Numbers held only while gradients are made, counted in the same way.
    """

    flops: float
    moved: float
    kept: tuple[float, float]
    passing: tuple[float, float]

    def corrected(self, found: Exceeded, chunks: Chunks, itemsize: int) -> Cost:
        """Return the cost with what a compiled function was found to take for some chunks."""
        rows = chunks.diagonal * chunks.free * chunks.traced
        took = found.took / itemsize
        (a, b), (c, d) = self.kept, self.passing
        if c + d and found.name != "products":
            more = max(took / (chunks.tile * (c + rows * d)), GROWS)
            return replace(self, passing=(c * more, d * more))
        more = max(1 + took / (chunks.examples * (a + rows * b)), GROWS)
        return replace(self, kept=(a * more, b * more))

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
    itemsize = _itemsize(views[0])
    if name == "auto":
        every = {n: cost() for n, cost in costs.items()}
        name = min(every, key=lambda n: every[n].time(itemsize))
        cost = every[name]
    else:
        cost = costs[name]()
    for _ in range(REPLANS):
        chunks = chunked(views, outs, cost, memory_budget)
        try:
            return _computed(name, views, outs, chunks)
        except Exceeded as found:
            cost = cost.corrected(found, chunks, itemsize)
        except Unsupported:
            if implementation != "auto" or name != "ntk_vector_products":
                raise
            return computed(views, outs, "structured_derivatives", memory_budget)
    return _computed(name, views, outs, replace(chunks, rest=None))


def _computed(name: str, views: Pair, outs: Outs, chunks: Chunks) -> Array:
    one = replace(views[0], room=chunks.rest)
    pair = one, one if views[0] is views[1] else replace(views[1], room=chunks.rest)
    if name == "ntk_vector_products":
        return by_products(pair, outs, chunks)
    gradients = factored if name == "structured_derivatives" else formed
    return Blocks(pair, outs, gradients, chunks).kernel()


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
        (1 + ROW_BY_ROW) * rows * work.flops + 2 * products * parameters,
        rows * (work.entries + 2 * parameters),
        (0.0, 1.0 * parameters),
        (work.entries, parameters + 3 * work.largest),
    )


def _products(views: Pair, outs: Outs) -> Cost:
    work, parameters = measured(views[0]), _parameters(views[0])
    one, two = views
    columns = two.count * math.prod(outs[1].shape)
    pairs = columns * (1 if outs[0].paired else one.count)
    return Cost(
        2 * columns * work.flops + 3 * pairs * work.flops,
        pairs * 2 * work.entries + columns * 2 * parameters,
        (work.entries, 2.0 * parameters + 3.0 * one.count * work.largest),
        (0.0, 0.0),
    )


def _structured(views: Pair, outs: Outs) -> Cost:
    rows, products, _ = _sizes(views, outs)
    work = measured(views[0])
    meeting = Meeting(
        (views[0].count, views[1].count), (outs[0].counts, outs[1].counts), outs[0].paired
    )
    flops, moved = rows * work.flops, rows * work.entries
    kept, passing = [0.0, 0.0], [work.entries, 3.0 * work.largest]
    multiplied = 0.0
    for g in outlined(views[0], outs[0].shape):
        if isinstance(g, int):
            flops, moved = flops + 2 * products * g, moved + 2 * rows * g
            kept[1], passing[1] = kept[1] + g, passing[1] + g
            continue
        _, _, groups, outputs, positions = g.d.shape
        taps = groups * outputs * sum(g.inputs)
        size = (sum(math.prod(a.shape[1:]) for a in g.a), groups * outputs * positions)
        if not meeting.paired and factors_pay(g, meeting):
            flops += 2 * products * positions**2 * groups * (outputs + len(g.a))
            moved += products / outs[0].counts[2] * groups * positions**2
            multiplied = max(multiplied, products / max(rows, 1) * groups * positions**2)
            kept = [k + s for k, s in zip(kept, size, strict=True)]
            passing[1] += size[1]
        else:
            flops += 2 * products * taps + 2 * rows * taps * positions
            moved, kept[1] = moved + 2 * rows * taps, kept[1] + taps
            passing = [passing[0] + size[0], passing[1] + 2 * size[1]]
    kept[1] += multiplied
    return Cost(flops, moved, (kept[0], kept[1]), (passing[0], passing[1]))


# --- chunks --------------------------------------------------------------------------------------


def chunked(views: Pair, outs: Outs, cost: Cost, memory_budget: float | None) -> Chunks:
    """Return chunks that stay within a budget.

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
    room = max(budget - 2 * result - _parameters(views[0]), budget / 8)
    most = max(v.count for v in views)
    examples, rows = _pieces(cost, (d, f, t), room, most, sides)
    blocks = sides if examples == most else 2
    kept, passing = (c[0] + math.prod(rows) * c[1] for c in (cost.kept, cost.passing))
    rest = room - blocks * examples * kept if passing else room
    fast = TILES * views[0].backend.tile_bytes(views[0].place.device) / itemsize
    small = min(fast / max(math.prod(rows) * cost.passing[1], 1), rest / max(passing, 1))
    return Chunks(max(1, min(examples, int(small))), examples, *rows, rest=rest * itemsize)


def _pieces(
    cost: Cost, rows: tuple[int, int, int], room: float, most: int, sides: int
) -> tuple[int, tuple[int, int, int]]:
    """Return how many examples, and diagonal, free and traced rows, fit into some room.

    Traced and diagonal rows are cut first, for their gradients are made once all the same; those
    of examples and free rows are made again for every piece that they meet.
    """
    d, f, t = rows
    (example, row), (passing, passing_row) = cost.kept, cost.passing

    def left(examples: int, rows: int) -> float:
        return room - examples * (example + rows * row) - passing - rows * passing_row

    for diagonal, traced in [(d, k) for k in _halves(t)] + [(k, 1) for k in _halves(d)]:
        if left(sides * most, diagonal * f * traced) >= 0:
            return most, (diagonal, f, traced)
    each = 2 * (example + f * row)
    if left(2, f) >= 0:
        return min(most, 1 + int(left(2, f) // each)), (1, f, 1)
    free = left(2, 0) / (2 * row + passing_row)
    return 1, (1, max(1, min(f, int(free))), 1)


def _halves(count: int) -> list[int]:
    found = [count]
    while found[-1] > 1:
        found.append(-(-found[-1] // 2))
    return found


def _itemsize(view: View) -> int:
    eps = float(view.backend.namespace.finfo(view.place.dtype).eps)
    return 8 if eps < 1e-10 else 4
