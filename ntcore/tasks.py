"""Tasks side by side, their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Threads:
    """How many threads there may be, and the context in which a number of them run."""

    most: int
    side_by_side: Callable[[int], AbstractContextManager[None]]


def in_order(
    allowed: Threads, compute: Callable[[S], T], tasks: Iterable[S], count: int
) -> Iterator[tuple[S, T]]:
    """Yield each of ``count`` tasks with its result, in order, a few of them under way at once.

    Threads pay where the library lets go of the interpreter lock inside its operations.
    """
    threads = min(allowed.most, count)
    if threads <= 1:
        for task in tasks:
            yield task, compute(task)
        return
    with allowed.side_by_side(threads), ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[S, Future[T]]] = deque()
        for task in tasks:
            waiting.append((task, pool.submit(copy_context().run, compute, task)))
            if len(waiting) > 2 * threads:
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()
