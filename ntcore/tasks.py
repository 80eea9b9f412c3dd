"""Tasks side by side, their results in order."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

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

    Threads pay where the library lets go of the interpreter lock inside its operations. The caller
    is one of them: a thread that sleeps is slow to wake beside one that goes to sleep. Tasks of a
    task are computed where that is.
    """
    threads = min(allowed.most, count)
    if threads <= 1 or _here.at_work:
        for task in tasks:
            yield task, compute(task)
        return
    shared = _Shared(_pool(allowed.most - 1), threads, compute, iter(tasks))
    with allowed.side_by_side(threads):
        try:
            yield from shared.results()
        finally:
            shared.stop()


class _Shared(Generic[S, T]):
    """Tasks that helpers compute, and who asks for their results whenever these are not there."""

    def __init__(
        self, pool: ThreadPoolExecutor, threads: int, compute: Callable[[S], T], tasks: Iterator[S]
    ) -> None:
        self._pool, self._threads, self._compute, self._tasks = pool, threads, compute, tasks
        self._waiting: deque[list[Any]] = deque()  # tasks and their futures

    def results(self) -> Generator[tuple[S, T], None, None]:
        """Yield every task with its result."""
        while True:
            self._hand_out()
            if not self._waiting:
                return
            if self._waiting[0][1].done() or not self._take_on():
                yield _first(self._waiting)

    def stop(self) -> None:
        """Wait for what is being computed, and give up the rest."""
        wait([future for _, future in self._waiting if not future.cancel()])
        self._waiting.clear()

    def _hand_out(self) -> None:
        """Leave each helper a task for when it has finished its own."""
        most = 2 * (self._threads - 1)
        while sum(not future.done() for _, future in self._waiting) < most and self._next():
            run = copy_context().run
            self._waiting[-1][1] = self._pool.submit(run, self._compute, self._waiting[-1][0])

    def _take_on(self) -> bool:
        """Compute a task here that nobody has begun; return whether there was one."""
        found = self._waiting[-1] if self._next() else None
        if found is None:
            begun = (each for each in reversed(self._waiting) if each[1].cancel())
            found = next(begun, None)
        if found is None:
            return False
        found[1] = Future()
        _here.at_work = True
        try:
            found[1].set_result(copy_context().run(self._compute, found[0]))
        except Exception as error:
            found[1].set_exception(error)
        finally:
            _here.at_work = False
        return True

    def _next(self) -> bool:
        """Take the next task, unless there is none or too many are waiting to be asked for."""
        if len(self._waiting) > 2 * self._threads:
            return False
        for task in self._tasks:
            self._waiting.append([task, Future()])
            return True
        return False


def _first(waiting: deque[list[Any]]) -> tuple[Any, Any]:
    """Wait for the first result, and take it."""
    task, future = waiting[0]
    try:
        result = future.result()
    finally:
        del future  # an error refers to this frame, which is not to refer to the error
    waiting.popleft()
    return task, result
