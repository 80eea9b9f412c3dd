"""One library in a process of its own: reads requests as lines of JSON, answers in kind.

``prepare`` builds a case and computes it once; ``run`` computes it again and says how long it
took: the mean of as many calls as take a tenth of a second, of one where that takes longer. The
parent alternates between workers, so that all of them meet the same machine.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
#: Seconds of a turn: a call of a few milliseconds after a pause would be that of cold caches.
TURN = 0.1


def main(way: str, dtype: str) -> None:
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    import libraries

    libraries.set_up(way, dtype)
    worker = Worker(way, dtype)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


class Worker:
    """The case at hand."""

    def __init__(self, way: str, dtype: str) -> None:
        self._way, self._dtype = way, dtype

    def hello(self) -> dict[str, Any]:
        import libraries

        return {"machine": libraries.machine(), "versions": libraries.versions()}

    def prepare(self, case: str, counts: tuple[int, int]) -> dict[str, Any]:
        import cases
        import libraries

        found = cases.lookup(case)
        self._prepared = libraries.prepare(self._way, found, tuple(counts), self._dtype)
        before = _rss()
        with self._recording() as fused:
            first = self._once(self._prepared.run)
        peak = _peak()
        return {"first": first, "fused": dict(fused or {}), "peak_bytes": max(peak - before, 0)}

    def run(self, what: str = "run") -> dict[str, Any]:
        compute, seconds, calls = getattr(self._prepared, what), 0.0, 0
        while seconds < TURN:
            seconds += self._once(compute)
            calls += 1
        return {"seconds": seconds / calls}

    def _once(self, compute: Callable[[], Any]) -> float:
        start = time.perf_counter()
        self._last = compute()
        return time.perf_counter() - start

    def save(self, path: str) -> dict[str, Any]:
        import numpy as np

        np.save(path, self._prepared.fetch(self._last))
        return {}

    def _recording(self) -> Any:
        if self._way == "neural_tangents":
            return nullcontext()
        from ntcore import ops

        return ops.recording()


def _peak() -> int:
    """Bytes of memory that this process held at most; usage would count those of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _rss() -> int:
    """Bytes of memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main(*sys.argv[1:])
