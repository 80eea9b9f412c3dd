"""Pooling over all of space."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ntcore.backend import Array, Place
from ntcore.cov import Cov, total
from ntcore.layers.base import Linear, Params
from ntcore.moments import Context
from ntcore.need import Need, everything
from ntcore.record import record
from ntcore.shape import Axes, Shape, default_axes


class _GlobalPool(Linear):
    """What the two global pools share; ``_factor`` is the weight of every position."""

    batch_axis: int
    channel_axis: int
    additive: ClassVar[bool] = True

    def _factor(self, positions: int) -> float:
        raise TypeError(f"{type(self).__name__} must define '_factor'")

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

    def mix(self, ctx: Context, cov: Cov) -> Cov:
        one, two = math.prod(cov.layout.sizes1), math.prod(cov.layout.sizes2)
        return total(ctx.at, cov).affine(self._factor(one) * self._factor(two))

    def forward(self, at: Place, params: Params, *inputs: Array) -> Array:
        (x,) = inputs
        space = tuple(range(1, x.ndim - 1))
        summed = at.xp.sum(x, axis=space) if space else x
        return summed * self._factor(math.prod(x.shape[1:-1]))

    def backward(self, at: Place, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        (x,) = inputs
        spread = at.xp.reshape(grad, (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1]))
        return (), (at.xp.broadcast_to(spread * self._factor(math.prod(x.shape[1:-1])), x.shape),)


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

    def _factor(self, positions: int) -> float:
        return 1 / positions


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

    def _factor(self, positions: int) -> float:
        return 1.0
