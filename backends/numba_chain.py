"""Chains of operations on the NumPy backend, as one compiled call; see :mod:`ntcore.chain`.

Values are slots of a thread's work space, and pairs are taken in groups small enough for the work
space to stay in the second cache.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ntcore.backends import numba_chain_loops as loops
from ntcore.backends.buffers import empty
from ntcore.backends.numba_beside import count_extremes
from ntcore.backends.numba_encode import Code, encoded
from ntcore.backends.numba_groups import Groups, make_groups, paired_groups
from ntcore.backends.numba_loops import LANES
from ntcore.backends.numba_moments import DTYPES
from ntcore.backends.numpy_moments import bounds
from ntcore.backends.once import once
from ntcore.chain import Chain
from ntcore.ops import count

#: Bytes of one value for a group of pairs.
GROUP_BYTES = 1 << 18
VECTOR_BYTES = 64


def run(
    chain: Chain,
    arrays: list[np.ndarray],
    sides: tuple[np.ndarray, np.ndarray],
    drawn: tuple[np.ndarray, np.ndarray] | None,
    same: np.ndarray | None,
    counts: tuple[int, int],
    onto: np.ndarray | None = None,
) -> np.ndarray | None:
    """Return what a chain makes, ``(entries, n1 * n2)``, or add it ``onto`` an array.

    None where it cannot.
    """
    none = np.empty((0, 0), sides[0].dtype)
    given = (*sides, *(drawn or (none, none)))
    kinds = {x.dtype for x in (*arrays, *given)}
    if len(kinds) > 1 or not kinds <= set(DTYPES) or not all(map(_are_moderate, sides)):
        return None
    code, (dtype,) = encoded(chain), kinds
    groups, step = _groups(code, chain, dtype, counts, same is not None)
    lanes = groups.pairs.shape[1]
    source, *others = map(np.ascontiguousarray, arrays or [none])
    second = np.concatenate(others) if len(others) > 1 else [*others, none][0]
    pairs = counts[0] if chain.paired else counts[0] * counts[1]
    target = _blank(code, pairs, dtype, same is not None) if onto is None else onto
    work = _aligned(code.slots, max(code.widest * step, 2) * lanes, dtype)
    marks = np.zeros((0, 0), np.bool_) if same is None else same
    rows = tuple((_padded if groups.beyond else _in_place)(x) for x in given)
    beside = lanes if groups.along == 2 else 0
    copies = tuple(_aligned(1, len(x) * beside, dtype)[0] for x in given)
    fine = loops.run(
        code.code, code.scales.astype(dtype), code.ints, source, second, target, onto is not None,
        tuple(x for x, _ in rows), tuple(wide for _, wide in rows), copies, marks, groups.ones,
        groups.twos, groups.pairs, groups.whole, groups.along, code.rows, step, work,
        tuple(map(dtype.type, bounds(dtype))),
    )  # fmt: skip
    if not fine:
        return None
    for one in chain.steps:
        count(one.name)
    return target


def _groups(
    code: Code, chain: Chain, dtype: np.dtype, counts: tuple[int, int], same: bool
) -> tuple[Groups, int]:
    """Return groups of pairs, and the rows that they take at once, for one value to fit."""
    row_bytes = code.widest * dtype.itemsize
    most = max(GROUP_BYTES // row_bytes, 1)
    groups = paired_groups(counts[0], most) if chain.paired else make_groups(*counts, most, same)
    lanes = groups.pairs.shape[1]
    return groups, min(max(GROUP_BYTES // (row_bytes * lanes), 1), code.rows)


def _blank(code: Code, pairs: int, dtype: np.dtype, half: bool) -> np.ndarray:
    """Return space for what is made, zero where it is added up or not every pair is written."""
    target = empty((sum(code.outputs), pairs), dtype)
    for start, stop in [(0, len(target))] if half else code.sums:
        target[start:stop] = 0
    return target


@once
def _are_moderate(x: np.ndarray) -> bool:
    return not count_extremes(*_in_place(x), *x.shape, *map(x.dtype.type, bounds(x.dtype)))


def _in_place(x: np.ndarray) -> tuple[np.ndarray, int]:
    """Return rows as one array from the first number on, and how far apart rows begin."""
    down, along = (step // x.itemsize for step in x.strides)
    if x.flags.c_contiguous:
        return x.reshape(-1), x.shape[1]
    if x.size and (along != 1 or down < x.shape[1]):
        x, down = np.ascontiguousarray(x), x.shape[1]
    size = (len(x) - 1) * down + x.shape[1] if x.size else 0
    return as_strided(x, (size,), (x.itemsize,)), down


@once
def _padded(x: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the same with a vector after the last number, where one may reach."""
    return np.concatenate([x.reshape(-1), np.zeros(LANES, x.dtype)]), x.shape[1]


def _aligned(slots: int, size: int, dtype: np.dtype) -> np.ndarray:
    """Return work space whose slots begin where a vector does."""
    line = VECTOR_BYTES // dtype.itemsize
    size += -size % line
    space = empty((slots * size + line,), dtype)
    first = -space.ctypes.data % VECTOR_BYTES // dtype.itemsize
    return space[first : first + slots * size].reshape(slots, size)
