"""Resizing of images."""

from __future__ import annotations

import enum
from dataclasses import field, replace
from typing import Any

from ntcore.backend import Array, Place
from ntcore.cov import Cov, read, sandwich, select
from ntcore.errors import ArgumentError, ShapeError
from ntcore.layers.base import Linear, Params, Run
from ntcore.layers.interpolation import (
    METHODS,
    Precision,
    as_target,
    nearest,
    nearest_offsets,
    weights,
)
from ntcore.moments import Context
from ntcore.need import Need, everything
from ntcore.ops import matmul_axis
from ntcore.record import ARGUMENT, record, settle
from ntcore.shape import Axes, Shape, default_axes


@record
class ImageResize(Linear):
    r"""Resize space, as ``jax.image.resize`` does.

    .. math:: K' = R\, K\, R^T, \qquad \Theta' = R\, \Theta\, R^T

    on every spatial axis, where row :math:`p` of :math:`R` holds the weights with which output
    :math:`p` reads the input: with :math:`x = (p + \frac{1}{2}) n / n' - \frac{1}{2}` its place
    there, :math:`R_{p q} \propto \kappa((x - q) / w)`, normalised to sum 1, where :math:`w` is
    :math:`\max(n / n', 1)` with ``antialias`` and 1 without, and :math:`\kappa` is a triangle,
    Keys's cubic (Keys 1981, eq. 15) or a Lanczos window of radius 3 or 5. It is linear, so that
    every method has an infinite limit. A resize keeps channels independent and Gaussian.

    An output is masked where everything that it reads with a weight other than 0 is masked. Cubic
    and Lanczos kernels, masks, members of an enumeration as ``method``, and a resize right above
    an odd number of convolutions are what neural_tangents refuses or gets wrong here; all four
    are checked against finite networks.

    Parameters
    ----------
    shape : tuple of int
        Size of each axis of the output; -1 keeps that of the input, and stands for the examples
        and the channels.
    method : str
        ``'nearest'``; ``'linear'``, ``'bilinear'``, ``'trilinear'`` or ``'triangle'``; ``'cubic'``,
        ``'bicubic'`` or ``'tricubic'``; ``'lanczos3'``; ``'lanczos5'``; or a member of
        ``jax.image.ResizeMethod``.
    antialias : bool, default True
        Whether the window widens where the image shrinks; ``'nearest'`` has none.
    precision : optional
        Accepted and not read: products are always in the full precision of the data type.
    batch_axis, channel_axis : int
        Axes of the examples and of the channels.

    Raises
    ------
    ArgumentError
        If ``method`` is none of these, or a size is not -1 or positive, or not -1 for the examples
        and the channels, where no infinite limit exists.
    ShapeError
        If the input has another number of axes.
    """

    target: tuple[int, ...] = field(metadata={ARGUMENT: "shape"})
    method: str
    antialias: bool = True
    precision: Any = Precision.HIGHEST
    batch_axis: int = 0
    channel_axis: int = -1

    def __init__(
        self,
        shape: Any,
        method: Any,
        antialias: bool = True,
        precision: Any = Precision.HIGHEST,
        batch_axis: int = 0,
        channel_axis: int = -1,
    ) -> None:
        name = method.name.lower() if isinstance(method, enum.Enum) else method
        if name not in METHODS:
            raise ArgumentError(
                f"ImageResize got method={method!r}; it must be one of {', '.join(METHODS)}."
            )
        settle(self, "target", as_target(shape, batch_axis, channel_axis))
        settle(self, "method", name)
        settle(self, "antialias", bool(antialias))
        settle(self, "precision", precision)
        settle(self, "batch_axis", batch_axis)
        settle(self, "channel_axis", channel_axis)

    @classmethod
    def examples(cls) -> list[Any]:
        small = (4, 3, 3)
        return [
            (cls((-1, 3, 5, -1), "linear"), small),
            (cls((-1, 6, 2, -1), "nearest"), small),
            (cls((-1, 2, -1, -1), "linear", antialias=False, precision="high"), small),
            (cls((-1, 6, 2, -1), "cubic"), small),
            (cls((-1, -1, 5, 2), "lanczos3", batch_axis=1, channel_axis=0), small),
            (cls((-1, 3, -1), "lanczos5"), (7, 3)),
        ]

    # planning

    def axes_in(self, ndim: int) -> Axes | None:
        return default_axes(ndim, self.batch_axis, self.channel_axis)

    def _sizes(self, spatial: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
        """Return the spatial sizes of the output."""
        pairs = zip(spatial, axes.spatial, strict=True)
        return tuple(n if self.target[a] == -1 else self.target[a] for n, a in pairs)

    def shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        if len(self.target) != shape.ndim + 2:
            raise ShapeError(
                f"{self!r} gives {len(self.target)} sizes but its input has {shape.ndim + 2} axes; "
                "give one size per axis, -1 for the examples and the channels."
            )
        return shape.with_sizes(self._sizes(shape.spatial, shape.axes))

    def need(self, out: Need, shape1: Shape, shape2: Shape) -> Need:
        found = list(out.axes)
        every = everything(shape1.spatial, shape2.spatial).axes
        one, two = (self._sizes(s.spatial, s.axes) for s in (shape1, shape2))
        for k, (n1, n2) in enumerate(zip(shape1.spatial, shape2.spatial, strict=True)):
            if self.method == "nearest":
                found[k] = nearest_offsets((n1, n2), (one[k], two[k]), out.axes[k])
            elif (n1, n2) != (one[k], two[k]):
                found[k] = every[k]
        return Need(tuple(found))

    def flops(self, inputs: tuple[Shape, ...]) -> float:
        (shape,) = inputs
        pairs = zip(shape.spatial, self._sizes(shape.spatial, shape.axes), strict=True)
        return 1.0 if self.method == "nearest" else sum(2.0 * n for n, m in pairs if n != m) + 1

    # infinite width

    def mix(self, ctx: Context, cov: Cov) -> Cov:
        out, before = ctx.layout, cov.layout
        axes = [(before.sizes1[k], before.sizes2[k], *out.axis(k)) for k in range(out.ndim)]
        if self.method == "nearest":
            taps = tuple(((nearest(n1, m1), nearest(n2, m2)),) for n1, n2, m1, m2, _ in axes)
            return read(ctx.at, cov, out, taps)
        changed = [k for k, (n1, n2, m1, m2, _) in enumerate(axes) if (n1, n2) != (m1, m2)]
        offsets = (
            have if k in changed else out.offsets[k] for k, have in enumerate(before.offsets)
        )
        cov = select(ctx.at, cov, replace(before, offsets=tuple(offsets)))
        for k in changed:
            n1, n2, m1, m2, _ = axes[k]
            left, right = self._matrix(ctx.at, n1, m1), self._matrix(ctx.at, n2, m2)
            cov = sandwich(ctx.at, cov, cov.layout.with_axis(k, out.axis(k)), left, right, (k,))
        return cov

    def _matrix(self, at: Place, size: int, out: int) -> Array:
        return at.asarray(weights(self.method, size, out, self.antialias))

    # what is masked, and finite width

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        (shape,), held = shapes, at.xp.astype(~masks[0], at.dtype)
        for k, size in enumerate(self._sizes(shape.spatial, shape.axes)):
            read = at.xp.astype(self._matrix(at, shape.spatial[k], size) != 0, at.dtype)
            held = matmul_axis(at, read, held, k + 1)
        return held == 0

    def _matrices(self, at: Place, x: Array) -> list[tuple[int, Array]]:
        """Return the axes of a batch ``(n, *spatial, C)`` that change, and their matrices."""
        sizes = self._sizes(x.shape[1:-1], default_axes(x.ndim, self.batch_axis, self.channel_axis))
        pairs = enumerate(zip(x.shape[1:-1], sizes, strict=True), 1)
        return [(k, self._matrix(at, n, m)) for k, (n, m) in pairs if n != m]

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        (x,) = inputs
        for k, a in self._matrices(run.at, x):
            x = matmul_axis(run.at, a, x, k)
        return x

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        for k, a in self._matrices(run.at, inputs[0]):
            grad = matmul_axis(run.at, run.at.xp.matrix_transpose(a), grad, k)
        return (), (grad,)
