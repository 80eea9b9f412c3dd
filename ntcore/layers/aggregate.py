"""Sums over the neighbours of every position in a graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import field, replace
from typing import Any

from ntcore.backend import Array, Place
from ntcore.cov import Cov, layout_of, sandwich, select
from ntcore.errors import ArgumentError, PlanError
from ntcore.graphs import AggregateImplementation, example, joined, matrices
from ntcore.layers.base import Layer, Params, Run
from ntcore.layers.custom import named
from ntcore.moments import Context, Moments, Traits
from ntcore.need import SUM, Need, everything
from ntcore.record import record, settle
from ntcore.shape import Axes, Shape, as_axes, axes_among, default_axes

# A lambda, so that the default is written as in neural_tangents.
_AS_GIVEN: Callable[[Any], Any] = (lambda pattern: pattern,)[0]


@record
class Aggregate(Layer):
    r"""Sum over the direct predecessors of every position in a graph, ``pattern``.

    .. math:: K'[j, j'] = \sum_{i, i'} A[i, j]\, K[i, i']\, A'[i', j'], \qquad
              \Theta'[j, j'] = \sum_{i, i'} A[i, j]\, \Theta[i, i']\, A'[i', j']

    with :math:`A[i, j]` the weight of the edge from :math:`i` to :math:`j` (Du et al. 2019, where
    it is 1 for neighbours). ``kernel_fn`` takes ``pattern=(p1, p2)``, one for each batch, and
    ``apply_fn`` takes ``pattern=p``:

    - ``(n, *sizes, *sizes)``, the weights of all edges, with the sizes of the aggregated axes in
      ascending order; ``(*sizes, *sizes)`` is one graph for all examples;
    - with ``'SPARSE'``, integers ``(n, edges, axes, 2)`` or, on one axis, ``(n, edges, 2)``: the
      tail and the head of every edge. One listed twice has the weight 2, one with a negative
      coordinate does not count. Without the axis of examples they are one graph for all, on one
      axis ``(edges, 2)``;
    - a sparse matrix (what has ``toarray`` or ``todense``, as those of SciPy) of all positions;
    - a list with one of these for each example.

    Parameters
    ----------
    aggregate_axis : int or sequence of int, optional
        Spatial axes of the input, all of them by default.
    batch_axis, channel_axis : int
        Axes of the examples and of the channels.
    to_dense : callable, optional
        Decodes the pattern of each batch into one of the dense forms above.
    implementation : {'DENSE', 'SPARSE'} or AggregateImplementation
        Whether arrays are weights of all edges or lists of edges.

    Raises
    ------
    ArgumentError, PlanError
        If an argument is outside what is listed, or there is no ``pattern``.
    ShapeError, DTypeError, NotFiniteError
        If the pattern does not fit the input.
    """

    aggregate_axis: int | tuple[int, ...] | None = None
    batch_axis: int = 0
    channel_axis: int = -1
    to_dense: Callable[[Any], Any] = field(default=_AS_GIVEN)
    implementation: str = "DENSE"

    def __post_init__(self) -> None:
        if self.aggregate_axis is not None:
            axes = as_axes(self.aggregate_axis, "aggregate_axis", "Aggregate")
            settle(self, "aggregate_axis", axes)
        if not callable(self.to_dense):
            raise ArgumentError(f"Aggregate got to_dense={self.to_dense!r}; give a function.")
        if self.to_dense is not _AS_GIVEN:
            settle(self, "to_dense", named(self.to_dense))
        try:
            kind = AggregateImplementation(self.implementation)
        except ValueError:
            raise ArgumentError(
                f"Aggregate got implementation={self.implementation!r}; give 'DENSE' or 'SPARSE'."
            ) from None
        settle(self, "implementation", kind.value)

    @classmethod
    def examples(cls) -> list[Any]:
        return [
            cls(),
            (cls(1), (4, 3, 3)),
            (cls(-2, to_dense=halved), (4, 3, 3)),
            (cls((2, 1), implementation="SPARSE"), (3, 2, 3)),
            cls(0, batch_axis=1, channel_axis=2),
        ]

    def example_pattern(self, shape: Shape, n: int) -> Any:
        return example(self._sizes(shape), n, self._sparse)

    @property
    def _sparse(self) -> bool:
        return self.implementation == "SPARSE"

    # planning

    def axes_in(self, ndim: int) -> Axes | None:
        return default_axes(ndim, self.batch_axis, self.channel_axis)

    def shape(self, *inputs: Shape) -> Shape:
        self._space(inputs[0].axes)
        return inputs[0]

    def _space(self, axes: Axes) -> tuple[int, ...]:
        """Return which of ntcore's spatial axes are aggregated, in the user's order."""
        found = set(axes.spatial)
        if self.aggregate_axis is not None:
            found = axes_among(self.aggregate_axis, len(axes.order), self)
        if not found <= set(axes.spatial):
            raise PlanError(
                f"{self!r} aggregates over axis {min(found - set(axes.spatial))}, which holds the "
                "examples or the channels; a graph joins positions, so give spatial axes."
            )
        return tuple(axes.spatial.index(a) for a in sorted(found))

    def _sizes(self, shape: Shape) -> tuple[int, ...]:
        return tuple(shape.spatial[k] for k in self._space(shape.axes))

    def traits(self, *inputs: Traits) -> Traits:
        return replace(inputs[0], is_input=False)

    def need(self, out: Need, shape1: Shape, shape2: Shape) -> Need:
        full, space = everything(shape1.spatial, shape2.spatial), self._space(shape1.axes)
        if out == SUM:
            return full
        both = enumerate(zip(full.axes, out.axes, strict=True))
        return Need(tuple(every if k in space else some for k, (every, some) in both))

    def sums(self, *inputs: Shape) -> bool:
        return True

    def multiplies(self, *inputs: Shape) -> bool:
        (shape,) = inputs
        return self._space(shape.axes) == tuple(range(shape.ndim))

    def flops(self, inputs: tuple[Shape, ...]) -> float:
        (shape,) = inputs
        return 4.0 * math.prod(self._sizes(shape))

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        return masks[0]

    def aside(self, at: Place, pattern: Any, shapes: tuple[Shape, ...], count: int) -> Any:
        """Return the matrix of every graph, from heads to tails."""
        if pattern is None:
            raise ArgumentError(
                f"{self!r} reads a graph of every example but there is none; pass "
                "pattern=(p1, p2) to kernel_fn, or pattern=p to apply_fn."
            )
        sizes, given = self._sizes(shapes[0]), pattern if self._sparse else self.to_dense(pattern)
        found = matrices(at, given, sizes, count, repr(self), edges=self._sparse)
        return at.xp.matrix_transpose(found)

    # infinite width

    def push(self, ctx: Context, *inputs: Moments) -> Moments:
        (m,) = inputs
        ntk = None if m.ntk is None else self._aggregated(ctx, m.ntk, m)
        return Moments(self._aggregated(ctx, m.nngp, m), ntk)

    def _aggregated(self, ctx: Context, cov: Cov, m: Moments) -> Cov:
        shape, have = ctx.inputs[0], cov.layout
        both = shape.with_sizes(have.sizes1), shape.with_sizes(have.sizes2)
        need = self.need(Need(ctx.layout.offsets), *both)
        if not have.dense:
            cov = select(ctx.at, cov, layout_of(need, have.sizes1, have.sizes2, have.paired))
        left, right = (a[0, ...] if a.shape[0] == 1 else a for a in (m.aside1, m.aside2))
        return sandwich(ctx.at, cov, ctx.layout, left, right, self._space(shape.axes))

    # finite width

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        return self._joined(run.at, run.aside, inputs[0])

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        return (), (self._joined(run.at, run.at.xp.matrix_transpose(run.aside), grad),)

    def _joined(self, at: Place, a: Array, x: Array) -> Array:
        axes = default_axes(x.ndim, self.batch_axis, self.channel_axis)
        return joined(at, a, x, self._space(axes))


# --- for the examples ---------------------------------------------------------------------------


def halved(pattern: Any) -> Any:
    """Return half the weights."""
    return pattern / 2
