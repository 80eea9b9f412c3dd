"""Pooling over windows: averages and sums."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ntcore.backend import Array, Place, host
from ntcore.cov import Cov, Features, read, weigh
from ntcore.layers.base import Linear, Params, Run, whole_positions
from ntcore.layers.windows import (
    Windows,
    centers,
    edge_counts,
    independent_taps,
    make_windows,
    out_sizes,
    patches,
    settle_window,
    unpatch,
    wrong_ndim,
)
from ntcore.moments import Context
from ntcore.need import Need, through_windows
from ntcore.record import record
from ntcore.shape import Axes, Shape, by_axis, default_axes


class _Pool(Linear):
    """What the two pools share; ``_weights`` gives the weight of every output of an axis."""

    window_shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    padding: str
    batch_axis: int
    channel_axis: int
    additive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        settle_window(self, "window_shape")

    def _weights(self, windows: Windows) -> tuple[Any, ...]:
        raise TypeError(f"{type(self).__name__} must define '_weights'")

    def _windows(self, sizes: tuple[int, ...], axes: Axes) -> Windows:
        steps = None if self.strides is None else by_axis(self.strides, axes)
        return make_windows(sizes, by_axis(self.window_shape, axes), steps, self.padding)

    def axes_in(self, ndim: int) -> Axes | None:
        return default_axes(ndim, self.batch_axis, self.channel_axis)

    def shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        if shape.ndim != len(self.window_shape):
            raise wrong_ndim(self, shape, len(self.window_shape))
        return shape.with_sizes(out_sizes(self, shape, self._windows(shape.spatial, shape.axes)))

    def need(self, out: Need, shape1: Shape, shape2: Shape) -> Need:
        one, two = (self._windows(s.spatial, s.axes) for s in (shape1, shape2))
        return through_windows(out, one, two, spread=True)

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        windows = self._windows(shapes[0].spatial, shapes[0].axes)
        return centers(at, whole_positions(at, masks[0]), windows)

    def maps(self, *inputs: Shape) -> bool:
        return True

    def map_features(
        self, at: Place, shape: Shape, features: Features, away: Array | None
    ) -> Features:
        pooled = self._pooled(at, features.data, self._windows(shape.spatial, shape.axes))
        return features.mapped(at, pooled, None, 0.0)

    def flops(self, inputs: tuple[Shape, ...]) -> float:
        return float(sum(w * w for w in self.window_shape))

    def mix(self, ctx: Context, cov: Cov) -> Cov:
        axes = ctx.inputs[0].axes
        one = self._windows(cov.layout.sizes1, axes)
        two = self._windows(cov.layout.sizes2, axes)
        taps = tuple(independent_taps(a, b) for a, b in zip(one, two, strict=True))
        summed = read(ctx.at, cov, ctx.layout, taps, ctx.partial)
        return weigh(ctx.at, summed, self._weights(one), self._weights(two))

    def _pooled(self, at: Place, x: Array, windows: Windows) -> Array:
        """Return the weighed sums of windows of arrays ``(n, *spatial, C)``."""
        summed = at.xp.sum(patches(at, x, windows), axis=2)
        out = at.xp.reshape(summed, (x.shape[0], *(w.out for w in windows), x.shape[-1]))
        return out * self._scale(at, windows)

    def _scale(self, at: Place, windows: Windows) -> Array:
        """The weight of every output position, as ``(1, *spatial, 1)``."""
        np = host().namespace
        scale = np.ones((1,) * len(windows))
        for k, w in enumerate(self._weights(windows)):
            scale = scale * np.asarray(w).reshape((-1,) + (1,) * (len(windows) - k - 1))
        return at.asarray(scale[None, ..., None])

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        (x,) = inputs
        return self._pooled(run.at, x, self._windows(x.shape[1:-1], default_axes(x.ndim)))

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        (x,) = inputs
        windows = self._windows(x.shape[1:-1], default_axes(x.ndim))
        taps = math.prod(w.width for w in windows)
        flat = run.at.xp.reshape(
            grad * self._scale(run.at, windows), (x.shape[0], -1, 1, x.shape[-1])
        )
        every = run.at.xp.broadcast_to(flat, (*flat.shape[:2], taps, flat.shape[3]))
        return (), (unpatch(run.at, every, windows),)


@record
class AvgPool(_Pool):
    r"""Average over windows.

    .. math:: K'[p, p'] = \frac{1}{c_p c_{p'}} \sum_{t, t'} K[s p + t - l, s p' + t' - l]

    and the same for :math:`\Theta` (Novak et al. 2019, eq. 17). :math:`c_p` is the size of the
    window or, with ``normalize_edges``, the number of its positions that are not padding.

    Parameters
    ----------
    window_shape : tuple of int
        Size of the window on each spatial axis.
    strides : tuple of int, optional
        Stride on each spatial axis, 1 by default.
    padding : {'VALID', 'SAME', 'CIRCULAR'}
    normalize_edges : bool, default False
        Whether to leave padding out of the count.
    batch_axis, channel_axis : int
        Axes of the examples and of the channels.

    Raises
    ------
    ArgumentError, ShapeError
        If an argument is outside what is listed, or the window does not fit the input.
    """

    window_shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    padding: str = "VALID"
    normalize_edges: bool = False
    batch_axis: int = 0
    channel_axis: int = -1

    @classmethod
    def examples(cls) -> list[Any]:
        return [
            cls((2, 2), (2, 2)),
            cls((3, 2), None, "SAME"),
            cls((3, 2), (2, 1), "SAME", normalize_edges=True),
            cls((2, 3), (2, 2), "CIRCULAR"),
            cls((2, 2), (2, 1), "VALID", batch_axis=1, channel_axis=0),
        ]

    def _weights(self, windows: Windows) -> tuple[Any, ...]:
        if self.normalize_edges:
            return tuple([1 / n for n in edge_counts(w)] for w in windows)
        return tuple([1 / w.width] * w.out for w in windows)


@record
class SumPool(_Pool):
    r"""Sum over windows.

    .. math:: K'[p, p'] = \sum_{t, t'} K[s p + t - l, s p' + t' - l]

    and the same for :math:`\Theta`.

    Parameters
    ----------
    window_shape : tuple of int
        Size of the window on each spatial axis.
    strides : tuple of int, optional
        Stride on each spatial axis, 1 by default.
    padding : {'VALID', 'SAME', 'CIRCULAR'}
    batch_axis, channel_axis : int
        Axes of the examples and of the channels.

    Raises
    ------
    ArgumentError, ShapeError
        If an argument is outside what is listed, or the window does not fit the input.
    """

    window_shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    padding: str = "VALID"
    batch_axis: int = 0
    channel_axis: int = -1

    @classmethod
    def examples(cls) -> list[Any]:
        return [
            cls((2, 2), (2, 2)),
            cls((2, 3), (1, 2), "SAME"),
            cls((3, 3), (2, 2), "CIRCULAR"),
            cls((2, 2), (1, 2), "SAME", batch_axis=1, channel_axis=0),
        ]

    def _weights(self, windows: Windows) -> tuple[Any, ...]:
        return tuple([1.0] * w.out for w in windows)
