"""Exponentials of the input, and of the correlation itself."""

from __future__ import annotations

from typing import Any

from ntcore.backend import Array, Place
from ntcore.errors import Unsupported
from ntcore.layers.base import Elementwise
from ntcore.layers.correlation import correlation
from ntcore.record import leaf, record


@record
class Exp(Elementwise):
    r""":math:`\phi(x) = a\, e^{b x}`.

    .. math:: E[\phi(u)\phi(v)] = a^2 e^{b^2 (q_1 + q_2 + 2 k) / 2}, \qquad
              E[\phi'(u)\phi'(v)] = b^2\, E[\phi(u)\phi(v)]

    (derived from the moment-generating function of a Gaussian).

    Parameters
    ----------
    a, b : float or array
        Scale and rate.
    """

    a: Any = leaf(default=1)
    b: Any = leaf(default=1)

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(b=0.6), cls(1.4, -0.4)]

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        a2, b2 = at.number(self.a) ** 2, at.number(self.b) ** 2
        moment = a2 * at.xp.exp(b2 * ((q1 + q2) / 2 + k))
        return moment, b2 * moment

    def fn(self, at: Place, x: Array) -> Array:
        return at.number(self.a) * at.xp.exp(at.number(self.b) * x)

    def derivative(self, at: Place, x: Array) -> Array:
        return at.number(self.b) * self.fn(at, x)


@record
class ExpNormalized(Elementwise):
    r"""The normalized Gaussian kernel, a function of covariances alone.

    .. math:: K = \sqrt{q_1 q_2}\, e^{\gamma (\rho + \text{shift})}, \qquad
              \frac{\partial K}{\partial k} = \gamma\, e^{\gamma (\rho + \text{shift})}, \qquad
              \rho = \frac{k}{\sqrt{q_1 q_2}}

    (the normalized Gaussian kernel of Shankar et al. 2020). No function of one unit has these
    moments, so that there is no network of finite width.

    Parameters
    ----------
    gamma : float or array
        Rate.
    shift : float or array
        What is added to the correlation.
    do_clip : bool, default False
        Whether to hold :math:`\rho` between -1 and 1 against rounding.
    """

    gamma: Any = leaf(default=1)
    shift: Any = leaf(default=-1)
    do_clip: bool = False

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(), cls(0.7, -0.6, True)]

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        rho, scale = correlation(at, k, q1, q2)
        if self.do_clip:
            rho = at.xp.clip(rho, -1.0, 1.0)
        gamma = at.number(self.gamma)
        value = at.xp.exp(gamma * (rho + at.number(self.shift)))
        return scale * value, gamma * value

    def fn(self, at: Place, x: Array) -> Array:
        raise Unsupported(
            f"{self!r} has no network of finite width; use its kernel_fn, or Exp, which has one."
        )

    def derivative(self, at: Place, x: Array) -> Array:
        return self.fn(at, x)
