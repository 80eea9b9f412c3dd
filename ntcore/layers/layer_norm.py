"""Normalization of each example over its channels, and over space."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ntcore.backend import Array, Place
from ntcore.cov import Cov, inverse_root, normalize, put_variances, select, spread
from ntcore.errors import ArgumentError, PlanError
from ntcore.layers.base import Layer, Params, Run, not_gaussian, variances_of
from ntcore.moments import Context, Moments, Traits
from ntcore.need import Need, diagonal
from ntcore.ops import leading_sum, product
from ntcore.record import record, settle
from ntcore.shape import Axes, Shape, as_axes, axes_among, default_axes


@record
class LayerNorm(Layer):
    r"""Subtract the mean and divide by the standard deviation over the axes in ``axis``.

    .. math:: K'[p, p'] = \frac{K[p, p']}{\sqrt{(v_p + \epsilon)(v'_{p'} + \epsilon)}}, \qquad
              \Theta'[p, p'] = \frac{\Theta[p, p']}{\sqrt{(v_p + \epsilon)(v'_{p'} + \epsilon)}}

    with :math:`v_p` the mean of the variances :math:`K[r, r]` of an example over the positions
    :math:`r` that are normalized together with :math:`p`: over channels alone
    :math:`v_p = K[p, p]`. Masked positions do not count. The mean over infinitely many Gaussian
    channels is 0 (Ba, Kiros and Hinton 2016).

    Parameters
    ----------
    axis : int or sequence of int, default -1
        Axes of the input to normalize over: the channels, and any spatial axes.
    eps : float, default 1e-12
        Added to the variance. With 0, what has no variance becomes 0.
    batch_axis, channel_axis : int
        Axes of the examples and of the channels.

    Raises
    ------
    ArgumentError
        If ``axis`` is not made of integers, or ``eps`` is negative.
    ShapeError
        If an axis is out of range.
    PlanError
        If the channels are left out, the examples are not, or the input is not Gaussian.
    """

    axis: int | tuple[int, ...] = -1
    eps: float = 1e-12
    batch_axis: int = 0
    channel_axis: int = -1

    def __post_init__(self) -> None:
        if not isinstance(self.eps, (int, float)) or not 0 <= self.eps < math.inf:
            raise ArgumentError(f"LayerNorm got eps={self.eps!r}; give a number that is 0 or more.")
        settle(self, "axis", as_axes(self.axis, "axis", "LayerNorm"))

    @classmethod
    def examples(cls) -> list[Any]:
        swapped = cls((0, 2), batch_axis=1, channel_axis=0)
        return [cls(), cls((1, -1)), cls((3, 1, 2), 0.1), swapped]

    # planning

    def axes_in(self, ndim: int) -> Axes | None:
        return default_axes(ndim, self.batch_axis, self.channel_axis)

    def shape(self, *inputs: Shape) -> Shape:
        self._space(inputs[0].axes)
        return inputs[0]

    def _space(self, axes: Axes) -> tuple[int, ...]:
        """Return which of ntcore's spatial axes are normalized over."""
        found = axes_among(self.axis, len(axes.order), self)
        if axes.batch in found:
            raise PlanError(
                f"{self!r} normalizes over the examples, on axis {axes.batch}, so that the kernel "
                "of two examples would depend on all the others; leave that axis out."
            )
        if axes.channel not in found:
            raise PlanError(
                f"{self!r} does not normalize over the channels, on axis {axes.channel}, without "
                "which mean and variance stay random at infinite width; add that axis."
            )
        return tuple(k for k, a in enumerate(axes.spatial) if a in found)

    def traits(self, *inputs: Traits) -> Traits:
        (t,) = inputs
        if not t.gaussian:
            raise not_gaussian(self, t, "whose mean over the channels is not 0 and not known")
        return replace(t, is_input=False)

    def sides(self, shape: Shape) -> Need | None:
        return diagonal(shape.ndim)

    def flops(self, inputs: tuple[Shape, ...]) -> float:
        return 4.0

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        return masks[0]

    # infinite width

    def push(self, ctx: Context, *inputs: Moments) -> Moments:
        (m,) = inputs
        at, layout, axes = ctx.at, ctx.layout, ctx.inputs[0].axes
        q1, q2 = variances_of(self, m)
        k = select(at, m.nngp, layout)
        if m.same is not None:
            k = put_variances(at, k, spread(at, q1, q2, layout)[0], m.same)
        both = ((q1, m.mask1), (q2, m.mask2))
        if self._space(axes) or not (m.mask1 is None and m.mask2 is None):
            q1, q2 = (self._mean(at, q, mask, self._space(axes)) for q, mask in both)
        k, factor = normalize(at, k, q1, q2, self.eps)
        if m.ntk is None:
            return Moments(k)
        below = select(at, m.ntk, layout)
        return Moments(k, Cov(product(at, below.data, factor), layout))

    def _mean(self, at: Place, q: Array, mask: Array | None, space: tuple[int, ...]) -> Array:
        """Return the mean variance around every position, by a mask ``(P1, P2, ..., n)``."""
        held = at.xp.ones_like(q) if mask is None else at.xp.astype(~mask, at.dtype)
        mean = _total(at, q, space) / at.xp.clip(_total(at, held, space), min=1.0)
        return at.xp.broadcast_to(mean, q.shape)

    # finite width

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        centered, scale, _, _ = self._parts(run, inputs[0])
        return centered * scale

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        centered, scale, held, mean = self._parts(run, inputs[0])
        out, grad = centered * scale, grad * held
        return (), (scale * held * (grad - mean(grad) - out * mean(grad * out)),)

    def _parts(self, run: Run, x: Array) -> Any:
        """Return the centered input, its factor, what is not masked, and the mean over it."""
        xp = run.at.xp
        (mask,) = run.masks or (None,)
        held = xp.ones_like(x) if mask is None else xp.astype(~mask, x.dtype)
        held = xp.broadcast_to(held, x.shape)
        axes = default_axes(x.ndim, self.batch_axis, self.channel_axis)
        over = (*(k + 1 for k in self._space(axes)), x.ndim - 1)
        count = xp.clip(xp.sum(held, axis=over, keepdims=True), min=1.0)

        def mean(y: Array) -> Array:
            return xp.sum(y, axis=over, keepdims=True) / count

        centered = (x - mean(x * held)) * held
        return centered, inverse_root(run.at, mean(centered**2) + self.eps), held, mean


def _total(at: Place, x: Array, space: tuple[int, ...]) -> Array:
    """Return the sum over some leading axes, which stay with size 1."""
    for k in space:
        x = at.xp.moveaxis(x, k, 0)
        x = at.xp.moveaxis(leading_sum(at, x)[None, ...], 0, k)
    return x
