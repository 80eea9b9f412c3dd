"""Pairs that fill a vector get what each pair by itself gets, whatever the numbers are."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

KINDS = 0, 1  # the rectifier and the error function
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1.01, -1.01, 1e-30)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_vector_is_as_many_numbers(kind, dtype):
    from ntcore.backends.numba_moments import alike, one_by_many

    random = np.random.default_rng(0).uniform(-1, 1, 32 - len(SPECIAL))
    k = np.concatenate([SPECIAL, random]).astype(dtype)
    q1, q2 = k.dtype.type(1.0), np.ones(32, dtype)
    found, wanted = (k.copy(), np.ones(32, dtype)), (k.copy(), np.ones(32, dtype))
    with np.errstate(all="ignore"):
        one_by_many(kind, k, *found, 0, q1, q2, 0, 32)
        alike(kind, *wanted, True, 0, np.full(32, q1), 0, q2, 0, 32)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=4 * np.finfo(dtype).eps, atol=0)
    assert np.isnan(found[0][0])
