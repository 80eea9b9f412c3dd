"""The kernels of one network between training and test examples, with a progress bar."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from ntcore.backend import Array
from ntcore.cli.choose import Machine
from ntcore.cli.inference import Blocks
from ntcore.stax import Model

KINDS = ("nngp", "ntk")


@dataclass(frozen=True)
class Bar:
    """A progress bar counting pairs of examples over several kernels."""

    bar: Any

    def part(self, pairs: int) -> Callable[[int, int], None]:
        """Return the ``progress`` of a kernel that takes ``pairs`` of the whole."""
        start = self.bar.n

        def advance(done: int, total: int) -> None:
            self.bar.update(start + pairs * done // total - self.bar.n)

        return advance


def blocks(place: Machine, net: Model, name: str, x: Any, z: Any, quiet: bool) -> dict[str, Blocks]:
    """Return the NNGP kernel and the NTK of training examples ``x`` and test examples ``z``.

    The training and the test block are symmetric, so half of their pairs is computed.
    """
    n, m = len(x), len(z)
    half = [size * (size + 1) // 2 for size in (n, m)]
    inputs = [place.array(x), place.array(z)]
    jobs = [
        (inputs[0], None, half[0]),
        (inputs[1], inputs[0], n * m),
        (inputs[1], None, half[1]),
    ]
    with progress_bar(name, half[0] + n * m + half[1], "pair", quiet) as bar:
        parts = [
            net.kernel_fn(one, two, KINDS, progress=Bar(bar).part(pairs))
            for one, two, pairs in jobs
        ]
    return {kind: Blocks(*(_precise(place, getattr(p, kind)) for p in parts)) for kind in KINDS}


def _precise(place: Machine, kernel: Array) -> Array:
    return place.precise(kernel)


def progress_bar(name: str, total: int, unit: str, quiet: bool) -> Any:
    """Return a progress bar that leaves no trace, and shows only on a terminal."""
    return tqdm(
        total=total,
        desc=name,
        unit=f" {unit}",
        unit_scale=total > 1000,
        leave=False,
        disable=True if quiet else None,
        ncols=min(100, shutil.get_terminal_size().columns),
    )
