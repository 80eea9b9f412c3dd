"""Inner products of the gradients of two batches, and whether to form gradients for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Any

from ntcore.backend import Array, Place
from ntcore.empirical.contract import Factored, Gradient, alone, is_one_hot
from ntcore.ops import gram

Sizes = tuple[int, int, int]
STRIPS = 4  # a symmetric block is computed in this many strips of examples


@dataclass(frozen=True)
class Meeting:
    """How many gradients of one side meet how many of the other.

    Attributes
    ----------
    counts : tuple of int
        Numbers of examples on each side.
    sizes : tuple
        Numbers of diagonal, free and traced rows on each side.
    paired : bool
        Whether an example meets only the one at its own position.
    """

    counts: tuple[int, int]
    sizes: tuple[Sizes, Sizes]
    paired: bool = False


def settled(at: Place, gradients: Sequence[Gradient], meeting: Meeting) -> list[Gradient]:
    """Return gradients in the form in which they are multiplied: formed, where that is cheaper."""
    found: list[Gradient] = []
    for g in gradients:
        if isinstance(g, Factored) and (meeting.paired or not factors_pay(g, meeting)):
            found += g.formed(at)
        else:
            found.append(g)
    return found


def factors_pay(g: Factored, meeting: Meeting) -> bool:
    """Whether products of factors take fewer operations, and little memory, beside forming."""
    _, _, groups, outputs, p = g.d.shape
    (n1, n2), (d, f1, t), f2 = meeting.counts, meeting.sizes[0], meeting.sizes[1][1]
    pairs, rows = n1 * n2 * d * f1 * f2, (n1 * f1 + n2 * f2) * d * t
    taps = sum(g.inputs) * outputs * groups
    inner = sum(1 if is_one_hot(a) else k for a, k in zip(g.a, g.inputs, strict=True))
    positions = groups * p * p
    in_factors = positions * (n1 * n2 * inner + pairs * t * outputs + 2 * pairs)
    small = pairs * positions <= 2 * rows * taps + 4 * pairs
    return bool(in_factors < pairs * t * taps + p * rows * taps and small)


def total(
    at: Place,
    one: Sequence[Gradient],
    two: Sequence[Gradient],
    sizes: tuple[Sizes, Sizes],
    multiply: Callable[..., Array],
) -> Array:
    """Return products summed over parameters; ``multiply`` as :func:`products`."""
    if [g.of for g in one] != [g.of for g in two]:  # found in other ways on the two sides
        one, two = alone(at, one), alone(at, two)
    return reduce(add, (multiply(at, a, b, sizes) for a, b in zip(one, two, strict=True)))


def symmetric(
    at: Place, gradients: Sequence[Gradient], sizes: tuple[Sizes, Sizes], strips: int = STRIPS
) -> Array:
    """Return the products of gradients with themselves, strip by strip, each from its diagonal."""
    n = gradients[0].count
    edges = sorted({k * n // strips for k in range(strips + 1)})
    found: list[Array] = []
    for start, stop in pairwise(edges):
        one, two = ([g.part(start, end) for g in gradients] for end in (stop, n))
        found.append(total(at, one, two, sizes, products))
    return found[0] if len(found) == 1 else _mirrored(at.xp, found, edges)


def _mirrored(xp: Any, strips: list[Array], edges: list[int]) -> Array:
    """Fill in what is left of the diagonal, from above it."""
    rows = []
    for k, (start, stop) in enumerate(pairwise(edges)):
        above = [
            turned(xp, strip[:, start - first : stop - first, ...])
            for strip, first in zip(strips[:k], edges, strict=False)
        ]
        rows.append(xp.concat([*above, strips[k]], axis=1) if above else strips[k])
    return xp.concat(rows, axis=0)


def turned(xp: Any, block: Array) -> Array:
    """Return the block on the other side of the diagonal."""
    return xp.permute_dims(block, (1, 0, 2, 4, 3))


def products(at: Place, one: Gradient, two: Gradient, sizes: tuple[Sizes, Sizes]) -> Array:
    """Return the products of the gradients of all pairs, ``(n1, n2, diagonal, free1, free2)``.

    ``sizes`` gives the numbers of diagonal, free and traced rows on each side.
    """
    if isinstance(one, Factored) and isinstance(two, Factored):
        return _in_factors(at, one, two, sizes)
    return reduce(add, (_multiplied(at, a, b, sizes) for a, b in _alike(at, one, two)))


def paired_products(at: Place, one: Gradient, two: Gradient, sizes: tuple[Sizes, Sizes]) -> Array:
    """Return the products for examples at equal positions, ``(n, diagonal, free1, free2)``."""
    return reduce(add, (_paired(at, a, b, sizes) for a, b in _alike(at, one, two)))


# --- formed --------------------------------------------------------------------------------------


def _alike(at: Place, one: Gradient, two: Gradient) -> Iterator[tuple[Array, Array]]:
    """Yield the gradients of every parameter on both sides, in one order of its entries."""
    for a, b in zip(one.formed(at), two.formed(at), strict=True):
        yield (a.g, b.g) if a.lies == b.lies else (a.stored(at), b.stored(at))


def _multiplied(at: Place, g1: Array, g2: Array, sizes: tuple[Sizes, Sizes]) -> Array:
    left, right = (_rows_first(at, g, s) for g, s in zip((g1, g2), sizes, strict=True))
    found = gram(at, left, right)
    return _split(at, found, (g1.shape[0], sizes[0][1]), (g2.shape[0], sizes[1][1]))


def _paired(at: Place, g1: Array, g2: Array, sizes: tuple[Sizes, Sizes]) -> Array:
    left, right = (
        at.xp.reshape(g, (g.shape[0], d, f, -1))
        for g, (d, f, _) in zip((g1, g2), sizes, strict=True)
    )
    return gram(at, left, right)


def _rows_first(at: Place, g: Array, sizes: Sizes) -> Array:
    """``(diagonal, n * free, traced * parameters)``."""
    d, f, t = sizes
    xp, (n, _, k) = at.xp, g.shape
    if d == 1:
        return xp.reshape(g, (1, n * f, t * k))
    split = xp.permute_dims(xp.reshape(g, (n, d, f, t, k)), (1, 0, 2, 3, 4))
    return xp.reshape(split, (d, n * f, t * k))


def _split(at: Place, found: Array, one: tuple[int, int], two: tuple[int, int]) -> Array:
    """``(d, n1 f1, n2 f2)`` to ``(n1, n2, d, f1, f2)``."""
    split = at.xp.reshape(found, (found.shape[0], *one, *two))
    return at.xp.permute_dims(split, (1, 3, 0, 2, 4))


# --- in factors ----------------------------------------------------------------------------------


def _in_factors(at: Place, one: Factored, two: Factored, sizes: tuple[Sizes, Sizes]) -> Array:
    xp = at.xp
    left, right = (_signals(at, g, s) for g, s in zip((one, two), sizes, strict=True))
    signals = gram(at, left, right)
    (n1, _, groups, _, p1), (n2, *_, p2) = one.d.shape, two.d.shape
    (d, f1, _), f2 = sizes[0], sizes[1][1]
    below = _overlaps(at, one, two)
    if p1 == p2 == groups == 1:
        signals = xp.reshape(signals, (d, n1, f1, n2, f2))
        found = signals * xp.reshape(below, (1, n1, 1, n2, 1))
        return xp.permute_dims(found, (1, 3, 0, 2, 4))
    signals = xp.reshape(signals, (groups, d, n1, f1, p1, n2, f2, p2))
    weighted = signals * xp.reshape(below, (groups, 1, n1, 1, p1, n2, 1, p2))
    return xp.permute_dims(xp.sum(weighted, axis=(0, 4, 7)), (1, 3, 0, 2, 4))


def _signals(at: Place, g: Factored, sizes: Sizes) -> Array:
    """``(groups * diagonal, n * free * positions, traced * outputs)``."""
    d, f, t = sizes
    n, _, groups, outputs, positions = g.d.shape
    split = at.xp.reshape(g.d, (n, d, f, t, groups, outputs, positions))
    order = at.xp.permute_dims(split, (4, 1, 0, 2, 6, 3, 5))
    return at.xp.reshape(order, (groups * d, n * f * positions, t * outputs))


def _overlaps(at: Place, one: Factored, two: Factored) -> Array:
    """``a aᵀ`` over all positions, ``(groups, n1 * positions, n2 * positions)``, summed."""
    dense, found = [], []
    for a, b in zip(one.a, two.a, strict=True):
        if is_one_hot(a):
            found.append(_equal(at, a, b, one.d.dtype))
        else:
            dense.append((a, b))
    if dense:
        sides = [_beside(at, [pair[k] for pair in dense]) for k in (0, 1)]
        found.append(gram(at, *sides))
    return reduce(add, found)


def _equal(at: Place, a: Array, b: Array, dtype: Any) -> Array:
    first, second = (at.xp.reshape(x, (-1,)) for x in (a, b))
    return at.xp.astype(first[:, None] == second[None, :], dtype)[None, ...]


def _beside(at: Place, every: list[Array]) -> Array:
    """``(groups, n * positions, inputs)`` of the activations of several parameters."""
    xp = at.xp
    a = every[0] if len(every) == 1 else xp.concat(every, axis=3)
    order = xp.permute_dims(a, (1, 0, 2, 3))
    return xp.reshape(order, (order.shape[0], -1, order.shape[3]))
