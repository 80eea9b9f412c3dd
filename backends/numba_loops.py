"""How loops are compiled, and how operands that broadcast are brought to them."""

from __future__ import annotations

import math
from functools import lru_cache

import numba
import numpy as np

#: Sums and products may contract, nothing else may change: results stay what the source says.
compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
#: The same where nothing may contract, so that one example twice gives exactly its variance. What
#: is left out here, such a function would take over from the one that calls it first.
exact = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=False)
#: The same as ``compiled`` for what is part of a longer loop.
inlined = numba.njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"contract"}, forceinline=True
)

#: The type of an index that cannot count from the end: one that might cannot be a vector's.
U = np.uintp
#: Pairs that fill a vector.
LANES = 16
#: Entries that stay in the first cache.
CHUNK = 2048


@lru_cache(maxsize=1024)
def rows_of(few: tuple[int, ...], lead: tuple[int, ...]) -> np.ndarray:
    """Return which row of an array that broadcasts each row of the result takes."""
    own = np.arange(math.prod(few)).reshape(few)
    return np.ascontiguousarray(np.broadcast_to(own, lead)).reshape(-1)


def are_pairs(shape: tuple[int, ...], q1: np.ndarray, q2: np.ndarray) -> bool:
    """Whether every example of one batch meets every one of another."""
    if len(shape) < 2 or shape[-2:] == (1, 1) or min(q1.ndim, q2.ndim) < 2:
        return False
    return q1.shape[-2:] == (shape[-2], 1) and q2.shape[-2:] == (1, shape[-1])


def whole(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of a shape, contiguous."""
    return np.ascontiguousarray(x if x.shape == shape else np.broadcast_to(x, shape))
