"""Dropout."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ntcore.backend import Array, Place, is_number
from ntcore.cov import Cov, coincident, select
from ntcore.errors import ArgumentError, PlanError
from ntcore.layers.base import Linear, Params, Run
from ntcore.moments import Context, Moments, Traits
from ntcore.record import leaf, record
from ntcore.shape import Shape


@record
class Dropout(Linear):
    r"""Keep each unit with probability ``rate``, divided by ``rate``, and drop the others.

    .. math:: K'[p, p] = K[p, p] / \text{rate}, \qquad \Theta'[p, p] = \Theta[p, p] / \text{rate}

    between an example and itself; between two examples or two positions, which are dropped
    independently, nothing changes (Schoenholz et al. 2017). In mode ``'test'`` the layer is the
    identity.

    Parameters
    ----------
    rate : float or array
        The probability that a unit stays, above 0 and at most 1.
    mode : {'train', 'test'}

    Raises
    ------
    ArgumentError
        If an argument is outside what is listed, or a finite network in mode ``'train'`` is
        applied without ``rng``.
    PlanError
        If raw inputs would be dropped.
    """

    rate: Any = leaf()
    mode: str = "train"

    def __post_init__(self) -> None:
        if not (0 < self.rate <= 1 if is_number(self.rate) else hasattr(self.rate, "dtype")):
            raise ArgumentError(
                f"Dropout got rate={self.rate!r}; it is the probability that a unit stays, so give "
                "a number above 0 and at most 1."
            )
        if self.mode not in ("train", "test"):
            raise ArgumentError(f"Dropout got mode={self.mode!r}; give 'train' or 'test'.")

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(0.6), cls(0.6, "test")]

    @property
    def _drops(self) -> bool:
        return self.mode == "train"

    def traits(self, *inputs: Traits) -> Traits:
        (t,) = inputs
        if not self._drops:
            return t
        if t.is_input:
            raise PlanError(
                f"{self!r} is applied to the raw input, whose channels are finitely many, so that "
                "what is dropped of them does not average out; put a Dense or Conv layer below it."
            )
        return replace(t, gaussian=False)

    def flops(self, inputs: tuple[Shape, ...]) -> float:
        return 1.0 if self._drops else 0.0

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        return masks[0]

    def mix(self, ctx: Context, cov: Cov) -> Cov:
        return select(ctx.at, cov, ctx.layout)

    def push(self, ctx: Context, *inputs: Moments) -> Moments:
        (m,) = inputs
        out = super().push(ctx, *inputs)
        itself = coincident(ctx.at, ctx.layout, m.same) if self._drops else None
        if itself is None:
            return out
        scale = ctx.at.xp.where(itself, 1 / ctx.at.asarray(self.rate), ctx.at.asarray(1.0))
        return Moments(out.nngp.times(scale), None if out.ntk is None else out.ntk.times(scale))

    # finite width

    def draw(self, at: Place, rng: Any, *inputs: Array) -> Any:
        """Return the factor of every unit: 0, or one over ``rate``."""
        if not self._drops:
            return None
        if rng is None:
            raise ArgumentError(
                f"{self!r} draws random numbers; pass rng to apply_fn, an integer seed or a random "
                "state, or use mode='test'."
            )
        (x,) = inputs
        normal = at.backend.normal(rng, tuple(x.shape), at.dtype, at.device)
        uniform = (1 + at.backend.erf(normal / math.sqrt(2))) / 2
        rate = at.asarray(self.rate)
        return at.xp.where(uniform <= rate, 1 / rate, at.xp.zeros_like(uniform))

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        return inputs[0] if run.drawn is None else inputs[0] * run.drawn

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        return (), (grad if run.drawn is None else grad * run.drawn,)
