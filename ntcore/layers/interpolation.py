"""What resizing one axis takes: sizes, and weights as matrices on the host."""

from __future__ import annotations

import enum
import itertools
import math
import operator
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from ntcore.backend import host
from ntcore.errors import ArgumentError
from ntcore.need import Offsets, Sizes
from ntcore.shape import default_axes

#: Below this sum of weights a position has no neighbours; below this distance, a Lanczos is 1.
LEAST_SUM = 1000 * 2.0**-23
LEAST_DISTANCE = 1e-3


class Precision(enum.Enum):
    """The precision of products in JAX, by the name of its members."""

    DEFAULT = 0
    HIGH = 1
    HIGHEST = 2


def _triangle(x: Any) -> Any:
    return host().namespace.maximum(0, 1 - x)


def _cubic(x: Any) -> Any:
    """Keys's cubic with a = -1/2 (Keys 1981, eq. 15)."""
    near = ((1.5 * x - 2.5) * x) * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    np = host().namespace
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _lanczos(x: Any, radius: float) -> Any:
    np = host().namespace
    apart = np.where(x > LEAST_DISTANCE, x, 1.0)
    waves = radius * np.sin(math.pi * apart) * np.sin(math.pi * apart / radius)
    inside = np.where(x > LEAST_DISTANCE, waves / (math.pi * apart) ** 2, 1.0)
    return np.where(x > radius, 0.0, inside)


_LINEAR, _CUBIC = ("linear", "bilinear", "trilinear", "triangle"), ("cubic", "bicubic", "tricubic")
KERNELS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_LINEAR, _triangle),
    **dict.fromkeys(_CUBIC, _cubic),
    "lanczos3": partial(_lanczos, radius=3.0),
    "lanczos5": partial(_lanczos, radius=5.0),
}
METHODS = ("nearest", *KERNELS)


def nearest(size: int, out: int) -> tuple[int, ...]:
    """Return the position that each one of ``out`` positions is nearest to."""
    return tuple((2 * i + 1) * size // (2 * out) for i in range(out))


def nearest_offsets(sizes: Sizes, outs: Sizes, offsets: Offsets) -> Offsets:
    """Return the offsets of what the outputs of two axes at the given offsets are nearest to."""
    read1, read2 = map(nearest, sizes, outs)
    pairs = itertools.product(enumerate(read1), enumerate(read2))
    return frozenset(b - a for (p, a), (q, b) in pairs if q - p in offsets)


@lru_cache(maxsize=512)
def weights(method: str, size: int, out: int, antialias: bool) -> Any:
    """Return the matrix ``(out, size)`` that resizes an axis of ``size`` positions."""
    np = host().namespace
    if method == "nearest" or size == out:
        return np.eye(size)[list(nearest(size, out))]
    widen = max(size / out, 1.0) if antialias else 1.0
    places = (np.arange(out) + 0.5) * (size / out) - 0.5
    found = KERNELS[method](np.abs(places[:, None] - np.arange(size)) / widen)
    total = np.sum(found, axis=1, keepdims=True)
    some = np.abs(total) > LEAST_SUM
    return np.where(some, found / np.where(some, total, 1.0), 0.0)


def as_target(shape: Any, batch_axis: int, channel_axis: int) -> tuple[int, ...]:
    """Return the sizes of an output as a tuple, or say what is wrong with them."""
    try:
        sizes = tuple(map(operator.index, shape))
        users = default_axes(len(sizes), batch_axis, channel_axis)
    except TypeError:
        sizes = ()
    fit = sizes and sizes[users.batch] == sizes[users.channel] == -1
    if not fit or any(n < 1 and n != -1 for n in sizes):
        raise ArgumentError(
            f"ImageResize got shape={shape!r}; give one integer per axis, -1 for the examples and "
            "the channels, which cannot be resized at infinite width, and for what keeps its size."
        )
    return sizes
