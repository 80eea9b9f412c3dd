"""From kernels to probabilities of classes, and the score of those."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_ndtr, logsumexp

from ntcore import predict
from ntcore.cli.choose import Machine
from ntcore.cli.refusal import Refusal

NOISES = tuple(float(x) for x in 10.0 ** np.arange(-5, 0.25, 0.5))
"""The values of ``diag_reg`` among which the marginal likelihood chooses."""
NODES = 64


@dataclass(frozen=True)
class Blocks:
    """One kernel between training and test examples, in float64, on the device.

    Attributes
    ----------
    train : array
        ``(n, n)``, training set.
    cross : array
        ``(m, n)``, test and training set.
    test : array
        ``(m, m)``, test set.
    """

    train: Any
    cross: Any
    test: Any


@dataclass(frozen=True)
class Score:
    r"""How well one kernel predicts the test set.

    Attributes
    ----------
    accuracy : float
        Share of the test examples whose class has the largest probability.
    nll : float
        Mean of :math:`-\log p(\text{true class})`, in nats.
    diag_reg : float
        The noise chosen, a multiple of the mean variance.
    """

    accuracy: float
    nll: float
    diag_reg: float


def score(place: Machine, blocks: Blocks, one_hot: np.ndarray, labels: np.ndarray) -> Score:
    """Return the score of the Gaussian process whose covariance is a kernel."""
    targets = one_hot - one_hot.mean(0)
    train = place.host(blocks.train)
    diag_reg, scale = evidence_maximum(train, targets)
    infer = predict.gp_inference(blocks.train, place.precise(targets), diag_reg=diag_reg)
    posterior = infer(get="nngp", k_test_train=blocks.cross, k_test_test=blocks.test)
    mean = place.host(posterior.mean) + one_hot.mean(0)
    noise = diag_reg * np.trace(train) / len(train)
    variance = scale * (np.diagonal(place.host(posterior.covariance)) + noise)
    logs = log_probabilities(mean, np.sqrt(variance))
    right = logs.argmax(1) == labels
    nll = -logs[np.arange(len(labels)), labels].mean()
    return Score(float(right.mean()), float(nll), diag_reg)


def evidence_maximum(kernel: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    r"""Return the noise and the scale of the largest marginal likelihood of the training set.

    .. math:: y_c \sim N(0, s^2 R), \quad R = K + \text{diag\_reg} \frac{\mathrm{tr} K}{n} I,
              \quad s^2 = \frac{1}{n C} \sum_c y_c^T R^{-1} y_c

    where :math:`s^2` is the maximum for a given ``diag_reg`` (Rasmussen and Williams 2006,
    eq. 5.8), and ``diag_reg`` is one of :data:`NOISES`.

    Parameters
    ----------
    kernel : numpy.ndarray
        ``(n, n)``.
    targets : numpy.ndarray
        ``(n, C)``.

    Returns
    -------
    diag_reg, scale : float
        ``scale`` is :math:`s^2`.
    """
    values, vectors = np.linalg.eigh(kernel)
    power = ((vectors.T @ targets) ** 2).sum(1)
    found = [(_evidence(values + r * values.mean(), power, targets), r) for r in NOISES]
    (_, scale), diag_reg = max(found)
    if scale == 0:
        raise Refusal("the kernel is not positive definite even with the largest noise")
    return diag_reg, scale


def _evidence(values: np.ndarray, power: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Return the log marginal likelihood, up to a constant, and the scale it is largest at."""
    if values.min() <= 0:
        return -np.inf, 0.0
    n, outputs = targets.shape
    scale = (power / values).sum() / (n * outputs)
    log_likelihood = -outputs / 2 * (np.log(values).sum() + n * np.log(scale))
    return float(log_likelihood), float(scale)


def log_probabilities(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    r"""Return the log probability that each output is the largest one.

    .. math:: p_c = \int N(z; 0, 1) \prod_{k \ne c}
              \Phi\!\left(z + \frac{\mu_c - \mu_k}{\sigma}\right) dz

    for independent Gaussian outputs of one variance, by Gauss-Hermite quadrature.

    Parameters
    ----------
    mean : numpy.ndarray
        ``(m, C)``, :math:`\mu`.
    deviation : numpy.ndarray
        ``(m,)``, :math:`\sigma`.

    Returns
    -------
    numpy.ndarray
        ``(m, C)``; the probabilities of a row add up to 1.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    scaled = mean / deviation[:, None]
    logs = [
        logsumexp(
            log_ndtr(nodes + (scaled[:, c, None] - np.delete(scaled, c, 1))[..., None]).sum(1),
            b=weights,
            axis=1,
        )
        for c in range(mean.shape[1])
    ]
    joined = np.stack(logs, axis=1)
    return np.asarray(joined - logsumexp(joined, axis=1, keepdims=True))
