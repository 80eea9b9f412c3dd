"""Memory for results that come and go with every tile.

An allocator gives large blocks back to the system and gets them again page by page, each page
cleared, which costs more than the arithmetic done there. A thread keeps what it used instead, and
uses a block again once no array refers to it.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ntcore.backends.cores import cores

#: Bytes below which an allocator does as well.
LEAST = 1 << 15
#: Bytes that all threads of a kernel keep at most, also after it; each has its share.
MOST = 1 << 27
#: Bytes of which the address of an array is a multiple, where it is not to be copied.
ALIGNMENT = 64
#: Bytes of the largest block that glibc keeps when it is freed, a few pages below 32 MiB.
MOST_FREED = (1 << 25) - (1 << 14)
#: Entries of the shortest loops: NumPy brings what lies in shorter pieces side by side first.
SHORTEST_LOOP = 256
#: What refers to a block that nobody uses: the list, the loop over it and the call that counts.
IDLE = 3


class _Blocks(threading.local):
    def __init__(self) -> None:
        self.held: list[np.ndarray] = []
        self.most = MOST // cores()


_blocks = _Blocks()


@contextmanager
def holding(most: float) -> Iterator[None]:
    """Let this thread keep no more than some bytes, and drop what it has beyond them."""
    before = _blocks.most
    _blocks.most = int(min(most, before))
    if sum(block.size for block in _blocks.held) > _blocks.most:
        _drop_idle()
    try:
        yield
    finally:
        _blocks.most = before


def _drop_idle() -> None:
    _blocks.held[:] = [block for block in _blocks.held if sys.getrefcount(block) > IDLE]


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array of unknown values."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if not LEAST <= size <= _blocks.most:
        return np.empty(shape, dtype)
    return _block(size)[:size].view(dtype).reshape(shape)


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array of unknown values that begins where other libraries want theirs to begin."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    whole = np.empty(size + ALIGNMENT, np.uint8)
    start = -whole.ctypes.data % ALIGNMENT
    return whole[start : start + size].view(dtype).reshape(shape)


@contextmanager
def short_loops() -> Iterator[None]:
    """Let NumPy run short loops over memory as it lies."""
    before = np.setbufsize(SHORTEST_LOOP)
    try:
        yield
    finally:
        np.setbufsize(before)


def keep_what_is_freed() -> None:
    """Let the C library keep as much of what anyone frees as it ever does.

    glibc returns memory to the system unless it has seen a block as large freed before
    (mallopt(3), M_MMAP_THRESHOLD): this is one of the largest.
    """
    np.empty(MOST_FREED, np.uint8)


def _block(size: int) -> np.ndarray:
    held = _blocks.held
    for block in held:
        if size <= block.size <= 2 * size and sys.getrefcount(block) <= IDLE:
            return block
    if sum(block.size for block in held) + size > _blocks.most:
        _drop_idle()
    held.append(np.empty(size, np.uint8))
    return held[-1]
