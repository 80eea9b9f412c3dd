"""Kernels of infinitely wide neural networks on NumPy, CuPy, JAX, torch and beyond."""

from ntcore import errors as errors
from ntcore import predict as predict
from ntcore import stax as stax
from ntcore.result import Kernel as Kernel

__version__ = "0.1.0"
