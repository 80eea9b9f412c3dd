"""Moments of nonlinearities in NumPy, in few passes and in the memory that is there.

``k`` has the covariances, ``p`` the products of both variances, which keep all their digits, and
``s`` their sums; these two are written over. Moments are left in ``out``, which may be ``k``, and
slopes in ``a``. The formulas are those of :mod:`ntcore.ops`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

Dual = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray], None]


def _minor(k: np.ndarray, p: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Write the determinant of the covariances, or 0 where that is negative, over ``p``."""
    np.multiply(k, k, out=a)
    np.subtract(p, a, out=p)
    flat, zeros = p.reshape(-1), _zeros(p.dtype)
    rest = flat.size % zeros.size
    for part in (flat[: flat.size - rest].reshape(-1, zeros.size), flat[flat.size - rest :]):
        np.maximum(part, zeros[: part.shape[-1]], out=part)
    return p


@cache
def _zeros(dtype: Any) -> np.ndarray:
    """Return zeros to compare with: NumPy compares with a number several times slower."""
    return np.zeros(1 << 12, dtype)


def rectifier(k: np.ndarray, p: np.ndarray, s: np.ndarray, a: np.ndarray, out: np.ndarray) -> None:
    """Write the moments of the rectifier."""
    minor = _minor(k, p, a)
    root = np.sqrt(minor, out=minor)
    np.arctan2(root, k, out=a)
    np.subtract(math.pi, a, out=a)
    np.multiply(k, a, out=out)
    np.add(out, root, out=out)
    np.multiply(out, 1 / (2 * math.pi), out=out)
    np.multiply(a, 1 / (2 * math.pi), out=a)


#: The slope of the rectifier where a variance is 0.
NO_VARIANCE = 0.25


def arcsine(k: np.ndarray, p: np.ndarray, s: np.ndarray, a: np.ndarray, out: np.ndarray) -> None:
    """Write the moments of the error function."""
    root = _minor(k, p, a)
    np.multiply(root, 2, out=root)
    np.add(root, s, out=root)
    np.multiply(root, 2, out=root)
    np.add(root, 1, out=root)
    np.sqrt(root, out=root)
    np.multiply(k, 2, out=out)
    np.arctan2(out, root, out=out)
    np.multiply(out, 2 / math.pi, out=out)
    np.divide(4 / math.pi, root, out=a)


def gelu(k: np.ndarray, p: np.ndarray, s: np.ndarray, a: np.ndarray, out: np.ndarray) -> None:
    """Write the moments of Gelu."""
    ratio = np.add(s, p, out=np.empty_like(s))
    np.add(ratio, 1, out=ratio)
    np.divide(s + 2, ratio, out=ratio)  # 1 / (1 + q1) + 1 / (1 + q2)
    minor = _minor(k, p, a)
    det = np.add(s, minor, out=s)
    np.add(det, 1, out=det)
    root = np.sqrt(det, out=np.empty_like(det))
    both = np.arctan2(root, np.negative(k, out=a), out=a)
    np.multiply(both, 1 / (2 * math.pi), out=both)
    density = np.divide(1 / (2 * math.pi), root, out=root)
    slope = np.divide(1, det, out=det)
    np.add(slope, ratio, out=slope)
    np.multiply(slope, k, out=slope)
    np.multiply(slope, density, out=slope)
    np.multiply(ratio, k, out=ratio)
    np.multiply(ratio, k, out=ratio)
    np.add(ratio, minor, out=ratio)
    np.multiply(ratio, density, out=ratio)
    np.multiply(k, both, out=out)
    np.add(out, ratio, out=out)
    np.add(both, slope, out=both)


def waves(k: np.ndarray, p: np.ndarray, s: np.ndarray, a: np.ndarray, out: np.ndarray) -> None:
    """Write the moments of a cosine, and of a sine as its slope."""
    size = np.abs(k, out=np.empty_like(k))
    near = np.multiply(s, -0.5, out=s)
    np.add(near, size, out=near)
    np.exp(near, out=near)
    np.multiply(near, 0.5, out=near)
    np.multiply(size, -2, out=size)
    np.expm1(size, out=a)
    np.multiply(a, near, out=a)
    np.copysign(a, k, out=a)
    np.exp(size, out=out)
    np.add(out, 1, out=out)
    np.multiply(out, near, out=out)


def bell(k: np.ndarray, p: np.ndarray, s: np.ndarray, a: np.ndarray, out: np.ndarray) -> None:
    """Write the moments of waves of random phase, which are their own slope."""
    mean = np.multiply(s, 0.5, out=s)
    np.subtract(k, mean, out=out)
    np.exp(out, out=out)
    np.copyto(a, out)


def normalize(k: np.ndarray, p: np.ndarray, s: np.ndarray, a: np.ndarray, out: np.ndarray) -> None:
    """Write covariances over the roots of both variances, and what they are multiplied with."""
    none = p == 0
    np.copyto(p, 1, where=none)
    np.sqrt(p, out=p)
    np.divide(1, p, out=a)
    np.copyto(a, 0, where=none)
    np.multiply(k, a, out=out)


MOMENTS: dict[str, Dual] = {
    "rectifier": rectifier,
    "arcsine": arcsine,
    "gelu": gelu,
    "waves": waves,
    "bell": bell,
    "normalize": normalize,
}
#: Those that take products of variances, and those that take sums.
OF_PRODUCTS = {"rectifier", "arcsine", "gelu", "normalize"}
OF_SUMS = {"arcsine", "gelu", "waves", "bell"}
