"""An arctangent short enough for loops over whole arrays: a polynomial, found once."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

#: For each type of number: the degree that gives its last digit, and whether the argument is
#: halved first, as an angle.
SHORT, LONG = (9, False), (12, True)


@cache
def series(degree: int, halved: bool) -> tuple[float, ...]:
    """Return the coefficients of ``atan(sqrt(z)) / sqrt(z)`` in powers of ``z``.

    They hold for ``0 <= z <= 1`` or, halved, up to the square of ``tan(pi / 8)``.
    """
    top = math.tan(math.pi / 8) ** 2 if halved else 1.0

    def ratio(w: np.ndarray) -> np.ndarray:
        root = np.sqrt((w + 1) * (top / 2))
        return np.arctan(root) / root

    chebyshev: Any = np.polynomial.chebyshev.chebinterpolate(ratio, degree)
    found = np.polynomial.Chebyshev(chebyshev, domain=[0, top])
    return tuple(map(float, found.convert(kind=np.polynomial.Polynomial).coef))
