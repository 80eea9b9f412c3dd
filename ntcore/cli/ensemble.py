"""An infinite ensemble in closed form, against finite networks trained by gradient descent.

Two classes of the data set, with the targets -1 and +1, and a fully-connected network. The loss is
half the mean of the squared errors, so that ``steps`` steps of a small learning rate last the time
``steps * learning_rate`` of the gradient flow that :mod:`ntcore.predict` solves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntcore import predict, stax
from ntcore.cli.choose import Machine
from ntcore.cli.data import Data
from ntcore.cli.kernels import progress_bar
from ntcore.cli.pair import Pair, closest_pair

WIDTH = 1024
NETWORKS = 40
STEPS = 500
RATE = 0.2
"""Learning rate, times the largest eigenvalue of the NTK over the number of examples."""
TIMES = 60
DRAWS = 1000
SHOWN = 3


@dataclass(frozen=True)
class Band:
    """What most of an ensemble does over time: arrays ``(times, ...)``."""

    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Course:
    """Both ensembles over training time.

    Attributes
    ----------
    pair : Pair
        The data.
    shown : numpy.ndarray
        Positions of the test examples whose outputs are drawn.
    times, steps : numpy.ndarray
        Times of the infinite and of the finite ensemble.
    outputs : Band
        Outputs of the infinite ensemble at the test examples, mean and two deviations.
    losses : dict
        Bands of its losses, ``'train'`` and ``'test'``: mean and central 95%.
    finite : numpy.ndarray
        ``(networks, steps, n_test)``, outputs of the finite one.
    finite_losses : dict
        ``(networks, steps)`` each.
    """

    pair: Pair
    shown: np.ndarray
    times: np.ndarray
    steps: np.ndarray
    outputs: Band
    losses: dict[str, Band]
    finite: np.ndarray
    finite_losses: dict[str, np.ndarray]

    def inside(self) -> float:
        """Return the share of all finite outputs within two deviations of the infinite mean."""
        low, high = (
            np.stack([np.interp(self.steps, self.times, edge) for edge in side.T], axis=1)
            for side in (self.outputs.low, self.outputs.high)
        )
        return float(((self.finite >= low) & (self.finite <= high)).mean())

    def describe(self) -> str:
        """Return what was compared, and how well it agrees."""
        one, two = self.pair.names
        return (
            f"{len(self.finite)} networks of width {WIDTH} trained on {len(self.pair.y_train)} "
            f"examples of the classes {one} and {two};\n  {self.inside():.1%} of their test "
            "outputs lie within 2σ of the infinite ensemble's mean (95.4% expected)"
        )


def compare(place: Machine, data: Data, seed: int, quiet: bool) -> Course | None:
    """Train both ensembles on two classes; return None if there are no two to test on."""
    pair = closest_pair(data, seed)
    if pair is None:
        return None
    net = stax.serial(
        stax.Flatten(),
        stax.Dense(WIDTH, W_std=2**0.5, b_std=0.1),
        stax.Relu(),
        stax.Dense(1, W_std=0.5),
    )
    rate = _learning_rate(place, net, pair)
    marks = np.unique(np.geomspace(1, STEPS, 40).round().astype(int))
    times = np.geomspace(rate, rate * STEPS, TIMES)
    outputs, losses, shown = _infinite(place, net, pair, times, seed)
    finite = _finite(place, net, pair, rate, marks, seed, quiet)
    n = len(pair.y_train)
    return Course(
        pair,
        shown,
        times,
        rate * marks,
        outputs,
        losses,
        finite[:, :, n:],
        {
            "train": _loss(finite[:, :, :n], pair.y_train),
            "test": _loss(finite[:, :, n:], pair.y_test),
        },
    )


def _loss(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.asarray(((outputs - targets) ** 2).mean(-1) / 2)


# --- the infinite ensemble ----------------------------------------------------------------------


def _learning_rate(place: Machine, net: stax.Model, pair: Pair) -> float:
    """Return a rate well below the largest stable one, for steps that follow the flow."""
    ntk = place.host(net.kernel_fn(place.array(pair.x_train), None, "ntk"))
    return float(RATE * len(ntk) / np.linalg.eigvalsh(ntk)[-1])


def _infinite(
    place: Machine, net: stax.Model, pair: Pair, times: np.ndarray, seed: int
) -> tuple[Band, dict[str, Band], np.ndarray]:
    """Return the bands of outputs and losses, and which test examples to show."""
    precise = place.with_dtype("float64")
    x, z = precise.array(pair.x_train), precise.array(pair.x_test)
    y = precise.array(pair.y_train[:, None])
    follow = predict.gradient_descent_mse_ensemble(net.kernel_fn, x, y)
    at = precise.array(times)
    rng = np.random.default_rng(seed)
    losses = {}
    for name, inputs, targets in (("train", None, pair.y_train), ("test", z, pair.y_test)):
        found = follow(t=at, x_test=inputs, get="ntk", compute_cov=True)
        mean = place.host(found.mean)[..., 0]
        covariance = place.host(found.covariance)
        losses[name] = _loss_band(mean, covariance, targets, rng)
    deviation = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0))
    outputs = Band(mean, mean - 2 * deviation, mean + 2 * deviation)
    ranks = np.linspace(0.1, 0.9, SHOWN) * (mean.shape[1] - 1)
    return outputs, losses, np.unique(mean[-1].argsort()[ranks.round().astype(int)])


def _loss_band(
    mean: np.ndarray, covariance: np.ndarray, targets: np.ndarray, rng: np.random.Generator
) -> Band:
    """Return the mean loss of networks drawn from the ensemble, and its central 95%."""
    values, vectors = np.linalg.eigh(covariance)
    # The symmetric root changes smoothly over time, and so do the drawn networks.
    root = vectors * np.sqrt(np.maximum(values, 0))[:, None, :] @ vectors.transpose(0, 2, 1)
    draws = rng.standard_normal((DRAWS, mean.shape[1]))
    drawn = _loss(mean[:, None] + np.einsum("tij,dj->tdi", root, draws), targets)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=1)
    return Band(drawn.mean(1), low, high)


# --- the finite ensemble ------------------------------------------------------------------------


def _finite(
    place: Machine,
    net: stax.Model,
    pair: Pair,
    rate: float,
    marks: np.ndarray,
    seed: int,
    quiet: bool,
) -> np.ndarray:
    """Return the outputs of trained networks, ``(networks, marks, n_train + n_test)``."""
    x = place.array(pair.x_train)
    both = place.array(np.concatenate([pair.x_train, pair.x_test]))
    step = _step(place, net, x, place.array(pair.y_train[:, None]), rate)
    look = _compiled(place, lambda params: net.apply_fn(params, both))
    found = []
    with progress_bar("finite networks", NETWORKS, "network", quiet) as bar:
        for i in range(NETWORKS):
            _, params = net.init_fn(seed + i, pair.x_train.shape, like=x)
            found.append(_train(place, step, look, params, marks))
            bar.update()
    return np.stack(found)


def _train(
    place: Machine,
    step: Callable[[Any], Any],
    look: Callable[[Any], Any],
    params: Any,
    marks: np.ndarray,
) -> np.ndarray:
    outputs, wanted = [], set(marks.tolist())
    for done in range(1, STEPS + 1):
        params = step(params)
        if done in wanted:
            outputs.append(place.host(look(params))[:, 0])
    return np.stack(outputs)


def _step(place: Machine, net: stax.Model, x: Any, y: Any, rate: float) -> Callable[[Any], Any]:
    """Return one step of gradient descent on half the mean squared error."""

    def step(params: Any) -> Any:
        outputs, pullback = net.vjp_fn(params, x)
        gradient, _ = pullback((outputs - y) / y.shape[0])
        return _descend(params, gradient, rate)

    return _compiled(place, step)


def _descend(params: Any, gradient: Any, rate: float) -> Any:
    if isinstance(params, tuple):
        return tuple(_descend(p, g, rate) for p, g in zip(params, gradient, strict=True))
    return None if params is None else params - rate * gradient


def _compiled(place: Machine, fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Compile a function where the backend can."""
    return fn if place.backend.jit is None else place.backend.jit(fn)
