"""Where branches begin and where they are added up."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any, ClassVar

from ntcore.backend import Array, Place
from ntcore.cov import select
from ntcore.errors import PlanError, ShapeError
from ntcore.layers.base import Layer, Params, Run
from ntcore.moments import Context, Moments, Traits
from ntcore.record import Record, record, settle
from ntcore.shape import Shape, as_count


@record
class FanOut(Record):
    """Hand one input to several branches.

    Parameters
    ----------
    num : int
        Number of branches.
    """

    num: int

    def __post_init__(self) -> None:
        settle(self, "num", as_count(self.num, "num", "FanOut"))


class FanIn(Layer):
    """Role of merges of branches of one shape."""

    arity: ClassVar[int | None] = None

    def shape(self, *inputs: Shape) -> Shape:
        if any(s != inputs[0] for s in inputs):
            raise ShapeError(
                f"{self!r} receives branches of different shapes ({sizes_of(inputs)}); give every "
                "branch the same spatial sizes, channels and axes."
            )
        return inputs[0]

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        return reduce(at.xp.logical_and, masks)

    def flops(self, inputs: tuple[Shape, ...]) -> float:
        return float(len(inputs) - 1)


def sizes_of(shapes: tuple[Shape, ...]) -> str:
    """Return the sizes of some branches as text, spatial sizes first."""
    return ", ".join(str((*s.spatial, s.channels)) for s in shapes)


def joint_roots(layer: Layer, inputs: tuple[Traits, ...], so: str) -> frozenset[int]:
    """Return the roots of all branches together, or refuse two branches that share one."""
    roots: frozenset[int] = frozenset()
    for i, t in enumerate(inputs):
        if roots & (t.roots or frozenset()):
            raise PlanError(
                f"{layer!r} receives a branch (number {i}) that shares its last weights with an "
                f"earlier one, so that the two are correlated and {so}; end one of them in a "
                "Dense or Conv layer of its own."
            )
        roots |= t.roots or frozenset()
    return roots


def merged(inputs: tuple[Traits, ...], roots: frozenset[int]) -> Traits:
    """Return the traits of several branches together: what all of them are."""
    return replace(
        inputs[0],
        gaussian=all(t.gaussian for t in inputs),
        alike=all(t.alike for t in inputs),
        is_input=False,
        trained=any(t.trained for t in inputs),
        roots=roots,
    )


@record
class FanInSum(FanIn):
    r"""Sum of branches: :math:`K' = \sum_b K_b` and :math:`\Theta' = \sum_b \Theta_b`.

    The sums hold where every branch is Gaussian with mean zero and no two branches are
    correlated, that is, where each one ends, up to pooling, in weights of its own.

    Raises
    ------
    PlanError
        If a branch is not Gaussian, or two branches share their last weights.
    ShapeError
        If the branches have different shapes.
    """

    pointwise: ClassVar[bool] = True

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls()]

    def traits(self, *inputs: Traits) -> Traits:
        bent = [i for i, t in enumerate(inputs) if not t.gaussian]
        if bent and len(inputs) > 1:
            raise PlanError(
                f"{self!r} receives a branch (number {bent[0]}) that is not Gaussian with mean "
                "zero, so that the covariance of the sum is not known; end the branch in a Dense "
                "or Conv layer."
            )
        return merged(inputs, joint_roots(self, inputs, "their covariances do not add"))

    def sums(self, *inputs: Shape) -> bool:
        return True

    def push(self, ctx: Context, *inputs: Moments) -> Moments:
        nngp = reduce(add, (select(ctx.at, m.nngp, ctx.layout) for m in inputs))
        parts = [select(ctx.at, m.ntk, ctx.layout) for m in inputs if m.ntk is not None]
        return Moments(nngp, reduce(add, parts) if parts else None)

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        return reduce(add, inputs)

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        return (), (grad,) * len(inputs)
