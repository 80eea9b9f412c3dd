"""Projections of many heads at once, as one matrix product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ntcore.backend import Array, Place
from ntcore.layers import weights


@dataclass(frozen=True)
class Affine:
    """The scales of weights and of a bias, as :func:`ntcore.layers.weights.affine` reads them."""

    W_std: Any
    b_std: Any = None
    parameterization: str = "ntk"


def projected(at: Place, std: Any, w: Array, rows: Array) -> Array:
    r"""Return :math:`\frac{\sigma}{\sqrt C} x W_h` of all heads, ``(n, H, P, D)``.

    ``w`` has the shape ``(H, C, D)``, ``rows`` has ``(n, P, C)``.
    """
    out = weights.affine(Affine(std), at, (_side_by_side(at, w), None), rows)
    out = at.xp.reshape(out, (*rows.shape[:2], w.shape[0], w.shape[2]))
    return at.xp.permute_dims(out, (0, 2, 1, 3))


def projected_vjp(at: Place, std: Any, w: Array, rows: Array, grad: Array) -> tuple[Array, Array]:
    """Return the gradients of :func:`projected` in the weights and in the rows."""
    xp = at.xp
    grad = xp.reshape(
        xp.permute_dims(grad, (0, 2, 1, 3)), (*rows.shape[:2], w.shape[0] * w.shape[2])
    )
    flat = _side_by_side(at, w)
    (own, _), below = weights.affine_vjp(Affine(std), at, (flat, None), rows, grad)
    own = xp.reshape(own, (w.shape[1], w.shape[0], w.shape[2]))
    return xp.permute_dims(own, (1, 0, 2)), below


def _side_by_side(at: Place, w: Array) -> Array:
    """Return the weights of all heads as one matrix ``(C, H * D)``."""
    return at.xp.reshape(at.xp.permute_dims(w, (1, 0, 2)), (w.shape[1], -1))
