r"""Predictions of infinitely wide networks, under the names of neural_tangents' ``predict``.

:math:`K` is the NNGP kernel, :math:`\Theta` the NTK; a star stands for the test set, so that
:math:`K_*` is the kernel of test and training set and :math:`K_{**}` that of the test set. The
networks are trained by gradient flow on :math:`\frac{1}{2N} \|f(x) - y\|^2`, with :math:`N` the
number of entries of ``y``, and start from random weights; wide ones are linear in their weights
all the way (Lee et al. 2019, arXiv:1902.06720, section 2). What is factorised is
:math:`R(\cdot) = \cdot + r I`, with :math:`r` from ``diag_reg``.

A predictor factorises on its first call and keeps the result: make a new one when the training
set or the network changes. Nothing is kept of traced values, or of tensors that require grad.
"""

from ntcore.predict.descent import gradient_descent_mse, max_learning_rate
from ntcore.predict.dynamics import Gaussian
from ntcore.predict.ensemble import gradient_descent_mse_ensemble
from ntcore.predict.gp import gp_inference

__all__ = [
    "Gaussian",
    "gp_inference",
    "gradient_descent_mse",
    "gradient_descent_mse_ensemble",
    "max_learning_rate",
]
