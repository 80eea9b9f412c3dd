"""One function trained by gradient descent, from any start, and the largest learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ntcore.backend import Array, Place, is_number, place_of
from ntcore.errors import ArgumentError, ShapeError
from ntcore.predict.dynamics import factorised, learned
from ntcore.predict.solve import check_finite, check_symmetric
from ntcore.predict.training import Axes, Training, is_array, matrix, scalar


def gradient_descent_mse(
    k_train_train: Array,
    y_train: Array,
    learning_rate: Any = 1.0,
    diag_reg: Any = 0.0,
    diag_reg_absolute_scale: bool = False,
    trace_axes: Axes = (-1,),
) -> Descent:
    r"""Return the predictor of one function trained by gradient flow on the squared error.

    From :math:`f_0` on the training and :math:`f_{*0}` on the test set, with
    :math:`s = \eta t / N` and :math:`R = \Theta + r I`,

    .. math:: f_t = f_0 + (I - e^{-s R})(y - f_0), \qquad
              f_{*t} = f_{*0} + \Theta_* R^{-1} (I - e^{-s R})(y - f_0)

    (Lee et al. 2019, arXiv:1902.06720, section 2.2).

    Parameters
    ----------
    k_train_train : array
        Kernel of the training set, ``(n, n)``: the NTK, analytic or empirical.
    y_train : array
        Targets, ``(n, outputs)``.
    learning_rate, diag_reg, diag_reg_absolute_scale, trace_axes
        As in :func:`gradient_descent_mse_ensemble`.

    Returns
    -------
    Descent
        ``predict_fn(t, fx_train_0, fx_test_0, k_test_train)``.

    Raises
    ------
    ShapeError, DTypeError, BackendError, ArgumentError, NotFiniteError
        As in :func:`gp_inference`.
    """
    training = Training(
        y_train, trace_axes, diag_reg, diag_reg_absolute_scale, learning_rate, "k_train_train"
    )
    sizes = training.layout.trained
    training.place([k_train_train])
    training.layout.check("k_train_train", k_train_train, sizes, sizes)
    return Descent(training, k_train_train)


@dataclass(frozen=True, eq=False)
class Descent:
    """What :func:`gradient_descent_mse` returns: a function of ``(t, fx_train_0, ...)``."""

    training: Training
    k_train_train: Array

    def __call__(
        self,
        t: Any = None,
        fx_train_0: Any = 0.0,
        fx_test_0: Any = None,
        k_test_train: Array | None = None,
    ) -> Any:
        """Return the outputs on the training set, the test set, or both, at some times.

        Parameters
        ----------
        t : float or array, optional
            Times, of any shape; None is infinity.
        fx_train_0, fx_test_0 : float or array, optional
            Outputs at time 0, on the training set, ``(n, outputs)``, and on the test set,
            ``(n_test, outputs)``; None leaves a set out (and starts the training set from 0).
        k_test_train : array, optional
            ``(n_test, n)``, for the test set.

        Returns
        -------
        array or tuple of two
            ``t.shape + (n, outputs)``, ``t.shape + (n_test, outputs)``, or both.

        Raises
        ------
        NotPSDError
            As in :func:`gradient_descent_mse_ensemble`.
        ArgumentError, ShapeError, BackendError, NotFiniteError
            If nothing is asked for, the kernel of the test set is missing, or sizes do not fit.
        """
        if fx_train_0 is None and fx_test_0 is None:
            raise ArgumentError(
                "fx_train_0 and fx_test_0 are both None, so there is nothing to predict; give one."
            )
        if fx_test_0 is not None and k_test_train is None:
            raise ArgumentError("fx_test_0 was given without k_test_train; pass both or neither.")
        arrays = [x for x in (fx_train_0, fx_test_0, k_test_train) if is_array(x)]
        at = self.training.place([self.k_train_train, *arrays], t)
        y = at.asarray(self.training.y)
        f = _start(at, 0.0 if fx_train_0 is None else fx_train_0, y.shape, "fx_train_0")
        found = []
        if fx_train_0 is not None:
            change = self._change(at, y - f, None, t)
            found.append(change + f if t is not None else y + at.xp.zeros_like(y))
        if fx_test_0 is not None:
            change = self._change(at, y - f, k_test_train, t)
            test = _start(at, fx_test_0, change.shape[change.ndim - y.ndim :], "fx_test_0")
            found.append(change + test)
        return found[0] if len(found) == 1 else tuple(found)

    def _change(self, at: Place, residual: Array, k_td: Array | None, t: Any) -> Array:
        """Return what training on a residual adds to the outputs."""
        training, layout = self.training, self.training.layout
        rows = layout.trained
        if k_td is not None:
            layout.check("k_test_train", k_td, None, rows)
            rows = tuple(int(n) for n in k_td.shape[0::2])
            k_td = matrix(at, k_td)
            check_finite(at, k_td, "k_test_train")
        s, times = training.steps(at, t)
        factor = factorised(training, at, "", matrix(at, self.k_train_train), k_td, s)
        moved = learned(at, factor, k_td, layout.columns(at, residual), s)
        return layout.outputs(at, moved, times, rows)


def _start(at: Place, value: Any, shape: Any, name: str) -> Any:
    """Return outputs at time 0 as a number or an array of a shape."""
    if is_number(value) and math.isfinite(value):
        return float(value)
    if not is_array(value):
        raise ArgumentError(f"{name} is {value!r}; pass an array or a finite number.")
    if value.ndim and tuple(value.shape) != tuple(shape):
        raise ShapeError(
            f"{name} has the shape {tuple(value.shape)} but the outputs have {tuple(shape)}; pass "
            "the outputs of the network there, or a number for all of them."
        )
    start = at.asarray(value)
    check_finite(at, start, name)
    return start


def max_learning_rate(
    ntk_train_train: Array,
    y_train_size: int | None = None,
    momentum: float = 0.0,
    eps: float = 1e-12,
) -> Array:
    r"""Return :math:`2 (1 + m) N / (\lambda_{max}(\Theta) + \epsilon)`.

    Gradient descent in steps of size :math:`\eta` on the loss of this module converges for
    :math:`\eta \lambda_{max} / N < 2 (1 + m)`, with momentum :math:`m` (Goh 2017, "Why Momentum
    Really Works", doi:10.23915/distill.00006).

    Parameters
    ----------
    ntk_train_train : array
        NTK of the training set, ``(n, n)``, or with pairs of axes, ``(n, n, H, H, ...)``.
    y_train_size : int, optional
        ``N``, the number of entries of the targets; by default that of rows of the NTK, which is
        right for one output.
    momentum : float, default 0
        ``m``.
    eps : float, default 1e-12
        Keeps the rate finite for a kernel of zeros.

    Returns
    -------
    array
        The rate, without axes, in the data type of the kernel.

    Raises
    ------
    ShapeError, ArgumentError, NotFiniteError
        If the kernel is not square or symmetric, an argument negative, or an entry NaN.
    """
    at = place_of([ntk_train_train])
    shape = tuple(int(n) for n in ntk_train_train.shape)
    if len(shape) % 2 or shape[0::2] != shape[1::2] or 0 in (*shape, len(shape)):
        raise ShapeError(
            f"ntk_train_train has the shape {shape}; pass the kernel of the training set with "
            "itself, (n, n)."
        )
    if y_train_size is not None and not y_train_size > 0:
        raise ArgumentError(f"y_train_size is {y_train_size!r}; it must be positive.")
    k = matrix(at, ntk_train_train)
    check_finite(at, k, "ntk_train_train")
    check_symmetric(at, k, "ntk_train_train")
    size = k.shape[0] if y_train_size is None else y_train_size
    largest = at.xp.linalg.eigvalsh(k)[-1]
    return 2 * (1 + scalar(momentum, "momentum")) * size / (largest + scalar(eps, "eps"))
