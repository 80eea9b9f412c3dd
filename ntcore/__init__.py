"""Kernels of infinitely wide neural networks on NumPy, CuPy, JAX, torch and beyond."""

from ntcore import errors as errors
from ntcore import predict as predict
from ntcore import stax as stax
from ntcore.batching import batch as batch
from ntcore.empirical import NtkImplementation as NtkImplementation
from ntcore.empirical import empirical_kernel_fn as empirical_kernel_fn
from ntcore.empirical import empirical_nngp_fn as empirical_nngp_fn
from ntcore.empirical import empirical_ntk_eigenvalues as empirical_ntk_eigenvalues
from ntcore.empirical import empirical_ntk_fn as empirical_ntk_fn
from ntcore.empirical import empirical_ntk_operator as empirical_ntk_operator
from ntcore.empirical import empirical_ntk_vp_fn as empirical_ntk_vp_fn
from ntcore.empirical import linearize as linearize
from ntcore.empirical import monte_carlo_kernel_fn as monte_carlo_kernel_fn
from ntcore.empirical import taylor_expand as taylor_expand
from ntcore.result import Kernel as Kernel

__version__ = "0.1.0"
