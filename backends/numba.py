"""Fused operations of the NumPy backend, compiled by numba; imported when one is first called.

Every function makes one pass over arrays that a tile keeps in cache, and lets go of the interpreter
lock, so that tiles run on several threads. None uses threads of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ntcore.backends.numba_moments import (
    arcsine,
    bell_moments,
    gelu_moments,
    rectifier,
    wave_moments,
)
from ntcore.backends.numba_sums import affine, gather_sum, gather_sums, product

FUSED: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (gather_sum, gather_sums, affine, product, rectifier, arcsine)
} | {"gelu": gelu_moments, "waves": wave_moments, "bell": bell_moments}
