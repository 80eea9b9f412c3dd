"""The two roles that most layers fill, beside the contract of all of them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ntcore.backend import Array, Place, is_number
from ntcore.cov import Cov, affine, put_variances, select, spread, variances
from ntcore.errors import PlanError
from ntcore.layers.contract import Layer as Layer
from ntcore.layers.contract import Params as Params
from ntcore.layers.contract import Run as Run
from ntcore.layers.contract import no_mask as no_mask
from ntcore.layers.contract import whole_positions as whole_positions
from ntcore.moments import Context, Moments, Traits
from ntcore.need import Need, diagonal
from ntcore.ops import product
from ntcore.shape import Shape


@dataclass(frozen=True)
class Coefficients:
    r"""How a linear layer scales what it mixes.

    With :math:`M` the sum that ``mix`` returns,

    .. math:: K' = \text{scale} \cdot M(K) + \text{bias}, \qquad
              \Theta' = \text{scale} \cdot M(\Theta) + T,

    where :math:`T`, what the layer's own parameters add, is :math:`K'` itself for a layer in the
    NTK parameterization (``trained`` is ``'output'``),
    :math:`\text{weight} \cdot M(K) + \text{trained\_bias}` in the standard one (``'weights'``),
    and nothing for a layer without parameters (``None``). A ``bias`` of None is 0.
    """

    scale: Any = 1.0
    bias: Any = None
    trained: str | None = None
    weight: Any = None
    trained_bias: Any = None


class Linear(Layer):
    """Role of layers that are linear in their input: they give ``mix`` and ``coefficients``."""

    @abstractmethod
    def mix(self, ctx: Context, cov: Cov) -> Cov:
        """Return the block of the output with unit weights and no bias, in ``ctx.layout``."""

    def mixed(self, ctx: Context, cov: Cov, scale: Any, bias: Any, plus: Cov | None) -> Cov:
        """Return ``scale * mix(cov) + bias + plus``, where what is None is left out.

        A layer that mixes by a sum of entries can do all of it in one pass.
        """
        return affine(ctx.at, self.mix(ctx, cov), scale, bias, plus)

    def coefficients(self, ctx: Context, m: Moments) -> Coefficients:
        """Return the scales; by default a layer has no parameters and only mixes."""
        return Coefficients()

    def push(self, ctx: Context, *inputs: Moments) -> Moments:
        (m,) = inputs
        c = self.coefficients(ctx, m)
        scale = None if is_number(c.scale) and c.scale == 1 else c.scale
        nngp = self.mixed(ctx, m.nngp, scale, _of_all(ctx, c.bias), None)
        if not ctx.ntk:
            return Moments(nngp)
        own = nngp if c.trained == "output" else None
        if c.trained == "weights":
            own = self.mixed(ctx, m.nngp, c.weight, _of_all(ctx, c.trained_bias), None)
        if m.ntk is None:
            return Moments(nngp, own)
        return Moments(nngp, self.mixed(ctx, m.ntk, scale, None, own))


def _of_all(ctx: Context, bias: Any) -> Any:
    """Return what a bias adds to every entry of the output, summed as the output is."""
    return bias if bias is None or not ctx.layout.summed else bias * ctx.layout.summands


class Elementwise(Layer):
    """Role of nonlinearities: they give ``dual``, ``fn`` and ``derivative``.

    Attributes
    ----------
    weak_derivative : bool
        Whether the function has a weak derivative. A step has none; its slope is taken to be 0,
        so that nothing below it contributes to the NTK.
    """

    pointwise: ClassVar[bool] = True
    weak_derivative: ClassVar[bool] = True

    @abstractmethod
    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        r"""Return :math:`E[\phi(u)\phi(v)]` and :math:`E[\phi'(u)\phi'(v)]`.

        The expectation is over :math:`(u, v) \sim N(0, [[q_1, k], [k, q_2]])`; the three arrays
        broadcast against each other.
        """

    @abstractmethod
    def fn(self, at: Place, x: Array) -> Array:
        """Return the function itself."""

    @abstractmethod
    def derivative(self, at: Place, x: Array) -> Array:
        """Return the derivative of the function."""

    def traits(self, *inputs: Traits) -> Traits:
        (t,) = inputs
        if not t.gaussian:
            raise not_gaussian(self, t, "where the infinite limit of a nonlinearity is not known")
        return replace(t, gaussian=False, is_input=False)

    def sides(self, shape: Shape) -> Need | None:
        return diagonal(shape.ndim)

    def flops(self, inputs: tuple[Shape, ...]) -> float:
        return 30.0

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        return masks[0]

    def push(self, ctx: Context, *inputs: Moments) -> Moments:
        (m,) = inputs
        k = select(ctx.at, m.nngp, ctx.layout)
        q1, q2 = spread(ctx.at, *variances_of(self, m), ctx.layout)
        if m.same is not None:
            k = put_variances(ctx.at, k, q1, m.same)
        moment, slope = self.dual(ctx.at, k.data, q1, q2)
        nngp = Cov(moment, ctx.layout)
        if m.ntk is None:
            return Moments(nngp)
        below = select(ctx.at, m.ntk, ctx.layout)
        return Moments(nngp, Cov(product(ctx.at, below.data, slope), ctx.layout))

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        return self.fn(run.at, inputs[0])

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        return (), (grad * self.derivative(run.at, inputs[0]),)


def not_gaussian(layer: Layer, t: Traits, what: str) -> PlanError:
    """Return the error for a layer that needs Gaussian inputs and has others; ``what`` says why."""
    below = "the raw input" if t.is_input else "a layer that is not a sum over many units"
    return PlanError(
        f"{layer!r} is applied to {below}, {what}; put a Dense or Conv layer right below it."
    )


def variances_of(layer: Layer, m: Moments) -> tuple[Array, Array]:
    """Return the variances of both batches, ``(P1, P2, ..., n)``, that a layer asked for."""
    if m.side1 is None or m.side2 is None:
        raise AssertionError(f"the plan holds no variances for {layer!r}")
    return variances(m.side1), variances(m.side2)
