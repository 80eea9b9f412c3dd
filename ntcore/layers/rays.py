"""What a function is given along the rays of a plane, and the integrals over their radius."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

from ntcore.backend import Array, Place, host
from ntcore.layers.nodes import legendre_rule
from ntcore.layers.series import Function

Two = tuple[Array, Array]
Functions = tuple[Function, Function]

#: The radius of a kink at which the angle is split.
NEAR = 2.0


@dataclass(frozen=True, eq=False)
class Side:
    """One of two arguments of a function on a ray: ``sign * length`` times the radius.

    Attributes
    ----------
    sign : array
        The sign in each wedge, on an axis of their own.
    length : array
        The size at radius 1.
    kinks : tuple of array
        How far from 0 the kinks on the side of the sign are, 0 where there is none.
    """

    sign: Array
    length: Array
    kinks: tuple[Array, ...]

    def times(self, factor: Array) -> Side:
        """Return the side of another ray."""
        return replace(self, length=self.length * factor)

    def radii(self, at: Place, reach: float) -> list[Array]:
        """Return where the ray meets the kinks, at most at the reach."""
        far = at.xp.full_like(self.length, reach)
        inside = [(t > 0) & (reach * self.length > t) for t in self.kinks]
        safe = [at.xp.where(b, self.length, far) for b in inside]
        return [
            at.xp.where(b, t / x, far) for b, t, x in zip(inside, self.kinks, safe, strict=True)
        ]


def side_of(at: Place, signs: Sequence[float], length: Array, kinks: tuple[float, ...]) -> Side:
    """Return a side in several wedges at once, on a new first axis."""
    distances = [[abs(t) for t in kinks if t * s > 0] for s in signs]
    most = max(map(len, distances))
    table = [[row[i] if i < len(row) else 0.0 for row in distances] for i in range(most)]
    columns = [_column(at, row, length.ndim) for row in (signs, *table)]
    return Side(columns[0], length, tuple(columns[1:]))


def _column(at: Place, row: Sequence[float], ndim: int) -> Array:
    return at.asarray(host().namespace.asarray(row).reshape(-1, *(1,) * ndim))


def nodes_of(at: Place, degree: int) -> Two:
    """Return nodes and weights of Gauss and Legendre here."""
    nodes, weights = legendre_rule(degree)
    return at.asarray(nodes), at.asarray(weights)


def along(at: Place, functions: Functions, one: Side, two: Side, degree: int, reach: float) -> Two:
    r"""Return :math:`\int_0^R r e^{-r^2 / 2} f(u r) f(v r) dr` for two functions, in pieces."""
    xp, shape = at.xp, (-1, *(1,) * one.length.ndim)
    nodes, weights = (xp.reshape(x, shape) for x in nodes_of(at, degree))
    moment = slope = 0 * one.length
    for start, stop in pairwise(_pieces(at, one, two, reach)):
        r = start + (stop - start) * nodes
        weight = (stop - start) * weights * r * xp.exp(-r * r / 2)
        u, v = one.sign * one.length * r, two.sign * two.length * r
        moment = moment + xp.sum(weight * functions[0](u) * functions[0](v), axis=0)
        slope = slope + xp.sum(weight * functions[1](u) * functions[1](v), axis=0)
    return moment, slope


def _pieces(at: Place, one: Side, two: Side, reach: float) -> list[Array]:
    """Return the radii at which pieces begin and end, in ascending order."""
    found = [*one.radii(at, reach), *two.radii(at, reach)]
    if len(found) > 1:
        ranked = at.xp.sort(at.xp.stack(found), axis=0)
        found = [ranked[i, ...] for i in range(len(found))]
    return [0 * one.length, *found, at.xp.full_like(one.length, reach)]


def panels(at: Place, one: Side, two: Side, opening: Array) -> Two:
    """Return the angles at which panels begin and end, in ascending order."""
    xp, a, b, zero = at.xp, one.length, two.length, 0 * opening
    angles = [zero, opening]
    sine = xp.maximum(xp.sin(opening), zero)  # the float next to pi may be the larger one
    for s, t in product(one.kinks, two.kinks):
        x, y = s * b * sine, t * a + s * b * xp.cos(opening)
        some = (x > 0) | (y > 0)
        met = xp.atan2(x, xp.where(some, y, xp.ones_like(y)))
        angles.append(xp.where(some, xp.minimum(met, opening), zero))
    for side, turned in ((one, False), (two, True)):
        for t in side.kinks:
            bend = _arcsine(at, t + zero, NEAR * side.length + zero)
            found = xp.minimum(bend, opening), xp.minimum(math.pi - bend, opening)
            angles += [opening - x if turned else x for x in found]
    ends = xp.sort(xp.stack(angles), axis=0)
    return ends[:-1, ...], ends[1:, ...]


def _arcsine(at: Place, x: Array, y: Array) -> Array:
    """Return the arc sine of ``x / y``, 0 where there is none."""
    some = y > x
    ratio = at.xp.where(some, x / at.xp.where(some, y, at.xp.ones_like(y)), 0 * y)
    return at.xp.asin(ratio)
