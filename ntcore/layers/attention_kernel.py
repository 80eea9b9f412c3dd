"""Attention at infinite width: the moments of its output."""

from __future__ import annotations

import math
from typing import Any

from ntcore.backend import Array, Place
from ntcore.cov import Cov, Features, affine, layout_of, opened, sandwich, select, total
from ntcore.layers.attention_weights import attend, barred
from ntcore.layers.embedding import embedded
from ntcore.moments import Context, Moments
from ntcore.need import everything
from ntcore.ops import affine as scaled
from ntcore.ops import arranged, gram, matmul
from ntcore.shape import Shape


def push(layer: Any, ctx: Context, m: Moments) -> Moments:
    """Return the moments of the output; see the layer for the formulas."""
    return (_weighed if layer.linear_scaling else _squared)(layer, ctx, m)


def _weighed(layer: Any, ctx: Context, m: Moments) -> Moments:
    """Keys and queries share their weights, so that the weights of attention are constants."""
    at, (shape,) = ctx.at, ctx.inputs
    axes = _row_major(shape)
    left = _attention(at, layer, shape, m.side1, m.mask1)
    right = _attention(at, layer, shape, m.side2, m.mask2)
    scale, bias = _square(at, layer.W_value_std, layer.W_out_std), _bias(at, layer)
    if bias is not None and ctx.layout.summed:
        bias = bias * ctx.layout.summands
    values = _seen(layer, ctx, m, m.nngp, layer.val_pos_emb)
    mixed = sandwich(at, values, ctx.layout, left, right, axes)
    nngp = affine(at, mixed, scale, bias)
    if not ctx.ntk:
        return Moments(nngp)
    own = affine(at, mixed, 2 * scale, bias)
    if m.ntk is None and not _trains_values(layer):
        return Moments(nngp, own)
    below = _seen(layer, ctx, m, _ntk(m), layer.val_pos_emb)
    below = sandwich(at, below, ctx.layout, left, right, axes)
    return Moments(nngp, affine(at, below, scale, None, own))


def _squared(layer: Any, ctx: Context, m: Moments) -> Moments:
    """Keys and queries are independent, so that scores are Gaussian and their product squares K."""
    at, out = ctx.at, ctx.layout
    stds = layer.W_value_std, layer.W_out_std, layer.W_query_std, layer.W_key_std
    scale, bias = _square(at, *stds), _bias(at, layer)
    keys = _seen(layer, ctx, m, m.nngp, True)
    values = _seen(layer, ctx, m, m.nngp, layer.val_pos_emb)
    queries = select(at, keys, out)
    both = _over_keys(layer, ctx, keys.times(values.data))
    plain = queries.times(both)
    nngp = affine(at, plain, scale, bias)
    if not ctx.ntk:
        return Moments(nngp)
    own = affine(at, plain, 4 * scale, bias)
    if m.ntk is None and layer.pos_emb_type == "NONE":
        return Moments(nngp, own)
    keys_below = _seen(layer, ctx, m, _ntk(m), True)
    values_below = _seen(layer, ctx, m, _ntk(m), layer.val_pos_emb)
    each = keys.times(values_below.data) + keys_below.times(values.data)
    below = select(at, keys_below, out).times(both) + queries.times(_over_keys(layer, ctx, each))
    return Moments(nngp, affine(at, below, scale, None, own))


def map_features(
    layer: Any, at: Place, shape: Shape, features: Features, away: Array | None
) -> Features:
    """Return the features of the output: those of the input, weighed by attention."""
    xp, axes, data = at.xp, _row_major(shape), features.data
    count, *spatial, channels = data.shape
    order = (0, *(1 + k for k in axes), data.ndim - 1)
    ordered = xp.permute_dims(data, order)
    rows = xp.reshape(ordered, (count, math.prod(spatial), channels))
    sizes = tuple(shape.spatial[k] for k in axes)
    layout = layout_of(everything(sizes, sizes), sizes, sizes, dense=True)
    own = embedded(at, layer, shape.channels, Cov(gram(at, rows, rows), layout), None, None)
    hidden = None if away is None else xp.permute_dims(away, order[:-1])
    weights = _weights(at, layer, own.data, shape.spatial, axes, hidden)
    mixed = matmul(at, weights, rows) * (at.number(layer.W_value_std) * at.number(layer.W_out_std))
    back = tuple(order.index(i) for i in range(data.ndim))
    mixed = xp.permute_dims(xp.reshape(mixed, ordered.shape), back)
    bias = None if layer.b_std is None else at.number(layer.b_std)
    return features.mapped(at, mixed, bias, 2.0)


def _attention(at: Place, layer: Any, shape: Shape, side: Cov | None, mask: Array | None) -> Array:
    """Return the weights of attention of every example, ``(n, P, P)``."""
    if side is None:
        raise AssertionError(f"the plan holds no covariances for {layer!r}")
    axes = _row_major(shape)
    covariance = opened(at, embedded(at, layer, shape.channels, side, mask, mask), axes)
    queries, keys, examples = covariance.shape
    scores = arranged(at, covariance, (2, 0, 1), (examples, queries, keys))
    away = None if mask is None else at.xp.permute_dims(mask, (mask.ndim - 1, *axes))
    return _weights(at, layer, scores, side.layout.sizes1, axes, away)


def _weights(
    at: Place,
    layer: Any,
    covariance: Array,
    sizes: tuple[int, ...],
    axes: tuple[int, ...],
    away: Array | None,
) -> Array:
    """Return the weights of attention for the covariance of each example, ``(n, P, P)``.

    ``away`` marks the positions that hold nothing, in the order of ``axes``.
    """
    scale = at.number(layer.W_query_std) * at.number(layer.W_key_std)
    hidden = _barred(layer, at, sizes, axes)
    if away is not None:
        examples, _, keys = covariance.shape
        away = at.xp.reshape(away, (examples, 1, keys))
        hidden = away if hidden is None else away | hidden
    return attend(at, layer.attention_mechanism, scaled(at, covariance, scale), hidden)


def _over_keys(layer: Any, ctx: Context, products: Cov) -> Array:
    """Return the sum over the keys of both queries, to broadcast over a block of ``ctx.layout``."""
    at, axes = ctx.at, _row_major(ctx.inputs[0])
    layout = products.layout
    left, right = (_barred(layer, at, sizes, axes) for sizes in (layout.sizes1, layout.sizes2))
    if left is None or right is None:
        return total(at, products).data
    one, two = (at.xp.astype(~hidden, at.dtype) for hidden in (left, right))
    return sandwich(at, products, ctx.layout, one, two, axes).data


def _barred(layer: Any, at: Place, sizes: tuple[int, ...], axes: tuple[int, ...]) -> Array | None:
    table = barred(layer.attention_pattern, layer.causal, tuple(sizes[k] for k in axes))
    return None if table is None else at.index(table)


def _seen(layer: Any, ctx: Context, m: Moments, cov: Cov, with_embeddings: bool) -> Cov:
    """Return what keys and queries, or values, see of a block of inputs."""
    if not with_embeddings:
        return cov
    return embedded(ctx.at, layer, ctx.inputs[0].channels, cov, m.mask1, m.mask2)


def _ntk(m: Moments) -> Cov:
    return Cov(0 * m.nngp.data, m.nngp.layout) if m.ntk is None else m.ntk


def _trains_values(layer: Any) -> bool:
    return bool(layer.val_pos_emb) and layer.pos_emb_type != "NONE"


def _row_major(shape: Shape) -> tuple[int, ...]:
    """Return the spatial axes in the order in which the user's array has them."""
    return tuple(sorted(range(shape.ndim), key=lambda k: shape.axes.spatial[k]))


def _square(at: Place, *stds: Any) -> Any:
    scale: Any = 1.0
    for std in stds:
        scale = scale * at.number(std) ** 2
    return scale


def _bias(at: Place, layer: Any) -> Any:
    return None if layer.b_std is None else at.number(layer.b_std) ** 2
