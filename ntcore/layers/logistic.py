"""Smooth activations without a closed form, integrated to an accuracy that they state."""

from __future__ import annotations

from typing import Any

from ntcore.backend import Array, Place
from ntcore.layers.quadrature import Quadrature
from ntcore.record import leaf, record


@record
class Tanh(Quadrature):
    r""":math:`\phi(x) = \tanh x`, by :mod:`~ntcore.layers.series`.

    Parameters
    ----------
    accuracy : float, default 1e-8
        The error allowed; see :class:`~ntcore.layers.quadrature.Quadrature`.
    """

    accuracy: float = 1e-8

    @classmethod
    def examples(cls) -> list[Any]:
        return [(cls(1e-13), (3, 2, 3))]

    def fn(self, at: Place, x: Array) -> Array:
        return at.xp.tanh(x)

    def derivative(self, at: Place, x: Array) -> Array:
        t = at.xp.tanh(x)
        return (1 - t) * (1 + t)


@record
class Sigmoid(Quadrature):
    r""":math:`\phi(x) = 1 / (1 + e^{-x})`, by :mod:`~ntcore.layers.series`.

    Parameters
    ----------
    accuracy : float, default 1e-8
        The error allowed; see :class:`~ntcore.layers.quadrature.Quadrature`.
    """

    accuracy: float = 1e-8

    @classmethod
    def examples(cls) -> list[Any]:
        return [(cls(1e-13), (5,))]

    def fn(self, at: Place, x: Array) -> Array:
        return _logistic(at, x)

    def derivative(self, at: Place, x: Array) -> Array:
        return _logistic(at, x) * _logistic(at, -x)


@record
class Softplus(Quadrature):
    r""":math:`\phi(x) = \log(1 + e^x)`, by :mod:`~ntcore.layers.series`.

    Parameters
    ----------
    accuracy : float, default 1e-8
        The error allowed; see :class:`~ntcore.layers.quadrature.Quadrature`.
    """

    accuracy: float = 1e-8

    @classmethod
    def examples(cls) -> list[Any]:
        return [(cls(1e-13), (5,))]

    def fn(self, at: Place, x: Array) -> Array:
        return at.xp.logaddexp(x, at.xp.zeros_like(x))

    def derivative(self, at: Place, x: Array) -> Array:
        return _logistic(at, x)


@record
class Swish(Quadrature):
    r""":math:`\phi(x) = x / (1 + e^{-\beta x})`, by :mod:`~ntcore.layers.series`.

    Parameters
    ----------
    beta : float or array, default 1
        The slope of the gate.
    accuracy : float, default 1e-8
        The error allowed; see :class:`~ntcore.layers.quadrature.Quadrature`.
    """

    beta: Any = leaf(default=1.0)
    accuracy: float = 1e-8

    @classmethod
    def examples(cls) -> list[Any]:
        return [(cls(0.7, 1e-13), (5,))]

    def fn(self, at: Place, x: Array) -> Array:
        return x * _logistic(at, at.number(self.beta) * x)

    def derivative(self, at: Place, x: Array) -> Array:
        gated = at.number(self.beta) * x
        return _logistic(at, gated) * (1 + gated * _logistic(at, -gated))


@record
class Silu(Quadrature):
    r""":math:`\phi(x) = x / (1 + e^{-x})`, which is :class:`Swish` with :math:`\beta = 1`.

    Parameters
    ----------
    accuracy : float, default 1e-8
        The error allowed; see :class:`~ntcore.layers.quadrature.Quadrature`.
    """

    accuracy: float = 1e-8

    @classmethod
    def examples(cls) -> list[Any]:
        return [(cls(1e-13), (5,))]

    def fn(self, at: Place, x: Array) -> Array:
        return Swish().fn(at, x)

    def derivative(self, at: Place, x: Array) -> Array:
        return Swish().derivative(at, x)


def _logistic(at: Place, x: Array) -> Array:
    return (1 + at.xp.tanh(x / 2)) / 2
