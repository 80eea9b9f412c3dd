"""Memory for results that come and go with every tile.

An allocator gives large blocks back to the system and gets them again page by page, each page
cleared, which costs more than the arithmetic done there. A thread keeps what it used instead, and
uses a block again once no array refers to it.
"""

from __future__ import annotations

import math
import sys
import threading
from typing import Any

import numpy as np

#: Bytes below which an allocator does as well.
LEAST = 1 << 15
#: Bytes that a thread keeps at most.
MOST = 1 << 27
#: What refers to a block that nobody uses: the list, the loop over it and the call that counts.
IDLE = 3


class _Blocks(threading.local):
    def __init__(self) -> None:
        self.held: list[np.ndarray] = []


_blocks = _Blocks()


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array of unknown values."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if not LEAST <= size <= MOST:
        return np.empty(shape, dtype)
    return _block(size)[:size].view(dtype).reshape(shape)


def _block(size: int) -> np.ndarray:
    held = _blocks.held
    for block in held:
        if size <= block.size <= 2 * size and sys.getrefcount(block) <= IDLE:
            return block
    if sum(block.size for block in held) + size > MOST:
        held[:] = [block for block in held if sys.getrefcount(block) > IDLE]
    held.append(np.empty(size, np.uint8))
    return held[-1]
