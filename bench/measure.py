"""Timing a case: every way and the peer in turn, several times over."""

from __future__ import annotations

import statistics
import sys
import time
from contextlib import ExitStack
from typing import Any

import numpy as np
from case import Case, entries
from libraries import PEER
from peers import Worker, WorkerError, peer_worker

REFERENCE = "numpy"
#: Seconds between turns: threads of a library that has finished wait for more, with a core busy.
PAUSE = 0.2
SLOW = (PEER,)


def measure(case: Case, ways: list[str], dtype: str, peer: str | None) -> list[dict[str, Any]]:
    """Return a row for every way of computing a case."""
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(way, dtype)) for way in ways]
        rows = {w: _prepared(w, case, _counts(case, w.way)) for w in workers}
        rows = {w: row for w, row in rows.items() if row is not None}
        rival = None if peer is None else stack.enter_context(peer_worker(peer))
        theirs_row = None if rival is None else _prepared(rival, case, _counts(case, PEER))
        if rival is not None and theirs_row is not None:
            rows[rival] = theirs_row
        for w in rows:
            rows[w]["versions"] = w.ask("hello")["versions"]
        _alternate(case, rows)
        _compare(rows, exact(case))
    theirs = None if theirs_row is None else theirs_row["ms_per_entry"]
    return [_finished(row, theirs) for row in rows.values()]


def _counts(case: Case, way: str) -> tuple[int, int]:
    """Return how many examples a way is timed on: few where an entry takes it seconds."""
    return case.peer_counts or case.counts if way in SLOW else case.counts


def _prepared(worker: Worker, case: Case, counts: tuple[int, int]) -> dict[str, Any] | None:
    """Compute a case once, which also compiles it."""
    row: dict[str, Any] = {"case": case.name, "way": worker.way, "dtype": worker.dtype}
    try:
        first = worker.ask("prepare", case=case.name, counts=counts)
    except WorkerError as error:
        print(f"  left out: {error}", file=sys.stderr)
        return None
    return {**row, "counts": list(counts), **first, "ms_per_entry": [], "product_seconds": []}


def _alternate(case: Case, rows: dict[Worker, dict[str, Any]]) -> None:
    for _ in range(case.runs):
        for worker, row in rows.items():
            time.sleep(PAUSE)
            seconds = worker.ask("run")["seconds"]
            row["ms_per_entry"].append(1e3 * seconds / entries(tuple(row["counts"])))
            if len(case.shape) == 1:
                time.sleep(PAUSE)
                row["product_seconds"].append(worker.ask("run", what="product")["seconds"])


def exact(case: Case) -> np.ndarray:
    """Return the kernel in float64, from the operations' references."""
    with Worker(REFERENCE, "float64") as worker:
        worker.ask("prepare", case=case.name, counts=case.counts)
        return worker.result()


def _compare(rows: dict[Worker, dict[str, Any]], want: np.ndarray) -> None:
    """Give every row its largest error relative to the largest entry."""
    for worker, row in rows.items():
        worker.ask("run")
        got = worker.result().astype("float64")
        part = want[: got.shape[0], : got.shape[1]]
        row["error"] = float(np.max(np.abs(got - part)) / np.max(np.abs(part)))


def _finished(row: dict[str, Any], theirs: list[float] | None) -> dict[str, Any]:
    own = row["ms_per_entry"]
    row["median_ms_per_entry"] = statistics.median(own)
    if theirs is not None and theirs is not own:
        ratios = [t / o for t, o in zip(theirs, own, strict=True)]
        row["ratio"] = statistics.median(ratios)
        row["ratios"] = ratios
    if row["product_seconds"]:
        seconds = row["median_ms_per_entry"] * entries(tuple(row["counts"])) / 1e3
        row["to_product"] = seconds / statistics.median(row["product_seconds"])
    return row
