"""Random positional embeddings: their covariance, and embeddings of finitely many channels."""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import Any

from ntcore.backend import Array, Place, host
from ntcore.cov import Cov, Layout, hide, opened, positions
from ntcore.errors import NotPSDError
from ntcore.need import everything
from ntcore.ops import matmul

#: Units of rounding, relative to the largest, that an eigenvalue may be below zero.
ROUNDINGS = 1e3


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


# --- infinite width -----------------------------------------------------------------------------


def embedded(
    at: Place, layer: Any, channels: int, cov: Cov, mask1: Array | None, mask2: Array | None
) -> Cov:
    r"""Return the block of inputs with their positional embeddings.

    .. math:: \tilde K = K + \sigma_E^2 R \quad\text{or}\quad
              \tilde K = \frac{C K + P \sigma_E^2 R}{C + P}

    for embeddings that are added, or appended as :math:`P` channels to :math:`C` (Hron et al.
    2020, section 4).
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


# --- finite width -------------------------------------------------------------------------------


def joined(at: Place, layer: Any, rows: Array, drawn: Array, hidden: Array | None) -> Array:
    """Return rows ``(n, P, C)`` with the embeddings ``drawn``, ``(P, C')``."""
    extra = at.number(layer.W_pos_emb_std) * drawn[None, ...]
    extra = at.xp.broadcast_to(extra, (rows.shape[0], *drawn.shape))
    if hidden is not None:
        extra = at.xp.where(hidden, at.xp.zeros_like(extra), extra)
    if layer.pos_emb_type == "SUM":
        return rows + extra
    return at.xp.concat([rows, extra], axis=-1)


def joined_vjp(
    at: Place, layer: Any, grad: Array, hidden: Array | None, channels: int
) -> tuple[Array, Array]:
    """Return the gradients of :func:`joined` in the rows and in what was drawn."""
    both = layer.pos_emb_type == "SUM"
    rows, extra = (grad, grad) if both else (grad[..., :channels], grad[..., channels:])
    if hidden is not None:
        extra = at.xp.where(hidden, at.xp.zeros_like(extra), extra)
    return rows, at.number(layer.W_pos_emb_std) * at.xp.sum(extra, axis=0)


def root(at: Place, layer: Any, sizes: tuple[int, ...]) -> Array | None:
    """Return the symmetric square root of the covariance on a grid, or None for the identity.

    Raises
    ------
    NotPSDError
        If ``pos_emb_decay_fn`` is no covariance there.
    """
    if layer.pos_emb_decay_fn is None:
        return None
    everywhere = Layout(sizes, sizes, everything(sizes, sizes).axes, paired=True)
    held = Cov(covariance(at, layer, everywhere), everywhere)
    matrix = opened(at, held, tuple(range(len(sizes))))[..., 0]
    values, vectors = at.xp.linalg.eigh(matrix)
    _check_spectrum(at, layer, values)
    positive = values > 0
    safe = at.xp.where(positive, values, at.xp.ones_like(values))
    roots = at.xp.where(positive, at.xp.sqrt(safe), at.xp.zeros_like(values))
    return matmul(at, vectors * roots, at.xp.matrix_transpose(vectors))


def _check_spectrum(at: Place, layer: Any, values: Array) -> None:
    if at.backend.is_traced(values):
        return
    least, largest = float(values[0]), float(values[-1])
    if least < -ROUNDINGS * float(at.xp.finfo(at.dtype).eps) * max(largest, -least):
        raise NotPSDError(
            f"pos_emb_decay_fn={layer.pos_emb_decay_fn!r} of {type(layer).__name__} is not the "
            f"covariance of any embeddings: its least eigenvalue is {least:.3g}; give a positive "
            "definite function of the distance, such as lambda d: 1 / (1 + d).",
            least,
            -least,
        )
