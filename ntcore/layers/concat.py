"""Branches side by side."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any, ClassVar

from ntcore.backend import Array, Place
from ntcore.cov import Cov, Layout, read, select
from ntcore.errors import PlanError, ShapeError
from ntcore.layers.base import Layer, Params, Run
from ntcore.layers.fan import joint_roots, merged, sizes_of
from ntcore.layers.placing import block_diagonal, offsets_within, same, starts, within
from ntcore.moments import Context, Moments, Traits
from ntcore.need import Need
from ntcore.record import record
from ntcore.shape import Shape


@record
class FanInConcat(Layer):
    r"""Branches side by side, along the channels, an axis of space or the examples.

    Along the channels, with :math:`C_b` of them in branch :math:`b`,

    .. math:: K' = \sum_b \frac{C_b}{C} K_b, \qquad
              \Theta' = \sum_b \frac{C_b}{C} \Theta_b, \qquad C = \sum_b C_b,

    whatever the branches are; the channels are then not alike, and a Dense or Conv layer has to
    come before the next nonlinearity. Along any other axis :math:`K'` and :math:`\Theta'` are
    those of a branch between two of its own positions (or examples), and exactly 0 between
    positions of two branches. That holds where no two branches are correlated, and all but at
    most one have mean zero: where each ends, up to pooling, in weights of its own.

    Whole batches go through branches that are joined along the examples.

    Parameters
    ----------
    axis : int, default -1
        The axis, in the user's order.

    Raises
    ------
    ShapeError
        If the branches differ in another size, or there is no such axis.
    PlanError
        If two branches share their last weights, or two are not Gaussian with mean zero, on an
        axis other than the channels.
    """

    axis: int = -1
    arity: ClassVar[int | None] = None

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(), (cls(1), (5, 4, 3)), (cls(-2), (7, 3)), (cls(0), (3, 4, 2))]

    # planning

    def _place(self, shape: Shape) -> int:
        """Return the axis in ntcore's order: batch, space, channels."""
        ndim = shape.ndim + 2
        if not -ndim <= self.axis < ndim:
            raise ShapeError(
                f"{self!r} has no such axis in branches of {ndim} axes; give one between {-ndim} "
                f"and {ndim - 1}."
            )
        return shape.axes.order.index(self.axis % ndim)

    def shape(self, *inputs: Shape) -> Shape:
        first, place = inputs[0], self._place(inputs[0])
        sizes = [[0, *s.spatial, s.channels] for s in inputs]
        others = {tuple(n for i, n in enumerate(each) if i != place) for each in sizes}
        if len(others) > 1 or any(s.axes != first.axes for s in inputs):
            raise ShapeError(
                f"{self!r} receives branches of different shapes ({sizes_of(inputs)}); give every "
                f"branch the same axes, and the same sizes on all but axis {self.axis}."
            )
        joint = list(sizes[0])
        joint[place] = sum(each[place] for each in sizes)
        return first.with_sizes(tuple(joint[1:-1]), joint[-1])

    def _along_channels(self, shape: Shape) -> bool:
        return self._place(shape) == shape.ndim + 1

    def traits_at(self, shapes: tuple[Shape, ...], traits: tuple[Traits, ...]) -> Traits:
        if len(traits) == 1:
            return merged(traits, traits[0].roots or frozenset())
        if self._along_channels(shapes[0]):
            roots = reduce(frozenset.union, (t.roots or frozenset() for t in traits))
            return replace(merged(traits, roots), gaussian=False, alike=False)
        bent = [i for i, t in enumerate(traits) if not t.gaussian]
        if len(bent) > 1:
            raise PlanError(
                f"{self!r} receives two branches (numbers {bent[0]} and {bent[1]}) that are not "
                "Gaussian with mean zero, so that the covariance between them is not known; end "
                "one of them in a Dense or Conv layer."
            )
        return merged(traits, joint_roots(self, traits, "the covariance between them is not 0"))

    def needs(
        self, out: Need, shapes1: tuple[Shape, ...], shapes2: tuple[Shape, ...]
    ) -> tuple[Need, ...]:
        k = self._place(shapes1[0]) - 1
        if not 0 <= k < shapes1[0].ndim:
            return (out,) * len(shapes1)
        one, two = ([s.spatial[k] for s in shapes] for shapes in (shapes1, shapes2))
        parts = offsets_within(out.axes[k], one, two)
        return tuple(Need((*out.axes[:k], own, *out.axes[k + 1 :])) for own in parts)

    def flops(self, inputs: tuple[Shape, ...]) -> float:
        return float(len(inputs))

    # infinite width

    def push(self, ctx: Context, *inputs: Moments) -> Moments:
        layouts = [m.nngp.layout for m in inputs]
        nngps = [self._put(ctx, layouts, b, m.nngp) for b, m in enumerate(inputs)]
        both = [(b, m.ntk) for b, m in enumerate(inputs) if m.ntk is not None]
        ntks = [self._put(ctx, layouts, b, ntk) for b, ntk in both]
        return Moments(reduce(add, nngps), reduce(add, ntks) if ntks else None)

    def _put(self, ctx: Context, layouts: list[Layout], branch: int, cov: Cov) -> Cov:
        """Return what a branch adds to the block of the output."""
        if self._along_channels(ctx.inputs[0]):
            channels = [s.channels for s in ctx.inputs]
            return select(ctx.at, cov, ctx.layout).affine(channels[branch] / sum(channels))
        k, out = self._place(ctx.inputs[0]) - 1, ctx.layout
        taps = [same(a, b) for a, b in zip(out.sizes1, out.sizes2, strict=True)]
        ends = [x.sizes1[k] for x in layouts], [x.sizes2[k] for x in layouts]
        taps[k] = within(ends[0], branch), within(ends[1], branch)
        return read(ctx.at, cov, out, tuple((tap,) for tap in taps))

    def regroups(self, *inputs: Shape) -> bool:
        return self._place(inputs[0]) == 0

    def count(self, shapes: tuple[Shape, ...], counts: tuple[int, ...]) -> int:
        return -1 if min(counts) < 0 else sum(counts)

    def regroup(
        self, at: Place, shapes: tuple[Shape, ...], arrays: tuple[Array, ...], axes: int, each: int
    ) -> Array:
        return at.xp.concat(arrays, axis=0) if axes == 1 else block_diagonal(at, arrays)

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        both = zip(masks, shapes, strict=True)
        every = [at.xp.broadcast_to(m, (*m.shape[:-1], s.channels)) for m, s in both]
        return at.xp.concat(every, axis=self._place(shapes[0]))

    # finite width

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        return run.at.xp.concat(inputs, axis=self.axis % inputs[0].ndim)

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        axis = self.axis % grad.ndim
        sizes = [x.shape[axis] for x in inputs]
        before = (slice(None),) * axis
        both = zip(starts(sizes), sizes, strict=True)
        return (), tuple(grad[(*before, slice(i, i + n), ...)] for i, n in both)
