"""torch tensors on the CPU through the operations of the NumPy backend, in the same memory.

They let go of the interpreter lock and use no threads of their own, so that tiles run side by side
whatever number of threads torch is set to, and that setting, a global one, is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import forward_ad

from ntcore.backend import Place
from ntcore.backends.numpy import BACKEND as HOST
from ntcore.ops import REFERENCE

HERE = Place(HOST, None, "cpu")
SHARED = (torch.float32, torch.float64)


class NotPlain(Exception):
    """A tensor whose numbers NumPy may not take."""


def on_host(name: str, own: Callable[..., Any]) -> Callable[..., Any]:
    """Return the NumPy backend's version of an operation, for tensors that are plain numbers.

    Tensors on a GPU, and those that a derivative or a transformation follows, get ``own``.
    """
    fused = HOST.fused.get(name, REFERENCE[name])

    def chosen(at: Place, *args: Any) -> Any:
        try:
            given = tuple(map(_as_numpy, args))
        except NotPlain:
            return own(at, *args)
        found = fused(HERE, *given)
        if isinstance(found, tuple):
            return tuple(map(torch.from_numpy, found))
        return torch.from_numpy(found)

    return chosen


def chain_on_host(
    chain: Any, arrays: Any, sides: Any, drawn: Any, same: Any, counts: Any, onto: Any = None
) -> Any:
    """Run a chain by the NumPy backend, where all tensors are plain numbers."""
    if HOST.chain is None:
        return None
    try:
        first = [_as_numpy(x) for x in arrays]
        one, two = map(_as_numpy, sides)
        mark = None if same is None else same.numpy()
        rows = None if drawn is None else tuple(map(_as_numpy, drawn))
        sums = _as_numpy(onto)
    except NotPlain:
        return None
    found = HOST.chain(chain, first, (one, two), rows, mark, counts, sums)
    return None if found is None else torch.from_numpy(found)


def _as_numpy(x: Any) -> Any:
    """Return the memory of a tensor; whatever else comes stays as it is."""
    if not isinstance(x, torch.Tensor):
        return x
    if x.device.type != "cpu" or x.dtype not in SHARED or torch.compiler.is_compiling():
        raise NotPlain
    if x.requires_grad:  # and asking would take longer
        raise NotPlain
    if forward_ad.unpack_dual(x).tangent is not None:
        raise NotPlain
    try:
        return x.numpy()
    except (RuntimeError, TypeError) as error:  # a gradient or a transformation follows it
        raise NotPlain from error
