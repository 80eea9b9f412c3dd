"""Every tolerance of the suite, by condition and data type, in units of rounding.

A unit of rounding is ``finfo(dtype).eps`` times the largest entry of the block compared (absolute
value). No test and no check holds a tolerance of its own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

#: Units of rounding allowed by condition, where they do not depend on the data type.
UNITS = {
    # One computation done by two libraries, or along two paths, away from coincident inputs.
    "agreement": 64.0,
    # x1 and x2 exchanged.
    "transpose": 64.0,
    # Other tiles, other batch splits, other offsets carried along: the same arithmetic, entry by
    # entry, up to the order in which a library sums a dot product.
    "tiles": 4.0,
    # The diagonal of a kernel against the variances.
    "diagonal": 4.0,
    # The least eigenvalue of a kernel, below zero, per row of its matrix.
    "semidefinite": 4.0,
    # ntcore's reverse rule against the library's own derivative.
    "autodiff": 256.0,
    # A replacement of a named operation against its reference.
    "fused": 16.0,
    # Derivatives of a closed form by differences of eighth order.
    "price": 2.0**13,
    # Gauss-Legendre quadrature of a function with the kinks that it declares.
    "quadrature": 256.0,
    # Derivatives of whole networks by differences of fourth order.
    "differences": 2.0**24,
}

#: Multiples of the square root of the unit of rounding, where the function itself has no more
#: digits: two rectified units that nearly coincide differ by an angle of that size.
ROOTS = {"coincident": 8.0}

#: Standard errors that an average over random networks may be away from its expectation.
STANDARD_ERRORS = 6.0


def tolerance(condition: str, dtype: Any) -> float:
    """Return the largest disagreement allowed, relative to the largest entry of a block."""
    eps = float(np.finfo(np.dtype(dtype)).eps)
    if condition in ROOTS:
        return ROOTS[condition] * math.sqrt(eps)
    return UNITS[condition] * eps
