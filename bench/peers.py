"""Workers, each a process that computes with one library in the Python it belongs to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from libraries import PEER

WORKER = Path(__file__).with_name("worker.py")
VARIABLE = "NTCORE_BENCH_PEER"


class WorkerError(RuntimeError):
    """A worker could not do what it was asked for."""


class Worker(AbstractContextManager["Worker"]):
    """A process that computes kernels in one way, and waits in between."""

    def __init__(self, way: str, dtype: str, python: str = sys.executable) -> None:
        self.way, self.dtype = way, dtype
        self._process = subprocess.Popen(
            [python, str(WORKER), way, dtype],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"{self.way} ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.way}: {answer['error']}")
        return answer

    def result(self) -> np.ndarray:
        """Return the kernel that was computed last."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "kernel.npy")
            self.ask("save", path=path)
            return np.load(path)

    def __exit__(self, *exc: object) -> None:
        self._process.terminate()
        self._process.wait()


def peer_python(option: str | None) -> str | None:
    """Return the Python of the peer's environment, from an option or the environment variable."""
    return option or os.environ.get(VARIABLE) or None


def peer_worker(python: str) -> Worker:
    """Return a worker that runs neural_tangents in float32."""
    return Worker(PEER, "float32", python)
