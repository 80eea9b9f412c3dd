"""Polynomials in a covariance and a product of variances, whose terms are all of one degree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from operator import index
from typing import Any

from ntcore.backend import Array
from ntcore.errors import ArgumentError
from ntcore.layers.base import Elementwise


def degree_of(layer: Elementwise, degree: Any) -> int:
    """Return a degree as an integer, or raise :class:`~ntcore.errors.ArgumentError`."""
    try:
        found = index(degree)
    except TypeError:
        found = -1
    if found < 0:
        raise ArgumentError(
            f"{type(layer).__name__} got degree={degree!r}; give an integer that is not negative."
        )
    return found


def homogeneous(k: Array, p: Array, degree: int, weights: Sequence[float]) -> Array:
    r""":math:`\sum_j w_j\, k^{n - 2j}\, p^j` for degree :math:`n`, by Horner's scheme."""
    total, power = weights[0] + 0 * k, p
    for w in weights[1:]:
        total = total * (k * k) + w * power
        power = power * p
    return total * k if degree % 2 else total


def derived(degree: int, weights: Sequence[float]) -> list[float]:
    """Return the weights of the derivative of :func:`homogeneous` in ``k``, one degree lower."""
    return [(degree - 2 * j) * w for j, w in enumerate(weights) if 2 * j < degree] or [0.0]


@lru_cache(maxsize=256)
def monomial_weights(degree: int) -> tuple[float, ...]:
    r"""Return :math:`w_j = n!^2 / (4^j\, j!^2\, (n - 2j)!)` for degree :math:`n`."""
    f = math.factorial
    return tuple(f(degree) ** 2 / (4**j * f(j) ** 2 * f(degree - 2 * j)) for j in pairs(degree))


def pairs(degree: int) -> range:
    """Return how many pairs of factors :func:`homogeneous` may take, for each term."""
    return range(degree // 2 + 1)
