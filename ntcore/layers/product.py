"""Branches multiplied with each other."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import add, mul
from typing import Any

from ntcore.backend import Array
from ntcore.cov import Cov, select
from ntcore.errors import PlanError
from ntcore.layers.base import Params, Run
from ntcore.layers.fan import FanIn, joint_roots, merged
from ntcore.moments import Context, Moments, Traits
from ntcore.record import record
from ntcore.shape import Shape


@record
class FanInProd(FanIn):
    r"""Product of branches, entry by entry.

    .. math:: K' = \prod_b K_b, \qquad \Theta' = \sum_b \Theta_b \prod_{j \ne b} K_j

    A channel's product has the product of the branches' second moments where no two branches
    are correlated, that is, where each one ends in weights of its own; the branches may be
    nonlinear and have any mean. Averaged over the channels this is :math:`\prod_b K_b` if the
    channels of every branch, except for at most one, are distributed alike: they are not in an
    input, behind a Flatten and behind channels put side by side. A product is not Gaussian: a
    Dense or Conv layer has to come before the next nonlinearity.

    Raises
    ------
    PlanError
        If two branches share their last weights, or the channels of two are not alike.
    ShapeError
        If the branches have different shapes.
    """

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls()]

    def traits(self, *inputs: Traits) -> Traits:
        if len(inputs) == 1:
            return merged(inputs, inputs[0].roots or frozenset())
        unlike = [i for i, t in enumerate(inputs) if not t.alike]
        if len(unlike) > 1:
            raise PlanError(
                f"{self!r} receives two branches (numbers {unlike[0]} and {unlike[1]}) whose "
                "channels are not distributed alike, as those of an input or of a Flatten are "
                "not, so that the mean of their product is not the product of their means; end "
                "one of them in a Dense or Conv layer."
            )
        roots = joint_roots(self, inputs, "their covariances do not multiply")
        return replace(merged(inputs, roots), gaussian=False)

    def flops(self, inputs: tuple[Shape, ...]) -> float:
        return float(len(inputs) ** 2)

    def push(self, ctx: Context, *inputs: Moments) -> Moments:
        nngps = [select(ctx.at, m.nngp, ctx.layout) for m in inputs]
        parts = [
            reduce(_times, others, select(ctx.at, m.ntk, ctx.layout))
            for m, others in zip(inputs, _without_each(nngps), strict=True)
            if m.ntk is not None
        ]
        return Moments(reduce(_times, nngps), reduce(add, parts) if parts else None)

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        return reduce(mul, inputs)

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        return (), tuple(reduce(mul, others, grad) for others in _without_each(list(inputs)))


def _times(a: Cov, b: Cov) -> Cov:
    return a.times(b.data)


def _without_each(items: list[Any]) -> list[list[Any]]:
    """Return, for each item, all the others."""
    return [items[:i] + items[i + 1 :] for i in range(len(items))]
