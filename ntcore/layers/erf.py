"""The error function."""

from __future__ import annotations

import math
from typing import Any

from ntcore.backend import Array, Place
from ntcore.layers.base import Elementwise
from ntcore.ops import arcsine
from ntcore.record import leaf, record


@record
class Erf(Elementwise):
    r""":math:`\phi(x) = a\,\mathrm{erf}(b x) + c`.

    .. math:: E[\phi(u)\phi(v)] = \frac{2 a^2}{\pi} \arcsin
              \frac{2 b^2 k}{\sqrt{(1 + 2 b^2 q_1)(1 + 2 b^2 q_2)}} + c^2

    (Williams 1997, eq. 11).

    Parameters
    ----------
    a, b, c : float or array
        Scale, slope and offset.
    """

    a: Any = leaf(default=1.0)
    b: Any = leaf(default=1.0)
    c: Any = leaf(default=0.0)

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(), cls(1.4, 0.7, 0.3)]

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        a2, b2, c2 = (at.number(v) ** 2 for v in (self.a, self.b, self.c))
        moment, slope = arcsine(at, b2 * k, b2 * q1, b2 * q2)
        return a2 * moment + c2, (a2 * b2) * slope

    def fn(self, at: Place, x: Array) -> Array:
        a, b, c = (at.number(v) for v in (self.a, self.b, self.c))
        return a * at.backend.erf(b * x) + c

    def derivative(self, at: Place, x: Array) -> Array:
        a, b = at.number(self.a), at.number(self.b)
        return (2 / math.sqrt(math.pi)) * a * b * at.xp.exp(-((b * x) ** 2))
