"""The two parameterizations of a layer with weights and a bias, and its finite-width arithmetic."""

from __future__ import annotations

import math
from typing import Any

from ntcore.backend import Array, Place, is_number
from ntcore.errors import ArgumentError, ShapeError
from ntcore.layers.base import Coefficients
from ntcore.ops import matmul
from ntcore.record import settle
from ntcore.shape import Shape, as_count, as_sizes

PARAMETERIZATIONS = ("ntk", "standard")
Sizes = tuple[int, ...]


def settle_weights(layer: Any, out: str) -> None:
    """Bring the arguments of a layer with weights into one form, or say what is wrong with them.

    ``out`` names the field that holds the number of output channels.
    """
    name = type(layer).__name__
    settle(layer, out, as_count(getattr(layer, out), out, name))
    if layer.parameterization not in PARAMETERIZATIONS:
        raise ArgumentError(
            f"{name} got parameterization={layer.parameterization!r}; it must be 'ntk' or "
            "'standard'."
        )
    settle(layer, "s", as_sizes(layer.s, "s", name))
    if len(layer.s) != 2:
        raise ArgumentError(f"{name} got s={layer.s!r}; give two positive integers.")
    for argument in ("W_std", "b_std"):
        check_std(name, argument, getattr(layer, argument))


def check_std(name: str, argument: str, value: Any) -> None:
    """Raise :class:`ArgumentError` unless a standard deviation is one."""
    allowed = value is None and argument == "b_std"
    if isinstance(value, str) or (value is None and not allowed):
        raise ArgumentError(f"{name} got {argument}={value!r}; give a number or a scalar array.")
    if is_number(value) and not (math.isfinite(value) and value >= 0):
        raise ArgumentError(
            f"{name} got {argument}={value!r}; give a finite, non-negative standard deviation."
        )


def coefficients(layer: Any, at: Place, taps: int, channels: int) -> Coefficients:
    r"""Return the scales of a layer with weights that sums over ``taps`` positions.

    In the NTK parameterization :math:`K' = \sigma_w^2 K + \sigma_b^2` and
    :math:`\Theta' = \sigma_w^2 \Theta + K'` (Jacot et al. 2018, theorem 1). In the standard one
    :math:`\Theta' = \sigma_w^2 \Theta + \frac{N}{s_0} K + 1` (Sohl-Dickstein et al. 2020, eq. 10),
    with :math:`N` the fan-in, taps times channels.
    """
    scale = at.number(layer.W_std) ** 2
    bias = None if layer.b_std is None else at.number(layer.b_std) ** 2
    share = scale * (1 / taps)
    if layer.parameterization == "ntk":
        return Coefficients(share, bias, "output")
    trained_bias = None if layer.b_std is None else 1.0
    return Coefficients(share, bias, "weights", channels / layer.s[0], trained_bias)


def draw(layer: Any, at: Place, rng: Any, w_shape: Sizes, b_shape: Sizes, own: int = 0) -> Any:
    """Return ``(W, b)`` of the given shapes.

    The last axis of a weight is its outputs, the first ``own`` axes are positions that have
    weights of their own, and those between them are the fan-in.
    """
    rng_w, rng_b = at.backend.split(rng, 2)
    w = at.backend.normal(rng_w, w_shape, at.dtype, at.device)
    b = None
    if layer.b_std is not None:
        b = at.backend.normal(rng_b, b_shape, at.dtype, at.device)
    if layer.parameterization == "ntk":
        return w, b
    fan_in = math.prod(w_shape[own:-1])
    w = w * (at.number(layer.W_std) * math.sqrt(layer.s[0] / fan_in))
    return w, None if b is None else b * at.number(layer.b_std)


def scales(layer: Any, at: Place, fan_in: int) -> tuple[Any, Any]:
    """Return the factors of ``W`` and of ``b`` in the forward pass."""
    if layer.parameterization == "standard":
        return 1 / math.sqrt(layer.s[0]), 1.0
    b = 1.0 if layer.b_std is None else at.number(layer.b_std)
    return at.number(layer.W_std) * (1 / math.sqrt(fan_in)), b


def affine(layer: Any, at: Place, params: Any, rows: Array) -> Array:
    """Return ``w_scale * rows W + b_scale * b`` for rows whose last axis is the fan-in."""
    w, b = params
    w = at.xp.reshape(w, (-1, w.shape[-1]))
    w_scale, b_scale = scales(layer, at, w.shape[0])
    out = w_scale * matmul(at, rows, w)
    return out if b is None else out + b_scale * at.xp.reshape(b, (-1,))


def affine_vjp(layer: Any, at: Place, params: Any, rows: Array, grad: Array) -> tuple[Any, Array]:
    """Return the gradients of :func:`affine` in the parameters and in ``rows``."""
    xp, (w, b) = at.xp, params
    flat_w = xp.reshape(w, (-1, w.shape[-1]))
    w_scale, b_scale = scales(layer, at, flat_w.shape[0])
    flat = xp.reshape(grad, (-1, grad.shape[-1]))
    inputs = xp.reshape(rows, (-1, rows.shape[-1]))
    grad_w = w_scale * matmul(at, xp.matrix_transpose(inputs), flat)
    grad_b = None if b is None else xp.reshape(b_scale * xp.sum(flat, axis=0), b.shape)
    grad_rows = w_scale * matmul(at, flat, xp.matrix_transpose(flat_w))
    return (xp.reshape(grad_w, w.shape), grad_b), xp.reshape(grad_rows, rows.shape)


def check_made_for(layer: Any, at: Place, params: Any, shapes: tuple[Shape, ...]) -> None:
    """Refuse parameters that were made for other inputs.

    Raises
    ------
    ShapeError
        If they have other shapes than a layer draws for inputs of these shapes.
    """
    drawn = layer.init(at, 0, *shapes)
    want, got = ([tuple(p.shape) for p in _arrays(tree)] for tree in (drawn, params))
    if want != got:
        raise ShapeError(
            f"{layer!r} got parameters of shapes {got} but its input asks for {want}; pass what "
            "init_fn returned for inputs of this shape."
        )


def _arrays(params: Any) -> list[Array]:
    if isinstance(params, (tuple, list)):
        return [a for p in params for a in _arrays(p)]
    return [params] if hasattr(params, "shape") else []
