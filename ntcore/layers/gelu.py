"""Gelu, and the sigmoid that neural_tangents makes of the error function."""

from __future__ import annotations

import math
from typing import Any

from ntcore.backend import Array, Place
from ntcore.layers.base import Elementwise
from ntcore.ops import arcsine, gelu
from ntcore.record import record

#: The slope of the sigmoid, nearest to that of the logistic function between -5 and 5.
SIGMOID_SCALE = 2.4020563531719796


@record
class Gelu(Elementwise):
    r""":math:`\phi(x) = x\, \Phi(x)`, with the distribution function :math:`\Phi` of a Gaussian.

    .. math:: E[\phi(u)\phi(v)] &= k A + P \left(q_1 q_2 - k^2 + k^2 R\right) \\
              E[\phi'(u)\phi'(v)] &= A + k P \left(R + 1 / D\right)

    with :math:`D = (1 + q_1)(1 + q_2) - k^2`,
    :math:`A = E[\Phi(u)\Phi(v)] = \mathrm{atan2}(\sqrt{D}, -k) / 2 \pi`,
    :math:`P = E[\Phi'(u)\Phi'(v)] = 1 / (2 \pi \sqrt{D})` and
    :math:`R = 1 / (1 + q_1) + 1 / (1 + q_2)` (derived by Stein's lemma).

    Parameters
    ----------
    approximate : bool, default False
        Whether the network of finite width evaluates
        :math:`\tfrac{x}{2} (1 + \tanh(\sqrt{2 / \pi}\, (x + 0.044715 x^3)))`
        (Hendrycks and Gimpel 2016) instead; the kernel is the same.
    """

    approximate: bool = False

    @property
    def stated_error(self) -> float:
        """How far the moments are from those of ``fn``, relative to the largest."""
        return 3e-3 if self.approximate else 0.0

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(), cls(approximate=True)]

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        return gelu(at, k, q1, q2)

    def fn(self, at: Place, x: Array) -> Array:
        if self.approximate:
            return x * (1 + at.xp.tanh(_inner(x))) / 2
        return x * (1 + at.backend.erf(x / math.sqrt(2))) / 2

    def derivative(self, at: Place, x: Array) -> Array:
        if self.approximate:
            t = at.xp.tanh(_inner(x))
            bend = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
            return (1 + t + x * (1 - t * t) * bend) / 2
        density = at.xp.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        return (1 + at.backend.erf(x / math.sqrt(2))) / 2 + x * density


def _inner(x: Array) -> Array:
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


@record
class Sigmoid_like(Elementwise):
    r""":math:`\phi(x) = \tfrac{1}{2} \mathrm{erf}(b x) + \tfrac{1}{2}` near the logistic function.

    The slope is :math:`b = 1 / 2.4020563531719796`; the moments are those of
    :class:`~ntcore.layers.Erf`.
    """

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls()]

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        b2 = SIGMOID_SCALE**-2
        moment, slope = arcsine(at, b2 * k, b2 * q1, b2 * q2)
        return moment / 4 + 0.25, b2 / 4 * slope

    def fn(self, at: Place, x: Array) -> Array:
        return (at.backend.erf(x / SIGMOID_SCALE) + 1) / 2

    def derivative(self, at: Place, x: Array) -> Array:
        scale = SIGMOID_SCALE * math.sqrt(math.pi)
        return at.xp.exp(-((x / SIGMOID_SCALE) ** 2)) / scale
