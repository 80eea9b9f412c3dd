"""What convolutions and pools share: windows over space, on covariances and on finite arrays."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import Any

from ntcore.backend import Array, Place, host
from ntcore.cov import Tap
from ntcore.errors import ShapeError
from ntcore.ops import Table, gather_sum
from ntcore.record import settle
from ntcore.shape import Shape, TransposedWindow, Window, as_padding, as_sizes

Windows = tuple[Window, ...]


def settle_window(layer: Any, what: str) -> None:
    """Turn the arguments of a window into tuples, or say what is wrong with them.

    ``what`` names the field that holds the widths, beside ``strides`` and ``padding``.
    """
    name = type(layer).__name__
    settle(layer, "padding", as_padding(layer.padding, name))
    widths = as_sizes(getattr(layer, what), what, name)
    settle(layer, what, widths)
    if layer.strides is None:
        return
    strides = as_sizes(layer.strides, "strides", name)
    settle(layer, "strides", strides)
    if len(strides) != len(widths):
        raise ShapeError(
            f"{name} got {what}={widths} and strides={strides}; give one stride for each spatial "
            "axis."
        )


@lru_cache(maxsize=1024)
def make_windows(
    sizes: tuple[int, ...],
    widths: tuple[int, ...],
    strides: tuple[int, ...] | None,
    padding: str,
    transposed: bool = False,
) -> Windows:
    """Return the window of each spatial axis."""
    kind = TransposedWindow if transposed else Window
    steps = strides or (1,) * len(widths)
    return tuple(kind(*a, padding) for a in zip(sizes, widths, steps, strict=True))


def wrong_ndim(layer: object, shape: Shape, ndim: int) -> ShapeError:
    """Return the error for an input whose number of spatial axes is not ``ndim``."""
    return ShapeError(
        f"{layer!r} slides over {ndim} spatial axes but its input has {shape.ndim} (spatial sizes "
        f"{shape.spatial}); give it one window size per spatial axis."
    )


def out_sizes(layer: object, shape: Shape, windows: Windows) -> tuple[int, ...]:
    """Return the spatial sizes of the output of a window, or say why it does not fit."""
    sizes = tuple(w.out for w in windows)
    if min(sizes, default=1) < 1:
        raise ShapeError(
            f"{layer!r} does not fit an input of spatial sizes {shape.spatial}; use a smaller "
            "window or padding='SAME'."
        )
    return sizes


@lru_cache(maxsize=1024)
def shared_taps(w1: Window, w2: Window) -> tuple[Tap, ...]:
    """Return the taps of a convolution: both positions are read at the same tap."""
    return tuple((tuple(w1.sources(t)), tuple(w2.sources(t))) for t in range(w1.width))


@lru_cache(maxsize=1024)
def independent_taps(w1: Window, w2: Window) -> tuple[Tap, ...]:
    """Return the taps of a pool: each position is read at every tap."""
    every = itertools.product(range(w1.width), range(w2.width))
    return tuple((tuple(w1.sources(t)), tuple(w2.sources(u))) for t, u in every)


def edge_counts(window: Window) -> list[int]:
    """Return the number of inputs, as opposed to padding, that each output reads."""
    reads = zip(*(window.sources(t) for t in range(window.width)), strict=True)
    return [sum(x >= 0 for x in taps) for taps in reads]


def centers(at: Place, mask: Array, windows: Windows) -> Array:
    """Return a mask ``(n, *spatial, 1)`` at the middle of every window."""
    for k, w in enumerate(windows):
        middle = host().namespace.asarray(w.sources((w.width - 1) // 2)).clip(0)
        mask = at.xp.take(mask, at.index(middle), axis=k + 1)
    return mask


# --- finite arrays ------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def _reads(windows: Windows) -> Any:
    """Return the flat input position, or -1, read by each output position at each tap."""
    np = host().namespace
    flat = np.zeros((1, 1), dtype=np.int64)
    for w in windows:
        axis = np.asarray([w.sources(t) for t in range(w.width)]).T
        outer, inner = flat[:, None, :, None], axis[None, :, None, :]
        joined = np.where((outer < 0) | (inner < 0), -1, outer * w.size + inner)
        flat = joined.reshape(flat.shape[0] * w.out, flat.shape[1] * w.width)
    return flat


@lru_cache(maxsize=512)
def _patch_table(windows: Windows) -> Table:
    return Table(_reads(windows).reshape(1, -1))


@lru_cache(maxsize=512)
def _unpatch_table(windows: Windows) -> Table:
    """Return, for each flat input position, the (output, tap) pairs that read it."""
    reads = _reads(windows).reshape(-1).tolist()
    found: list[list[int]] = [[] for _ in range(math.prod(w.size for w in windows))]
    for slot, p in enumerate(reads):
        if p >= 0:
            found[p].append(slot)
    most = max(1, *map(len, found))
    return Table(host().namespace.asarray([f + [-1] * (most - len(f)) for f in found]).T)


def patches(at: Place, x: Array, windows: Windows) -> Array:
    """Return ``(n, out positions, taps, C)`` from ``(n, *spatial, C)``, zero at padding."""
    n, channels = x.shape[0], x.shape[-1]
    flat = at.xp.reshape(x, (n, -1, channels))
    found = gather_sum(at, flat, _patch_table(windows))
    return at.xp.reshape(found, (n, *_reads(windows).shape, channels))


def unpatch(at: Place, grad: Array, windows: Windows) -> Array:
    """Return the transpose of :func:`patches` applied to a gradient."""
    n, positions, taps, channels = grad.shape
    flat = at.xp.reshape(grad, (n, positions * taps, channels))
    found = gather_sum(at, flat, _unpatch_table(windows))
    return at.xp.reshape(found, (n, *(w.size for w in windows), channels))
