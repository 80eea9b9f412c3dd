"""array_api_strict: the standard and nothing else, for finding what leaves it."""

from __future__ import annotations

from typing import Any

import array_api_strict as xp
import numpy as np
from scipy import special

from ntcore.backend import Backend, Linalg
from ntcore.backends.numpy import BACKEND as HOST
from ntcore.backends.numpy import split

_ARRAY = type(xp.zeros(()))


def _asarray(x: Any, dtype: Any, device: Any) -> Any:
    if isinstance(x, _ARRAY):
        x = x if dtype is None or x.dtype == dtype else xp.astype(x, dtype)
        return x if device is None or x.device == device else x.to_device(device)
    x = np.asarray(x)
    if dtype is None and np.issubdtype(x.dtype, np.integer):
        dtype = xp.__array_namespace_info__().default_dtypes(device=device)["indexing"]
    return xp.asarray(x, dtype=dtype, device=device)


def _to_numpy(x: Any) -> np.ndarray:
    return np.asarray(x.to_device(xp.Device("CPU_DEVICE"))._array)


def _on_host(fn: Any) -> Any:
    """Let a function of NumPy arrays take and return arrays of this library."""

    def call(x: Any, *args: Any) -> Any:
        own = [_to_numpy(a) if isinstance(a, _ARRAY) else a for a in args]
        return _asarray(fn(_to_numpy(x), *own), x.dtype, x.device)

    return call


def _normal(rng: Any, shape: tuple[int, ...], dtype: Any, device: Any) -> Any:
    return _asarray(HOST.normal(rng, shape, None, None), dtype, device)


BACKEND = Backend(
    library="array_api_strict",
    namespace=xp,
    owns=lambda x: isinstance(x, _ARRAY),
    asarray=_asarray,
    to_numpy=_to_numpy,
    device=lambda x: x.device,
    devices=lambda: [str(d) for d in xp.__array_namespace_info__().devices()],
    is_traced=lambda x: False,
    linalg=Linalg(_on_host(HOST.linalg.cholesky), _on_host(HOST.linalg.solve_triangular)),
    erf=_on_host(special.erf),
    normal=_normal,
    split=split,
    is_rng=lambda x: False,
    tile_bytes=HOST.tile_bytes,
)
