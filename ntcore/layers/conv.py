"""The convolution."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from ntcore.backend import Array, Place
from ntcore.cov import Cov, affine, read
from ntcore.errors import ArgumentError
from ntcore.layers import weights
from ntcore.layers.base import Coefficients, Linear, Params, Run, whole_positions
from ntcore.layers.windows import (
    Windows,
    centers,
    make_windows,
    out_sizes,
    patches,
    settle_window,
    shared_taps,
    unpatch,
    wrong_ndim,
)
from ntcore.moments import FRESH, Context, Moments, Traits
from ntcore.need import Need, through_windows
from ntcore.record import leaf, record
from ntcore.shape import Axes, Shape, default_axes


@record
class Conv(Linear):
    r"""Convolution over 1, 2, 3 or more spatial axes.

    .. math:: K'[p, p'] = \frac{\sigma_w^2}{T} \sum_t K[s p + t - l, s p' + t - l] + \sigma_b^2,
              \qquad \Theta' = \frac{\sigma_w^2}{T} \sum_t \Theta[\ldots] + K'

    over the :math:`T` taps of the filter, with stride :math:`s` and :math:`l` positions of
    padding in front; an entry is 0 where either position is padding (Arora et al. 2019,
    section 4; Novak et al. 2019, eq. 9). :math:`T` counts every tap, padding included.

    Parameters
    ----------
    out_chan : int
        Number of output channels.
    filter_shape : tuple of int
        Size of the filter on each spatial axis.
    strides : tuple of int, optional
        Stride on each spatial axis, 1 by default.
    padding : {'VALID', 'SAME', 'CIRCULAR'}
        ``CIRCULAR`` has the output size of ``SAME`` and wraps around.
    W_std, b_std : float or array
        Standard deviations of the weights and of the bias; ``b_std=None`` means no bias.
    dimension_numbers : tuple of str, optional
        Axes of the input, the filter and the output, such as ``('NCHW', 'OIHW', 'NCHW')``;
        channels last by default. ``filter_shape`` and ``strides`` are in the order of
        the filter's axes, and meet those of the input and output by letter.
    parameterization : {'ntk', 'standard'}
        As in :class:`~ntcore.layers.dense.Dense`; the fan-in is the number of taps times the
        number of input channels.
    s : tuple of int, default (1, 1)
        Width multipliers of the input and of the output, in the standard parameterization.

    Raises
    ------
    ArgumentError
        If an argument is outside what is listed.
    ShapeError
        If the filter does not fit the input.
    """

    out_chan: int
    filter_shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    padding: str = "VALID"
    W_std: Any = leaf(default=1.0)
    b_std: Any = leaf(default=None)
    dimension_numbers: tuple[str, str, str] | None = None
    parameterization: str = "ntk"
    s: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        settle_window(self, "filter_shape")
        weights.settle_weights(self, "out_chan")
        self._check_specs()

    def _check_specs(self) -> None:
        if self.dimension_numbers is None:
            return
        lhs, rhs, out = self.dimension_numbers
        space = set(lhs) - set("NC")
        fits = len(space) == len(self.filter_shape) == len(lhs) - 2 and {"N", "C"} < set(lhs)
        if not fits or sorted(out) != sorted(lhs) or sorted(rhs) != sorted({*space, "I", "O"}):
            raise ArgumentError(
                f"Conv got dimension_numbers={self.dimension_numbers!r} for a filter of "
                f"{len(self.filter_shape)} axes; give three strings such as "
                "('NCHW', 'OIHW', 'NCHW') with one letter per spatial axis."
            )

    @classmethod
    def examples(cls) -> list[Any]:
        return [
            cls(5, (3, 3), padding="SAME", W_std=1.3, b_std=0.2),
            cls(5, (3, 2)),
            cls(5, (2, 3), (2, 1), "VALID", b_std=0.1),
            cls(5, (3, 4), (2, 3), "SAME", W_std=1.1),
            cls(5, (3, 3), (2, 2), "CIRCULAR", b_std=0.3),
            cls(5, (2, 5), None, "CIRCULAR"),
            cls(5, (3, 2), padding="SAME", b_std=0.3, parameterization="standard", s=(1, 2)),
            cls(5, (3, 2), (1, 2), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")),
            cls(5, (3,), (2,), "SAME", b_std=0.1),
            cls(5, (2, 3, 2), (1, 2, 1), "CIRCULAR", b_std=0.1),
        ]

    # planning

    @property
    def _specs(self) -> tuple[str, str, str]:
        return self.dimension_numbers or _channels_last(len(self.filter_shape))

    @property
    def _out(self) -> int:
        return self.out_chan * (self.s[1] if self.parameterization == "standard" else 1)

    def _by_axis(self, values: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
        """Return values given in the filter's order in ntcore's order of spatial axes."""
        return _by_axis(values, self._specs, axes)

    def _windows(self, sizes: tuple[int, ...], axes: Axes) -> Windows:
        steps = None if self.strides is None else self._by_axis(self.strides, axes)
        return make_windows(sizes, self._by_axis(self.filter_shape, axes), steps, self.padding)

    def axes_in(self, ndim: int) -> Axes | None:
        return self._axes() if ndim == len(self.filter_shape) + 2 else None

    def _axes(self) -> Axes:
        lhs = self._specs[0]
        return default_axes(len(lhs), lhs.index("N"), lhs.index("C"))

    def shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        if shape.ndim != len(self.filter_shape):
            raise wrong_ndim(self, shape, len(self.filter_shape))
        sizes = out_sizes(self, shape, self._windows(shape.spatial, shape.axes))
        return Shape(sizes, self._out, self.axes_out(shape.axes))

    def axes_out(self, axes: Axes) -> Axes:
        lhs, _, out = self._specs
        space = tuple(out.index(lhs[i]) for i in axes.spatial)
        return Axes(out.index("N"), out.index("C"), space)

    def traits(self, *inputs: Traits) -> Traits:
        return FRESH

    def need(self, out: Need, shape1: Shape, shape2: Shape) -> Need:
        one, two = (self._windows(s.spatial, s.axes) for s in (shape1, shape2))
        return through_windows(out, one, two, spread=False)

    def flops(self, inputs: tuple[Shape, ...]) -> float:
        return sum(self.filter_shape) + 2.0

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        windows = self._windows(shapes[0].spatial, shapes[0].axes)
        return centers(at, whole_positions(at, masks[0]), windows)

    # infinite width

    def coefficients(self, ctx: Context, m: Moments) -> Coefficients:
        taps = math.prod(self.filter_shape)
        return weights.coefficients(self, ctx.at, taps, ctx.inputs[0].channels)

    def mix(self, ctx: Context, cov: Cov) -> Cov:
        return self.mixed(ctx, cov, None, None, None)

    def mixed(self, ctx: Context, cov: Cov, scale: Any, bias: Any, plus: Cov | None) -> Cov:
        axes = ctx.inputs[0].axes
        one = self._windows(cov.layout.sizes1, axes)
        two = self._windows(cov.layout.sizes2, axes)
        taps = tuple(shared_taps(a, b) for a, b in zip(one, two, strict=True))
        if not taps:
            return affine(ctx.at, cov, scale, bias, plus)
        return read(ctx.at, cov, ctx.layout, taps, False, scale, bias, plus)

    # finite width

    def init(self, at: Place, rng: Any, *inputs: Shape) -> Params:
        (shape,) = inputs
        out, order = self._specs[2], self._filter_order()
        taps = self._by_axis(self.filter_shape, self._axes())
        w, b = weights.draw(self, at, rng, (*taps, shape.channels, self._out), shape.ndim + 2)
        w = at.xp.permute_dims(w, tuple(order.index(i) for i in range(len(order))))
        if b is not None:
            b = at.xp.reshape(b, tuple(self._out if c == "C" else 1 for c in out))
        return w, b

    def _filter_order(self) -> tuple[int, ...]:
        """The axes of the user's filter in the order: space as in the input, in, out."""
        lhs, rhs, _ = self._specs
        return (*(rhs.index(c) for c in lhs if c not in "NC"), rhs.index("I"), rhs.index("O"))

    def _finite_windows(self, x: Array) -> Windows:
        return self._windows(x.shape[1:-1], self._axes())

    def _rows(self, at: Place, x: Array) -> Array:
        """Every patch of the input as one row."""
        windows = self._finite_windows(x)
        found = patches(at, x, windows)
        return at.xp.reshape(found, (x.shape[0], *(w.out for w in windows), -1))

    def _canonical(self, at: Place, params: Params) -> Params:
        return at.xp.permute_dims(params[0], self._filter_order()), params[1]

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        return weights.affine(
            self, run.at, self._canonical(run.at, params), self._rows(run.at, inputs[0])
        )

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        (x,) = inputs
        rows = self._rows(run.at, x)
        (w, b), below = weights.affine_vjp(
            self, run.at, self._canonical(run.at, params), rows, grad
        )
        order = self._filter_order()
        w = run.at.xp.permute_dims(w, tuple(order.index(i) for i in range(len(order))))
        windows = self._finite_windows(x)
        flat = (x.shape[0], math.prod(v.out for v in windows), -1, x.shape[-1])
        return (w, b), (unpatch(run.at, run.at.xp.reshape(below, flat), windows),)


@lru_cache(maxsize=16)
def _channels_last(ndim: int) -> tuple[str, str, str]:
    space = "".join(chr(ord("a") + i) for i in range(ndim))
    return f"N{space}C", f"{space}IO", f"N{space}C"


@lru_cache(maxsize=1024)
def _by_axis(values: tuple[int, ...], specs: tuple[str, str, str], axes: Axes) -> tuple[int, ...]:
    lhs, rhs, _ = specs
    named = dict(zip((c for c in rhs if c not in "IO"), values, strict=True))
    return tuple(named[lhs[i]] for i in axes.spatial)
