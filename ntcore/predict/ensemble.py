"""An infinite ensemble of infinite networks, at any time of its training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ntcore.backend import Array
from ntcore.errors import ArgumentError, ShapeError
from ntcore.predict.dynamics import DEFAULT_GET, Get, Kernels, asked, packed, predict
from ntcore.predict.training import Axes, Training, is_array, lasting


def gradient_descent_mse_ensemble(
    kernel_fn: Callable[..., Any],
    x_train: Any,
    y_train: Array,
    learning_rate: Any = 1.0,
    diag_reg: Any = 0.0,
    diag_reg_absolute_scale: bool = False,
    trace_axes: Axes = (-1,),
    **kernel_fn_train_train_kwargs: Any,
) -> Ensemble:
    r"""Return the predictor of an infinite ensemble of infinite networks at any time of training.

    With the time in units of rates, :math:`s = \eta t / N`, ``get='ntk'`` trains all weights,

    .. math:: \mu = A_t y, \qquad \Sigma = K_{**} + A_t K A_t^T - A_t K_*^T - K_* A_t^T,
              \qquad A_t = \Theta_* R(\Theta)^{-1} (I - e^{-s R(\Theta)})

    (Lee et al. 2019, arXiv:1902.06720, section 2.3), and ``get='nngp'`` the last layer alone,

    .. math:: \mu = K_* R(K)^{-1} (I - e^{-s R(K)})\, y, \qquad
              \Sigma = K_{**} - K_* R(K)^{-1} (I - e^{-2 s R(K)})\, K_*^T,

    whose limit is the posterior of a Bayesian network. ``t=None`` is infinite time, by a Cholesky
    factorisation. A finite time diagonalises ``R`` and only uses :math:`(1 - e^{-s\lambda}) /
    \lambda`, which is at most :math:`s`: repeated examples and eigenvalues that rounding made
    negative (they count as 0) do no harm. Derivatives of that in the kernel itself need
    eigenvalues that differ; at ``t=None`` there is no such limit.

    Parameters
    ----------
    kernel_fn : callable
        ``kernel_fn(x1, x2, get)``, of a network or any other.
    x_train : array
        Inputs of the training set, as ``kernel_fn`` takes them.
    y_train : array
        Targets, ``(n, outputs)``.
    learning_rate : float, default 1
        Unit of time: ``learning_rate * t`` is what counts.
    diag_reg, diag_reg_absolute_scale, trace_axes
        As in :func:`gp_inference`, and so are the errors.
    **kernel_fn_train_train_kwargs
        Passed on to ``kernel_fn``.

    Returns
    -------
    Ensemble
        ``predict_fn(t, x_test, get, compute_cov)``.
    """
    source = "kernel_fn(x_train, None)"
    training = Training(
        y_train, trace_axes, diag_reg, diag_reg_absolute_scale, learning_rate, source
    )
    examples = training.layout.trained[0]
    if is_array(x_train) and examples not in x_train.shape:
        raise ShapeError(
            f"x_train has the shape {tuple(x_train.shape)} but y_train holds {examples} examples; "
            "pass as many of each."
        )
    return Ensemble(training, kernel_fn, x_train, kernel_fn_train_train_kwargs, {})


@dataclass(frozen=True, eq=False)
class Ensemble:
    """What :func:`gradient_descent_mse_ensemble` returns: a function of ``(t, x_test, ...)``."""

    training: Training
    kernel_fn: Callable[..., Any]
    x_train: Any
    options: dict[str, Any]
    made: dict[str, Array]

    def __call__(
        self,
        t: Any = None,
        x_test: Any = None,
        get: Get = None,
        compute_cov: bool = False,
        **kernel_fn_test_test_kwargs: Any,
    ) -> Any:
        """Return the mean, or the mean and the covariance, of the outputs at some times.

        Parameters
        ----------
        t : float or array, optional
            Times, of any shape; None is infinite time.
        x_test : array, optional
            Inputs of the test set. None predicts the training set with ``R`` in place of the
            kernel that ``get`` names, so that the mean ends at ``y_train``; for what a positive
            ``diag_reg`` leaves, pass ``x_train``.
        get : {'nngp', 'ntk'} or tuple of them, optional
            None is ``('nngp', 'ntk')``.
        compute_cov : bool, default False
            Whether to return the covariance too, for which ``'ntk'`` needs both kernels.
        **kernel_fn_test_test_kwargs
            Passed on to ``kernel_fn`` in place of those of the training set.

        Returns
        -------
        array, Gaussian or named tuple
            Mean, ``t.shape + (n_test, outputs)``, or :class:`Gaussian`, with a covariance of shape
            ``t.shape + (n_test, n_test)``; for a tuple, a named tuple of them.

        Raises
        ------
        NotPSDError
            If time is infinite and the regularised kernel not positive definite in this
            precision; at a finite time, if it is so indefinite that rounding cannot be the cause.
            Under ``jit`` the result is NaN, or takes negative eigenvalues as 0.
        ArgumentError, ShapeError, BackendError, NotFiniteError
            If a time is negative, ``get`` unknown, or the kernels do not fit.
        """
        names = asked(get, DEFAULT_GET)
        needed = [n for n in DEFAULT_GET if n in names or (compute_cov and n == "nngp")]
        dd = self._train(needed)
        td, tt = self._test(needed, x_test, compute_cov, kernel_fn_test_test_kwargs)
        found = {name: predict(self.training, name, dd, td, tt, t) for name in names}
        return packed(get, found)

    def _train(self, needed: list[str]) -> Kernels:
        """Return kernels of the training set, computed at most once."""
        missing = [name for name in needed if name not in self.made]
        found = self._kernels(missing, self.x_train, None, self.options) if missing else {}
        self.made.update({name: k for name, k in found.items() if lasting(k)})
        return Kernels(**{name: found.get(name, self.made.get(name)) for name in needed})

    def _test(self, needed: list[str], x: Any, cov: bool, options: dict[str, Any]) -> Any:
        """Return the kernels of test and training set and, for a covariance, of the test set."""
        if x is None:
            return None, cov or None
        across, alone = _options(self.options, options)
        td = Kernels(**self._kernels(needed, x, self.x_train, across))
        return td, self.kernel_fn(x, None, "nngp", **alone) if cov else None

    def _kernels(
        self, names: list[str], x1: Any, x2: Any, options: dict[str, Any]
    ) -> dict[str, Array]:
        if len(names) == 1:
            return {names[0]: self.kernel_fn(x1, x2, names[0], **options)}
        found = self.kernel_fn(x1, x2, tuple(names), **options)
        return {name: getattr(found, name) for name in names}


def _options(train: dict[str, Any], test: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of ``kernel_fn`` for test with training set, and for the test set alone.

    A pair of arrays holds a value for each argument of ``kernel_fn``; the first of the test and
    the first of the training set's go together.
    """
    across, alone = {**train, **test}, {**train, **test}
    for name in set(train) & set(test):
        ours, theirs = test[name], train[name]
        if _is_pair(ours) and _is_pair(theirs):
            across[name] = (ours[0], theirs[0])
        elif not (is_array(ours) and is_array(theirs)) and ours != theirs:
            raise ArgumentError(
                f"{name} is {theirs!r} for the training set and {ours!r} for the test set; pass "
                "the same value for both."
            )
    return across, alone


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(is_array, value))
