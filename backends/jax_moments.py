"""Moments of nonlinearities in few operations, with the derivatives that are known in closed form.

XLA on the CPU writes ``atan2`` out as a long series of selections; a polynomial takes a tenth of
its time.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as xp

from ntcore.backends.arctangent import LONG, SHORT, series

SHARE = 1 / (2 * math.pi)


def rectifier(at: Any, k: Any, q1: Any, q2: Any) -> tuple[Any, Any]:
    r"""Both moments, from :math:`g = \sqrt{q_1 q_2}` and the half angle.

    The acute angle between the two is :math:`2\,\mathrm{atan}\sqrt{(g - |k|) / (g + |k|)}`: no
    digits are lost where :math:`|k|` nears g, and g is exactly k for coincident inputs.
    """
    return _rectified(k, q1, q2)


@jax.custom_jvp
def _rectified(k: Any, q1: Any, q2: Any) -> tuple[Any, Any]:
    low, high = _sides(k, q1, q2)
    u = _ratio(low, high)
    acute = 2 * _arctangent(u)
    slope = xp.where(k >= 0, math.pi - acute, acute) * SHARE
    return high * u * SHARE + slope * k, slope


def _sides(k: Any, q1: Any, q2: Any) -> tuple[Any, Any]:
    """Return ``g - |k|`` and ``g + |k|``; g of two equal variances is theirs, to the last digit."""
    g = xp.where(q1 == q2, (q1 + q2) / 2, xp.sqrt(q1) * xp.sqrt(q2))
    return xp.maximum(g - xp.abs(k), 0), g + xp.abs(k)


def _ratio(low: Any, high: Any) -> Any:
    """Return the tangent of half the acute angle, which is a right one where nothing is known."""
    some = high > 0
    return xp.where(some, xp.sqrt(low / xp.where(some, high, 1)), 1)


def _arctangent(u: Any) -> Any:
    """Return ``atan(u)`` for ``0 <= u <= 1`` to the last digit."""
    degree, halved = LONG if u.dtype == xp.float64 else SHORT
    if halved:
        u = u / (1 + xp.sqrt(1 + u * u))
    first, *rest = reversed(series(degree, halved))
    total, z = first, u * u
    for c in rest:
        total = total * z + c
    return (2 * u if halved else u) * total


@_rectified.defjvp
def _rectified_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    r"""Derivatives of the moments E and E', with :math:`s = \sqrt{q_1 q_2 - k^2}`.

    .. math:: dE = E'\,dk + \frac{s}{4\pi} \Big(\frac{dq_1}{q_1} + \frac{dq_2}{q_2}\Big), \qquad
              dE' = \frac{1}{2\pi s} \Big(dk - \frac{k}{2}
              \Big(\frac{dq_1}{q_1} + \frac{dq_2}{q_2}\Big)\Big)

    The second is taken to be 0 where s is, where it does not exist.
    """
    (k, q1, q2), (dk, dq1, dq2) = primals, tangents
    moment, slope = _rectified(k, q1, q2)
    low, high = _sides(k, q1, q2)
    some = (low > 0) & (high > 0)
    s = high * xp.sqrt(xp.where(some, low, 1) / xp.where(some, high, 1))
    relative = _over(dq1, q1) + _over(dq2, q2)
    dmoment = slope * dk + xp.where(some, s, 0) * (SHARE / 2) * relative
    dslope = xp.where(some, SHARE / xp.where(some, s, 1), 0) * (dk - k * relative / 2)
    return (moment, slope), (dmoment, dslope)


def _over(x: Any, q: Any) -> Any:
    """Return ``x / q``, 0 where ``q`` is."""
    some = q > 0
    return xp.where(some, x / xp.where(some, q, 1), 0)
