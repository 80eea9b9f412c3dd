"""Hermite polynomials."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from ntcore.backend import Array, Place
from ntcore.layers.base import Elementwise
from ntcore.layers.homogeneous import degree_of, derived, homogeneous, pairs
from ntcore.record import record, settle


@record
class Hermite(Elementwise):
    r""":math:`\phi(x) = h_n(x) = He_n(x) / \sqrt{n!}`, of norm 1 for a standard Gaussian.

    .. math:: E[\phi(u)\phi(v)] = \sum_j \frac{n!}{4^j\, j!^2\, (n - 2j)!}\,
              k^{n - 2j} ((q_1 - 1)(q_2 - 1))^j

    (derived as in :class:`Polynomial`, with :math:`E[He_{2j}(\sqrt{q} z)] = (2j - 1)!!\,
    (q - 1)^j`); the other moment is its derivative in :math:`k`. At unit variances, for which
    these polynomials are orthogonal, it is :math:`k^n`; neural_tangents returns :math:`k^n` for
    every variance.

    Parameters
    ----------
    degree : int
        Any integer that is not negative.

    Raises
    ------
    ArgumentError
        For another degree.
    """

    degree: int

    def __post_init__(self) -> None:
        settle(self, "degree", degree_of(self, self.degree))

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(3), cls(0), cls(2)]

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        n, p, weights = self.degree, (q1 - 1) * (q2 - 1), hermite_weights(self.degree)
        slope = homogeneous(k, p, max(n - 1, 0), derived(n, weights))
        return homogeneous(k, p, n, weights), slope

    def fn(self, at: Place, x: Array) -> Array:
        return _hermite(at, x, self.degree)

    def derivative(self, at: Place, x: Array) -> Array:
        if not self.degree:
            return at.xp.zeros_like(x)
        return math.sqrt(self.degree) * _hermite(at, x, self.degree - 1)


def _hermite(at: Place, x: Array, degree: int) -> Array:
    r"""Return :math:`h_n` by its recurrence of three terms."""
    before, now = at.xp.zeros_like(x), at.xp.ones_like(x)
    for n in range(degree):
        before, now = now, (x * now - math.sqrt(n) * before) / math.sqrt(n + 1)
    return now


@lru_cache(maxsize=256)
def hermite_weights(degree: int) -> tuple[float, ...]:
    r"""Return :math:`w_j = n! / (4^j\, j!^2\, (n - 2j)!)` for degree :math:`n`."""
    f = math.factorial
    return tuple(f(degree) / (4**j * f(j) ** 2 * f(degree - 2 * j)) for j in pairs(degree))
