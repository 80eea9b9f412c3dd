"""Random positional embeddings at infinite width: their covariance."""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import Any

from ntcore.backend import Array, Place, host
from ntcore.cov import Cov, Layout, hide, positions


class PositionalEmbedding(enum.Enum):
    r"""How the embeddings :math:`E` of the positions meet the inputs :math:`x`.

    ``NONE`` has none, ``SUM`` is :math:`x + E`, ``CONCAT`` is :math:`[x, E]` along the channels.
    """

    NONE = "NONE"
    SUM = "SUM"
    CONCAT = "CONCAT"


def channels_of(layer: Any, channels: int) -> int:
    """Return how many channels the embeddings have, for inputs of so many."""
    return layer.n_chan_pos_emb or channels


def embedded_channels(layer: Any, channels: int) -> int:
    """Return how many channels inputs have with their embeddings."""
    extra = channels_of(layer, channels) if layer.pos_emb_type == "CONCAT" else 0
    return channels + extra


def embedded(
    at: Place, layer: Any, channels: int, cov: Cov, mask1: Array | None, mask2: Array | None
) -> Cov:
    r"""Return the block of inputs with their positional embeddings.

    .. math:: \tilde K = K + \sigma_E^2 R \quad\text{or}\quad
              \tilde K = \frac{C K + P \sigma_E^2 R}{C + P}

    for embeddings that are added, or appended as :math:`P` channels to :math:`C`, with the
    covariance :math:`R` of two positions (Hron et al. 2020, section 4). They are trained in the
    NTK parameterization, so that the same holds for :math:`\Theta`.
    """
    if layer.pos_emb_type == "NONE":
        return cov
    extra = at.number(layer.W_pos_emb_std) ** 2 * covariance(at, layer, cov.layout)
    if layer.pos_emb_type == "SUM":
        data = cov.data + extra
    else:
        own = channels / embedded_channels(layer, channels)
        data = own * cov.data + (1 - own) * extra
    found = Cov(data, cov.layout)
    return found if mask1 is None or mask2 is None else hide(at, found, mask1, mask2)


def covariance(at: Place, layer: Any, layout: Layout) -> Array:
    """Return the covariance of two embeddings of unit variance, to broadcast over a block."""
    decay = layer.pos_emb_decay_fn
    examples = (1,) if layout.paired else (1, 1)
    norm = None if decay is None else layer.pos_emb_p_norm
    if layout.dense:
        far = at.asarray(_distances_of_all(layout, norm))
    else:
        far = at.asarray(_distances(layout, norm).reshape((*_axes(layout), *examples)))
    return far if decay is None else at.asarray(decay(far))


def _axes(layout: Layout) -> tuple[int, ...]:
    pairs = zip(layout.rows, layout.sizes1, strict=True)
    return tuple(n for rows, size in pairs for n in (len(rows), size))


@lru_cache(maxsize=256)
def _distances(layout: Layout, norm: float | None) -> Any:
    """Return ``sum_k |q_k - p_k|^norm`` of all entries; without a norm, 1 where p is q and 0."""
    np = host().namespace
    total = np.zeros(())
    for k in range(layout.ndim):
        p, q = positions(layout.axis(k))
        far = np.abs(q - p).astype(float) ** (norm or 1)
        total = total + far.reshape((1,) * (2 * k) + far.shape + (1,) * (2 * (layout.ndim - k - 1)))
    return total if norm is not None else (total == 0).astype(float)


@lru_cache(maxsize=256)
def _distances_of_all(layout: Layout, norm: float | None) -> Any:
    """Return the same as a matrix of all positions."""
    np = host().namespace
    total = np.zeros((1, 1))
    for size1, size2 in zip(layout.sizes1, layout.sizes2, strict=True):
        p, q = np.arange(size1)[:, None], np.arange(size2)[None, :]
        far = np.abs(q - p).astype(float) ** (norm or 1)
        joined = total.shape[0] * size1, total.shape[1] * size2
        total = (total[:, None, :, None] + far[None, :, None, :]).reshape(joined)
    return total if norm is not None else (total == 0).astype(float)
