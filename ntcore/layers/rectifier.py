"""The rectifier family: every function that is linear on each side of zero."""

from __future__ import annotations

from typing import Any

from ntcore.backend import Array, Place
from ntcore.layers.base import Elementwise
from ntcore.ops import rectifier
from ntcore.record import leaf, record


class _Rectifier(Elementwise):
    r"""Base of :math:`\phi(x) = a \min(x, 0) + b \max(x, 0)`."""

    def _slopes(self, at: Place) -> tuple[Any, Any]:
        raise TypeError(f"{type(self).__name__} must define '_slopes'")

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        a, b = self._slopes(at)
        moment, slope = rectifier(at, k, q1, q2)
        bend, line = (b - a) ** 2, a * b
        return bend * moment + line * k, bend * slope + line

    def fn(self, at: Place, x: Array) -> Array:
        return x * self.derivative(at, x)

    def derivative(self, at: Place, x: Array) -> Array:
        a, b = self._slopes(at)
        one = at.xp.ones_like(x)
        return at.xp.where(x > 0, b * one, a * one)


@record
class Relu(_Rectifier):
    r""":math:`\phi(x) = \max(x, 0)`.

    .. math:: E[\phi(u)\phi(v)] = \frac{s + (\pi - \theta) k}{2 \pi}, \qquad
              E[\phi'(u)\phi'(v)] = \frac{\pi - \theta}{2 \pi}

    with :math:`s = \sqrt{q_1 q_2 - k^2}` and :math:`\cos\theta = k / \sqrt{q_1 q_2}`
    (Cho and Saul 2009, eq. 5 to 7).

    Parameters
    ----------
    do_stabilize : bool, default False
        Accepted for compatibility; the formula is evaluated without over- or underflow either
        way.
    """

    do_stabilize: bool = False

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(), cls(do_stabilize=True)]

    def _slopes(self, at: Place) -> tuple[Any, Any]:
        return 0.0, 1.0

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        return rectifier(at, k, q1, q2)


@record
class LeakyRelu(_Rectifier):
    r""":math:`\phi(x) = \alpha \min(x, 0) + \max(x, 0)`; moments as in :class:`ABRelu`.

    Parameters
    ----------
    alpha : float or array
        Slope for negative inputs.
    do_stabilize : bool, default False
        Accepted for compatibility.
    """

    alpha: Any = leaf()
    do_stabilize: bool = False

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(0.1), cls(-0.4, do_stabilize=True)]

    def _slopes(self, at: Place) -> tuple[Any, Any]:
        return at.number(self.alpha), 1.0


@record
class ABRelu(_Rectifier):
    r""":math:`\phi(x) = a \min(x, 0) + b \max(x, 0)`.

    .. math:: E[\phi(u)\phi(v)] = (b - a)^2 E[u_+ v_+] + a b k, \qquad
              E[\phi'(u)\phi'(v)] = (b - a)^2 E[1_{u>0} 1_{v>0}] + a b

    with the moments of :class:`Relu` (Tsuchida et al. 2018, section 4).

    Parameters
    ----------
    a, b : float or array
        Slopes for negative and for positive inputs.
    do_stabilize : bool, default False
        Accepted for compatibility.
    """

    a: Any = leaf()
    b: Any = leaf()
    do_stabilize: bool = False

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(-0.5, 1.5), cls(0.3, 0.9, do_stabilize=True)]

    def _slopes(self, at: Place) -> tuple[Any, Any]:
        return at.number(self.a), at.number(self.b)


@record
class Abs(_Rectifier):
    r""":math:`\phi(x) = |x|`, which is :class:`ABRelu` with slopes -1 and 1.

    Parameters
    ----------
    do_stabilize : bool, default False
        Accepted for compatibility.
    """

    do_stabilize: bool = False

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(), cls(do_stabilize=True)]

    def _slopes(self, at: Place) -> tuple[Any, Any]:
        return -1.0, 1.0
