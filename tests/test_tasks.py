"""Threads that stay: order, errors, tasks of tasks, several callers, and processes that fork."""

from __future__ import annotations

import gc
import multiprocessing
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import numpy as np
import pytest

from ntcore import stax
from ntcore.tasks import Threads, in_order


@contextmanager
def nothing(threads: int) -> Iterator[None]:
    yield


TWO = Threads(2, nothing)
NET = stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))
X = np.random.default_rng(0).standard_normal((1500, 6))


def names(task: int) -> tuple[int, str]:
    time.sleep(0.002)  # so that nobody is done before the others have begun
    return task, threading.current_thread().name


def test_results_come_in_order_from_threads_that_stay():
    first, second = (list(in_order(TWO, names, range(20), 20)) for _ in range(2))
    assert [task for task, _ in first] == [found for _, (found, _) in first] == list(range(20))
    used = {name for _, (_, name) in first + second}
    assert len(used) == 2 and threading.current_thread().name in used


def test_tasks_of_a_task_run_where_it_runs():
    def outer(task):
        here = threading.current_thread().name
        return here, {name for _, (_, name) in in_order(TWO, names, range(4), 4)}

    for _, (here, inside) in in_order(TWO, outer, range(8), 8):
        assert inside == {here}


def test_an_error_ends_the_tasks_and_leaves_the_threads():
    def fail(task):
        if task == 3:
            raise ValueError("task 3")
        return task

    with pytest.raises(ValueError, match="task 3"):
        list(in_order(TWO, fail, range(50), 50))
    assert [x for _, x in in_order(TWO, abs, range(9), 9)] == list(range(9))


def test_an_error_is_gone_when_it_was_seen():
    class Large:
        pass

    def fail(task):
        here = Large()
        kept.append(weakref.ref(here))
        raise ValueError(f"task {task}")

    kept: list[weakref.ref[Any]] = []
    gc.disable()
    try:
        with suppress(ValueError):
            list(in_order(TWO, fail, range(6), 6))
        assert kept and all(each() is None for each in kept)
    finally:
        gc.enable()


def test_who_stops_early_leaves_nothing_running():
    running, done = [], []

    def note(task):
        running.append(task)
        done.append(task)

    tasks = in_order(TWO, note, range(100), 100)
    next(tasks)
    tasks.close()
    assert sorted(running) == sorted(done) and len(done) < 100


def test_tasks_see_the_context_of_their_caller():
    told = ContextVar("told", default=0)
    told.set(7)
    assert {x for _, x in in_order(TWO, lambda _: told.get(), range(4), 4)} == {7}


def test_several_threads_may_ask_at_once():
    want = NET.kernel_fn(X[:300], None, "ntk")
    with ThreadPoolExecutor(4) as callers:
        found = list(callers.map(lambda _: NET.kernel_fn(X[:300], None, "ntk"), range(8)))
    assert all(np.array_equal(want, each) for each in found)


def computed(connection):
    connection.send(NET.kernel_fn(X, None, "ntk")[:3, :3])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_that_forks_has_threads_of_its_own():
    want = NET.kernel_fn(X, None, "ntk")[:3, :3]
    mine, other = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=computed, args=(other,))
    child.start()
    assert mine.poll(60), "the child is waiting for threads that it does not have"
    assert np.array_equal(mine.recv(), want)
    child.join(10)
    assert child.exitcode == 0
