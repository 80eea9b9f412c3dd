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
        tol = max(1e-9, 10 * np.finfo(symmetric.dtype).eps) * _scale(symmetric, start)
        found = linalg.lobpcg(symmetric, start, largest=True, tol=tol, maxiter=500)[0]
    else:
        start = rng.standard_normal(size).astype(symmetric.dtype)
        found = linalg.eigsh(symmetric, k, which="LA", v0=start, return_eigenvectors=False)
    return np.sort(found)[::-1]


def _scale(symmetric: linalg.LinearOperator, start: np.ndarray) -> float:
    """Return about the largest eigenvalue; LOBPCG takes its tolerance in such units."""
    once = symmetric @ start
    length = np.linalg.norm(once, axis=0)
    return float(np.max(np.linalg.norm(symmetric @ once, axis=0) / np.where(length, length, 1)))
