"""Kernels of finite models: the empirical NTK and NNGP of any function, in any framework."""

from ntcore.empirical.monte_carlo import monte_carlo_kernel_fn as monte_carlo_kernel_fn
from ntcore.empirical.ntk import NtkImplementation as NtkImplementation
from ntcore.empirical.ntk import empirical_kernel_fn as empirical_kernel_fn
from ntcore.empirical.ntk import empirical_nngp_fn as empirical_nngp_fn
from ntcore.empirical.ntk import empirical_ntk_fn as empirical_ntk_fn
from ntcore.empirical.taylor import linearize as linearize
from ntcore.empirical.taylor import taylor_expand as taylor_expand
from ntcore.empirical.vector_products import (
    empirical_ntk_eigenvalues as empirical_ntk_eigenvalues,
)
from ntcore.empirical.vector_products import empirical_ntk_operator as empirical_ntk_operator
from ntcore.empirical.vector_products import empirical_ntk_vp_fn as empirical_ntk_vp_fn
