"""Flattening space into channels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ntcore.backend import Array, Place
from ntcore.cov import Cov, layout_of, select, total
from ntcore.errors import ArgumentError, ShapeError
from ntcore.layers.base import Coefficients, Linear, Params, Run
from ntcore.moments import Context, Moments, Traits
from ntcore.need import Need, diagonal
from ntcore.record import record
from ntcore.shape import Axes, Shape


@record
class Flatten(Linear):
    r"""Flatten everything but the batch into one axis of channels.

    .. math:: K' = \frac{1}{P} \sum_p K[p, p], \qquad
              \Theta' = \frac{1}{P} \sum_p \Theta[p, p]

    over the :math:`P` positions: only offset 0 is ever needed (Novak et al. 2019, eq. 15).

    Parameters
    ----------
    batch_axis : int, default 0
        Axis of the examples in the input.
    batch_axis_out : int, default 0
        Axis of the examples in the output, 0 or 1 (or -1).

    Raises
    ------
    ArgumentError
        If ``batch_axis_out`` is not an axis of a matrix.
    ShapeError
        If ``batch_axis`` is not where the examples are, or two images differ in size.
    """

    batch_axis: int = 0
    batch_axis_out: int = 0

    def __post_init__(self) -> None:
        if self.batch_axis_out not in (0, 1, -1, -2):
            raise ArgumentError(
                f"Flatten got batch_axis_out={self.batch_axis_out!r}; its output has two axes, so "
                "give 0, 1, -1 or -2."
            )

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(), cls(batch_axis=1), cls(batch_axis_out=1)]

    def shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        if self.batch_axis % (shape.ndim + 2) != shape.axes.batch:
            raise ShapeError(
                f"{self!r} expects the examples on axis {self.batch_axis} but they are on axis "
                f"{shape.axes.batch}; pass batch_axis={shape.axes.batch}."
            )
        batch = self.batch_axis_out % 2
        return Shape((), shape.channels * math.prod(shape.spatial), Axes(batch, 1 - batch, ()))

    def traits(self, *inputs: Traits) -> Traits:
        return replace(inputs[0], gaussian=False, alike=False, is_input=False)

    def need(self, out: Need, shape1: Shape, shape2: Shape) -> Need:
        if shape1.spatial != shape2.spatial:
            raise ShapeError(
                f"{self!r} compares two images position by position but they have spatial sizes "
                f"{shape1.spatial} and {shape2.spatial}; give both one size, or use a global pool."
            )
        return diagonal(shape1.ndim)

    def flops(self, inputs: tuple[Shape, ...]) -> float:
        return float(math.prod(inputs[0].spatial))

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        (shape,) = shapes
        every = at.xp.broadcast_to(masks[0], (masks[0].shape[0], *shape.spatial, shape.channels))
        users = at.xp.permute_dims(every, shape.axes.inverse)
        return at.xp.reshape(self._batch_first(at, users), (every.shape[0], -1))

    def coefficients(self, ctx: Context, m: Moments) -> Coefficients:
        return Coefficients(1 / math.prod(ctx.inputs[0].spatial))

    def mix(self, ctx: Context, cov: Cov) -> Cov:
        layout = cov.layout
        zero = layout_of(diagonal(layout.ndim), layout.sizes1, layout.sizes2, layout.paired)
        return total(ctx.at, select(ctx.at, cov, zero))

    def _batch_first(self, at: Place, x: Array) -> Array:
        return at.xp.moveaxis(x, self.batch_axis, 0)

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        x = self._batch_first(run.at, inputs[0])
        flat = run.at.xp.reshape(x, (x.shape[0], -1))
        return flat if self.batch_axis_out % 2 == 0 else run.at.xp.permute_dims(flat, (1, 0))

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        flat = grad if self.batch_axis_out % 2 == 0 else run.at.xp.permute_dims(grad, (1, 0))
        back = run.at.xp.reshape(flat, self._batch_first(run.at, inputs[0]).shape)
        return (), (run.at.xp.moveaxis(back, 0, self.batch_axis),)
