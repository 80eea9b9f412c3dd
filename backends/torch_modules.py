"""torch modules as functions of their parameters."""

from __future__ import annotations

from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.overrides import TorchFunctionMode


def adapt(f: Any, params: Any) -> tuple[Any, ...] | None:
    """Return a module, or a function at parameters that require grad, as a plain function.

    Frozen parameters and buffers stay as they are in the module. Parameters are detached: a
    kernel is a number, and following its own computation would take many times its memory.
    """
    module = _module_of(f)
    if module is None:
        return (f, _detached(params)) if callable(f) and _watched(params) else None
    if params is None:
        params = {n: p for n, p in module.named_parameters() if p.requires_grad}
    places = _places(module)
    given = {i for name in params for i in places.get(name, ())}
    rest = dict(module.named_parameters()) | dict(module.named_buffers())
    rest = {n: t.detach().clone() for n, t in rest.items() if n not in given}

    def apply(values: dict[str, Any], x: Any, **kwargs: Any) -> Any:
        args = x if isinstance(x, tuple) else (x,)
        if isinstance(x, dict):
            args, kwargs = (), {**x, **kwargs}
        # torch's fused attention has no forward derivative, and is not batched
        with _Plainly(), sdpa_kernel(SDPBackend.MATH):
            held = _everywhere({**values, **rest}, places)
            return functional_call(module, held, args, kwargs, tie_weights=False)

    return apply, _detached(params), _mixing(module), True


def _places(module: nn.Module) -> dict[str, list[str]]:
    """Return, for every name of a tensor, the places that hold it, each by one name.

    A place is an attribute of a module. torch would set that of a module which occurs twice two
    times, and then cannot put back what was there.
    """
    holders: dict[int, dict[tuple[int, str], str]] = {}
    names: dict[str, int] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        for key, tensor in (*part._parameters.items(), *part._buffers.items()):
            if tensor is not None:
                name = f"{path}.{key}" if path else key
                names[name] = id(tensor)
                holders.setdefault(id(tensor), {}).setdefault((id(part), key), name)
    return {name: list(holders[tensor].values()) for name, tensor in names.items()}


def _everywhere(tensors: dict[str, Any], places: dict[str, list[str]]) -> dict[str, Any]:
    """Return tensors by the names of all places that hold them; the first of several counts."""
    found: dict[str, Any] = {}
    for name, tensor in tensors.items():
        for place in places.get(name, [name]):
            found.setdefault(place, tensor)
    return found


class _Plainly(TorchFunctionMode):
    """Changes nothing; torch then leaves out its fused attention, which has no derivatives."""

    def __torch_function__(self, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def _module_of(f: Any) -> nn.Module | None:
    owner = getattr(f, "__self__", f)
    if not isinstance(owner, nn.Module):
        return None
    return owner if getattr(f, "__name__", "forward") in ("forward", "__call__") else None


def _watched(params: Any) -> bool:
    leaves = pytree.tree_leaves(params)
    return any(isinstance(x, torch.Tensor) and x.is_leaf and x.requires_grad for x in leaves)


def _detached(params: Any) -> Any:
    def detach(x: Any) -> Any:
        return x.detach() if isinstance(x, torch.Tensor) and x.is_leaf else x

    return pytree.tree_map(detach, params)


def _mixing(module: nn.Module) -> str | None:
    """Return why a module mixes examples or is random, by the name of a layer."""
    for name, layer in module.named_modules():
        why = _why(layer)
        if why is not None:
            return (
                f"{type(layer).__name__} {name or 'itself'!r} {why}, so that a kernel of pairs of "
                "examples is not defined; call module.eval() first, or replace the layer."
            )
    return None


def _why(layer: nn.Module) -> str | None:
    of_batch = isinstance(layer, _BatchNorm) and not isinstance(layer, _InstanceNorm)
    if of_batch and (layer.training or layer.running_mean is None):
        return "normalises with the statistics of the batch, which mixes its examples"
    rate = getattr(layer, "p", 0) if isinstance(layer, _DropoutNd) else 0
    rate = layer.dropout if isinstance(layer, (nn.MultiheadAttention, nn.RNNBase)) else rate
    if layer.training and rate:
        return "drops units at random in train mode"
    return None
