"""Attention at finite width: its parameters, its output and the derivative of both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ntcore.backend import Array, Place
from ntcore.layers import weights
from ntcore.layers.attention_weights import attend, attend_vjp, barred
from ntcore.layers.base import Params, Run, whole_positions
from ntcore.layers.embedding import embedded_channels
from ntcore.layers.embedding_finite import grid_shape, with_embeddings, with_embeddings_vjp
from ntcore.layers.heads import Affine, projected, projected_vjp
from ntcore.ops import matmul
from ntcore.shape import Shape


def init(layer: Any, at: Place, rng: Any, shape: Shape) -> Params:
    """Return ``(W_query, W_key, W_value, W_out, b, embeddings)``, None for what is not there."""
    axes = layer.axes_in(shape.ndim + 2)
    channels = embedded_channels(layer, shape.channels)
    heads, key, val = layer.n_heads, layer.n_chan_key, layer.n_chan_val
    values = channels if layer.val_pos_emb else shape.channels
    bias = [1] * (shape.ndim + 2)
    bias[axes.channel] = layer.n_chan_out
    shapes = (
        None if layer.linear_scaling else (heads, channels, key),
        (heads, channels, key),
        (heads, values, val),
        (val * heads, layer.n_chan_out),
        None if layer.b_std is None else tuple(bias),
        grid_shape(layer, shape),
    )
    keys = at.backend.split(rng, len(shapes))
    return tuple(
        None if s is None else at.backend.normal(k, s, at.dtype, at.device)
        for k, s in zip(keys, shapes, strict=True)
    )


@dataclass(frozen=True)
class Pass:
    """What one pass computes on its way; ``P`` positions, ``H`` heads.

    Attributes
    ----------
    keyed, valued : array
        What keys and queries, and what values, see of the inputs, ``(n, P, channels)``.
    queries, keys, values : array
        ``(n, H, P, channels)``.
    scores, attention : array
        ``(n, H, P, P)``.
    mixed : array
        The values of all heads, weighed, ``(n, P, n_chan_val * H)``.
    hidden : array or None
        The keys that a query does not attend to.
    away : array or None
        The positions that hold nothing, ``(n, P, 1)``.
    """

    keyed: Array
    valued: Array
    queries: Array
    keys: Array
    values: Array
    scores: Array
    attention: Array
    mixed: Array
    hidden: Array | None
    away: Array | None


def attended(layer: Any, run: Run, params: Params, x: Array) -> Pass:
    """Return one pass for an array with the batch first and the channels last."""
    at, (w_query, w_key, w_value, *_, drawn) = run.at, params
    away, hidden = _hidden(layer, run, x)
    keyed = with_embeddings(layer, at, x, drawn, away)
    valued = keyed if layer.val_pos_emb else at.xp.reshape(x, (*keyed.shape[:2], x.shape[-1]))
    w_query = w_key if layer.linear_scaling else w_query
    queries = projected(at, layer.W_query_std, w_query, keyed)
    keys = projected(at, layer.W_key_std, w_key, keyed)
    values = projected(at, layer.W_value_std, w_value, valued)
    scores = _scale(layer) * matmul(at, queries, at.xp.matrix_transpose(keys))
    attention = attend(at, layer.attention_mechanism, scores, hidden)
    mixed = at.xp.permute_dims(matmul(at, attention, values), (0, 2, 3, 1))
    mixed = at.xp.reshape(mixed, (*keyed.shape[:2], layer.n_chan_val * layer.n_heads))
    return Pass(keyed, valued, queries, keys, values, scores, attention, mixed, hidden, away)


def forward(layer: Any, run: Run, params: Params, x: Array) -> Array:
    """Return the output."""
    mixed = attended(layer, run, params, x).mixed
    out = weights.affine(_readout(layer), run.at, (params[3], params[4]), mixed)
    return run.at.xp.reshape(out, (*x.shape[:-1], layer.n_chan_out))


def backward(layer: Any, run: Run, params: Params, x: Array, grad: Array) -> Any:
    """Return ``(gradients of the parameters, gradient of the input)``."""
    at, xp, (w_query, w_key, w_value, w_out, b, _) = run.at, run.at.xp, params
    p = attended(layer, run, params, x)
    grad = xp.reshape(grad, (*p.mixed.shape[:2], layer.n_chan_out))
    (g_out, g_b), mixed = weights.affine_vjp(_readout(layer), at, (w_out, b), p.mixed, grad)
    heads = xp.reshape(mixed, (*mixed.shape[:2], layer.n_chan_val, layer.n_heads))
    heads = xp.permute_dims(heads, (0, 3, 1, 2))
    weighed = matmul(at, heads, xp.matrix_transpose(p.values))
    mechanism = layer.attention_mechanism
    scores = _scale(layer) * attend_vjp(at, mechanism, p.scores, p.hidden, p.attention, weighed)
    values = matmul(at, xp.matrix_transpose(p.attention), heads)
    keys, queries = matmul(at, xp.matrix_transpose(scores), p.queries), matmul(at, scores, p.keys)
    tied = layer.linear_scaling
    used = w_key if tied else w_query
    g_query, below_q = projected_vjp(at, layer.W_query_std, used, p.keyed, queries)
    g_key, below_k = projected_vjp(at, layer.W_key_std, w_key, p.keyed, keys)
    g_value, below_v = projected_vjp(at, layer.W_value_std, w_value, p.valued, values)
    g_query, g_key = (None, g_key + g_query) if tied else (g_query, g_key)
    keyed = below_q + below_k + below_v if layer.val_pos_emb else below_q + below_k
    below, g_drawn = with_embeddings_vjp(layer, at, x, keyed, p.away)
    below = below if layer.val_pos_emb else below + below_v
    return (g_query, g_key, g_value, g_out, g_b, g_drawn), xp.reshape(below, x.shape)


# --- pieces -------------------------------------------------------------------------------------


def _readout(layer: Any) -> Affine:
    return Affine(layer.W_out_std, layer.b_std)


def _scale(layer: Any) -> float:
    key = layer.n_chan_key
    return 1 / key if layer.linear_scaling else 1 / math.sqrt(key)


def _hidden(layer: Any, run: Run, x: Array) -> tuple[Array | None, Array | None]:
    """Return where nothing is, ``(n, P, 1)``, and which keys no query attends to."""
    at, (mask,) = run.at, run.masks or (None,)
    table = barred(layer.attention_pattern, layer.causal, x.shape[1:-1])
    hidden = None if table is None else at.index(table)
    if mask is None:
        return None, hidden
    positions = math.prod(x.shape[1:-1])
    away = at.xp.reshape(whole_positions(at, mask), (x.shape[0], positions, 1))
    keys = at.xp.reshape(away, (x.shape[0], 1, 1, positions))
    return away, keys if hidden is None else keys | hidden
