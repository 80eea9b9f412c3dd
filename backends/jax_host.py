"""JAX arrays on the CPU as arrays of the NumPy backend, in the same memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ntcore.backend import Loan, Place
from ntcore.backends.jax_stages import is_traced
from ntcore.backends.numpy import BACKEND as HOST
from ntcore.backends.numpy import is_compiled

LENT = (np.dtype(np.float32), np.dtype(np.float64))


def lend(at: Place, arrays: Sequence[jax.Array]) -> Loan | None:
    """Return arrays as NumPy's, where numba makes its operations faster than those of XLA.

    None where one is traced.
    """
    on_cpu = getattr(at.device, "platform", None) == "cpu"
    if not on_cpu or at.dtype not in LENT or any(map(is_traced, arrays)) or not is_compiled():
        return None
    here = Place(HOST, np.dtype(at.dtype), "cpu")
    return Loan(here, [np.asarray(x) for x in arrays], _back(at.device))


def _back(device: Any) -> Any:
    """Return what puts an array on a device, committed to it only where it is not the usual one."""
    usual = jax.config.jax_default_device is None and device == jax.devices()[0]
    return lambda x: jax.device_put(x, None if usual else device)
