"""Moments of nonlinearities whose derivatives are known in closed form, for torch's autograd."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.autograd import forward_ad

from ntcore.backend import Place
from ntcore.backends.numpy import BACKEND as HOST
from ntcore.backends.torch_host import lend
from ntcore.backends.torch_pullback import is_transforming
from ntcore.ops import REFERENCE, residual

SHARE = 1 / (2 * math.pi)
Both = tuple[torch.Tensor, torch.Tensor]

_reference = REFERENCE["rectifier"]


def rectifier(at: Place, k: torch.Tensor, q1: torch.Tensor, q2: torch.Tensor) -> Both:
    """Both moments, whose way back is a formula where nothing but autograd follows them."""
    given = k, q1, q2
    own = not torch.compiler.is_compiling() and torch.is_grad_enabled()
    if own and not is_transforming() and not any(map(_is_dual, given)):
        found: Both = _Rectifier.apply(at, *given)
        return found
    return _of_plain(at, *given)


def _of_plain(at: Place, *given: torch.Tensor) -> Both:
    """Both moments by NumPy's backend, where it may take the tensors."""
    loan = lend(at, given)
    if loan is None:
        return _reference(at, *given)
    moment, slope = HOST.fused["rectifier"](loan.at, *loan.arrays)
    return loan.back(moment), loan.back(slope)


def _is_dual(x: torch.Tensor) -> bool:
    return forward_ad.unpack_dual(x).tangent is not None


class _Rectifier(torch.autograd.Function):
    r"""Moments E and E' of the rectifier, with :math:`s = \sqrt{q_1 q_2 - k^2}`.

    .. math:: dE = E'\,dk + \frac{s}{4\pi} \Big(\frac{dq_1}{q_1} + \frac{dq_2}{q_2}\Big), \qquad
              dE' = \frac{1}{2\pi s} \Big(dk - \frac{k}{2}
              \Big(\frac{dq_1}{q_1} + \frac{dq_2}{q_2}\Big)\Big)

    The second is taken to be 0 where s is, where it does not exist.
    """

    @staticmethod
    def forward(ctx: Any, at: Place, *given: torch.Tensor) -> Both:
        """Return both moments."""
        moment, slope = _of_plain(at, *(x.detach() for x in given))
        ctx.at = at
        ctx.save_for_backward(*given, slope)
        ctx.set_materialize_grads(False)
        return moment, slope

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> Any:
        """Return the gradients, made of operations that can be followed again."""
        k, q1, q2, slope = ctx.saved_tensors
        of_moment, of_slope = grads
        one, two = ctx.needs_input_grad[2:]
        if of_moment is None and of_slope is None:
            return (None,) * 4
        s = residual(ctx.at, k, q1, q2)
        in_k = relative = torch.zeros_like(s)
        if of_moment is not None:
            in_k, relative = of_moment * slope, of_moment * s * (SHARE / 2)
        if of_slope is not None:
            rate = _over(of_slope * SHARE, s)
            in_k, relative = in_k + rate, relative - rate * k / 2
        in_q1 = _over(relative.sum_to_size(q1.shape), q1) if one else None
        in_q2 = _over(relative.sum_to_size(q2.shape), q2) if two else None
        return None, in_k, in_q1, in_q2


def _over(x: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Return ``x / q``, 0 where ``q`` is."""
    some = q > 0
    return torch.where(some, x / torch.where(some, q, 1), 0)
