"""What the layers that move a filter over space share; each one is a window and a formula."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ntcore.backend import Array, Place
from ntcore.cov import Cov, affine, read
from ntcore.layers import weights
from ntcore.layers.base import Coefficients, Linear, Params, Run, whole_positions
from ntcore.layers.specs import Specs, make_specs, settle_specs
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
from ntcore.shape import Axes, Shape


class Filter(Linear):
    """A filter over space."""

    transposed: ClassVar[bool] = False

    out_chan: int
    filter_shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    padding: str
    W_std: Any
    b_std: Any
    dimension_numbers: tuple[str, str, str] | None
    parameterization: str
    s: tuple[int, int]

    def __post_init__(self) -> None:
        settle_window(self, "filter_shape")
        weights.settle_weights(self, "out_chan")
        settle_specs(self, len(self.filter_shape))

    # planning

    @property
    def specs(self) -> Specs:
        """The axes of the input, the filter and the output."""
        return make_specs(self.dimension_numbers, len(self.filter_shape))

    @property
    def channels(self) -> int:
        """Number of channels of the output."""
        return self.out_chan * (self.s[1] if self.parameterization == "standard" else 1)

    @property
    def taps(self) -> int:
        """Number of taps of the filter, padding included."""
        return math.prod(self.filter_shape)

    def windows(self, sizes: tuple[int, ...], axes: Axes, padding: str = "") -> Windows:
        """Return the window of each spatial axis; ``padding`` overrides that of the layer."""
        steps = None if self.strides is None else self.specs.by_axis(self.strides, axes)
        widths = self.specs.by_axis(self.filter_shape, axes)
        return make_windows(sizes, widths, steps, padding or self.padding, self.transposed)

    def axes_in(self, ndim: int) -> Axes | None:
        return self.specs.axes if ndim == len(self.filter_shape) + 2 else None

    def axes_out(self, axes: Axes) -> Axes:
        return self.specs.axes_out(axes)

    def shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        if shape.ndim != len(self.filter_shape):
            raise wrong_ndim(self, shape, len(self.filter_shape))
        sizes = out_sizes(self, shape, self.windows(shape.spatial, shape.axes))
        return Shape(sizes, self.channels, self.axes_out(shape.axes))

    def traits(self, *inputs: Traits) -> Traits:
        return FRESH

    def need(self, out: Need, shape1: Shape, shape2: Shape) -> Need:
        one, two = (self.windows(s.spatial, s.axes) for s in (shape1, shape2))
        return through_windows(out, one, two, spread=False)

    def flops(self, inputs: tuple[Shape, ...]) -> float:
        return sum(self.filter_shape) + 2.0

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        windows = self.windows(shapes[0].spatial, shapes[0].axes)
        return centers(at, whole_positions(at, masks[0]), windows)

    # infinite width

    def coefficients(self, ctx: Context, m: Moments) -> Coefficients:
        return weights.coefficients(self, ctx.at, self.taps, ctx.inputs[0].channels)

    def mix(self, ctx: Context, cov: Cov) -> Cov:
        return self.mixed(ctx, cov, None, None, None)

    def mixed(self, ctx: Context, cov: Cov, scale: Any, bias: Any, plus: Cov | None) -> Cov:
        axes = ctx.inputs[0].axes
        one, two = (self.windows(s, axes) for s in (cov.layout.sizes1, cov.layout.sizes2))
        taps = tuple(shared_taps(a, b) for a, b in zip(one, two, strict=True))
        if not taps:
            return affine(ctx.at, cov, scale, bias, plus)
        return read(ctx.at, cov, ctx.layout, taps, False, scale, bias, plus)

    # finite width

    def init(self, at: Place, rng: Any, *inputs: Shape) -> Params:
        (shape,) = inputs
        specs = self.specs
        taps = specs.by_axis(self.filter_shape, specs.axes)
        bias = tuple(self.channels if c == "C" else 1 for c in specs.out)
        w, b = weights.draw(self, at, rng, (*taps, shape.channels, self.channels), bias)
        return self.users_filter(at, w), b

    def users_filter(self, at: Place, w: Array) -> Array:
        """Return a filter with the axes (space as in the input, in, out) in the user's order."""
        order = self.specs.filter_order
        return at.xp.permute_dims(w, tuple(order.index(i) for i in range(len(order))))

    def own_filter(self, at: Place, w: Array) -> Array:
        """Return the user's filter with the axes (space as in the input, in, out)."""
        return at.xp.permute_dims(w, self.specs.filter_order)

    def finite_windows(self, x: Array) -> Windows:
        """Return the windows of a batch ``(n, *spatial, C)``."""
        return self.windows(x.shape[1:-1], self.specs.axes)

    def rows(self, at: Place, x: Array) -> Array:
        """Return ``(n, *out, taps * C)``: what each output position reads."""
        windows = self.finite_windows(x)
        found = patches(at, x, windows)
        return at.xp.reshape(found, (x.shape[0], *(w.out for w in windows), -1))

    def unrows(self, at: Place, grad: Array, x: Array) -> Array:
        """Return the transpose of :meth:`rows`, at the batch ``x``, applied to a gradient."""
        windows = self.finite_windows(x)
        flat = (x.shape[0], math.prod(w.out for w in windows), -1, x.shape[-1])
        return unpatch(at, at.xp.reshape(grad, flat), windows)

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        w, b = params
        own = self.own_filter(run.at, w), b
        return weights.affine(self, run.at, own, self.rows(run.at, inputs[0]))

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        at, (x,), (w, b) = run.at, inputs, params
        own = self.own_filter(at, w), b
        (w, b), below = weights.affine_vjp(self, at, own, self.rows(at, x), grad)
        return (self.users_filter(at, w), b), (self.unrows(at, below, x),)
