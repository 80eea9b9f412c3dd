"""Tasks side by side, their results in order."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar

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


@dataclass(eq=False)
class _Asked(Generic[S, T]):
    """A task, and its result when it is there."""

    task: S
    future: Future[T] = field(default_factory=Future)


class _Shared(Generic[S, T]):
    """Tasks that helpers compute, and who asks for their results whenever these are not there."""

    def __init__(
        self, pool: ThreadPoolExecutor, threads: int, compute: Callable[[S], T], tasks: Iterator[S]
    ) -> None:
        self._pool, self._threads, self._compute, self._tasks = pool, threads, compute, tasks
        self._waiting: deque[_Asked[S, T]] = deque()

    def results(self) -> Generator[tuple[S, T], None, None]:
        """Yield every task with its result."""
        while True:
            self._hand_out()
            if not self._waiting:
                return
            if self._waiting[0].future.done() or not self._take_on():
                yield self._first()

    def stop(self) -> None:
        """Wait for what is being computed, and give up the rest."""
        wait([each.future for each in self._waiting if not each.future.cancel()])
        self._waiting.clear()

    def _hand_out(self) -> None:
        """Leave each helper a task for when it has finished its own."""
        most, run = 2 * (self._threads - 1), self._compute
        while sum(not each.future.done() for each in self._waiting) < most:
            asked = self._next()
            if asked is None:
                return
            asked.future = self._pool.submit(copy_context().run, run, asked.task)

    def _take_on(self) -> bool:
        """Compute a task here that nobody has begun; return whether there was one."""
        asked = self._next() or self._taken_back()
        if asked is None:
            return False
        asked.future = Future()
        before, _here.at_work = _here.at_work, True
        try:
            asked.future.set_result(copy_context().run(self._compute, asked.task))
        except Exception as error:
            asked.future.set_exception(error)
        finally:
            _here.at_work = before
            del asked  # an error refers to this frame, which is not to refer to the error
        return True

    def _next(self) -> _Asked[S, T] | None:
        """Take the next task, unless there is none or too many are waiting to be asked for."""
        if len(self._waiting) > 2 * self._threads:
            return None
        for task in self._tasks:
            self._waiting.append(_Asked(task))
            return self._waiting[-1]
        return None

    def _taken_back(self) -> _Asked[S, T] | None:
        """Take back the last task that no helper has begun."""
        for asked in reversed(self._waiting):
            if asked.future.cancel():
                return asked
        return None

    def _first(self) -> tuple[S, T]:
        """Wait for the first result, and take it."""
        asked = self._waiting[0]
        try:
            found = asked.task, asked.future.result()
        finally:
            del asked  # as above
        self._waiting.popleft()
        return found
