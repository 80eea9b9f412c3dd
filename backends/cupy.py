"""CuPy: NumPy's arithmetic on CUDA, with what differs from :mod:`ntcore.backends.numpy`."""

from __future__ import annotations

from typing import Any

import array_api_compat.cupy as xp
import cupy as cp
import cupyx
from cupyx.scipy import linalg, special

from ntcore.backend import Backend, Linalg
from ntcore.backends.numpy import BACKEND as HOST
from ntcore.backends.numpy import split


def _asarray(x: Any, dtype: Any, device: Any) -> Any:
    with cp.cuda.Device() if device is None else device:
        return cp.asarray(x, dtype=dtype)


def _cholesky(a: Any) -> Any:
    with cupyx.errstate(linalg="raise"):
        try:
            return cp.linalg.cholesky(a)
        except cp.linalg.LinAlgError:
            return cp.full_like(a, cp.nan)


def _solve_triangular(lower: Any, b: Any, transpose: bool) -> Any:
    return linalg.solve_triangular(lower, b, lower=True, trans=int(transpose))


def _normal(rng: Any, shape: tuple[int, ...], dtype: Any, device: Any) -> Any:
    if isinstance(rng, cp.random.Generator):
        return _asarray(rng.standard_normal(shape), dtype, device)
    return _asarray(HOST.normal(rng, shape, None, None), dtype, device)


def _split(rng: Any, n: int) -> list[Any]:
    return [rng] * n if isinstance(rng, cp.random.Generator) else split(rng, n)


BACKEND = Backend(
    library="cupy",
    namespace=xp,
    owns=lambda x: isinstance(x, cp.ndarray),
    asarray=_asarray,
    to_numpy=cp.asnumpy,
    device=lambda x: x.device,
    devices=lambda: [f"cuda:{i}" for i in range(cp.cuda.runtime.getDeviceCount())],
    is_traced=lambda x: False,
    linalg=Linalg(_cholesky, _solve_triangular),
    erf=special.erf,
    normal=_normal,
    split=_split,
    is_rng=lambda x: isinstance(x, cp.random.Generator),
    tile_bytes=lambda device: 1 << 28,
)
