"""NumPy, and SciPy for what the Array API standard lacks."""

from __future__ import annotations

from typing import Any

import array_api_compat.numpy as xp
import numpy as np
from scipy import linalg, special

from ntcore.backend import Backend, Linalg


def _asarray(x: Any, dtype: Any, device: Any) -> np.ndarray:
    return np.asarray(x, dtype=dtype)


def _cholesky(a: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        return np.full_like(a, np.nan)


def _solve_triangular(lower: np.ndarray, b: np.ndarray, transpose: bool) -> np.ndarray:
    return linalg.solve_triangular(lower, b, lower=True, trans=int(transpose), check_finite=False)


def _normal(rng: Any, shape: tuple[int, ...], dtype: Any, device: Any) -> np.ndarray:
    return np.asarray(generator(rng).standard_normal(shape), dtype=dtype)


def generator(rng: Any) -> np.random.Generator:
    """Return a Generator for a native random state or an integer seed."""
    if isinstance(rng, np.random.Generator):
        return rng
    return np.random.Generator(np.random.Philox(rng))


def split(rng: Any, n: int) -> list[Any]:
    """Return ``n`` independent random states; integer seeds give the same on every machine."""
    if isinstance(rng, np.random.Generator):
        return list(rng.spawn(n))
    root = rng if isinstance(rng, np.random.SeedSequence) else np.random.SeedSequence(rng)
    return list(root.spawn(n))


BACKEND = Backend(
    library="numpy",
    namespace=xp,
    owns=lambda x: isinstance(x, (np.ndarray, np.generic)),
    asarray=_asarray,
    to_numpy=np.asarray,
    device=lambda x: "cpu",
    devices=lambda: ["cpu"],
    is_traced=lambda x: False,
    linalg=Linalg(_cholesky, _solve_triangular),
    erf=special.erf,
    normal=_normal,
    split=split,
    is_rng=lambda x: isinstance(x, np.random.Generator),
    tile_bytes=lambda device: 1 << 18,
)
