"""The fully-connected layer."""

from __future__ import annotations

from typing import Any, ClassVar

from ntcore.backend import Array, Place
from ntcore.cov import Cov, Features, select
from ntcore.layers import weights
from ntcore.layers.base import Coefficients, Linear, Params, Run, whole_positions
from ntcore.moments import FRESH, Context, Moments, Traits
from ntcore.record import leaf, record
from ntcore.shape import Axes, Shape, default_axes


@record
class Dense(Linear):
    r"""Fully-connected layer, applied at every spatial position alike.

    .. math:: z = \frac{\sigma_w}{\sqrt{N}} W x + \sigma_b b, \qquad
              K' = \sigma_w^2 K + \sigma_b^2, \qquad \Theta' = \sigma_w^2 \Theta + K'

    with :math:`W_{ij}, b_i \sim N(0, 1)` and :math:`N` input channels, in the NTK
    parameterization (Jacot et al. 2018, page 3). In the standard one,
    :math:`z = W x / \sqrt{s_0} + b` with :math:`W_{ij} \sim N(0, \sigma_w^2 s_0 / N)`,
    :math:`b_i \sim N(0, \sigma_b^2)` and
    :math:`\Theta' = \sigma_w^2 \Theta + \frac{N}{s_0} K + 1` (Sohl-Dickstein et al. 2020,
    eq. 10; the 1 only with a bias).

    Parameters
    ----------
    out_dim : int
        Number of output channels. The kernel does not depend on it in the NTK parameterization.
    W_std : float or array, default 1
        Standard deviation :math:`\sigma_w` of the weights.
    b_std : float, array or None, default None
        Standard deviation :math:`\sigma_b` of the bias; None means no bias.
    batch_axis, channel_axis : int
        Axes of the examples and of the channels.
    parameterization : {'ntk', 'standard'}
    s : tuple of int, default (1, 1)
        Width multipliers of the input and of the output, in the standard parameterization.

    Raises
    ------
    ArgumentError
        If an argument is outside what is listed.
    """

    out_dim: int
    W_std: Any = leaf(default=1.0)
    b_std: Any = leaf(default=None)
    batch_axis: int = 0
    channel_axis: int = -1
    parameterization: str = "ntk"
    s: tuple[int, int] = (1, 1)
    pointwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        weights.settle_weights(self, "out_dim")

    @classmethod
    def examples(cls) -> list[Any]:
        return [
            cls(7, W_std=1.3, b_std=0.2),
            cls(7, W_std=0.8, channel_axis=1),
            cls(7, batch_axis=1, channel_axis=0),
            cls(5, W_std=1.2, b_std=0.3, parameterization="standard", s=(1, 2)),
        ]

    def axes_in(self, ndim: int) -> Axes | None:
        return default_axes(ndim, self.batch_axis, self.channel_axis)

    @property
    def _out(self) -> int:
        return self.out_dim * (self.s[1] if self.parameterization == "standard" else 1)

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0].with_sizes(inputs[0].spatial, self._out)

    def sums(self, *inputs: Shape) -> bool:
        return True

    def maps(self, *inputs: Shape) -> bool:
        return self.parameterization == "ntk"

    def map_features(
        self, at: Place, shape: Shape, features: Features, away: Array | None
    ) -> Features:
        bias = None if self.b_std is None else at.number(self.b_std)
        return features.mapped(at, features.data * at.number(self.W_std), bias, 1.0)

    def traits(self, *inputs: Traits) -> Traits:
        return FRESH

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        return whole_positions(at, masks[0])

    def coefficients(self, ctx: Context, m: Moments) -> Coefficients:
        return weights.coefficients(self, ctx.at, 1, ctx.inputs[0].channels)

    def mix(self, ctx: Context, cov: Cov) -> Cov:
        return select(ctx.at, cov, ctx.layout)

    def init(self, at: Place, rng: Any, *inputs: Shape) -> Params:
        (shape,) = inputs
        bias = [1] * (shape.ndim + 2)
        bias[self.channel_axis] = self._out
        return weights.draw(self, at, rng, (shape.channels, self._out), tuple(bias))

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        return weights.affine(self, run.at, params, inputs[0])

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        own, below = weights.affine_vjp(self, run.at, params, inputs[0], grad)
        return own, (below,)
