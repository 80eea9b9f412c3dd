"""How cost grows with depth, with pairs and with the offsets asked for, and memory with depth."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

from case import entries
from cases import IMAGE, lookup
from peers import Worker

WAY = "numpy+numba"
RUNS = 5
DEPTHS = (3, 6, 11, 21, 41)
PAIRS = ((1, 4), (1, 8), (2, 8), (4, 8), (4, 16), (8, 16))
WINDOWS = (1, 2, 4, 8, 16, 32)


def draw(folder: Path) -> None:
    """Measure, write ``scaling.json`` and ``scaling.png``."""
    found = sweep()
    (folder / "scaling.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    figure(found).savefig(folder / "scaling.png", dpi=120)


def sweep() -> dict[str, list[tuple[float, float]]]:
    """Return points of the four curves."""
    deep = [(d, _timed(f"plain:{d}", (2, 16))) for d in DEPTHS]
    pairs = [(entries(c), _timed("plain:11", c)["seconds"]) for c in PAIRS]
    return {
        "layers": [(d, t["seconds"]) for d, t in deep],
        "pairs of images": pairs,
        "rows of offsets held": [
            (_rows(w), _timed(f"window:{w}", (4, 16))["seconds"]) for w in WINDOWS
        ],
        "layers (memory)": [(d, t["peak_bytes"] / 1e6) for d, t in deep],
    }


def _rows(window: int) -> int:
    """Return the rows that the offsets under a window take: opposite ones share a row."""
    return math.prod(min(2 * window - 1, size) for size in IMAGE[:2])


def _timed(case: str, counts: tuple[int, int]) -> dict[str, Any]:
    """Return the peak of the first call and the median time of the next ones."""
    with Worker(WAY, "float32") as worker:
        first = worker.ask("prepare", case=lookup(case).name, counts=counts)
        seconds = statistics.median(worker.ask("run")["seconds"] for _ in range(RUNS))
    return {"seconds": seconds, "peak_bytes": first["peak_bytes"]}


def figure(found: dict[str, list[tuple[float, float]]]) -> Any:
    """Return the four plots, from the origin: a straight line through it is linear growth."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    made, axes = pyplot.subplots(1, len(found), figsize=(14, 3.2), layout="constrained")
    for ax, (name, points) in zip(axes, found.items(), strict=True):
        x, y = zip(*points, strict=True)
        ax.plot(x, y, "o-", markersize=4)
        ax.set(xlabel=name.removesuffix(" (memory)"), xlim=(0, None), ylim=(0, 1.2 * max(y)))
        ax.set_ylabel("peak memory / MB" if name.endswith("(memory)") else "seconds")
    return made
