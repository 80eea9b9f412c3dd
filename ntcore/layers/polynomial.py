"""Polynomials, whose moments are polynomials in the covariance and the variances."""

from __future__ import annotations

import math
from typing import Any

from ntcore.backend import Array, Place, host
from ntcore.errors import ArgumentError
from ntcore.layers.base import Elementwise
from ntcore.layers.homogeneous import degree_of, derived, homogeneous, monomial_weights
from ntcore.record import leaf, record, settle


@record
class Monomial(Elementwise):
    r""":math:`\phi(x) = x^n` of degree :math:`n`.

    .. math:: E[\phi(u)\phi(v)] = \sum_j \frac{n!^2}{4^j\, j!^2\, (n - 2j)!}\,
              k^{n - 2j} (q_1 q_2)^j

    (derived as in :class:`Polynomial`); the other moment is its derivative in :math:`k`.

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
        n, p, weights = self.degree, q1 * q2, monomial_weights(self.degree)
        slope = homogeneous(k, p, max(n - 1, 0), derived(n, weights))
        return homogeneous(k, p, n, weights), slope

    def fn(self, at: Place, x: Array) -> Array:
        return x**self.degree

    def derivative(self, at: Place, x: Array) -> Array:
        return self.degree * x ** (self.degree - 1) if self.degree else at.xp.zeros_like(x)


@record
class Polynomial(Elementwise):
    r""":math:`\phi(x) = \sum_m c_m x^m`.

    .. math:: E[\phi(u)\phi(v)] = \sum_n \frac{k^n}{n!} A_n(q_1) A_n(q_2), \qquad
              A_n(q) = \sum_j \frac{(n + 2j)!}{2^j\, j!}\, c_{n + 2j}\, q^j

    with :math:`A_n(q)` the mean of the ``n``-th derivative (derived from Price's theorem, which
    makes the sum Taylor's series in :math:`k`); the other moment is its derivative in :math:`k`.

    Parameters
    ----------
    coef : sequence of float or array
        The coefficients, from the constant upwards.

    Raises
    ------
    ArgumentError
        Without a coefficient.
    """

    coef: Any = leaf()

    def __post_init__(self) -> None:
        coef = self.coef.tolist() if host().owns(self.coef) else self.coef
        settle(self, "coef", tuple(coef))
        if not self.coef:
            raise ArgumentError("Polynomial got no coefficient; give at least one.")

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls((0.3, -0.2, 0.5, 0.1)), cls((0.7,)), cls((0.0, 1.0, 0.2))]

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        coef = [at.number(c) for c in self.coef]
        one, two = _means(at, coef, q1), _means(at, coef, q2)
        moment, slope = at.xp.zeros_like(k), at.xp.zeros_like(k)
        for n in reversed(range(len(coef))):
            term = one[n] * two[n] / math.factorial(n)
            moment = moment * k + term
            slope = slope * k + n * term if n else slope
        return moment, slope

    def fn(self, at: Place, x: Array) -> Array:
        return _horner(at, [at.number(c) for c in self.coef], x)

    def derivative(self, at: Place, x: Array) -> Array:
        return _horner(at, [m * at.number(c) for m, c in enumerate(self.coef)][1:], x)


def _means(at: Place, coef: list[Any], q: Array) -> list[Array]:
    f = math.factorial
    terms = [
        [f(m) / (2**j * f(j)) * coef[m] for j, m in enumerate(range(n, len(coef), 2))]
        for n in range(len(coef))
    ]
    return [_horner(at, row, q) for row in terms]


def _horner(at: Place, coef: list[Any], x: Array) -> Array:
    total = at.xp.zeros_like(x)
    for c in reversed(coef):
        total = total * x + c
    return total
