"""The layer that does nothing."""

from __future__ import annotations

from typing import Any, ClassVar

from ntcore.backend import Array, Place
from ntcore.cov import Cov, Features, select
from ntcore.layers.base import Linear, Params, Run
from ntcore.moments import Context, Traits
from ntcore.record import record
from ntcore.shape import Shape


@record
class Identity(Linear):
    r"""The identity, for branches: :math:`K' = K` and :math:`\Theta' = \Theta`."""

    pointwise: ClassVar[bool] = True

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls()]

    def traits(self, *inputs: Traits) -> Traits:
        return inputs[0]

    def sums(self, *inputs: Shape) -> bool:
        return True

    def flops(self, inputs: Any) -> float:
        return 0.0

    def maps(self, *inputs: Shape) -> bool:
        return True

    def map_features(
        self, at: Place, shape: Shape, features: Features, away: Array | None
    ) -> Features:
        return features

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        return masks[0]

    def mix(self, ctx: Context, cov: Cov) -> Cov:
        return select(ctx.at, cov, ctx.layout)

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        return inputs[0]

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        return (), (grad,)
