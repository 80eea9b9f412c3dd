"""Moments of nonlinearities as operations of the NumPy backend."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ntcore.backend import Place
from ntcore.backends.buffers import empty, short_loops
from ntcore.backends.numpy_duals import MOMENTS, NO_VARIANCE, OF_PRODUCTS, OF_SUMS
from ntcore.ops import REFERENCE


def moments(name: str) -> Callable[..., Any]:
    """Return the reference of an operation in units where nothing can over- or underflow."""

    def fused(at: Place, k: np.ndarray, q1: np.ndarray, q2: np.ndarray) -> Any:
        whole = np.broadcast_shapes(k.shape, q1.shape, q2.shape) == k.shape
        if not (whole and moderate(q1) and moderate(q2)):
            return REFERENCE[name](at, k, q1, q2)
        found, p, s, slope = (empty(k.shape, k.dtype) for _ in range(4))
        with short_loops():
            if name in OF_PRODUCTS:
                np.multiply(q1, q2, out=p)
            if name in OF_SUMS:
                np.add(q1, q2, out=s)
        none = p == 0 if name == "rectifier" and (_has_zeros(q1) or _has_zeros(q2)) else None
        MOMENTS[name](k, p, s, slope, found)
        if none is not None:
            np.copyto(slope, NO_VARIANCE, where=none)
        return found, slope

    return fused


def _has_zeros(q: np.ndarray) -> bool:
    return float(q.min(initial=1)) == 0


def bounds(dtype: Any) -> tuple[float, float]:
    """Return what variances lie between whose products keep all their digits."""
    info = np.finfo(dtype)
    return (float(info.tiny) / float(info.eps)) ** 0.5, float(info.max) ** 0.45


def moderate(q: np.ndarray) -> bool:
    """Whether products of two such variances keep all their digits."""
    least, most = float(q.min(initial=math.inf)), float(q.max(initial=0))
    if least == 0:
        least = float(q.min(initial=math.inf, where=q > 0))
    low, high = bounds(q.dtype)
    return low < least and most < high
