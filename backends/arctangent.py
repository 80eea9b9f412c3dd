"""An arctangent short enough for loops over whole arrays: a polynomial, found once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import cache

#: For each type of number: the degree that gives its last digit, and whether the argument is
#: halved first, as an angle.
SHORT, LONG = (9, False), (12, True)
#: Terms that are taken into account beyond the degree.
BEYOND = 14


@cache
def series(degree: int, halved: bool) -> tuple[float, ...]:
    r"""Return the coefficients of ``atan(sqrt(z)) / sqrt(z)`` in powers of ``z``.

    They hold for ``0 <= z <= 1`` or, halved, up to the square of ``tan(pi / 8)``. They are those of

    .. math:: \mathrm{atan}(x \tan 2a) = 2 \sum_k (-1)^k \frac{\tan^{2k+1} a}{2k + 1} T_{2k+1}(x)

    with Chebyshev's polynomials T, added up exactly, as they cancel, for more terms than are kept;
    from the last on these are replaced by what is closest to them.
    """
    a, terms = math.pi / 16 if halved else math.pi / 8, degree + BEYOND
    top, q = Fraction(math.tan(2 * a)), Fraction(math.tan(a))
    total = [Fraction(0)] * terms
    for k, odd in enumerate(_chebyshev([1], [1], terms)):  # T_{2k+1}(x) / x in powers of x^2
        scale = 2 * (-1) ** k * q ** (2 * k + 1) / (2 * k + 1) / top
        total[: k + 1] = [t + scale * c for t, c in zip(total, odd, strict=False)]
    for n, own in reversed(list(enumerate(_chebyshev([-1, 2], [1], terms)))[degree + 1 :]):
        last = total[n] / own[n]  # of T_{2n}(x)
        total[: n + 1] = [t - last * c for t, c in zip(total, own, strict=False)]
    return tuple(float(c / top ** (2 * j)) for j, c in enumerate(total[: degree + 1]))


def _chebyshev(before: list[int], now: list[int], count: int) -> Iterator[list[int]]:
    """Yield polynomials in ``t = x^2``, each ``4 t - 2`` times the last without the one before."""
    for _ in range(count):
        yield now
        after = [4 * x - 2 * y for x, y in zip([0, *now], [*now, 0], strict=True)]
        padded = [*before, *[0] * (len(after) - len(before))]
        before, now = now, [x - y for x, y in zip(after, padded, strict=True)]
