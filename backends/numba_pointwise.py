"""Moments of one pair of examples, compiled by numba for each data type."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.extending import overload

from ntcore.backends.arctangent import LONG, SHORT, series
from ntcore.backends.numba_exponential import exponential, horner
from ntcore.backends.numba_loops import compiled, inlined
from ntcore.backends.numba_vectors import chosen

Pointwise = Callable[[Any, Any, Any], tuple[Any, Any]]


def _arctangent(dtype: type, scale: float = 1.0) -> Callable[[Any, Any], Any]:
    """Return ``(u, z) -> scale atan(u)`` for ``z = u**2``, ``0 <= u <= 1``, to the last digit."""
    short = dtype is np.float32
    plain = horner(tuple(dtype(scale * c) for c in series(*(SHORT if short else LONG))))
    if short:

        @compiled
        def whole(u: Any, z: Any) -> Any:
            return u * plain(z)

        return whole
    one = dtype(1)

    @compiled
    def halved(u: Any, z: Any) -> Any:
        t = u / (one + math.sqrt(one + z))
        return (t + t) * plain(t * t)

    return halved


def _rectified(dtype: type) -> Pointwise:
    r"""The moments of one pair, with :math:`g = \sqrt{q_1 q_2}`.

    The share of the plane on which both are positive is one half less
    :math:`\mathrm{atan}\sqrt{(g - k) / (g + k)} / \pi`: no digits are lost where k nears g, and g
    is exactly k for coincident inputs.
    """
    arctangent = _arctangent(dtype, 1 / math.pi)
    zero, half, one, circle = map(dtype, (0, 0.5, 1, 1 / (2 * math.pi)))

    @compiled
    def moments(k: Any, q1: Any, q2: Any) -> tuple[Any, Any]:
        g, size = math.sqrt(q1 * q2), abs(k)
        low, high = max(g - size, zero), g + size
        z = chosen(high > zero, low / high, one)
        u = math.sqrt(z)
        a = arctangent(u, z)
        share = chosen(k >= zero, half - a, a)
        return (high * u) * circle + share * k, share

    return moments


def _error_function(dtype: type) -> Pointwise:
    arctangent = _arctangent(dtype)
    zero, one, two, four = map(dtype, (0, 1, 2, 4))
    right, outer, slope = map(dtype, (math.pi / 2, 2 / math.pi, 4 / math.pi))

    @compiled
    def moments(k: Any, q1: Any, q2: Any) -> tuple[Any, Any]:
        g = math.sqrt(q1 * q2)
        square = max((g - k) * (g + k), zero)
        root = math.sqrt(one + two * (q1 + q2) + four * square)
        double = abs(k + k)
        low, high = min(double, root), max(double, root)
        u = low / high
        a = arctangent(u, u * u)
        a = chosen(double > root, right - a, a)
        return chosen(k >= zero, a, zero - a) * outer, slope / root

    return moments


def _of_type(make: Callable[[type], Pointwise]) -> Pointwise:
    """Return the moments of one pair, or of as many as fill a vector, for each data type."""
    single, double = make(np.float32), make(np.float64)

    def moments(k: Any, q1: Any, q2: Any) -> Any:
        raise TypeError("for compiled code alone")

    @overload(moments, strict=False, jit_options={"forceinline": True})
    def choose(k: Any, q1: Any, q2: Any) -> Any:
        if getattr(k, "element", k) == numba.float32:
            return lambda k, q1, q2: single(k, q1, q2)
        return lambda k, q1, q2: double(k, q1, q2)

    return moments


def _gelu(dtype: type) -> Pointwise:
    """The moments of one pair, as :func:`ntcore.ops.gelu` has them."""
    arctangent = _arctangent(dtype, 1 / (2 * math.pi))
    zero, one, quarter, circle = map(dtype, (0, 1, 0.25, 1 / (2 * math.pi)))

    @compiled
    def moments(k: Any, q1: Any, q2: Any) -> tuple[Any, Any]:
        minor = max(q1 * q2 - k * k, zero)
        det, size = (one + (q1 + q2)) + minor, abs(k)
        root = math.sqrt(det)
        low, high = min(size, root), max(size, root)
        u = low / high
        a = arctangent(u, u * u)
        near = a if k >= zero else -a
        beyond = quarter + (quarter - a) if k >= zero else a
        both = quarter + near if size <= root else beyond
        density = circle / root
        ratio = one / (one + q1) + one / (one + q2)
        moment = k * both + density * (minor + (k * k) * ratio)
        return moment, both + (k * density) * (ratio + one / det)

    return moments


def _waves(dtype: type) -> Pointwise:
    """The moments of one pair, as :func:`ntcore.ops.waves` has them."""
    exp, small = exponential(dtype)
    zero, half, one, two = map(dtype, (0, 0.5, 1, 2))
    narrow = dtype(-0.35)

    @inlined
    def moments(k: Any, q1: Any, q2: Any) -> tuple[Any, Any]:
        size = abs(k)
        near, x = exp(size - (q1 + q2) * half) * half, -two * size
        far = exp(x)
        close, apart = -small(x), one - far  # both are computed: a branch would break vectors up
        odd = near * (close if x > narrow else apart)
        return near * (one + far), odd if k >= zero else -odd

    return moments


def _bell(dtype: type) -> Pointwise:
    """The moments of one pair, as :func:`ntcore.ops.bell` has them."""
    exp, _ = exponential(dtype)
    half = dtype(0.5)

    @inlined
    def moments(k: Any, q1: Any, q2: Any) -> tuple[Any, Any]:
        moment = exp(k - (q1 + q2) * half)
        return moment, moment

    return moments


def _normalized(dtype: type) -> Pointwise:
    """A covariance over the roots of two variances, and what it was multiplied with."""
    zero, one = dtype(0), dtype(1)

    @inlined
    def moments(k: Any, q1: Any, q2: Any) -> tuple[Any, Any]:
        both = q1 * q2
        factor = one / math.sqrt(both) if both > zero else zero
        return k * factor, factor

    return moments


_rectified_of_type, _error_function_of_type, _gelu_of_type = map(
    _of_type, (_rectified, _error_function, _gelu)
)
_waves_of_type, _bell_of_type, _normalized_of_type = map(_of_type, (_waves, _bell, _normalized))

# What is compiled is found on the disk again only if it refers to others by the names of a module.


@compiled
def rectified(k: Any, q1: Any, q2: Any) -> tuple[Any, Any]:
    """Return the moments of one pair under the rectifier."""
    return _rectified_of_type(k, q1, q2)


@compiled
def error_function(k: Any, q1: Any, q2: Any) -> tuple[Any, Any]:
    """Return the moments of one pair under the error function."""
    return _error_function_of_type(k, q1, q2)


@inlined
def gelu(k: Any, q1: Any, q2: Any) -> tuple[Any, Any]:
    """Return the moments of one pair under Gelu."""
    return _gelu_of_type(k, q1, q2)


@inlined
def waves(k: Any, q1: Any, q2: Any) -> tuple[Any, Any]:
    """Return the moments of one pair under a cosine and a sine."""
    return _waves_of_type(k, q1, q2)


@inlined
def bell(k: Any, q1: Any, q2: Any) -> tuple[Any, Any]:
    """Return the moments of one pair under waves of random phase."""
    return _bell_of_type(k, q1, q2)


@inlined
def normalized(k: Any, q1: Any, q2: Any) -> tuple[Any, Any]:
    """Return a normalized covariance, and the factor."""
    return _normalized_of_type(k, q1, q2)
