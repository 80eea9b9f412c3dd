"""The step, rectified powers and the sign, whose moments are functions of an angle."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, ClassVar

from ntcore.backend import Array, Place
from ntcore.layers.base import Elementwise
from ntcore.layers.homogeneous import degree_of, homogeneous, monomial_weights
from ntcore.ops import angle, rectifier, residual
from ntcore.record import record, settle


@record
class Sign(Elementwise):
    r""":math:`\phi(x) = \mathrm{sign}(x)`, 0 at 0.

    .. math:: E[\phi(u)\phi(v)] = \frac{2}{\pi} \arcsin \frac{k}{\sqrt{q_1 q_2}}

    (derived from the angle between both arguments). The function has no weak derivative: its
    slope is taken to be 0, and nothing below it contributes to the NTK.
    """

    weak_derivative: ClassVar[bool] = False

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls()]

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        s = residual(at, k, q1, q2)
        neither = (s == 0) & (k == 0)
        adjacent = at.xp.where(neither, at.xp.ones_like(s), s)
        return 2 / math.pi * at.xp.atan2(k, adjacent), at.xp.zeros_like(k)

    def fn(self, at: Place, x: Array) -> Array:
        return at.xp.sign(x)

    def derivative(self, at: Place, x: Array) -> Array:
        return at.xp.zeros_like(x)


@record
class RectifiedMonomial(Elementwise):
    r""":math:`\phi(x) = x^n` where :math:`x \ge 0`, and 0 elsewhere.

    .. math:: E[\phi(u)\phi(v)] = \frac{(\pi - \theta)\, P_n + s\, Q_n}{2 \pi}, \qquad
              E[\phi'(u)\phi'(v)] = n^2\, \frac{(\pi - \theta)\, P_{n-1} + s\, Q_{n-1}}{2 \pi}

    with :math:`s = \sqrt{q_1 q_2 - k^2}`, :math:`\theta = \mathrm{atan2}(s, k)`,
    :math:`P_n = E[u^n v^n]` and :math:`Q_n` polynomials in :math:`k` and :math:`q_1 q_2`: the
    arc-cosine kernels (Cho and Saul 2009), without a division.

    Parameters
    ----------
    degree : int
        Any integer that is not negative. The step, of degree 0, has no weak derivative and its
        slope is taken to be 0.

    Raises
    ------
    ArgumentError
        For another degree.
    """

    degree: int

    def __post_init__(self) -> None:
        settle(self, "degree", degree_of(self, self.degree))

    @property
    def weak_derivative(self) -> bool:  # type: ignore[override]
        """Whether the function has one: all but the step do."""
        return self.degree > 0

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(2), cls(0), cls(1), cls(3)]

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        n = self.degree
        if n == 0:
            return _step(at, k, q1, q2), at.xp.zeros_like(k)
        if n == 1:
            return rectifier(at, k, q1, q2)
        s, p = residual(at, k, q1, q2), q1 * q2
        turned = math.pi - angle(at, s, k)
        moment, below = (_arc_cosine(at, m, k, p, s, turned) for m in (n, n - 1))
        return moment, n**2 * below

    def fn(self, at: Place, x: Array) -> Array:
        return at.xp.where(x >= 0, x**self.degree, at.xp.zeros_like(x))

    def derivative(self, at: Place, x: Array) -> Array:
        n, zero = self.degree, at.xp.zeros_like(x)
        return at.xp.where(x >= 0, n * x ** (n - 1), zero) if n else zero


def _step(at: Place, k: Array, q1: Array, q2: Array) -> Array:
    """Return the probability that both are positive or, where a variance is 0, not negative."""
    turned = math.pi - angle(at, residual(at, k, q1, q2), k)
    one, two = (at.xp.where(q == 0, 2 * at.xp.ones_like(q), at.xp.ones_like(q)) for q in (q1, q2))
    return turned / (2 * math.pi) * one * two


def _arc_cosine(at: Place, n: int, k: Array, p: Array, s: Array, turned: Array) -> Array:
    full = turned * homogeneous(k, p, n, monomial_weights(n))
    if not n:
        return full / (2 * math.pi)
    rest = [float(r) for r in sine_coefficients(n)[n - 1 :: -2]]
    return (full + s * homogeneous(k, p, n - 1, rest)) / (2 * math.pi)


@lru_cache(maxsize=256)
def sine_coefficients(n: int) -> tuple[int, ...]:
    r"""Return the coefficients of :math:`Q_n` at unit variances, from the constant upwards.

    The derivative in :math:`k` of order :math:`n` is :math:`n^2` times order :math:`n - 1`
    (Price's theorem), so that

    .. math:: P_n - k\, Q_n + (1 - k^2)\, Q_n' = n^2 (1 - k^2)\, Q_{n-1},

    which gives them from the highest downwards.
    """
    if not n:
        return ()
    full = dict(zip(range(n, -1, -2), monomial_weights(n), strict=True))
    below = dict(enumerate(sine_coefficients(n - 1)))
    rest = [0] * (n + 2)
    for j in range(n, 0, -1):
        bend = n**2 * (below.get(j, 0) - below.get(j - 2, 0))
        rest[j - 1] = (int(full.get(j, 0)) + (j + 1) * rest[j + 1] - bend) // j
    return tuple(rest[:n])
