"""Chains of operations on the NumPy backend, as one compiled call; see :mod:`ntcore.chain`.

Values are slots of a thread's work space, and pairs are taken in groups small enough for the work
space to stay in the second cache.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ntcore.backends import numba_chain_loops as loops
from ntcore.backends.buffers import empty
from ntcore.backends.numba_encode import encoded
from ntcore.backends.numba_loops import LANES
from ntcore.backends.numba_moments import DTYPES
from ntcore.backends.numpy import moderate
from ntcore.chain import Chain
from ntcore.ops import count

#: Bytes of one value for a group of pairs.
GROUP_BYTES = 1 << 17
VECTOR_BYTES = 64


def run(
    chain: Chain,
    arrays: list[np.ndarray],
    sides: tuple[np.ndarray, np.ndarray],
    drawn: tuple[np.ndarray, np.ndarray] | None,
    same: np.ndarray | None,
    counts: tuple[int, int],
) -> list[np.ndarray] | None:
    """Return the outputs of a chain, ``(entries, n1 * n2)`` each."""
    kinds = {x.dtype for x in (*arrays, *sides, *(drawn or ()))}
    if len(kinds) > 1 or not kinds <= set(DTYPES) or not all(map(moderate, sides)):
        return None
    code, (dtype,) = encoded(chain), kinds
    row_bytes = code.widest * dtype.itemsize
    groups = make_groups(*counts, max(GROUP_BYTES // row_bytes, 1))
    lanes = groups[0].shape[1]
    step = min(max(GROUP_BYTES // (row_bytes * lanes), 1), code.rows)
    source = arrays[0] if len(arrays) == 1 else _stacked(arrays, dtype)
    target = empty((sum(code.outputs), counts[0] * counts[1]), dtype)
    for row in code.totals:
        target[row] = 0
    work = _aligned(code.slots, max(code.widest * step, 2) * lanes, dtype)
    marks = np.zeros((0, 0), np.bool_) if same is None else same
    loops.run(
        code.code, code.scales.astype(dtype), code.ints, np.ascontiguousarray(source), target,
        *map(np.ascontiguousarray, (*sides, *(drawn or sides))), marks, *groups, code.rows, step,
        work,
    )  # fmt: skip
    for one in chain.steps:
        count(one.name)
    return np.split(target, np.cumsum(code.outputs)[:-1])


def _stacked(arrays: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.empty((0, 0), dtype)


def _aligned(slots: int, size: int, dtype: np.dtype) -> np.ndarray:
    """Return work space whose slots begin where a vector does."""
    line = VECTOR_BYTES // dtype.itemsize
    size += -size % line
    space = empty((slots * size + line,), dtype)
    first = -space.ctypes.data % VECTOR_BYTES // dtype.itemsize
    return space[first : first + slots * size].reshape(slots, size)


# --- pairs --------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def make_groups(n1: int, n2: int, most: int) -> tuple[np.ndarray, ...]:
    """Return the pairs in groups of about ``most``: examples, pairs, lanes in use, and runs.

    A run is of one example of the first batch and of neighbours of the second, and fills vectors;
    what is left over goes into groups without runs. The last pair fills a group up.
    """
    least = LANES
    most = max(most // least * least, least)
    run = min(most, n2 // least * least)
    whole = n2 // run * run if run else 0
    lanes = most // run * run if run else most
    lanes = min(lanes, -(-n1 * n2 // (run or least)) * (run or least))
    every = np.arange(n1 * n2).reshape(n1, n2)
    first, used1 = _filled(every[:, :whole].reshape(-1), lanes)
    rest, used2 = _filled(every[:, whole:].reshape(-1), lanes)
    pairs = np.concatenate([first, rest])
    runs = np.asarray([run] * len(first) + [0] * len(rest))
    return pairs // n2, pairs % n2, pairs, np.concatenate([used1, used2]), runs


def _filled(pairs: np.ndarray, lanes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs in rows of so many, the last row filled up, and how many of each count."""
    missing = -pairs.size % lanes
    if missing:
        pairs = np.concatenate([pairs, np.resize(pairs, missing)])
    found = pairs.reshape(-1, lanes)
    used = np.full(len(found), lanes)
    if missing:
        used[-1] -= missing
    return found, used
