"""Sizes and axes of one edge of a network, and the arithmetic of windows; no arrays."""

from __future__ import annotations

import enum
import operator
from dataclasses import dataclass
from typing import Any

from ntcore.errors import ArgumentError, ShapeError


class Padding(enum.Enum):
    """What a window finds outside an image."""

    CIRCULAR = "CIRCULAR"
    SAME = "SAME"
    VALID = "VALID"


@dataclass(frozen=True)
class Axes:
    """Where the user keeps the batch, the channels and each spatial axis of an array.

    ``spatial[i]`` is the user's axis of ntcore's spatial axis ``i``.
    """

    batch: int
    channel: int
    spatial: tuple[int, ...]

    @property
    def order(self) -> tuple[int, ...]:
        """The user's axes in ntcore's order: batch, spatial axes, channels."""
        return (self.batch, *self.spatial, self.channel)

    @property
    def inverse(self) -> tuple[int, ...]:
        """The permutation back from ntcore's order to the user's."""
        order = self.order
        return tuple(order.index(i) for i in range(len(order)))


@dataclass(frozen=True)
class Shape:
    """The sizes of one edge, without the batch: spatial sizes, channels, the user's axes."""

    spatial: tuple[int, ...]
    channels: int
    axes: Axes

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return len(self.spatial)

    def full(self, batch: int) -> tuple[int, ...]:
        """Return the shape of the user's array that holds ``batch`` examples."""
        sizes = (batch, *self.spatial, self.channels)
        return tuple(sizes[i] for i in self.axes.inverse)

    def with_sizes(self, spatial: tuple[int, ...], channels: int | None = None) -> Shape:
        """Return the shape with other sizes on the same axes."""
        return Shape(spatial, self.channels if channels is None else channels, self.axes)


def default_axes(ndim: int, batch_axis: int = 0, channel_axis: int = -1) -> Axes:
    """Return the axes of an ``ndim``-dimensional array, spatial axes in the user's order.

    Raises
    ------
    ShapeError
        If an axis is out of range, or the batch and the channels share one.
    """
    if not (-ndim <= batch_axis < ndim and -ndim <= channel_axis < ndim):
        raise ShapeError(
            f"batch_axis={batch_axis} and channel_axis={channel_axis} do not fit an array of "
            f"{ndim} axes; each must lie between {-ndim} and {ndim - 1}."
        )
    batch, channel = batch_axis % ndim, channel_axis % ndim
    if batch == channel:
        raise ShapeError(
            f"batch_axis={batch_axis} and channel_axis={channel_axis} are the same axis of an "
            f"array of {ndim} axes; an array needs one axis for each."
        )
    return Axes(batch, channel, tuple(i for i in range(ndim) if i not in (batch, channel)))


@dataclass(frozen=True)
class Window:
    """A sliding window along one axis: output ``p`` reads input ``stride * p + t - low``."""

    size: int
    width: int
    stride: int
    padding: str

    @property
    def out(self) -> int:
        """Number of output positions."""
        if self.padding == "VALID":
            return max(0, (self.size - self.width) // self.stride + 1)
        return -(-self.size // self.stride)

    @property
    def low(self) -> int:
        """Positions padded before the first input."""
        if self.padding == "VALID":
            return 0
        return max(0, (self.out - 1) * self.stride + self.width - self.size) // 2

    @property
    def ends(self) -> tuple[int, int]:
        """The first and the last position that is read, padding counted on both sides."""
        return -self.low, self.stride * (self.out - 1) + self.width - 1 - self.low

    def below(self, offset: int) -> int | None:
        """Return the offset of what two outputs at an offset read at one tap, None for nothing."""
        return self.stride * offset

    def read(self, output: int, tap: int) -> int | None:
        """Return the position that an output reads at a tap, padding counted, None for none."""
        return self.stride * output + tap - self.low

    def sources(self, tap: int) -> list[int]:
        """Return the input position that each output reads at a tap, -1 for none."""
        reads = [self.read(p, tap) for p in range(self.out)]
        if self.padding == "CIRCULAR":
            return [-1 if x is None else x % self.size for x in reads]
        return [-1 if x is None or not 0 <= x < self.size else x for x in reads]


@dataclass(frozen=True)
class TransposedWindow(Window):
    """The window of a transposed convolution, which reads an input spread out by its stride.

    Output ``p`` reads input ``(p + t - low) / stride`` at tap ``t``, where that is whole.
    """

    @property
    def out(self) -> int:
        """Number of output positions."""
        more = max(self.width - self.stride, 0) if self.padding == "VALID" else 0
        return self.size * self.stride + more

    @property
    def low(self) -> int:
        """Positions padded before the first input."""
        if self.padding == "VALID" or self.stride >= self.width:
            return self.width - 1
        return (self.width + self.stride - 1) // 2

    @property
    def ends(self) -> tuple[int, int]:
        """The first and the last position that is read, padding counted on both sides."""
        return -(self.low // self.stride), (self.out + self.width - 2 - self.low) // self.stride

    def below(self, offset: int) -> int | None:
        """Return the offset of what two outputs at an offset read at one tap, None for nothing."""
        return offset // self.stride if offset % self.stride == 0 else None

    def read(self, output: int, tap: int) -> int | None:
        """Return the position that an output reads at a tap, padding counted, None for none."""
        return self.below(output + tap - self.low)


def as_padding(padding: Any, name: str) -> str:
    """Return a padding as text, or raise :class:`ArgumentError`."""
    known = [p.value for p in Padding]
    found = padding.value if isinstance(padding, Padding) else padding
    if found not in known:
        raise ArgumentError(
            f"{name} got padding={padding!r}; it must be one of {', '.join(known)}."
        )
    return str(found)


def as_sizes(values: Any, what: str, name: str) -> tuple[int, ...]:
    """Return a sequence of positive integers as a tuple, or raise :class:`ArgumentError`."""
    error = ArgumentError(
        f"{name} got {what}={values!r}; give a tuple of positive integers, one for each spatial "
        "axis."
    )
    try:
        sizes = tuple(operator.index(v) for v in values)
    except TypeError:
        raise error from None
    if min(sizes, default=1) < 1:
        raise error
    return sizes


def as_count(value: Any, what: str, name: str) -> int:
    """Return a positive integer, or raise :class:`ArgumentError`."""
    try:
        count = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = 0
    if count < 1:
        raise ArgumentError(f"{name} got {what}={value!r}; give a positive integer.")
    return count


def as_axes(value: Any, what: str, name: str) -> int | tuple[int, ...]:
    """Return an axis, or a sequence of axes as a tuple, or raise :class:`ArgumentError`."""
    try:
        return operator.index(value)
    except TypeError:
        pass
    try:
        return tuple(operator.index(a) for a in value)
    except TypeError:
        raise ArgumentError(
            f"{name} got {what}={value!r}; give an integer or a sequence of integers."
        ) from None


def axes_among(axes: int | tuple[int, ...], ndim: int, layer: object) -> set[int]:
    """Return axes of an ``ndim``-dimensional array without signs, or raise :class:`ShapeError`."""
    given = axes if isinstance(axes, tuple) else (axes,)
    if any(not -ndim <= a < ndim for a in given):
        raise ShapeError(
            f"{layer!r} is applied to an array of {ndim} axes; give axes between {-ndim} and "
            f"{ndim - 1}."
        )
    return {a % ndim for a in given}


def by_axis(values: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
    """Return values given in the order of the user's spatial axes in ntcore's order."""
    order = sorted(axes.spatial)
    return tuple(values[order.index(i)] for i in axes.spatial)
