"""``ntcore demo``: infinitely wide networks, trained in closed form on a real data set."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ntcore.cli import extras
from ntcore.cli.refusal import Refusal

if TYPE_CHECKING:
    import numpy as np

    from ntcore.cli.choose import Machine
    from ntcore.cli.data import Data
    from ntcore.cli.report import Row
    from ntcore.stax import Model


def run(args: argparse.Namespace) -> None:
    """Run the demo with the options of the command line."""
    extras.require()
    from ntcore.cli import choose, data, networks

    task = data.load(args.dataset, args.n_train, args.n_test, args.full, args.seed)
    nets = networks.chosen(args.networks, task.images)
    place = choose.machine(args.backend, args.device, args.dtype)
    out = _folder(args.out)
    _present(place, task, nets, out, args)


def _present(
    place: Machine, task: Data, nets: dict[str, Model], out: Path, args: argparse.Namespace
) -> None:
    from threadpoolctl import threadpool_limits

    from ntcore.cli import report

    report.comment(report.heading(place, task, args.dtype, args.seed), args.quiet)
    if not task.images:
        report.comment(report.VECTORS_ONLY, args.quiet)
    report.comment("\n" + report.legend(list(nets)) + "\n", args.quiet)
    # Tiles are small: a second thread of BLAS or OpenMP gains little, and where another process
    # wants the same core, waiting for that thread costs twenty times as much.
    with threadpool_limits(1):
        rows, ntk = _table(place, task, nets, args.quiet)
        report.comment("\n" + report.caption(task) + "\n", args.quiet)
        report.save(out / "results.json", place, task, args.dtype, args.seed, rows)
        _draw_kernel(task, ntk, out, args.quiet)
        _draw_ensemble(place, task, out, args)


def _table(
    place: Machine, task: Data, nets: dict[str, Model], quiet: bool
) -> tuple[list[Row], dict[str, np.ndarray]]:
    """Print a line for each network; return the lines, and the NTK of the training set."""
    from ntcore.cli import inference, kernels, report

    report.line(report.HEAD)
    rows, ntk = [], {}
    for name, net in nets.items():
        start = time.perf_counter()
        found = kernels.blocks(place, net, name, task.x_train, task.x_test, quiet)
        scores = {
            kind: inference.score(place, blocks, task.one_hot(), task.y_test)
            for kind, blocks in found.items()
        }
        rows.append(report.Row(name, scores, time.perf_counter() - start))
        report.line(str(rows[-1]))
        ntk[name] = place.host(found["ntk"].train)
    return rows, ntk


def _draw_kernel(task: Data, ntk: dict[str, np.ndarray], out: Path, quiet: bool) -> None:
    from ntcore.cli import figures, report

    names = _two(list(ntk))
    path = out / "kernel.png"
    figures.kernel({name: ntk[name] for name in names}, task, path)
    report.comment(f"{path}: correlations under the NTK of {' and '.join(names)}", quiet)


def _draw_ensemble(place: Machine, task: Data, out: Path, args: argparse.Namespace) -> None:
    from ntcore.cli import ensemble, figures, report

    start = time.perf_counter()
    course = ensemble.compare(place, task, args.seed, args.quiet)
    path = out / "ensemble.png"
    if course is None:
        report.comment(f"{path} is left out: no two classes have test examples", args.quiet)
        return
    figures.ensemble(course, path)
    seconds = time.perf_counter() - start
    report.comment(f"{path}: {course.describe()} ({seconds:.0f} s)", args.quiet)


def _two(names: list[str]) -> list[str]:
    """Return the first network and the one with a global pool, or the last."""
    second = "conv-pool" if "conv-pool" in names[1:] else names[-1]
    return list(dict.fromkeys([names[0], second]))


def _folder(name: str) -> Path:
    """Return a folder that can be written to, made if need be."""
    path = Path(name)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise Refusal(f"--out {name} cannot be written to: {error.strerror or error}") from error
    return path
