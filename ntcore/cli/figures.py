"""The two pictures of the demo, about 1600 x 700 pixels each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ntcore.cli.data import Data
from ntcore.cli.ensemble import Band, Course

# Okabe and Ito's colours, told apart by readers with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73")
GREY = "#444444"
TICKS, WIDE = 20, 40
"""Most labels on an axis, and the letters above which they are turned."""
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.titlesize": 12.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "legend.frameon": False,
    "legend.fontsize": 10,
}
SIZE = {"figsize": (10.0, 4.4), "dpi": 160}


def ensemble(course: Course, path: Path) -> None:
    """Draw the infinite ensemble's bands and the finite ensemble, outputs left, losses right."""
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, layout="constrained", **SIZE)
        _outputs(left, course)
        _losses(right, course)
        for axes in (left, right):
            axes.set_xscale("log")
            axes.set_xlim(course.times[0], course.times[-1])
            axes.set_xlabel("training time  (steps × learning rate)")
        _save(figure, path)


def _outputs(axes: Any, course: Course) -> None:
    one, two = course.pair.names
    outputs, last = course.outputs, len(course.shown) - 1
    for rank, i in enumerate(course.shown):
        band = Band(outputs.middle[:, i], outputs.low[:, i], outputs.high[:, i])
        _band(axes, course.times, band, COLOURS[rank])
        runs = course.finite[:, :, i]
        mean, spread = runs.mean(0), 2 * runs.std(0, ddof=1)
        _bars(axes, course.steps, Band(mean, mean - spread, mean + spread), COLOURS[rank], rank / 3)
    for level, name in ((-1, one), (1, two)):
        axes.axhline(level, color=GREY, linewidth=0.8, linestyle=(0, (1, 3)), zorder=0)
        axes.annotate(
            f" class\n {_short(name)}", (1, level), xycoords=("axes fraction", "data"), va="center"
        )
    axes.set_ylim(min(outputs.low[:, course.shown].min(), -1) - 0.6, None)
    axes.set_title(f"Outputs at {last + 1} test examples")
    _legend(axes, "mean ± 2σ", len(course.finite))


def _short(name: str) -> str:
    return name if len(name) <= 12 else name[:11] + "…"


def _losses(axes: Any, course: Course) -> None:
    for rank, name in enumerate(("train", "test")):
        band = course.losses[name]
        _band(axes, course.times, band, COLOURS[rank])
        runs = course.finite_losses[name]
        low, high = np.quantile(runs, (0.025, 0.975), axis=0)
        _bars(axes, course.steps, Band(runs.mean(0), low, high), COLOURS[rank], rank / 2)
        axes.annotate(
            f" {name}",
            (1, band.middle[-1]),
            xycoords=("axes fraction", "data"),
            color=COLOURS[rank],
            va="center",
        )
    axes.set_yscale("log")
    axes.set_title("Loss, mean of squared errors / 2")
    _legend(axes, "mean, central 95%", len(course.finite))


def _band(axes: Any, times: np.ndarray, band: Band, colour: str) -> None:
    axes.fill_between(times, band.low, band.high, color=colour, alpha=0.18, linewidth=0)
    for edge in (band.low, band.high):
        axes.plot(times, edge, color=colour, linewidth=0.6, alpha=0.6)
    axes.plot(times, band.middle, color=colour, linewidth=2)


def _bars(axes: Any, steps: np.ndarray, runs: Band, colour: str, shift: float) -> None:
    """Draw eight error bars, evenly apart on the logarithmic axis."""
    wanted = np.geomspace(steps[0], steps[-1], 10)[1:-1] * (steps[-1] / steps[0]) ** (shift / 9)
    at = np.unique(np.abs(np.log(steps[:, None] / wanted)).argmin(0))
    axes.errorbar(
        steps[at],
        runs.middle[at],
        yerr=(runs.middle[at] - runs.low[at], runs.high[at] - runs.middle[at]),
        fmt="o",
        color=colour,
        markersize=4,
        linewidth=1.2,
        capsize=2.5,
        markeredgecolor="white",
        markeredgewidth=0.5,
    )


def _legend(axes: Any, spread: str, networks: int) -> None:
    infinite = (Patch(color=GREY, alpha=0.2, linewidth=0), Line2D([], [], color=GREY, linewidth=2))
    finite = axes.errorbar([], [], yerr=[], fmt="o", color=GREY, markersize=4, capsize=2.5)
    axes.legend(
        [infinite, finite],
        [f"infinite width: {spread}", f"{networks} trained networks: {spread}"],
        loc="lower left",
    )


def kernel(kernels: dict[str, np.ndarray], data: Data, path: Path) -> None:
    """Draw correlations under the NTK, training examples ordered by class."""
    order = np.argsort(data.y_train, kind="stable")
    with plt.rc_context(STYLE):
        figure, row = plt.subplots(1, len(kernels), squeeze=False, layout="compressed", **SIZE)
        for axes, (name, k) in zip(row[0], kernels.items(), strict=True):
            _map(figure, axes, name, correlation(k)[np.ix_(order, order)], data)
        _save(figure, path)


def correlation(k: np.ndarray) -> np.ndarray:
    """Return ``k[i, j] / sqrt(k[i, i] k[j, j])``."""
    scale = np.sqrt(np.diagonal(k))
    return np.asarray(k / scale[:, None] / scale)


def _map(figure: Any, axes: Any, name: str, values: np.ndarray, data: Data) -> None:
    low, high = np.quantile(values, (0.01, 0.995))
    image = axes.imshow(values, cmap="viridis", vmin=low, vmax=high)
    counts = np.bincount(data.y_train, minlength=len(data.classes))
    edges = np.cumsum(counts)
    for edge in edges[:-1] - 0.5:
        axes.axhline(edge, color="white", linewidth=0.6, alpha=0.8)
        axes.axvline(edge, color="white", linewidth=0.6, alpha=0.8)
    every = slice(None, None, -(-len(counts) // TICKS))
    names = [_short(name) for name in data.classes[every]]
    centres = (edges - counts / 2)[every]
    axes.set_xticks(centres, names, rotation=90 if sum(map(len, names)) > WIDE else 0)
    axes.set_yticks(centres, names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(f"NTK correlation, {name}")
    axes.set_xlabel("class")
    bar = figure.colorbar(image, ax=axes, extend="both", shrink=0.9, label="correlation")
    bar.outline.set_visible(False)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path)
    plt.close(figure)
