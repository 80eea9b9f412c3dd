"""The locally connected layer: a convolution whose weights are not shared over space."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ntcore.backend import Array, Place
from ntcore.cov import Cov, layout_of, on_diagonal
from ntcore.errors import ShapeError
from ntcore.layers import weights
from ntcore.layers.base import Params, Run
from ntcore.layers.filters import Filter
from ntcore.layers.windows import patches, unpatch
from ntcore.moments import Context
from ntcore.need import Need, diagonal, through_windows
from ntcore.ops import matmul
from ntcore.record import leaf, record
from ntcore.shape import Shape


@record
class ConvLocal(Filter):
    r"""Convolution with weights and a bias of its own at every output position.

    .. math:: K'[p, p] = \frac{\sigma_w^2}{T} \sum_t K[s p + t - l, s p + t - l] + \sigma_b^2,
              \qquad \Theta'[p, p] = \frac{\sigma_w^2}{T} \sum_t \Theta[\ldots] + K'[p, p]

    over the :math:`T` taps of the filter, as in :class:`~ntcore.layers.conv.Conv`, and 0 between
    different positions, whose weights and biases are independent: only offset 0 of the input is
    ever needed (Novak et al. 2019, section 5.1).

    Parameters
    ----------
    out_chan, filter_shape, strides, padding, W_std, b_std, parameterization
        As in :class:`~ntcore.layers.conv.Conv`.
    dimension_numbers : tuple of str, optional
        Also as there. The filter of a finite network has the sizes of the output on its spatial
        axes, and those of ``(C, *filter_shape)`` together on ``I``.
    s : tuple of int, default (1, 1)
        Width multiplier of the input, in the standard parameterization; that of the output is
        taken as 1, as in neural_tangents: there are ``out_chan`` channels.

    Raises
    ------
    ArgumentError
        If an argument is outside what is listed.
    ShapeError
        If the filter does not fit the input, or two inputs have outputs of different sizes, for
        which no one set of weights is.
    """

    out_chan: int
    filter_shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    padding: str = "VALID"
    W_std: Any = leaf(default=1.0)
    b_std: Any = leaf(default=None)
    dimension_numbers: tuple[str, str, str] | None = None
    parameterization: str = "ntk"
    s: tuple[int, int] = (1, 1)

    @classmethod
    def examples(cls) -> list[Any]:
        small = (4, 3, 3)
        return [
            (cls(5, (3, 3), padding="SAME", W_std=1.3, b_std=0.2), small),
            (cls(5, (3, 2)), small),
            (cls(5, (2, 4), (2, 3), "SAME", b_std=0.1), small),
            (cls(5, (3, 2), (2, 1), "CIRCULAR"), small),
            (cls(5, (3, 2), None, "SAME", 1.1, 0.3, None, "standard", (2, 1)), small),
            (cls(5, (3, 2), (1, 2), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")), small),
            (cls(5, (3,), (2,), "SAME", b_std=0.1), (7, 3)),
            (cls(5, (2, 1, 3), (1, 2, 1), "SAME", b_std=0.1), (2, 3, 2, 2)),
        ]

    @property
    def channels(self) -> int:
        return self.out_chan

    # infinite width

    def need(self, out: Need, shape1: Shape, shape2: Shape) -> Need:
        one, two = (self.windows(s.spatial, s.axes) for s in (shape1, shape2))
        sizes1, sizes2 = (tuple(w.out for w in windows) for windows in (one, two))
        if sizes1 != sizes2:
            raise ShapeError(
                f"{self!r} has weights of its own at every position of its output, but two inputs "
                f"have outputs of spatial sizes {sizes1} and {sizes2}; give both one size."
            )
        return through_windows(diagonal(shape1.ndim), one, two, spread=False)

    def mixed(self, ctx: Context, cov: Cov, scale: Any, bias: Any, plus: Cov | None) -> Cov:
        out = ctx.layout
        zero = layout_of(diagonal(out.ndim), out.sizes1, out.sizes2, out.paired)
        found = super().mixed(replace(ctx, layout=zero), cov, scale, bias, None)
        data = found.data * on_diagonal(ctx.at, out)
        return Cov(data if plus is None else data + plus.data, out)

    # finite width: positions in front, each with a matrix of its own for the whole batch

    def init(self, at: Place, rng: Any, *inputs: Shape) -> Params:
        (shape,) = inputs
        specs = self.specs
        windows = self.windows(shape.spatial, shape.axes)
        named = {specs.lhs[i]: w.out for i, w in zip(shape.axes.spatial, windows, strict=True)}
        sizes = tuple(named[specs.lhs[i]] for i in specs.axes.spatial)
        bias = tuple({**named, "N": 1, "C": self.channels}[c] for c in specs.out)
        w_shape = (*sizes, shape.channels * self.taps, self.channels)
        w, b = weights.draw(self, at, rng, w_shape, bias, own=len(sizes))
        return self.users_filter(at, w), b

    @property
    def _order(self) -> tuple[int, ...]:
        """The axes (n, positions, *taps, C) in the order of the weights, positions in front."""
        taps = self.specs.taps_order
        return (1, 0, 2 + len(taps), *(2 + i for i in taps))

    def _matrices(self, at: Place, w: Array) -> Array:
        """Return the user's filter as ``(positions, fan-in, out)``."""
        w = self.own_filter(at, w)
        return at.xp.reshape(w, (-1, *w.shape[-2:]))

    def _rows(self, at: Place, x: Array) -> Array:
        """Return ``(positions, n, fan-in)``: what each position reads of each example."""
        found = patches(at, x, self.finite_windows(x))
        taps = self.specs.by_axis(self.filter_shape, self.specs.axes)
        split = at.xp.reshape(found, (*found.shape[:2], *taps, found.shape[-1]))
        moved = at.xp.permute_dims(split, self._order)
        return at.xp.reshape(moved, (*moved.shape[:2], -1))

    def _unrows(self, at: Place, grad: Array, x: Array) -> Array:
        """Return the transpose of :meth:`_rows`, at the batch ``x``, applied to a gradient."""
        split = at.xp.reshape(grad, (*grad.shape[:2], x.shape[-1], *self.filter_shape))
        moved = at.xp.permute_dims(split, tuple(self._order.index(i) for i in range(split.ndim)))
        flat = at.xp.reshape(moved, (*moved.shape[:2], -1, x.shape[-1]))
        return unpatch(at, flat, self.finite_windows(x))

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        at, xp, (x,), (w, b) = run.at, run.at.xp, inputs, params
        rows, matrices = self._rows(at, x), self._matrices(at, w)
        w_scale, b_scale = weights.scales(self, at, rows.shape[-1])
        out = w_scale * xp.permute_dims(matmul(at, rows, matrices), (1, 0, 2))
        sizes = (v.out for v in self.finite_windows(x))
        out = xp.reshape(out, (x.shape[0], *sizes, out.shape[-1]))
        if b is None:
            return out
        return out + b_scale * xp.permute_dims(b, self.axes_out(self.specs.axes).order)

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        at, xp, (x,), (w, b) = run.at, run.at.xp, inputs, params
        rows, matrices = self._rows(at, x), self._matrices(at, w)
        w_scale, b_scale = weights.scales(self, at, rows.shape[-1])
        flat = xp.reshape(grad, (x.shape[0], -1, grad.shape[-1]))
        flat = w_scale * xp.permute_dims(flat, (1, 0, 2))
        grad_w = matmul(at, xp.matrix_transpose(rows), flat)
        grad_w = self.users_filter(at, xp.reshape(grad_w, self.own_filter(at, w).shape))
        below = self._unrows(at, matmul(at, flat, xp.matrix_transpose(matrices)), x)
        if b is None:
            return (grad_w, None), (below,)
        summed = b_scale * xp.sum(grad, axis=0, keepdims=True)
        return (grad_w, xp.permute_dims(summed, self.axes_out(self.specs.axes).inverse)), (below,)
