r"""Products of per-example gradients, formed or in factors.

The gradient of output entry :math:`o` of example :math:`n` in one array of parameters is either
*formed*, :math:`G_{n o k}`, or *factored* over the positions :math:`p` at which the parameters
meet the data,

.. math:: G_{n o (j i)} = \sum_p \delta_{n o j p}\, a_{n p i},

where :math:`a` are the activations below a matrix of weights and :math:`\delta` the signals
propagated back to what it puts out. Its products are then

.. math:: \langle G_{n o}, G_{n' o'} \rangle = \sum_{p, p'} (a_n a_{n'}^T)_{p p'}
          \,(\delta_{n o}^T \delta_{n' o'})_{p p'}

and no gradient need be formed (Novak et al. 2022, section 3.3). Rows :math:`o` are counted in the
order diagonal, free, traced.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from ntcore.backend import Array, Place
from ntcore.ops import matmul

Sizes = tuple[int, int, int]


@dataclass(frozen=True)
class Formed:
    """Gradients ``g`` of shape ``(n, rows, parameters)``."""

    g: Array

    def formed(self, at: Place) -> Array:
        """Return the gradients."""
        return self.g

    def part(self, start: int, stop: int) -> Formed:
        """Return those of some examples."""
        return Formed(self.g[start:stop, ...])


@dataclass(frozen=True)
class Factored:
    """Gradients in factors.

    Attributes
    ----------
    a : array
        ``(n, groups, positions, inputs)``; ``inputs`` may be integers, ``(n, 1, positions)``,
        that stand for one-hot vectors.
    d : array
        ``(n, rows, groups, outputs, positions)``.
    inputs : int
        Number of inputs.
    turned : bool
        Whether the parameters are stored as ``(groups, inputs, outputs)``.
    """

    a: Array
    d: Array
    inputs: int
    turned: bool = False

    @property
    def one_hot(self) -> bool:
        """Whether the activations are integers."""
        return bool(self.a.ndim == 3)

    def part(self, start: int, stop: int) -> Factored:
        """Return those of some examples."""
        a, d = self.a[start:stop, ...], self.d[start:stop, ...]
        return Factored(a, d, self.inputs, self.turned)

    def formed(self, at: Place) -> Array:
        """Return the gradients, ``(n, rows, parameters)`` in the order of storage."""
        xp = at.xp
        n, rows, groups, outputs, positions = self.d.shape
        d = xp.reshape(xp.permute_dims(self.d, (0, 2, 1, 3, 4)), (n, groups, -1, positions))
        g = matmul(at, d, self._dense(at))
        g = xp.reshape(g, (n, groups, rows, outputs, self.inputs))
        order = (0, 2, 1, 4, 3) if self.turned else (0, 2, 1, 3, 4)
        return xp.reshape(xp.permute_dims(g, order), (n, rows, -1))

    def _dense(self, at: Place) -> Array:
        if not self.one_hot:
            return self.a
        xp = at.xp
        every = xp.arange(self.inputs, device=at.device)
        return xp.astype(self.a[..., None] == every, self.d.dtype)


Gradient = Formed | Factored


def products(at: Place, one: Gradient, two: Gradient, sizes: tuple[Sizes, Sizes]) -> Array:
    """Return the products of the gradients of all pairs, ``(n1, n2, diagonal, free1, free2)``.

    ``sizes`` gives the numbers of diagonal, free and traced rows on each side.
    """
    if (
        isinstance(one, Factored)
        and isinstance(two, Factored)
        and factors_pay(one, two, sizes, (one.d.shape[0], two.d.shape[0]))
    ):
        return _in_factors(at, one, two, sizes)
    g1, g2 = one.formed(at), two.formed(at)
    left, right = (_rows_first(at, g, s) for g, s in zip((g1, g2), sizes, strict=True))
    found = matmul(at, left, at.xp.matrix_transpose(right))
    return _split(at, found, (g1.shape[0], sizes[0][1]), (g2.shape[0], sizes[1][1]))


def paired_products(at: Place, one: Gradient, two: Gradient, sizes: tuple[Sizes, Sizes]) -> Array:
    """Return the products for examples at equal positions, ``(n, diagonal, free1, free2)``."""
    xp = at.xp
    both = []
    for gradient, (d, f, t) in zip((one, two), sizes, strict=True):
        g = gradient.formed(at)
        g = xp.reshape(g, (g.shape[0], d, f, t, g.shape[-1]))
        both.append(xp.reshape(g, (g.shape[0], d, f, -1)))
    return matmul(at, both[0], xp.matrix_transpose(both[1]))


def merged(at: Place, parts: list[Gradient]) -> Gradient:
    """Return the sum of the gradients that several uses of one array of parameters give."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    alike = all(
        isinstance(p, Factored)
        and isinstance(first, Factored)
        and (p.turned, p.one_hot) == (first.turned, first.one_hot)
        for p in parts
    )
    if alike and isinstance(first, Factored):
        a = at.xp.concat([p.a for p in parts], axis=2)  # type: ignore[union-attr]
        d = at.xp.concat([p.d for p in parts], axis=4)  # type: ignore[union-attr]
        return Factored(a, d, first.inputs, first.turned)
    return Formed(reduce(add, [p.formed(at) for p in parts]))


# --- formed --------------------------------------------------------------------------------------


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


def factors_pay(
    one: Factored, two: Factored, sizes: tuple[Sizes, Sizes], counts: tuple[int, int]
) -> bool:
    """Whether products of factors take fewer operations, and little memory, beside forming.

    ``counts`` are the numbers of examples.
    """
    _, _, groups, outputs, p1 = one.d.shape
    p2 = two.d.shape[4]
    (n1, n2), (d, f1, t), f2 = counts, sizes[0], sizes[1][1]
    pairs, rows = n1 * n2 * d * f1 * f2, (n1 * p1 * f1 + n2 * p2 * f2) * d * t
    taps = one.inputs * outputs * groups
    inner = 1 if one.one_hot else one.inputs
    positions = groups * p1 * p2
    in_factors = positions * (n1 * n2 * inner + pairs * t * outputs + 2 * pairs)
    small = pairs * positions <= 2 * (n1 * f1 + n2 * f2) * d * t * taps + 4 * pairs
    return bool(in_factors < pairs * t * taps + rows * taps and small)


def _in_factors(at: Place, one: Factored, two: Factored, sizes: tuple[Sizes, Sizes]) -> Array:
    xp = at.xp
    left, right = (_signals(at, g, s) for g, s in zip((one, two), sizes, strict=True))
    signals = matmul(at, left, xp.matrix_transpose(right))
    (n1, p1), (n2, p2) = (one.a.shape[0], one.a.shape[2]), (two.a.shape[0], two.a.shape[2])
    (d, f1, _), f2 = sizes[0], sizes[1][1]
    groups = one.d.shape[2]
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
    turned = at.xp.permute_dims(split, (4, 1, 0, 2, 6, 3, 5))
    return at.xp.reshape(turned, (groups * d, n * f * positions, t * outputs))


def _overlaps(at: Place, one: Factored, two: Factored) -> Array:
    """``a aᵀ`` over all positions, ``(groups, n1 * positions, n2 * positions)``."""
    xp = at.xp
    if one.one_hot:
        first, second = (xp.reshape(g.a, (-1,)) for g in (one, two))
        return xp.astype(first[:, None] == second[None, :], one.d.dtype)[None, ...]
    sides = []
    for g in (one, two):
        turned = xp.permute_dims(g.a, (1, 0, 2, 3))
        sides.append(xp.reshape(turned, (turned.shape[0], -1, g.inputs)))
    return matmul(at, sides[0], xp.matrix_transpose(sides[1]))


def arrays_of(g: Gradient) -> tuple[tuple[Array, ...], tuple[Any, ...]]:
    """Return the arrays of a gradient, and what else it is."""
    return ((g.g,), ()) if isinstance(g, Formed) else ((g.a, g.d), (g.inputs, g.turned))


def rebuilt(arrays: tuple[Array, ...], rest: tuple[Any, ...]) -> Gradient:
    """Return the gradient that :func:`arrays_of` took apart."""
    return Factored(*arrays, *rest) if rest else Formed(*arrays)
