"""Waves: sine, cosine, and the pair of them whose kernel is the squared exponential."""

from __future__ import annotations

import math
from typing import Any

from ntcore.backend import Array, Place
from ntcore.layers.base import Elementwise
from ntcore.record import leaf, record


def waves(at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    r"""Return :math:`E[\cos u \cos v]` and :math:`E[\sin u \sin v]`.

    .. math:: e^{-(q_1 + q_2) / 2} \cosh k, \qquad e^{-(q_1 + q_2) / 2} \sinh k

    (derived from the characteristic function), for any size of the arguments.
    """
    xp = at.xp
    size = xp.where(k < 0, -k, k)
    near = xp.exp(size - (q1 + q2) / 2) / 2
    odd = near * -xp.expm1(-2 * size)
    return near * (1 + xp.exp(-2 * size)), xp.where(k < 0, -odd, odd)


class _Wave(Elementwise):
    r"""Base of :math:`a \sin(b x + c)` and :math:`a \cos(b x + c)`."""

    def _constants(self, at: Place) -> tuple[Array, Array, Array]:
        """Return ``a``, ``b`` and the phase that makes the function a sine."""
        raise TypeError(f"{type(self).__name__} must define '_constants'")

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        a, b, c = self._constants(at)
        even, odd = waves(at, b**2 * k, b**2 * q1, b**2 * q2)
        sin2, cos2 = at.xp.sin(c) ** 2, at.xp.cos(c) ** 2
        return a**2 * (cos2 * odd + sin2 * even), (a * b) ** 2 * (cos2 * even + sin2 * odd)

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

    def _constants(self, at: Place) -> tuple[Array, Array, Array]:
        return at.asarray(self.a), at.asarray(self.b), at.asarray(self.c)


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

    def _constants(self, at: Place) -> tuple[Array, Array, Array]:
        return at.asarray(self.a), at.asarray(self.b), at.asarray(self.c) + math.pi / 2


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

    def _constants(self, at: Place) -> tuple[Array, Array, Array]:
        root = at.xp.sqrt(2 * at.asarray(self.gamma))
        return at.asarray(math.sqrt(2)), root, at.asarray(math.pi / 4)

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        gamma = at.number(self.gamma)
        moment = at.xp.exp(2 * gamma * (k - (q1 + q2) / 2))
        return moment, 2 * gamma * moment
