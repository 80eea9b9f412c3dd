"""Elu and Selu, integrated to an accuracy that they state."""

from __future__ import annotations

from typing import Any

from ntcore.backend import Array, Place
from ntcore.layers.quadrature import Quadrature
from ntcore.record import leaf, record

#: The constants of Selu (Klambauer et al. 2017), for which unit variances are a fixed point.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@record
class Elu(Quadrature):
    r""":math:`\phi(x) = x` above 0 and :math:`\alpha (e^x - 1)` below.

    Integrated by :mod:`~ntcore.layers.wedges`.

    Parameters
    ----------
    alpha : float or array, default 1
        The limit for negative inputs, with its sign changed.
    accuracy : float, default 1e-8
        The error allowed; see :class:`~ntcore.layers.quadrature.Quadrature`.
    """

    alpha: Any = leaf(default=1.0)
    accuracy: float = 1e-8

    @property
    def kinks(self) -> tuple[float, ...]:
        """Zero."""
        return (0.0,)

    @classmethod
    def examples(cls) -> list[Any]:
        return [(cls(0.6, 1e-12), (5,))]

    def fn(self, at: Place, x: Array) -> Array:
        below = at.number(self.alpha) * at.xp.expm1(_negative(at, x))
        return at.xp.where(x > 0, x, below)

    def derivative(self, at: Place, x: Array) -> Array:
        below = at.number(self.alpha) * at.xp.exp(_negative(at, x))
        return at.xp.where(x > 0, at.xp.ones_like(x), below)


@record
class Selu(Quadrature):
    r""":math:`\phi(x) = \lambda x` above 0 and :math:`\lambda \alpha (e^x - 1)` below.

    A multiple of :class:`Elu`, with the constants of Klambauer et al. 2017.

    Parameters
    ----------
    accuracy : float, default 1e-8
        The error allowed; see :class:`~ntcore.layers.quadrature.Quadrature`.
    """

    accuracy: float = 1e-8

    @property
    def kinks(self) -> tuple[float, ...]:
        """Zero."""
        return (0.0,)

    @classmethod
    def examples(cls) -> list[Any]:
        return [(cls(1e-12), (5,))]

    def fn(self, at: Place, x: Array) -> Array:
        return SELU_SCALE * Elu(SELU_ALPHA).fn(at, x)

    def derivative(self, at: Place, x: Array) -> Array:
        return SELU_SCALE * Elu(SELU_ALPHA).derivative(at, x)


def _negative(at: Place, x: Array) -> Array:
    return at.xp.where(x > 0, at.xp.zeros_like(x), x)
