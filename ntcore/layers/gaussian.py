"""Functions under a Gaussian bell."""

from __future__ import annotations

from typing import Any

from ntcore.backend import Array, Place
from ntcore.layers.base import Elementwise
from ntcore.layers.correlation import determinant
from ntcore.record import leaf, record


@record
class Gaussian(Elementwise):
    r""":math:`\phi(x) = a\, e^{b x^2}`.

    .. math:: E[\phi(u)\phi(v)] = \frac{a^2}{\sqrt{D}}, \qquad
              E[\phi'(u)\phi'(v)] = \frac{4 a^2 b^2 k}{D^{3/2}}

    with :math:`D = (1 - 2 b q_1)(1 - 2 b q_2) - 4 b^2 k^2` (derived by completing the square).
    For positive :math:`b` both are infinite where :math:`1 - 2 b q_1` or :math:`D` is not
    positive, the variances being too large for :math:`\phi` to have a second moment.

    Parameters
    ----------
    a, b : float or array
        Scale and rate.
    """

    a: Any = leaf(default=1)
    b: Any = leaf(default=-1)

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(), cls(1.4, -0.3)]

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        xp, a2, b = at.xp, at.number(self.a) ** 2, at.number(self.b)
        det = 1 - 2 * b * (q1 + q2) + 4 * b**2 * determinant(at, k, q1, q2)
        diverges = (det <= 0) | (1 - 2 * b * q1 <= 0)
        det = xp.where(diverges, xp.ones_like(det), det)
        moment = a2 / xp.sqrt(det)
        infinite = xp.full_like(moment, float("inf"))
        slope = 4 * b**2 * k * moment / det
        return xp.where(diverges, infinite, moment), xp.where(diverges, infinite, slope)

    def fn(self, at: Place, x: Array) -> Array:
        return at.number(self.a) * at.xp.exp(at.number(self.b) * x * x)

    def derivative(self, at: Place, x: Array) -> Array:
        return 2 * at.number(self.b) * x * self.fn(at, x)


@record
class Gabor(Elementwise):
    r""":math:`\phi(x) = e^{-x^2} \sin x`.

    .. math:: E[\phi(u)\phi(v)] = \frac{e^{-S} \sinh (k / D)}{\sqrt{D}}, \qquad
              D = 1 + 2 (q_1 + q_2) + 4 (q_1 q_2 - k^2), \qquad
              S = \frac{1}{2} - \frac{1 + q_1 + q_2}{2 D}

    (derived from the moments of sines under the Gaussian that :math:`e^{-u^2 - v^2}` makes of
    the given one: variances :math:`(q + 2 q_1 q_2 - 2 k^2) / D`, covariance :math:`k / D`); the
    other moment is its derivative in :math:`k`.
    """

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls()]

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        xp, total = at.xp, q1 + q2
        det = 1 + 2 * total + 4 * determinant(at, k, q1, q2)
        weight = xp.exp((1 + total) / (2 * det) - 0.5) / xp.sqrt(det)
        sinh, cosh = xp.sinh(k / det), xp.cosh(k / det)
        inner = 4 * k * (1 + (1 + total) / det) * sinh + (1 + 8 * k * k / det) * cosh
        return weight * sinh, weight * inner / det

    def fn(self, at: Place, x: Array) -> Array:
        return at.xp.exp(-x * x) * at.xp.sin(x)

    def derivative(self, at: Place, x: Array) -> Array:
        return at.xp.exp(-x * x) * (at.xp.cos(x) - 2 * x * at.xp.sin(x))
