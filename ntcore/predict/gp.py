"""Bayesian networks, and networks trained for infinite time, from their kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ntcore.backend import Array
from ntcore.predict.dynamics import DEFAULT_GET, INVERTED, Get, asked, packed, predict
from ntcore.predict.training import Axes, Training, is_array


def gp_inference(
    k_train_train: Any,
    y_train: Array,
    diag_reg: Any = 0.0,
    diag_reg_absolute_scale: bool = False,
    trace_axes: Axes = (-1,),
) -> Posterior:
    r"""Return the predictor of infinite networks, Bayesian or trained for infinite time.

    ================  ================================  ==========================================
    ``get``           mean                              covariance
    ================  ================================  ==========================================
    ``'nngp'``        :math:`K_* R(K)^{-1} y`           :math:`K_{**} - K_* R(K)^{-1} K_*^T`
    ``'ntk'``         :math:`A y`                       :math:`K_{**} + A K A^T - A K_*^T - K_* A^T`
    ``'ntkgp'``       :math:`A y`                       :math:`\Theta_{**} - A \Theta_*^T`
    ================  ================================  ==========================================

    with :math:`A = \Theta_* R(\Theta)^{-1}`. The first is the posterior of a Bayesian network
    (Rasmussen and Williams 2006, eq. 2.23 and 2.24), the second the distribution of trained
    networks (Lee et al. 2019, section 2.3), the third the posterior of a Gaussian process whose
    prior is the NTK (He et al. 2020, arXiv:2007.05864).

    Parameters
    ----------
    k_train_train : Kernel, named tuple or array
        Kernel of the training set, ``(n, n)``, with the fields that ``get`` will need; an array
        stands for whichever is asked. The covariance of ``'ntk'`` needs both ``nngp`` and ``ntk``.
    y_train : array
        Targets, ``(n, outputs)``.
    diag_reg : float, default 0
        ``r``, the variance of the noise, or its ratio to the mean of the diagonal.
    diag_reg_absolute_scale : bool, default False
        Whether ``diag_reg`` is ``r`` itself.
    trace_axes : int or tuple of int, default (-1,)
        Axes of ``y_train`` that the kernel lacks: outputs along them are independent and share it.
        Every other axis has a pair of axes in the kernel, ``(n, n, H, H, ...)``.

    Returns
    -------
    Posterior
        ``predict_fn(get, k_test_train, k_test_test)``.

    Raises
    ------
    ShapeError, DTypeError, BackendError, ArgumentError, NotFiniteError
        If kernel and targets do not fit each other, are not real floating point, belong to
        different libraries or devices, or hold NaN; if ``diag_reg`` is negative.
    """
    training = Training(
        y_train, trace_axes, diag_reg, diag_reg_absolute_scale, 1.0, "k_train_train"
    )
    sizes = training.layout.trained
    for name in ("",) if is_array(k_train_train) else DEFAULT_GET:
        k = getattr(k_train_train, name, None) if name else k_train_train
        if k is not None:
            training.place([k])
            training.layout.check(training.label(name), k, sizes, sizes)
    return Posterior(training, k_train_train)


@dataclass(frozen=True, eq=False)
class Posterior:
    """What :func:`gp_inference` returns: a function of ``(get, k_test_train, k_test_test)``."""

    training: Training
    k_train_train: Any

    def __call__(self, get: Get = None, k_test_train: Any = None, k_test_test: Any = None) -> Any:
        """Return the mean, or the mean and the covariance, of the outputs on a test set.

        Parameters
        ----------
        get : {'nngp', 'ntk', 'ntkgp'} or tuple of them, optional
            None is ``('nngp', 'ntk')``.
        k_test_train : Kernel, named tuple or array, optional
            ``(n_test, n)``. None predicts the training set, where the answer is ``y_train``
            without variance; for what a positive ``diag_reg`` leaves there, pass ``k_train_train``.
        k_test_test : Kernel, named tuple or array, optional
            ``(n_test, n_test)``; None returns means alone. Its ``nngp`` is read, ``'ntkgp'``
            reads its ``ntk``; without ``k_test_train`` any value will do.

        Returns
        -------
        array, Gaussian or named tuple
            Mean, ``(n_test, outputs)``, or :class:`Gaussian`; for a tuple, a named tuple of them.

        Raises
        ------
        NotPSDError
            If the regularised kernel is not positive definite in this precision. It holds the
            least eigenvalue and what to add. Under ``jit`` the result is NaN instead.
        ArgumentError, ShapeError, BackendError, NotFiniteError
            If ``get`` is unknown or a kernel lacks it, sizes do not fit, or kernels are NaN.
        """
        given = (self.k_train_train, k_test_train, k_test_test)
        names = asked(get, tuple(INVERTED))
        return packed(get, {name: predict(self.training, name, *given) for name in names})
