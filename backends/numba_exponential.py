"""Exponentials that fill vectors: a compiled loop that calls a library takes one at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ntcore.backends.numba_loops import compiled, inlined

#: What a float leaves out of the logarithm of two.
BEYOND = 2.319046813846299e-17
#: Bits of an integer behind those of a float's exponent, and the exponent of one.
FLOATS: dict[Any, tuple[int, int]] = {np.float32: (23, 127), np.float64: (52, 1023)}


def horner(c: tuple[Any, ...]) -> Callable[[Any], Any]:
    """Return the evaluation of a polynomial of degree 9 or 12, without a loop."""
    if len(c) == 10:
        c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 = c

        @compiled
        def short(z: Any) -> Any:
            high = c5 + z * (c6 + z * (c7 + z * (c8 + z * c9)))
            return c0 + z * (c1 + z * (c2 + z * (c3 + z * (c4 + z * high))))

        return short
    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12 = c

    @compiled
    def long(z: Any) -> Any:
        high = c7 + z * (c8 + z * (c9 + z * (c10 + z * (c11 + z * c12))))
        return c0 + z * (c1 + z * (c2 + z * (c3 + z * (c4 + z * (c5 + z * (c6 + z * high))))))

    return long


@intrinsic
def _power_of_two(typing: Any, x: Any) -> Any:
    """Return two to the power that the last bits of a float say."""
    single = x == types.float32
    shift, one = FLOATS[np.float32 if single else np.float64]
    bits = ir.IntType(32 if single else 64)
    back = ir.FloatType() if single else ir.DoubleType()

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        count = builder.shl(builder.bitcast(args[0], bits), bits(shift))
        return builder.bitcast(builder.add(count, bits(one << shift)), back)

    return x(x), generate


def exponential(dtype: type) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    r"""Return ``exp(x)``, 0 or infinity where it is not normal, and ``exp(x) - 1`` for small x.

    With :math:`x = n \log 2 + r`, the first is :math:`2^n` times a series in r; n is what adding
    and subtracting a large number leaves.
    """
    shift, one = FLOATS[dtype]
    terms = 10 if dtype is np.float32 else 13
    series = horner(tuple(dtype(1 / math.factorial(n)) for n in range(terms)))
    after = horner(tuple(dtype(1 / math.factorial(n + 1)) for n in range(terms)))
    round_off, least = dtype(1.5 * 2.0**shift), dtype((1 - one) * math.log(2))
    inverse, zero, infinity = dtype(1 / math.log(2)), dtype(0), dtype(math.inf)
    most = dtype((one - 1) * math.log(2))
    high = dtype(round(math.log(2) * 2.0 ** (shift // 2)) / 2.0 ** (shift // 2))
    low = dtype((math.log(2) - float(high)) + BEYOND)

    @inlined
    def exp(x: Any) -> Any:
        inside = least if x < least else x
        shifted = inside * inverse + round_off
        n = shifted - round_off
        power = _power_of_two(shifted) * series((inside - n * high) - n * low)
        return zero if x < least else infinity if x > most else power

    @inlined
    def small(x: Any) -> Any:
        return x * after(x)

    return exp, small
