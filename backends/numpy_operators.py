"""Linear operators and their eigenvalues, by SciPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import linalg


def operator(
    shape: tuple[int, int], dtype: Any, times: Callable[[Any], Any], back: Callable[[Any], Any]
) -> linalg.LinearOperator:
    """Return a linear operator from its product, and that of its transpose, with a vector."""
    return linalg.LinearOperator(shape, matvec=times, rmatvec=back, dtype=dtype)


def eigenvalues(symmetric: linalg.LinearOperator, k: int, method: str) -> np.ndarray:
    """Return the largest eigenvalues, the largest first; from the same start every time."""
    rng = np.random.default_rng(0)
    size = symmetric.shape[0]
    if method == "lobpcg":
        start = rng.standard_normal((size, k)).astype(symmetric.dtype)
        found = linalg.lobpcg(symmetric, start, largest=True, tol=1e-9, maxiter=500)[0]
    else:
        start = rng.standard_normal(size).astype(symmetric.dtype)
        found = linalg.eigsh(symmetric, k, which="LA", v0=start, return_eigenvectors=False)
    return np.sort(found)[::-1]
