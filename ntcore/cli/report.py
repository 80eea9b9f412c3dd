"""What the demo prints, and ``results.json``."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ntcore import __version__
from ntcore.cli.choose import FIRST, Machine
from ntcore.cli.data import Data
from ntcore.cli.inference import Score
from ntcore.cli.info import version
from ntcore.cli.networks import WHAT

NAME = 14
VECTORS_ONLY = "These examples are vectors, not images: fully-connected networks only."
HEAD = (
    f"{'':{NAME}}{'NNGP':>10}{'NNGP':>10}{'NTK':>12}{'NTK':>10}\n"
    f"{'network':{NAME}}{'accuracy':>10}{'NLL':>10}{'accuracy':>12}{'NLL':>10}{'seconds':>11}"
)


@dataclass(frozen=True)
class Row:
    """The results of one network."""

    network: str
    scores: dict[str, Score]
    seconds: float

    def __str__(self) -> str:
        nngp, ntk = self.scores["nngp"], self.scores["ntk"]
        return (
            f"{self.network:{NAME}}{nngp.accuracy:>9.1%} {nngp.nll:>10.4f}"
            f"{ntk.accuracy:>11.1%} {ntk.nll:>10.4f}{self.seconds:>11.1f}"
        )


def heading(place: Machine, data: Data, dtype: str, seed: int) -> str:
    """Say which data are used, and where kernels are computed."""
    sizes = " x ".join(map(str, data.x_train.shape[1:]))
    library = place.backend.library
    others = ", ".join(name for name in place.installed if name in FIRST and name != library)
    return (
        f"{data.source}: {len(data.x_train)} training and {len(data.x_test)} test {data.kind} "
        f"({sizes}), {len(data.classes)} classes, seed {seed}\n"
        f"{library} {version(library)} on {where(place)}, {dtype}"
        f"{f' (also installed: {others})' if others else ''}"
    )


def where(place: Machine) -> str:
    """Return the name of the device in use."""
    return str(place.backend.device(place.array([0.0])))


def line(row: str) -> None:
    """Print a line at once, so that it shows while the next network is computed."""
    print(row, flush=True)


def caption(data: Data) -> str:
    """Explain the columns."""
    guess = math.log(len(data.classes))
    return (
        f"NLL: mean of -log p(true class) over the {len(data.x_test)} test {data.kind}, in nats "
        f"(guessing: {guess:.2f}); p is the\nposterior probability that the output of this class "
        "is the largest. Noise and scale of the outputs\nmaximise the marginal likelihood of the "
        "training examples alone. One test example is "
        f"{100 / len(data.x_test):.2g} points\nof accuracy. Seconds: both kernels, both posteriors "
        "and, where there is any, compilation."
    )


def legend(names: list[str]) -> str:
    """Say what the networks are."""
    return "\n".join(f"{name:{NAME}}{WHAT[name]}" for name in names)


def comment(text: str, quiet: bool) -> None:
    """Print a comment, unless only the table is wanted."""
    if not quiet:
        print(text, flush=True)


def save(path: Path, place: Machine, data: Data, dtype: str, seed: int, rows: list[Row]) -> None:
    """Write the settings, the versions and the numbers."""
    library = place.backend.library
    content: dict[str, Any] = {
        "dataset": data.source,
        "n_train": len(data.x_train),
        "n_test": len(data.x_test),
        "classes": list(data.classes),
        "seed": seed,
        "backend": library,
        "device": where(place),
        "dtype": dtype,
        "versions": {
            "ntcore": __version__,
            library: version(library),
            "python": sys.version.split()[0],
        },
        "networks": {
            row.network: {
                **{kind: asdict(score) for kind, score in row.scores.items()},
                "seconds": round(row.seconds, 3),
            }
            for row in rows
        },
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
