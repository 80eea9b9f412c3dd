"""Tasks side by side, their results in order."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Threads:
    """How many threads there may be, and the context in which a number of them run."""

    most: int
    side_by_side: Callable[[int], AbstractContextManager[None]]


class _Here(threading.local):
    """Whether this thread is one of those that tasks run on."""

    at_work = False


_here = _Here()


def _begin() -> None:
    _here.at_work = True


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return the threads of this process, which stay, with the memory that each of them keeps."""
    return ThreadPoolExecutor(threads, "ntcore", _begin)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not come along


def in_order(
    allowed: Threads, compute: Callable[[S], T], tasks: Iterable[S], count: int
) -> Generator[tuple[S, T], None, None]:
    """Yield each of ``count`` tasks with its result, in order, a few of them under way at once.

    Threads pay where the library lets go of the interpreter lock inside its operations. Tasks of a
    task are computed where that is.
    """
    threads = min(allowed.most, count)
    if threads <= 1 or _here.at_work:
        for task in tasks:
            yield task, compute(task)
        return
    waiting: deque[tuple[S, Future[T]]] = deque()
    pool = _pool(allowed.most)
    with allowed.side_by_side(threads):
        try:
            for task in tasks:
                waiting.append((task, pool.submit(copy_context().run, compute, task)))
                if len(waiting) > 2 * threads:
                    yield _first(waiting)
            while waiting:
                yield _first(waiting)
        finally:
            wait([future for _, future in waiting if not future.cancel()])
            waiting.clear()


def _first(waiting: deque[tuple[S, Future[T]]]) -> tuple[S, T]:
    task, future = waiting[0]
    try:
        result = future.result()
    finally:
        del future  # an error refers to this frame, which is not to refer to the error
    waiting.popleft()
    return task, result
