"""An arctangent short enough for loops over whole arrays: a polynomial, found once."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

#: For each type of number: the degree that gives its last digit, and whether the argument is
#: halved first, as an angle.
SHORT, LONG = (9, False), (12, True)


@cache
def series(degree: int, halved: bool) -> tuple[float, ...]:
    r"""Return the coefficients of ``atan(sqrt(z)) / sqrt(z)`` in powers of ``z``.

    They hold for ``0 <= z <= 1`` or, halved, up to the square of ``tan(pi / 8)``. They are those of

    .. math:: \mathrm{atan}(x \tan 2a) = 2 \sum_k (-1)^k \frac{\tan^{2k+1} a}{2k + 1} T_{2k+1}(x)

    with Chebyshev's polynomials T, added up exactly, as they cancel.
    """
    a = math.pi / 16 if halved else math.pi / 8
    top, q = Fraction(math.tan(2 * a)), Fraction(math.tan(a))
    total = [Fraction(0)] * (degree + 1)
    before, odd = [1], [1]  # T_{2k-1}(x) / x and T_{2k+1}(x) / x in powers of x^2
    for k in range(degree + 1):
        scale = 2 * (-1) ** k * q ** (2 * k + 1) / (2 * k + 1) / top
        for j, c in enumerate(odd):
            total[j] += scale * c / top ** (2 * j)
        after = [4 * x - 2 * y for x, y in zip([0, *odd], [*odd, 0], strict=True)]
        padded = [*before, *[0] * (len(after) - len(before))]
        before, odd = odd, [x - y for x, y in zip(after, padded, strict=True)]
    return tuple(map(float, total))
