"""What the arguments of attention may be."""

from __future__ import annotations

import enum
import math
from typing import Any

from ntcore.backend import is_number
from ntcore.errors import ArgumentError, ShapeError
from ntcore.layers.attention_weights import AttentionMechanism, as_pattern
from ntcore.layers.custom import named
from ntcore.layers.embedding import PositionalEmbedding
from ntcore.layers.weights import check_std
from ntcore.record import settle
from ntcore.shape import Shape, as_count

COUNTS = ("n_chan_out", "n_chan_key", "n_chan_val", "n_heads")
STDS = ("W_key_std", "W_value_std", "W_query_std", "W_out_std", "b_std", "W_pos_emb_std")


def settle_attention(layer: Any) -> None:
    """Bring the arguments of attention into one form, or say what is wrong with them."""
    name = type(layer).__name__
    for argument in COUNTS:
        settle(layer, argument, as_count(getattr(layer, argument), argument, name))
    if layer.n_chan_pos_emb is not None:
        count = as_count(layer.n_chan_pos_emb, "n_chan_pos_emb", name)
        settle(layer, "n_chan_pos_emb", count)
    for argument in STDS:
        check_std(name, argument, getattr(layer, argument))
    _settle_member(layer, "attention_mechanism", AttentionMechanism)
    _settle_member(layer, "pos_emb_type", PositionalEmbedding)
    settle(layer, "attention_pattern", as_pattern(layer.attention_pattern, name))
    _settle_distance(layer, name)


def _settle_member(layer: Any, argument: str, members: type[enum.Enum]) -> None:
    """Replace a member of an enumeration by its name, or say what the names are."""
    given = getattr(layer, argument)
    if isinstance(given, enum.Enum):
        given = given.value
    names = [m.value for m in members]
    if given not in names:
        raise ArgumentError(
            f"{type(layer).__name__} got {argument}={given!r}; it must be one of "
            f"{', '.join(names)}."
        )
    settle(layer, argument, given)


def _settle_distance(layer: Any, name: str) -> None:
    norm, decay = layer.pos_emb_p_norm, layer.pos_emb_decay_fn
    if not (is_number(norm) and math.isfinite(norm) and norm > 0):
        raise ArgumentError(f"{name} got pos_emb_p_norm={norm!r}; give a positive number.")
    if not (decay is None or callable(decay)):
        raise ArgumentError(
            f"{name} got pos_emb_decay_fn={decay!r}; give a function of an array of distances, "
            "or None."
        )
    if decay is not None:
        settle(layer, "pos_emb_decay_fn", named(decay))


def check_input(layer: Any, shape: Shape) -> None:
    """Raise :class:`ShapeError` unless a layer of attention fits an input."""
    if not shape.ndim:
        raise ShapeError(
            f"{layer!r} attends from position to position, but its input has no spatial axis; "
            "put it below the Flatten or the global pool, on an array of at least three axes."
        )
    extra = layer.n_chan_pos_emb
    if layer.pos_emb_type == "SUM" and extra not in (None, shape.channels):
        raise ShapeError(
            f"{layer!r} adds embeddings of {extra} channels to inputs of {shape.channels}; leave "
            "n_chan_pos_emb out, or append them with pos_emb_type='CONCAT'."
        )
    pattern, positions = layer.attention_pattern, math.prod(shape.spatial)
    if pattern is not None and pattern.size != positions:
        raise ShapeError(
            f"{type(layer).__name__} has an attention_pattern for {pattern.size} positions but "
            f"its input has {positions}; give a table of {positions} by {positions} booleans."
        )
