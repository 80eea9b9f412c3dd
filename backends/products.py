"""Matrix products on the CPU, by a BLAS that may use threads of its own.

Threads of a BLAS wait for each other, and where tiles keep every core busy that takes far longer
than a small product. What has few rows is therefore multiplied in blocks of columns that are too
small to be shared out, each on the thread that asks for it.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ntcore.backends.buffers import empty

#: A product uses every core by itself; two of them side by side wait for each other's threads.
PRODUCTS = threading.Lock()
#: Multiplications up to which OpenBLAS stays on the thread that calls it.
ALONE = 1 << 18
#: Columns of the narrowest block that is worth a product of its own.
NARROWEST = 8


def width_of(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Return how many columns a block of a product has; 0 where all columns are one product."""
    if min(len(a), len(b)) < 2:
        return 0
    columns, width = b[-1], ALONE // max(a[-2] * a[-1], 1)
    return columns if columns <= width else width if width >= NARROWEST else 0


def matmul(at: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Blocks of columns on this thread where there are few rows, else one product on all cores."""
    width = width_of(a.shape, b.shape)
    if not width or a.dtype != b.dtype:
        with PRODUCTS:
            return np.matmul(a, b)
    if not (a.size and b.size):
        return np.matmul(a, b)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = empty((*lead, a.shape[-2], b.shape[-1]), a.dtype)
    a, b = _by_rows(a), b if b.size > out.size else np.ascontiguousarray(b)
    b = _by_rows(b)
    even = b.shape[-1] - b.shape[-1] % width
    np.matmul(a[..., None, :, :], _cut(b[..., :even], width), out=_cut(out[..., :even], width))
    if even < b.shape[-1]:
        np.matmul(a, b[..., even:], out=out[..., even:])
    return out


def _cut(x: np.ndarray, width: int) -> np.ndarray:
    """Return ``(..., rows, columns)`` as blocks of columns, ``(..., blocks, rows, width)``."""
    return x.reshape(*x.shape[:-1], -1, width).swapaxes(-2, -3)


def _by_rows(x: np.ndarray) -> np.ndarray:
    """Return matrices whose rows or columns lie in one piece, as a BLAS takes them."""
    return x if x.itemsize in x.strides[-2:] else np.ascontiguousarray(x)
