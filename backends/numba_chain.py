"""Chains of operations on the NumPy backend, as one compiled call; see :mod:`ntcore.chain`.

Values are slots of a thread's work space, and pairs are taken in groups small enough for the work
space to stay in the second cache.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from ntcore.backends import numba_chain_loops as loops
from ntcore.backends.buffers import empty
from ntcore.backends.numba_encode import encoded
from ntcore.backends.numba_groups import make_groups, paired_groups
from ntcore.backends.numba_loops import LANES
from ntcore.backends.numba_moments import DTYPES
from ntcore.backends.numpy import bounds, moderate
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
    """Return the outputs of a chain, ``(entries, n1 * n2)`` each; None where it cannot."""
    kinds = {x.dtype for x in (*arrays, *sides, *(drawn or ()))}
    if len(kinds) > 1 or not kinds <= set(DTYPES) or not all(_are_moderate(x) for x in sides):
        return None
    code, (dtype,) = encoded(chain), kinds
    row_bytes = code.widest * dtype.itemsize
    most = max(GROUP_BYTES // row_bytes, 1)
    if chain.paired:
        groups = paired_groups(counts[0], most)
    else:
        groups = make_groups(*counts, most, same is not None)
    lanes = groups.pairs.shape[1]
    step = min(max(GROUP_BYTES // (row_bytes * lanes), 1), code.rows)
    none = np.empty((0, 0), dtype)
    source, *others = map(np.ascontiguousarray, arrays or [none])
    second = np.concatenate(others) if len(others) > 1 else [*others, none][0]
    pairs = counts[0] if chain.paired else counts[0] * counts[1]
    target = empty((sum(code.outputs), pairs), dtype)
    for start, stop in code.sums if same is None else [(0, len(target))]:
        target[start:stop] = 0
    work = _aligned(code.slots, max(code.widest * step, 2) * lanes, dtype)
    marks = np.zeros((0, 0), np.bool_) if same is None else same
    given = (*sides, *(drawn or (none, none)))
    rows = tuple((_flat_beyond if groups.beyond else _flat)(x) for x in given)
    beside = lanes if groups.along == 2 else 0
    copies = tuple(_aligned(1, len(x) * beside, dtype)[0] for x in given)
    fine = loops.run(
        code.code, code.scales.astype(dtype), code.ints, source, second, target, rows, copies,
        *counts, marks, groups.ones, groups.twos, groups.pairs, groups.whole, groups.along,
        code.rows, step, work, tuple(map(dtype.type, bounds(dtype))),
    )  # fmt: skip
    if not fine:
        return None
    for one in chain.steps:
        count(one.name)
    return np.split(target, np.cumsum(code.outputs)[:-1])


def _once(fn: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], Any]:
    """Return a function that remembers what it made of an array as long as that is there.

    The variances of a tile are those of all its parts.
    """
    made: dict[int, tuple[Any, Any]] = {}

    def remembered(x: np.ndarray) -> Any:
        key = id(x)
        if key not in made:
            found = fn(x)
            if np.may_share_memory(found, x):
                return found
            made[key] = weakref.ref(x, lambda _: made.pop(key, None)), found
        return made[key][1]

    return remembered


@_once
def _are_moderate(x: np.ndarray) -> bool:
    return moderate(x)


@_once
def _flat(x: np.ndarray) -> np.ndarray:
    """Return rows one after the other."""
    return np.ascontiguousarray(x).reshape(-1)


@_once
def _flat_beyond(x: np.ndarray) -> np.ndarray:
    """Return rows one after the other, and a vector after the last, where one may reach."""
    return np.concatenate([x.reshape(-1), np.zeros(LANES, x.dtype)])


def _aligned(slots: int, size: int, dtype: np.dtype) -> np.ndarray:
    """Return work space whose slots begin where a vector does."""
    line = VECTOR_BYTES // dtype.itemsize
    size += -size % line
    space = empty((slots * size + line,), dtype)
    first = -space.ctypes.data % VECTOR_BYTES // dtype.itemsize
    return space[first : first + slots * size].reshape(slots, size)
