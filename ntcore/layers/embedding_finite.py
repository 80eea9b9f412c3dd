"""Random positional embeddings at finite width: arrays of their own, added or appended."""

from __future__ import annotations

import math
from typing import Any

from ntcore.backend import Array, Place
from ntcore.cov import Cov, Layout, opened
from ntcore.errors import NotPSDError, ShapeError
from ntcore.layers.embedding import channels_of, covariance
from ntcore.need import everything
from ntcore.ops import matmul
from ntcore.shape import Shape

#: Units of rounding, relative to the largest, that an eigenvalue may be below zero.
ROUNDINGS = 1e3


def grid_shape(layer: Any, shape: Shape) -> tuple[int, ...] | None:
    """Return the shape of what is drawn, in the user's order of axes; None for no embeddings."""
    if layer.pos_emb_type == "NONE":
        return None
    axes = layer.axes_in(shape.ndim + 2)
    users = sorted(zip(shape.axes.spatial, shape.spatial, strict=True))
    sizes = (1, *(n for _, n in users), channels_of(layer, shape.channels))
    return tuple(sizes[i] for i in axes.inverse)


def with_embeddings(layer: Any, at: Place, x: Array, drawn: Any, away: Array | None) -> Array:
    """Return what an array shows with its embeddings, as rows ``(n, P, channels)``.

    ``away``, ``(n, P, 1)``, says where nothing is; there are no embeddings either.
    """
    rows = at.xp.reshape(x, (x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1]))
    if layer.pos_emb_type == "NONE":
        return rows
    grid = _correlated(layer, at, x, _on_grid(layer, at, x, drawn))
    grid = at.number(layer.W_pos_emb_std) * grid[None, ...]
    grid = _hidden(at, at.xp.broadcast_to(grid, (x.shape[0], *grid.shape[1:])), away)
    return rows + grid if layer.pos_emb_type == "SUM" else at.xp.concat([rows, grid], axis=-1)


def with_embeddings_vjp(
    layer: Any, at: Place, x: Array, grad: Array, away: Array | None
) -> tuple[Array, Array | None]:
    """Return the gradients of :func:`with_embeddings` in the rows and in what was drawn."""
    if layer.pos_emb_type == "NONE":
        return grad, None
    channels = x.shape[-1]
    added = layer.pos_emb_type == "SUM"
    rows, grid = (grad, grad) if added else (grad[..., :channels], grad[..., channels:])
    grid = at.number(layer.W_pos_emb_std) * at.xp.sum(_hidden(at, grid, away), axis=0)
    grid = at.xp.reshape(_correlated(layer, at, x, grid), (1, *x.shape[1:-1], -1))
    return rows, at.xp.permute_dims(grid, layer.axes_in(x.ndim).inverse)


def _hidden(at: Place, grid: Array, away: Array | None) -> Array:
    return grid if away is None else at.xp.where(away, at.xp.zeros_like(grid), grid)


def _on_grid(layer: Any, at: Place, x: Array, drawn: Array) -> Array:
    """Return what was drawn as rows ``(P, channels)``."""
    grid = at.xp.permute_dims(drawn, layer.axes_in(x.ndim).order)
    if grid.shape[1:-1] != x.shape[1:-1]:
        raise ShapeError(
            f"{layer!r} has embeddings for positions {tuple(grid.shape[1:-1])} but its input has "
            f"{tuple(x.shape[1:-1])}; draw parameters for inputs of this size."
        )
    return at.xp.reshape(grid, (-1, grid.shape[-1]))


def _correlated(layer: Any, at: Place, x: Array, grid: Array) -> Array:
    """Return independent rows, one for each position, with the covariance of the layer."""
    if layer.pos_emb_decay_fn is None:
        return grid
    return matmul(at, root(layer, at, x.shape[1:-1]), grid)


def root(layer: Any, at: Place, sizes: tuple[int, ...]) -> Array:
    """Return the symmetric square root of the covariance of the positions of a grid.

    Raises
    ------
    NotPSDError
        If ``pos_emb_decay_fn`` is no covariance there.
    """
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
