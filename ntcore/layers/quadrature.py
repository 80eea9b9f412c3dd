"""Functions without a closed form: rules that integrate them, and how good these are.

A *rule* of some degree gives the moments of any function of an array. What it is worth shows in
the second moments of each example, computed with it and with the rule below it. Where values are
known, every pair of examples gets the first rule of a ladder that is good enough for both, so
that a result never depends on what else is in its batch.
"""

from __future__ import annotations

import warnings
from typing import Any

from ntcore.backend import Array, Place, is_number
from ntcore.errors import AccuracyWarning, ArgumentError
from ntcore.layers.base import Elementwise, Layer
from ntcore.layers.rule import Rule, error_of
from ntcore.layers.series import Pair, Series
from ntcore.layers.wedges import Wedges
from ntcore.record import leaf, record

#: Units of rounding below which two rules cannot be told apart.
ROUNDING = 256

#: How much better a rule has to be for each example, since pairs are a little less accurate.
SAFETY = 8

#: Degrees of series and of wedges, cheapest first, and of the rules for values not known.
SERIES, WEDGES = (32, 64, 128, 256, 512, 1024), (16, 24, 32, 48, 64)
BLIND_SERIES, BLIND_WEDGES = 1024, 48


class Quadrature(Elementwise):
    """Role of functions whose moments are integrated: they give ``fn`` and ``derivative``.

    A result that is not as good as asked for comes with an
    :class:`~ntcore.errors.AccuracyWarning`. In a library that compiles, as JAX without numba, and
    where values are not known, one rule serves all variances; it is good to 1e-8 for those up to
    about 12 for ``Tanh``, of 30 and more for the others, and nothing can be said about it inside a
    function that the caller compiles.

    Attributes
    ----------
    accuracy : float
        The error allowed, relative to the second moment of an example; in float32, at least a
        few units of rounding.
    kinks : tuple of float
        Where the function or its derivative is not smooth; wedges serve a function that has any,
        a series, and for large variances wedges, one that has none.

    Raises
    ------
    ArgumentError
        If the accuracy is not a positive number.
    """

    accuracy: Any

    def __post_init__(self) -> None:
        if not (is_number(self.accuracy) and self.accuracy > 0):
            raise ArgumentError(
                f"{type(self).__name__} got accuracy={self.accuracy!r}; give a positive number, "
                "such as 1e-8."
            )

    @property
    def kinks(self) -> tuple[float, ...]:
        """No points."""
        return ()

    @property
    def stated_error(self) -> float:
        """The accuracy."""
        return float(self.accuracy)

    def rules(self, at: Place) -> tuple[tuple[Rule, ...], Rule]:
        """Return the rules to try, cheapest first, and the one for values that are not known."""
        wedges = tuple(Wedges(n, self.kinks) for n in WEDGES)
        if self.kinks:
            return wedges, Wedges(BLIND_WEDGES, self.kinks)
        return (*map(Series, SERIES), *wedges[-2:]), Series(BLIND_SERIES)

    def pair(self, at: Place) -> Pair:
        """Return the function and its derivative as functions of an array."""
        return (lambda x: self.fn(at, x)), (lambda x: self.derivative(at, x))

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        rules, blind = self.rules(at)
        pair, xp = self.pair(at), at.xp
        if at.backend.scan is not None or any(map(at.backend.is_traced, (k, q1, q2))):
            return blind.dual(at, pair, k, q1, q2)
        one, two = (self._level(at, rules, pair, q) for q in (q1, q2))
        level = xp.maximum(one, two)
        used = [i for i in range(len(rules)) if bool(xp.any(level == i))] or [0]
        moment, slope = rules[used[0]].dual(at, pair, k, q1, q2)
        for i in used[1:]:
            mine, found = level == i, rules[i].dual(at, pair, k, q1, q2)
            moment, slope = xp.where(mine, found[0], moment), xp.where(mine, found[1], slope)
        return moment, slope

    def examine(self, at: Place, q: Array) -> Layer:
        if at.backend.scan is None:
            return self
        q = at.xp.reshape(q, (-1,))
        good = error_of(at, self.rules(at)[1], self.pair(at), q) <= self.goal(at)
        return self if bool(at.xp.all(good)) else Wide(self).examine(at, q)

    def goal(self, at: Place) -> float:
        """Return the error allowed in a data type."""
        return max(float(self.accuracy), ROUNDING * float(at.xp.finfo(at.dtype).eps))

    def _level(self, at: Place, rules: tuple[Rule, ...], pair: Pair, q: Array) -> Array:
        """Return the index of the first rule that is good enough, for each example."""
        xp = at.xp
        waiting = xp.ones_like(q, dtype=xp.bool)
        level = xp.zeros_like(q, dtype=xp.int32)
        for rule in rules[:-1]:
            waiting = waiting & ~(error_of(at, rule, pair, q) <= self.goal(at) / SAFETY)
            if not bool(xp.any(waiting)):
                return level
            level = level + xp.astype(waiting, xp.int32)
        self.warn(at, rules[-1], pair, q[waiting])
        return level

    def warn(self, at: Place, rule: Rule, pair: Pair, q: Array) -> None:
        """Say so where a rule is not good enough for some of the variances."""
        error = error_of(at, rule, pair, q)
        far = ~(error <= self.goal(at))
        if bool(at.xp.any(far)):
            message = (
                f"{self!r} has a relative error of about {float(at.xp.max(error[far])):.1g}, and "
                f"{self.goal(at):.1g} was asked for, from a variance of "
                f"{float(at.xp.min(q[far])):.3g} on; ask for less by accuracy=, or scale the "
                "inputs or W_std below it down."
            )
            warnings.warn(message, AccuracyWarning, stacklevel=2)


@record
class Wide(Elementwise):
    """A layer with the rule for large variances, where one rule serves all."""

    layer: Quadrature = leaf()

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        return self._rule.dual(at, self.layer.pair(at), k, q1, q2)

    @property
    def _rule(self) -> Rule:
        return Wedges(WEDGES[-1], self.layer.kinks)

    def examine(self, at: Place, q: Array) -> Layer:
        self.layer.warn(at, self._rule, self.layer.pair(at), at.xp.reshape(q, (-1,)))
        return self

    def fn(self, at: Place, x: Array) -> Array:
        return self.layer.fn(at, x)

    def derivative(self, at: Place, x: Array) -> Array:
        return self.layer.derivative(at, x)
