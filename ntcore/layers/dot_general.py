"""Contraction of space with a fixed array."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, field, replace
from typing import Any

from ntcore.backend import Array, Place
from ntcore.cov import Cov, contract, select
from ntcore.errors import ArgumentError
from ntcore.layers.base import Coefficients, Linear, Params, Run
from ntcore.layers.contraction import arranged, product, pullback
from ntcore.layers.dot_specs import (
    DotSpecs,
    Numbers,
    Order,
    as_numbers,
    as_tuples,
    make_dot_specs,
    sizes_of,
)
from ntcore.moments import Context, Moments
from ntcore.need import Need, everything
from ntcore.record import leaf, record, settle
from ntcore.shape import Axes, Shape, default_axes


@record
class DotGeneral(Linear):
    r"""``lax.dot_general`` of the input with a fixed array on one of its sides.

    .. math:: K'[b, o, f;\, b', o', f'] = \sum_{c, c'} A[b, o, c]\, K[b, c, f;\, b', c', f']\,
              A[b', o', c']

    and the same for :math:`\Theta`, where :math:`b` and :math:`c` are the batch and the
    contracting axes of ``dimension_numbers`` and :math:`f` the other spatial axes of the input:
    a linear map of space commutes with taking covariances. Axes :math:`c` need every offset, all
    others those of the output.

    The output has the axes :math:`b`, then those of ``lhs`` alone, then those of ``rhs`` alone.
    An output is masked where everything that it reads with a weight other than 0 is masked.

    Parameters
    ----------
    lhs, rhs : float, array or nested lists of them, optional
        The array :math:`A` on the left or on the right of the input, which may be learned;
        without one of them the layer is the identity.
    dimension_numbers : pair of pairs of sequences of int
        ``((lhs contracting, rhs contracting), (lhs batch, rhs batch))``, counted from 0.
    precision : optional
        Accepted and not read: products are always in the full precision of the data type.
    batch_axis, channel_axis : int
        Axes of the examples and of the channels in the input.

    Raises
    ------
    ArgumentError
        If both sides are given, or ``dimension_numbers`` do not fit the array.
    PlanError
        If the axis of the examples or of the channels is contracted or a batch axis, where no
        infinite limit exists.
    ShapeError
        If the sizes of the input and of the array differ.
    """

    _: KW_ONLY
    lhs: Any = leaf(default=None)
    rhs: Any = leaf(default=None)
    dimension_numbers: Numbers = (((), ()), ((), ()))
    precision: Any = None
    batch_axis: int = 0
    channel_axis: int = -1
    sizes: tuple[int, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        if self.lhs is not None and self.rhs is not None:
            raise ArgumentError(
                "DotGeneral got both lhs and rhs; give one, the other is the input of the layer."
            )
        settle(self, "lhs", as_tuples(self.lhs))
        settle(self, "rhs", as_tuples(self.rhs))
        settle(self, "sizes", sizes_of(self._given))
        numbers = as_numbers(self.dimension_numbers, self.lhs is not None, self.sizes)
        settle(self, "dimension_numbers", numbers)

    @property
    def _given(self) -> Any:
        return self.rhs if self.lhs is None else self.lhs

    @classmethod
    def examples(cls) -> list[Any]:
        small, half = (3, 4, 3), [[0.5, -0.4], [-1.0, -0.7], [0.3, 1.0]]
        whole = [[0.5, -0.4, -1.0], [-0.7, 0.3, 1.0], [0.8, -0.1, -0.9], [-0.8, 0.2, 0.6]]
        one, both = (((1,), (0,)), ((), ())), (((2, 1), (0, 1)), ((), ()))
        turned = (((0,), (2,)), ((), ()))
        return [
            cls(rhs=0.7),
            (cls(rhs=half, dimension_numbers=one, precision="highest"), small),
            (cls(rhs=whole, dimension_numbers=both), small),
            (cls(rhs=half, dimension_numbers=(((), ()), ((1,), (0,)))), small),
            (cls(lhs=half, dimension_numbers=turned, batch_axis=1, channel_axis=0), small),
            (cls(rhs=half[0]), (4, 3)),
        ]

    @property
    def _specs(self) -> DotSpecs:
        return make_dot_specs(self.dimension_numbers, self.lhs is not None, self.sizes)

    # planning

    def axes_in(self, ndim: int) -> Axes | None:
        return default_axes(ndim, self.batch_axis, self.channel_axis)

    def axes_out(self, axes: Axes) -> Axes:
        return self._specs.axes_out(axes)

    def shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        specs, axes = self._specs, shape.axes
        specs.check(self, shape)
        along, _, rest = ([shape.spatial[i] for i in k] for k in specs.order(axes))
        return Shape((*along, *specs.new, *rest), shape.channels, self.axes_out(axes))

    def need(self, out: Need, shape1: Shape, shape2: Shape) -> Need:
        below = list(everything(shape1.spatial, shape2.spatial).axes)
        for i, k in self._specs.kept(shape1.axes):
            below[i] = out.axes[k]
        return Need(tuple(below))

    def flops(self, inputs: tuple[Shape, ...]) -> float:
        width = math.prod(self.sizes[a] for a in self._specs.own_contracted)
        return 2.0 * width * (1 + width / math.prod(self._specs.new))

    # the array

    def _array(self, at: Place) -> Array:
        """Return the array as ``(*along, O, C)``."""
        return arranged(at, 1.0 if self._given is None else self._given, self._specs)

    # infinite width

    def coefficients(self, ctx: Context, m: Moments) -> Coefficients:
        if self.sizes or self._given is None:
            return Coefficients()
        return Coefficients(ctx.at.number(self._given) ** 2)

    def mix(self, ctx: Context, cov: Cov) -> Cov:
        specs, axes = self._specs, ctx.inputs[0].axes
        offsets = list(cov.layout.offsets)
        for i, k in specs.kept(axes):
            offsets[i] = ctx.layout.offsets[k]
        held = select(ctx.at, cov, replace(cov.layout, offsets=tuple(offsets)))
        if not self.sizes:
            return held
        along, mixed, _ = specs.order(axes)
        return contract(ctx.at, held, ctx.layout, self._array(ctx.at), along, mixed)

    # what is masked, and finite width

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        weights = at.xp.astype(self._array(at) != 0, at.dtype)
        held = at.xp.astype(~masks[0], at.dtype)
        return product(at, weights, held, self._specs.order(shapes[0].axes), self._specs.new) == 0

    def _order(self, ndim: int) -> Order:
        return self._specs.order(default_axes(ndim, self.batch_axis, self.channel_axis))

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        (x,) = inputs
        return product(run.at, self._array(run.at), x, self._order(x.ndim), self._specs.new)

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        (x,), a = inputs, self._array(run.at)
        return (), (pullback(run.at, a, x.shape, self._order(x.ndim), self._specs.new, grad),)
