"""Two classes of a data set, for an ensemble of networks with one output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ntcore.cli.data import Data

PER_CLASS = {"train": 10, "test": 20}


@dataclass(frozen=True)
class Pair:
    """Two classes of a data set, with one target per example."""

    names: tuple[str, str]
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def closest_pair(data: Data, seed: int) -> Pair | None:
    """Return a few examples of the two classes whose means are closest, if there are two."""
    here = np.intersect1d(data.y_train, data.y_test)
    if len(here) < 2:
        return None
    flat = data.x_train.reshape(len(data.x_train), -1)
    means = np.stack([flat[data.y_train == c].mean(0) for c in here])
    apart = ((means[:, None] - means) ** 2).sum(-1)
    np.fill_diagonal(apart, np.inf)
    i, j = sorted(np.unravel_index(apart.argmin(), apart.shape))
    rng = np.random.default_rng(seed)
    one, two = int(here[i]), int(here[j])
    x_train, y_train = _few(data.x_train, data.y_train, (one, two), PER_CLASS["train"], rng)
    x_test, y_test = _few(data.x_test, data.y_test, (one, two), PER_CLASS["test"], rng)
    return Pair((data.classes[one], data.classes[two]), x_train, y_train, x_test, y_test)


def _few(
    x: np.ndarray, y: np.ndarray, classes: tuple[int, int], n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    kept = [rng.permutation(np.flatnonzero(y == c))[:n] for c in classes]
    targets = np.repeat([-1.0, 1.0], [len(k) for k in kept])
    return x[np.concatenate(kept)], targets
