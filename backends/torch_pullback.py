"""Operations of ntcore with a derivative of their own, as torch's autograd takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.autograd import forward_ad

Arrays = tuple[torch.Tensor, ...]
Gradients = tuple[torch.Tensor | None, ...]


class _Idle(torch.autograd.Function):
    """Does nothing, and says nothing of what it is under a transformation."""

    @staticmethod
    def forward(ctx: Any) -> None:
        """Return nothing."""


def is_transforming() -> bool:
    """Whether a transformation of ``torch.func`` is under way."""
    try:
        _Idle.apply()
    except RuntimeError:
        return True
    return False


def with_pullback(
    fn: Callable[..., Arrays], pullback: Callable[..., Gradients], args: Sequence[torch.Tensor]
) -> Arrays:
    """Call ``fn`` with plain tensors and numbers, and follow it as one operation.

    Transformations, dual numbers and compilation follow its operations one by one, and so does
    autograd where ``fn`` holds tensors of its own that require gradients.
    """
    if torch.compiler.is_compiling() or is_transforming() or any(map(_is_dual, args)):
        return fn(*args)
    values = fn(*(x.detach() if x.ndim else x.item() for x in args))
    if not torch.is_grad_enabled() or not any(x.requires_grad for x in args):
        return values
    if any(y.requires_grad for y in values):
        return fn(*args)
    found: Arrays = _Recomputed.apply(fn, pullback, values, *args)
    return found


def _is_dual(x: torch.Tensor) -> bool:
    return forward_ad.unpack_dual(x).tangent is not None


class _Recomputed(torch.autograd.Function):
    """Values that are there already, and the way back from them."""

    @staticmethod
    def forward(ctx: Any, fn: Any, pullback: Any, values: Arrays, *args: torch.Tensor) -> Arrays:
        """Return the values."""
        ctx.save_for_backward(*args)
        ctx.set_materialize_grads(False)
        ctx.both = fn, pullback
        return values

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> Any:
        """Return the gradients; those that are differentiated again are followed."""
        args, wanted = ctx.saved_tensors, ctx.needs_input_grad[3:]
        fn, pullback = ctx.both
        if torch.is_grad_enabled() or is_transforming() or not all(map(_is_plain, cotangents)):
            found = _followed(fn, args, wanted, cotangents)
        else:
            plain = tuple(x.detach() for x in args)
            found = pullback(gradient, plain, wanted, cotangents)
        return None, None, None, *found


def _is_plain(x: torch.Tensor | None) -> bool:
    """Whether a cotangent is one tensor, and not a batch of them."""
    if x is None:
        return True
    try:
        x.data_ptr()
    except RuntimeError:
        return False
    return True


def _followed(fn: Any, args: Arrays, wanted: Sequence[bool], cotangents: Any) -> Gradients:
    """Differentiate by every operation, in each argument apart from what it was made of."""
    with torch.enable_grad():
        own = [x.view_as(x) if want else x for x, want in zip(args, wanted, strict=True)]
        outputs = fn(*own)
    sought = [x for x, want in zip(own, wanted, strict=True) if want]
    found = iter(_grad(outputs, sought, cotangents, torch.is_grad_enabled()))
    return tuple(next(found) if want else None for want in wanted)


def gradient(fn: Callable[..., Any], args: Arrays, cotangents: Sequence[Any]) -> Gradients:
    """Return the gradients of some outputs of ``fn``, weighted, in its arguments."""
    own = [x.detach().requires_grad_() for x in args]
    with torch.enable_grad():
        outputs = fn(*own)
    return _grad(outputs, own, cotangents, False)


def _grad(outputs: Any, args: Any, cotangents: Sequence[Any], again: bool) -> Gradients:
    both = zip(outputs, cotangents, strict=True)
    pairs = [(y, g) for y, g in both if y is not None and g is not None and y.requires_grad]
    if not pairs or not args:
        return (None,) * len(args)
    values, weights = zip(*pairs, strict=True)
    found: Gradients = torch.autograd.grad(
        values, args, weights, create_graph=again, allow_unused=True
    )
    return found
