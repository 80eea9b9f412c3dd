"""Pooling over all of space."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ntcore.backend import Array, Place
from ntcore.cov import Cov, spread, total
from ntcore.layers.base import Coefficients, Linear, Params, Run, whole_positions
from ntcore.moments import Context, Moments
from ntcore.need import Need, everything
from ntcore.record import record
from ntcore.shape import Axes, Shape, default_axes


class _GlobalPool(Linear):
    """What the two global pools share."""

    batch_axis: int
    channel_axis: int
    additive: ClassVar[bool] = True
    totals: ClassVar[bool] = True
    averages: ClassVar[bool]

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(), cls(batch_axis=1, channel_axis=0)]  # type: ignore[call-arg]

    def axes_in(self, ndim: int) -> Axes | None:
        return default_axes(ndim, self.batch_axis, self.channel_axis)

    def shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        return Shape((), shape.channels, self.axes_out(shape.axes))

    def axes_out(self, axes: Axes) -> Axes:
        return Axes(0, 1, ()) if axes.batch < axes.channel else Axes(1, 0, ())

    def need(self, out: Need, shape1: Shape, shape2: Shape) -> Need:
        return everything(shape1.spatial, shape2.spatial)

    def flops(self, inputs: tuple[Shape, ...]) -> float:
        return float(math.prod(inputs[0].spatial) ** 2)

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        space = tuple(range(1, masks[0].ndim - 1))
        return at.xp.all(whole_positions(at, masks[0]), axis=space)

    def coefficients(self, ctx: Context, m: Moments) -> Coefficients:
        if not self.averages:
            return Coefficients()
        if m.mask1 is None or m.mask2 is None:
            layout = m.nngp.layout
            return Coefficients(1 / (math.prod(layout.sizes1) * math.prod(layout.sizes2)))
        one, two = (_held(ctx.at, mask, (*range(mask.ndim - 1),)) for mask in (m.mask1, m.mask2))
        first, second = spread(ctx.at, one, two, ctx.layout)
        return Coefficients(1 / (first * second))

    def mix(self, ctx: Context, cov: Cov) -> Cov:
        return total(ctx.at, cov)

    def _weight(self, run: Run, x: Array) -> Any:
        """Return the weight of every position of each example."""
        (mask,) = run.masks or (None,)
        if not self.averages:
            return 1.0
        if mask is None:
            return 1 / math.prod(x.shape[1:-1])
        return 1 / _held(run.at, whole_positions(run.at, mask), (*range(1, x.ndim - 1),))

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        (x,) = inputs
        space = tuple(range(1, x.ndim - 1))
        summed = run.at.xp.sum(x, axis=space) if space else x
        return summed * self._weight(run, x)

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        (x,) = inputs
        each = grad * self._weight(run, x)
        spread = run.at.xp.reshape(each, (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1]))
        return (), (run.at.xp.broadcast_to(spread, x.shape),)


def _held(at: Place, mask: Array, space: tuple[int, ...]) -> Array:
    """Return the number of positions that are not masked, and 1 where all are."""
    count = at.xp.sum(at.xp.astype(~mask, at.dtype), axis=space)
    return at.xp.where(count == 0, at.xp.ones_like(count), count)


@record
class GlobalAvgPool(_GlobalPool):
    r"""Average over every spatial position.

    .. math:: K' = \frac{1}{P^2} \sum_{p, p'} K[p, p'], \qquad
              \Theta' = \frac{1}{P^2} \sum_{p, p'} \Theta[p, p']

    over the :math:`P` positions (Novak et al. 2019, eq. 17).

    Parameters
    ----------
    batch_axis, channel_axis : int
        Axes of the examples and of the channels.
    """

    batch_axis: int = 0
    channel_axis: int = -1
    averages: ClassVar[bool] = True


@record
class GlobalSumPool(_GlobalPool):
    r"""Sum over every spatial position.

    .. math:: K' = \sum_{p, p'} K[p, p'], \qquad \Theta' = \sum_{p, p'} \Theta[p, p']

    Parameters
    ----------
    batch_axis, channel_axis : int
        Axes of the examples and of the channels.
    """

    batch_axis: int = 0
    channel_axis: int = -1
    averages: ClassVar[bool] = False
