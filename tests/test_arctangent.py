"""The polynomial that stands for the arctangent, beside NumPy's."""

import math

import numpy as np
import pytest

from ntcore.backends.arctangent import LONG, SHORT, series


@pytest.mark.parametrize("kind, error", [(SHORT, 4e-9), (LONG, 2 * np.finfo(float).eps)])
def test_series(kind, error):
    degree, halved = kind
    root = np.linspace(1e-3, math.tan(math.pi / 8) if halved else 1, 1001)
    found = np.polynomial.polynomial.polyval(root**2, series(degree, halved))
    want = np.arctan(root) / root
    assert np.max(np.abs(found - want) / want) <= error
