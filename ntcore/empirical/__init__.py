"""Kernels of finite models: the empirical NTK and NNGP of any function, in any framework."""

from ntcore.empirical.ntk import NtkImplementation as NtkImplementation
from ntcore.empirical.ntk import empirical_kernel_fn as empirical_kernel_fn
from ntcore.empirical.ntk import empirical_nngp_fn as empirical_nngp_fn
from ntcore.empirical.ntk import empirical_ntk_fn as empirical_ntk_fn
