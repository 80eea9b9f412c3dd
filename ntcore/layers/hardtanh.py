"""Hardtanh, which is integrated over the angle alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ntcore.backend import Array, Place
from ntcore.errors import ArgumentError
from ntcore.layers.quadrature import BLIND_WEDGES, WEDGES, Quadrature
from ntcore.layers.rays import Side, Two
from ntcore.layers.rule import Rule
from ntcore.layers.wedges import Wedges
from ntcore.record import record


@dataclass(frozen=True)
class Clipped(Wedges):
    r"""The rule of a degree for a clipped identity, with the integrals over the radius in full.

    On a ray on which :math:`u = \alpha r` is cut off at :math:`s`, and :math:`v = \beta r` at
    :math:`t`, the one at the radius :math:`r_1` and the other at :math:`r_2 \ge r_1`, they are

    .. math:: \alpha\beta \left(2 - (2 + r_1^2)\, e^{-r_1^2 / 2}\right)
              + \min(s \beta, t \alpha) \int_{r_1}^{r_2} r^2 e^{-r^2 / 2} dr
              + s t\, e^{-r_2^2 / 2} \qquad\text{and}\qquad 1 - e^{-r_1^2 / 2}.
    """

    @property
    def radii(self) -> int:
        """One."""
        return 1

    def radial(self, at: Place, functions: Any, one: Side, two: Side) -> Two:
        xp, (s,), (t,) = at.xp, one.kinks, two.kinks
        a, b = one.length, two.length
        radii = one.radii(at, self.reach)[0], two.radii(at, self.reach)[0]
        first, last = xp.minimum(*radii), xp.maximum(*radii)
        g1, g2 = (xp.exp(-r * r / 2) for r in (first, last))
        error = at.backend.erf(last / math.sqrt(2)) - at.backend.erf(first / math.sqrt(2))
        middle = first * g1 - last * g2 + math.sqrt(math.pi / 2) * error
        both = a * b * (2 - (2 + first * first) * g1)
        clipped = xp.where(last < self.reach, s * t * g2, 0 * g2)
        moment = both + xp.minimum(s * b, t * a) * middle + clipped
        return one.sign * two.sign * moment, -xp.expm1(-first * first / 2)


@record
class Hardtanh(Quadrature):
    r""":math:`\phi(x) = \min(\max(x, a), b)`, by :mod:`~ntcore.layers.wedges`.

    Parameters
    ----------
    min_val, max_val : float
        The bounds :math:`a < 0` and :math:`b > 0`, plain numbers.
    accuracy : float, default 1e-8
        The error allowed; see :class:`~ntcore.layers.quadrature.Quadrature`.

    Raises
    ------
    ArgumentError
        If 0 is not between the bounds.
    """

    min_val: float = -1.0
    max_val: float = 1.0
    accuracy: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.min_val < 0 < self.max_val:
            raise ArgumentError(
                f"Hardtanh got the bounds {self.min_val!r} and {self.max_val!r}; give a negative "
                "and a positive number, or use ElementwiseNumerical with kinks."
            )

    @property
    def kinks(self) -> tuple[float, float]:
        """The bounds, where the derivative jumps."""
        return (self.min_val, self.max_val)

    @classmethod
    def examples(cls) -> list[Any]:
        return [(cls(-0.5, 2.0, 1e-12), (5,))]

    def rules(self, at: Place) -> tuple[tuple[Rule, ...], Rule]:
        return tuple(Clipped(n, self.kinks) for n in WEDGES), Clipped(BLIND_WEDGES, self.kinks)

    def fn(self, at: Place, x: Array) -> Array:
        low, high = (at.xp.full_like(x, v) for v in self.kinks)
        return at.xp.where(x < low, low, at.xp.where(x > high, high, x))

    def derivative(self, at: Place, x: Array) -> Array:
        inside = (x > self.min_val) & (x < self.max_val)
        return at.xp.where(inside, at.xp.ones_like(x), at.xp.zeros_like(x))
