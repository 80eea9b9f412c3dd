"""Matrix products on the CPU, by a BLAS that may use threads of its own.

Threads of a BLAS wait for each other, and for some time after each product for the next one, with
the cores busy. Where tiles keep every core busy a product is therefore to stay on the thread that
asks for it: threadpoolctl tells the BLAS so where it is installed. Where it is not, what has few
rows is multiplied in blocks of columns that are too small to be shared out, and other products take
turns.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np

from ntcore.backends.buffers import empty
from ntcore.backends.cores import cores as cores

HAS_THREADPOOLCTL = importlib.util.find_spec("threadpoolctl") is not None
#: Multiplications up to which OpenBLAS stays on the thread that calls it.
ALONE = 1 << 18
#: Columns of the narrowest block that is worth a product of its own.
NARROWEST = 8


class Turns:
    """Lets products that use every core take turns, and those on one thread run at any time."""

    def __init__(self) -> None:
        self._one_by_one, self._counting = threading.Lock(), threading.Lock()
        self._calls, self._limit = 0, ExitStack()

    def taken(self) -> AbstractContextManager[Any]:
        """Return the context of one product; none where all stay on the threads that ask."""
        return nullcontext() if self._calls else self._one_by_one

    @contextmanager
    def on_one_thread(self, blas: Any) -> Iterator[None]:
        """Keep products on the threads that ask for them, until the last such call is over."""
        with self._counting:
            if not self._calls:
                self._limit.enter_context(blas.limit(limits=1))
            self._calls += 1
        try:
            yield
        finally:
            with self._counting:
                self._calls -= 1
                if not self._calls:
                    self._limit.close()


TURNS = Turns()


@cache
def _blas() -> Any:
    """Return what sets the threads of every BLAS, None without threadpoolctl."""
    if not HAS_THREADPOOLCTL:
        return None
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@contextmanager
def side_by_side(threads: int) -> Iterator[None]:
    """Let every thread multiply by itself where as many are at work as there are cores."""
    blas = _blas() if threads >= cores() else None
    if blas is None:
        yield
        return
    with TURNS.on_one_thread(blas):
        yield


def _width_of(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Return how many columns a block of a product has; 0 where all columns are one product."""
    if min(len(a), len(b)) < 2:
        return 0
    columns, width = b[-1], ALONE // max(a[-2] * a[-1], 1)
    return columns if columns <= width else width if width >= NARROWEST else 0


def matmul(at: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Blocks of columns on this thread where there are few rows, else one product on all cores."""
    width = _width_of(a.shape, b.shape)
    if not width or a.dtype != b.dtype:
        with TURNS.taken():
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
