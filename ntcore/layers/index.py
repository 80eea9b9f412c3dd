"""Picking positions and examples."""

from __future__ import annotations

from typing import Any

from ntcore.backend import Array, Place
from ntcore.cov import Cov
from ntcore.errors import PlanError, ShapeError
from ntcore.layers.base import Linear, Params, Run
from ntcore.layers.cuts import WHOLE, Part, chosen, expanded, parts_of, written
from ntcore.layers.picking import axes_left, need_of, pick, read_cuts, unpick
from ntcore.moments import Context
from ntcore.need import Need
from ntcore.record import record, settle
from ntcore.shape import Axes, Shape, default_axes


@record
class Index(Linear):
    r"""Pick positions and examples: the network's outputs become ``f(x)[idx]``.

    .. math:: K'[p, p'] = K[s + t p,\, s' + t p'], \qquad
              \Theta'[p, p'] = \Theta[s + t p,\, s' + t p']

    on an axis of which a slice from :math:`s` (in ``x2``, :math:`s'`) in steps of :math:`t` is
    taken, so that offset :math:`d` of the output asks for :math:`t d + s' - s` of the input
    alone. An integer picks one position and takes the axis away. On the batch axis the same holds
    of examples, and whole batches go through what is below before any is picked: to leave
    examples out from the start, index the inputs.

    ``stax.Slice[:2, 1:-1, ..., ::2]`` is ``stax.Index`` of what stands in the brackets.

    Parameters
    ----------
    idx : int, slice, Ellipsis, Slice[...], or tuple of integers, slices and at most one Ellipsis
        As it would index an array, in the user's order of axes.
    batch_axis, channel_axis : int
        Axes of the examples and of the channels.

    Raises
    ------
    ArgumentError
        If ``idx`` holds anything else: None, arrays and lists are not accepted.
    ShapeError
        If ``idx`` has more parts than there are axes, an integer is out of range or on the axis
        of the examples or channels, or no position is left.
    PlanError
        If channels are picked, of which the infinite network has infinitely many.
    """

    idx: Any
    batch_axis: int = 0
    channel_axis: int = -1

    def __post_init__(self) -> None:
        network = getattr(self.idx, "network", self.idx)  # what Slice[...] returned
        settle(self, "idx", network.idx if isinstance(network, Index) else parts_of(network))

    def __repr__(self) -> str:
        text = f"Slice[{written(self.idx)}]"
        if (self.batch_axis, self.channel_axis) == (0, -1):
            return text
        return f"Index({text}, batch_axis={self.batch_axis}, channel_axis={self.channel_axis})"

    @classmethod
    def examples(cls) -> list[Any]:
        return [
            cls((slice(None), slice(1, None, 2), slice(None, None, -1)), channel_axis=3),
            cls((slice(None), slice(1, 4), 1)),
            cls((Ellipsis, -2, slice(None))),
            cls((slice(None), slice(None), slice(1, 4)), batch_axis=1, channel_axis=0),
            cls((slice(None, None, -1), slice(0, 2), ...)),
        ]

    # planning

    def axes_in(self, ndim: int) -> Axes | None:
        return default_axes(ndim, self.batch_axis, self.channel_axis)

    def _parts(self, axes: Axes) -> tuple[Part, ...]:
        """Return one part for each axis in ntcore's order: batch, space, channels."""
        every = expanded(self.idx, len(axes.order))
        return tuple(every[i] for i in axes.order)

    def axes_out(self, axes: Axes) -> Axes:
        return axes_left(axes, self._parts(axes))

    def shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        batch, *space, channel = self._parts(shape.axes)
        if isinstance(batch, int) or isinstance(channel, int):
            raise ShapeError(
                f"{self!r} has an integer on the axis of the examples or of the channels, which "
                "must stay; use a slice of length 1."
            )
        both = list(zip(space, shape.spatial, strict=True))
        channels = len(chosen(channel, shape.channels))
        if not channels or not all(chosen(part, size) for part, size in both):
            raise ShapeError(
                f"{self!r} picks what is not there, or nothing, of an input with spatial sizes "
                f"{shape.spatial} and {shape.channels} channels."
            )
        sizes = tuple(len(chosen(p, size)) for p, size in both if not isinstance(p, int))
        return Shape(sizes, channels, self.axes_out(shape.axes))

    def need(self, out: Need, shape1: Shape, shape2: Shape) -> Need:
        *space, channel = self._parts(shape1.axes)[1:]
        if channel != WHOLE:
            raise PlanError(
                f"{self!r} picks channels, of which the infinite network has infinitely many and "
                "all alike; put ':' on their axis."
            )
        return need_of(tuple(space), out, shape1.spatial, shape2.spatial)

    # infinite width

    def mix(self, ctx: Context, cov: Cov) -> Cov:
        return read_cuts(ctx.at, cov, ctx.layout, self._parts(ctx.inputs[0].axes)[1:-1])

    def regroups(self, *inputs: Shape) -> bool:
        return bool(self._parts(inputs[0].axes)[0] != WHOLE)

    def count(self, shapes: tuple[Shape, ...], counts: tuple[int, ...]) -> int:
        batch = self._parts(shapes[0].axes)[0]
        return counts[0] if counts[0] < 0 else len(chosen(batch, counts[0]))

    def regroup(
        self, at: Place, shapes: tuple[Shape, ...], arrays: tuple[Array, ...], axes: int, each: int
    ) -> Array:
        batch, *space, _ = self._parts(shapes[0].axes)
        parts = (*(batch,) * axes, *(p for p in space for _ in range(each)))
        return pick(at, arrays[0], parts)

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        parts = self._parts(shapes[0].axes)
        return pick(at, masks[0], parts[:-1] if masks[0].shape[-1] == 1 else parts)

    # finite width, in the user's order of axes: an integer may take any axis away

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        return pick(run.at, inputs[0], expanded(self.idx, inputs[0].ndim))

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        (x,) = inputs
        return (), (unpick(run.at, grad, x.shape, expanded(self.idx, x.ndim)),)

    apply, vjp = forward, backward
