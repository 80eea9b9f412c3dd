"""One prediction: the kernels of a training and a test set become a Gaussian."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from ntcore.backend import Array, Place
from ntcore.errors import ArgumentError
from ntcore.ops import matmul
from ntcore.predict.solve import (
    Cholesky,
    Moment,
    Settled,
    Spectrum,
    check_finite,
    check_invertible,
    identity,
    known,
)
from ntcore.predict.training import Training, is_array, matrix

Get = str | Sequence[str] | None

DEFAULT_GET = ("nngp", "ntk")
# For what is asked: the kernel that is inverted, and that of the networks before training.
INVERTED = {"nngp": "nngp", "ntk": "ntk", "ntkgp": "ntk"}
INITIAL = {"nngp": "nngp", "ntk": "nngp", "ntkgp": "ntk"}

Factor = Cholesky | Spectrum | None
Kernels = namedtuple("Kernels", ["nngp", "ntk"], defaults=(None, None))


class Gaussian(NamedTuple):
    """A Gaussian distribution of outputs.

    Attributes
    ----------
    mean : array
        ``(n_test, outputs)``, behind the axes of ``t`` where there are any.
    covariance : array
        ``(n_test, n_test)``, the same for every output, behind the axes of ``t``; symmetric to the
        last bit, and no variance is below 0.
    """

    mean: Array
    covariance: Array


@dataclass(frozen=True, eq=False)
class Task:
    """What one prediction is made of, kernels as matrices; None where it is not needed.

    Attributes
    ----------
    at : Place
        Where it is computed.
    get : str
        ``'nngp'``, ``'ntk'`` or ``'ntkgp'``.
    rows : tuple of int
        Sizes of the test set, those of the training set where ``td`` is None.
    dd, td : array
        The kernel that is inverted: training set, and test with training set.
    k_dd, k_td, k_tt : array
        The kernel of the networks before training, of the test set as well.
    with_covariance : bool
        Whether the covariance is asked for.
    """

    at: Place
    get: str
    rows: tuple[int, ...]
    dd: Array
    td: Array | None
    k_dd: Array | None
    k_td: Array | None
    k_tt: Array | None
    with_covariance: bool


def predict(training: Training, get: str, dd: Any, td: Any, tt: Any, t: Any = None) -> Any:
    """Return the mean, or the :class:`Gaussian` where ``tt`` is given, of the outputs.

    Parameters
    ----------
    training : Training
        Targets and factorisations.
    get : str
        ``'nngp'``, ``'ntk'`` or ``'ntkgp'``.
    dd, td, tt : Kernel, named tuple or array
        Kernels of the training set, of test and training set (None predicts the training set), and
        of the test set (None leaves the covariance out).
    t : float or array, optional
        Times; None is infinity.
    """
    task = _task(training, get, dd, td, tt, t)
    at, layout = task.at, training.layout
    s, times = training.steps(at, t)
    factor = factorised(training, at, INVERTED[get], task.dd, task.td, s)
    mean = learned(at, factor, task.td, training.targets(at), s)
    mean = layout.outputs(at, mean, times, task.rows)
    if not task.with_covariance:
        return mean
    return Gaussian(mean, layout.pairs(at, _covariances(task, factor, s), times, task.rows))


def factorised(
    training: Training, at: Place, name: str, dd: Array, td: Array | None, s: Array | None
) -> Factor:
    """Return the factorisation that a prediction needs; ``s=None`` is infinite time.

    None for the training set (``td=None``) after infinite time, which is learned whatever the
    kernel.
    """
    if s is None:
        return None if td is None else training.cholesky(at, name, dd)
    factor = training.spectrum(at, name, dd)
    if known(at, at.xp.any(at.xp.isinf(s))):
        check_invertible(at, factor, dd, training.regularizer, training.label(name))
    return factor


def learned(at: Place, factor: Factor, td: Array | None, y: Array, s: Array | None) -> Array:
    """Return what training adds to the outputs, ``(times, n_test, outputs)``.

    Without an axis of times for ``s=None``, infinity; on the training set for ``td=None``.
    """
    if factor is None:
        return y + at.xp.zeros_like(y)
    if isinstance(factor, Cholesky):
        return matmul(at, td, factor.solve(y))
    return factor.learned(y, s) if td is None else factor.predicted(td, y, s)


def _covariances(task: Task, factor: Factor, s: Array | None) -> Array:
    """Return the covariance, or one for every time."""
    if factor is None:
        return task.at.xp.zeros_like(task.dd)
    if isinstance(factor, Cholesky):
        return _covariance(task, Settled(factor, task.td))
    one = _training_covariance if task.td is None else _covariance
    return task.at.xp.stack([one(task, moment) for moment in factor.moments(s, task.td)])


def _covariance(task: Task, moment: Settled | Moment) -> Array:
    """Return the covariance on the test set."""
    if task.get != "ntk":
        return proper(task.at, task.k_tt - moment.explained())
    a = moment.operator()
    return proper(task.at, ensemble_covariance(task.at, a, task.k_dd, task.k_td, task.k_tt))


def _training_covariance(task: Task, moment: Moment) -> Array:
    """Return ``exp(-sR) K exp(-sR)`` for the NTK and ``R exp(-2sR)`` for the NNGP kernel."""
    if task.get != "ntk":
        return proper(task.at, moment.remaining())
    left = moment.unlearned()
    return proper(task.at, matmul(task.at, left, matmul(task.at, task.k_dd, left)))


def ensemble_covariance(at: Place, a: Array, k_dd: Array, k_td: Array, k_tt: Array) -> Array:
    """Return ``K** + A K Aᵀ - A K*ᵀ - K* Aᵀ`` of the outputs ``f* - A f``."""
    return k_tt + matmul(at, a, matmul(at, k_dd, a.T) - k_td.T) - matmul(at, k_td, a.T)


def proper(at: Place, covariance: Array) -> Array:
    """Return a covariance made symmetric to the last bit, without negative variances.

    Each entry is a difference of numbers of the size of the prior variance, so a variance that
    should be 0 comes out within a few units of rounding of it, on either side; 0 is nearer the
    truth than any negative number. Entries off the diagonal stay.
    """
    xp = at.xp
    symmetric = (covariance + covariance.T) / 2
    diagonal = identity(at, covariance.shape[0]) > 0
    return xp.where(diagonal, xp.maximum(symmetric, xp.zeros_like(symmetric)), symmetric)


# --- kernels in -----------------------------------------------------------------------------------


def _task(training: Training, get: str, dd: Any, td: Any, tt: Any, t: Any) -> Task:
    """Pick the kernels that a prediction needs, check them, and make them matrices."""
    inverted, initial = INVERTED[get], INITIAL[get]
    cov, test = tt is not None, td is not None
    both = get == "ntk" and cov and (test or t is not None)
    if both:
        _need_both(dd, td)
    picked = {
        "dd": _field(dd, inverted, training.source),
        "td": _field(td, inverted, "k_test_train") if test else None,
        "k_dd": _field(dd, initial, training.source) if both else None,
        "k_td": _field(td, initial, "k_test_train") if both and test else None,
        "k_tt": _field(tt, initial, "k_test_test") if cov and test else None,
    }
    at = training.place([k for k in picked.values() if k is not None], t)
    rows = _check(training, picked)
    flat = {name: None if k is None else matrix(at, k) for name, k in picked.items()}
    for name in ("td", "k_dd", "k_td", "k_tt"):
        if flat[name] is not None:
            check_finite(at, flat[name], _NAMES[name])
    return Task(at=at, get=get, rows=rows, with_covariance=cov, **flat)


_NAMES = {
    "dd": "the kernel of the training set",
    "td": "k_test_train",
    "k_dd": "the nngp of the training set",
    "k_td": "k_test_train",
    "k_tt": "k_test_test",
}


def _check(training: Training, picked: dict[str, Any]) -> tuple[int, ...]:
    """Check the sizes of kernels, and return those of the test set."""
    layout = training.layout
    columns = layout.trained
    rows = columns if picked["td"] is None else tuple(int(n) for n in picked["td"].shape[0::2])
    sizes = {"dd": (columns, columns), "k_dd": (columns, columns), "k_tt": (rows, rows)}
    for name, k in picked.items():
        if k is not None:
            layout.check(_NAMES[name], k, *sizes.get(name, (rows, columns)))
    return rows


def _need_both(dd: Any, td: Any) -> None:
    if is_array(dd) or is_array(td):
        raise ArgumentError(
            "the covariance of get='ntk' needs the nngp and the ntk of the training set and of "
            "k_test_train, but an array came; pass kernel_fn(..., ('nngp', 'ntk')) for both."
        )


def _field(kernels: Any, name: str, argument: str) -> Array:
    """Return one field of some kernels; an array stands for any."""
    if is_array(kernels):
        return kernels
    if getattr(kernels, "is_reversed", False):
        kernels = kernels.reverse()
    found = getattr(kernels, name, None)
    if found is None:
        raise ArgumentError(
            f"{argument} is a {type(kernels).__name__} without '{name}', which this prediction "
            f"needs; pass an array, or what kernel_fn(..., ('nngp', 'ntk')) returns."
        )
    return found


# --- what is asked ------------------------------------------------------------------------------


def asked(get: Get, choices: tuple[str, ...]) -> tuple[str, ...]:
    """Return what ``get`` names, in lower case."""
    given = DEFAULT_GET if get is None else (get,) if isinstance(get, str) else get
    names = tuple(str(n).lower() for n in given) if isinstance(given, (list, tuple)) else ()
    if not names or len(set(names)) < len(names) or not set(names) <= set(choices):
        raise ArgumentError(
            f"get={get!r} was asked; it must be one of {', '.join(map(repr, choices))}, a tuple "
            "of different ones, or None."
        )
    return names


def packed(get: Get, found: dict[str, Any]) -> Any:
    """Return one prediction as it is, several as a named tuple."""
    if isinstance(get, str):
        return found[get.lower()]
    return _named(tuple(found))(*found.values())


@cache
def _named(names: tuple[str, ...]) -> Any:
    """Return one class for the same names, so that ``jit`` sees the same structure."""
    return namedtuple("Gaussians", names)
