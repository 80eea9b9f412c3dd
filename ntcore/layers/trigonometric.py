"""Waves: sine, cosine, and the pair of them whose kernel is the squared exponential."""

from __future__ import annotations

import math
from typing import Any

from ntcore.backend import Array, Place, is_number
from ntcore.layers.base import Elementwise
from ntcore.ops import bell, waves
from ntcore.record import leaf, record


class _Wave(Elementwise):
    r"""Base of :math:`a \sin(b x + c)` and :math:`a \cos(b x + c)`."""

    def _constants(self, at: Place) -> tuple[Any, Any, Any]:
        """Return ``a``, ``b`` and the phase that makes the function a sine."""
        raise TypeError(f"{type(self).__name__} must define '_constants'")

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        a, b, c = self._constants(at)
        b2 = b**2
        even, odd = waves(at, b2 * k, b2 * q1, b2 * q2)
        sin2 = math.sin(c) ** 2 if is_number(c) else at.xp.sin(c) ** 2
        a2, cos2 = a**2, 1 - sin2
        if is_number(c) and not sin2:
            return a2 * odd, (a2 * b2) * even
        one, two = a2 * sin2, a2 * cos2
        return two * odd + one * even, (b2 * two) * even + (b2 * one) * odd

    def fn(self, at: Place, x: Array) -> Array:
        a, b, c = self._constants(at)
        return a * at.xp.sin(b * x + c)

    def derivative(self, at: Place, x: Array) -> Array:
        a, b, c = self._constants(at)
        return a * b * at.xp.cos(b * x + c)


@record
class Sin(_Wave):
    r""":math:`\phi(x) = a \sin(b x + c)`.

    .. math:: E[\phi(u)\phi(v)] &= a^2 e^{-b^2 (q_1 + q_2) / 2}
              \left(\cos^2 c\, \sinh b^2 k + \sin^2 c\, \cosh b^2 k\right) \\
              E[\phi'(u)\phi'(v)] &= a^2 b^2 e^{-b^2 (q_1 + q_2) / 2}
              \left(\cos^2 c\, \cosh b^2 k + \sin^2 c\, \sinh b^2 k\right)

    (derived from the characteristic function of a Gaussian).

    Parameters
    ----------
    a, b, c : float or array
        Scale, frequency and phase.
    """

    a: Any = leaf(default=1.0)
    b: Any = leaf(default=1.0)
    c: Any = leaf(default=0.0)

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(), cls(1.4, 0.7, 0.3)]

    def _constants(self, at: Place) -> tuple[Any, Any, Any]:
        return at.number(self.a), at.number(self.b), at.number(self.c)


@record
class Cos(_Wave):
    r""":math:`\phi(x) = a \cos(b x + c)`, which is :class:`Sin` with :math:`c + \pi / 2`.

    Parameters
    ----------
    a, b, c : float or array
        Scale, frequency and phase.
    """

    a: Any = leaf(default=1.0)
    b: Any = leaf(default=1.0)
    c: Any = leaf(default=0.0)

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(), cls(1.4, 0.7, 0.3)]

    def _constants(self, at: Place) -> tuple[Any, Any, Any]:
        return at.number(self.a), at.number(self.b), at.number(self.c) + math.pi / 2


@record
class Rbf(_Wave):
    r""":math:`\phi(x) = \sqrt{2} \sin(\sqrt{2 \gamma}\, x + \pi / 4)`.

    .. math:: E[\phi(u)\phi(v)] = e^{-\gamma (q_1 + q_2 - 2 k)}, \qquad
              E[\phi'(u)\phi'(v)] = 2 \gamma\, e^{-\gamma (q_1 + q_2 - 2 k)}

    (a random Fourier feature: Rahimi and Recht 2007).

    Parameters
    ----------
    gamma : float or array
        :math:`1 / (2 l^2)` for the length scale :math:`l`.
    """

    gamma: Any = leaf(default=1.0)

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(), cls(0.3)]

    def _constants(self, at: Place) -> tuple[Any, Any, Any]:
        root = at.xp.sqrt(2 * at.asarray(self.gamma))
        return at.asarray(math.sqrt(2)), root, at.asarray(math.pi / 4)

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        rate = 2 * at.number(self.gamma)
        moment, slope = bell(at, rate * k, rate * q1, rate * q2)
        return moment, rate * slope
