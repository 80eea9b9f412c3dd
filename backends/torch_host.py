"""torch tensors on the CPU as arrays of the NumPy backend, in the same memory.

Its operations let go of the interpreter lock and use no threads of their own, so that tiles run
side by side whatever number of threads torch is set to, and that setting, a global one, is left
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.autograd import forward_ad

from ntcore.backend import Loan, Place
from ntcore.backends.numpy import BACKEND as HOST

#: The data types of kernels that are lent.
LENT = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}


class _NotPlain(Exception):
    """A tensor whose numbers NumPy may not take."""


def lend(at: Place, tensors: Sequence[torch.Tensor]) -> Loan | None:
    """Return tensors as NumPy arrays, None where a derivative or a transformation follows any."""
    if at.dtype not in LENT or torch.compiler.is_compiling():
        return None
    try:
        arrays = [_as_numpy(x) for x in tensors]
    except _NotPlain:
        return None
    return Loan(Place(HOST, LENT[at.dtype], "cpu"), arrays, _back)


def _back(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x if x.flags.writeable else x.copy())


def _as_numpy(x: torch.Tensor) -> Any:
    """Return the memory of a tensor."""
    if x.device.type != "cpu" or x.requires_grad:
        raise _NotPlain
    if forward_ad.unpack_dual(x).tangent is not None:
        raise _NotPlain
    try:
        return x.numpy()
    except (RuntimeError, TypeError) as error:  # a transformation follows it, or it is sparse
        raise _NotPlain from error
