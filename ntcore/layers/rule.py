"""What a rule of quadrature gives, and how its error is estimated."""

from __future__ import annotations

from typing import Protocol

from ntcore.backend import Array, Place
from ntcore.layers.series import Pair


class Rule(Protocol):
    """A rule of some degree for the moments of a function and of its derivative."""

    @property
    def derives(self) -> bool:
        """Whether it takes the derivative from the function."""

    def dual(self, at: Place, pair: Pair, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        """Return both moments of two examples."""

    def square(self, at: Place, pair: Pair, q: Array) -> tuple[Array, Array]:
        """Return both moments of an example and itself."""

    def lower(self) -> Rule:
        """Return the rule below."""


def error_of(at: Place, rule: Rule, pair: Pair, q: Array) -> Array:
    """Return how far a rule and the one below are apart in the second moments of each example.

    A derivative that is derived from the function has fewer digits near variance 0, where it
    weighs little.
    """
    moment, slope = rule.square(at, pair, q)
    lower = rule.lower()
    moment2, slope2 = lower.square(at, pair, q)
    if pair[1] is None or lower.derives:
        slope, slope2 = q * slope + moment, q * slope2 + moment2
    return at.xp.maximum(_relative(at, moment, moment2), _relative(at, slope, slope2))


def _relative(at: Place, x: Array, y: Array) -> Array:
    return at.xp.abs(x - y) / at.xp.where(x == 0, at.xp.ones_like(x), x)
