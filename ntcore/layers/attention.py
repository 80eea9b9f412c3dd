"""Global self-attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ntcore.backend import Array, Place
from ntcore.cov import Features
from ntcore.errors import PlanError
from ntcore.layers import attention_finite, attention_kernel
from ntcore.layers.attention_arguments import check_input, settle_attention
from ntcore.layers.base import Layer, Params, Run, whole_positions
from ntcore.moments import FRESH, Context, Moments, Traits
from ntcore.need import Need, everything
from ntcore.record import leaf, record
from ntcore.shape import Axes, Shape, default_axes


@record
class GlobalSelfAttention(Layer):
    r"""Scaled dot-product attention of every spatial position to every other, in many heads.

    .. math:: G = \frac{Q K^\top}{d^s}, \qquad z = \frac{\sigma_O}{\sqrt{H d_V}}
              [\zeta(G_1) V_1, \ldots, \zeta(G_H) V_H] W_O + \sigma_b b

    with keys :math:`K = \frac{\sigma_K}{\sqrt N} \tilde x W_K` and, likewise, queries :math:`Q`
    and values :math:`V`; all weights are standard normal (Hron et al. 2020, section 2). For
    infinitely many heads and key channels, ``linear_scaling`` (:math:`s = 1`, and
    :math:`W_Q = W_K`) has

    .. math:: K' = \sigma_{OV}^2\, A_1 K A_2^\top + \sigma_b^2, \qquad
              \Theta' = K' + \sigma_{OV}^2\, A_1 (K + \Theta) A_2^\top, \qquad
              A = \zeta(\sigma_Q \sigma_K K_{xx})

    for the covariance :math:`K_{xx}` of an input with itself; without it (:math:`s = 1/2`), for
    the identity alone,

    .. math:: K'_{ij} = \sigma^2 K_{ij} S + \sigma_b^2, \quad
              \Theta'_{ij} = K'_{ij} + \sigma^2 (3 K_{ij} S + \Theta_{ij} S + 2 K_{ij} T), \quad
              S = \sum_{pq} K_{pq}^2, \quad T = \sum_{pq} K_{pq} \Theta_{pq}

    over the keys that :math:`i` and :math:`j` attend to, with
    :math:`\sigma = \sigma_O \sigma_V \sigma_Q \sigma_K` (ib., sections 3 and 4). Positional
    embeddings are trained as well; :mod:`ntcore.layers.embedding` has their moments.

    Parameters
    ----------
    n_chan_out, n_chan_key, n_chan_val, n_heads : int
        Channels of the output, of keys and queries, and of values of each head; heads.
    linear_scaling : bool, default True
        Divide by the number of key channels and tie the weights of queries to those of keys,
        rather than divide by its square root.
    W_key_std, W_value_std, W_query_std, W_out_std : float or array, default 1
        Standard deviations of the weights.
    b_std : float, array or None, default None
        Standard deviation of the bias; None means no bias.
    attention_mechanism : {'SOFTMAX', 'IDENTITY', 'ABS', 'RELU'} or AttentionMechanism
    pos_emb_type : {'NONE', 'SUM', 'CONCAT'} or PositionalEmbedding
        Whether embeddings are added to the inputs, or appended as channels.
    pos_emb_p_norm : float, default 2
        The distance of two positions is :math:`\sum_k |p_k - q_k|^{p}`.
    pos_emb_decay_fn : callable or None, default None
        The covariance of two embeddings, a function of an array of distances; None makes them
        independent. Finite networks draw embeddings with this covariance.
    n_chan_pos_emb : int or None, default None
        Channels of the embeddings; None means as many as the inputs have.
    W_pos_emb_std : float or array, default 1
        Standard deviation of the embeddings.
    val_pos_emb : bool, default False
        Whether values see the embeddings, as keys and queries do.
    batch_axis, channel_axis : int
        Axes of the examples and of the channels.
    causal : bool, default False
        Whether a position attends to itself and to those before it alone, in row-major order.
    attention_pattern : (P, P) array of booleans or None, default None
        Whether a query (row) attends to a key (column), positions in row-major order.

    Raises
    ------
    ArgumentError
        If an argument is outside what is listed.
    ShapeError
        If the input has no spatial axis, or a size does not fit the embeddings or the pattern.
    PlanError
        If a kernel is asked of a nonlinear mechanism without ``linear_scaling``: none is known.

    Notes
    -----
    ``causal`` and ``attention_pattern`` are ntcore's own. neural_tangents raises where there are
    embeddings and the two batches have positions of different number, ignores
    ``pos_emb_decay_fn`` in finite networks, refuses masks on the inputs of a first layer, and
    takes vectors for a single position; here all of these work but the last, which is an error.
    """

    n_chan_out: int
    n_chan_key: int
    n_chan_val: int
    n_heads: int
    linear_scaling: bool = True
    W_key_std: Any = leaf(default=1.0)
    W_value_std: Any = leaf(default=1.0)
    W_query_std: Any = leaf(default=1.0)
    W_out_std: Any = leaf(default=1.0)
    b_std: Any = leaf(default=None)
    attention_mechanism: Any = "SOFTMAX"
    pos_emb_type: Any = "NONE"
    pos_emb_p_norm: float = 2
    pos_emb_decay_fn: Callable[[Array], Array] | None = None
    n_chan_pos_emb: int | None = None
    W_pos_emb_std: Any = leaf(default=1.0)
    val_pos_emb: bool = False
    batch_axis: int = 0
    channel_axis: int = -1
    causal: bool = False
    attention_pattern: Any = None

    def __post_init__(self) -> None:
        settle_attention(self)

    @classmethod
    def examples(cls) -> list[Any]:
        stds: dict[str, Any] = {
            "W_key_std": 1.1,
            "W_value_std": 0.9,
            "W_query_std": 1.3,
            "W_out_std": 1.2,
        }
        appended: dict[str, Any] = {
            "pos_emb_type": "CONCAT",
            "n_chan_pos_emb": 3,
            "W_pos_emb_std": 0.8,
        }
        decaying: dict[str, Any] = {
            "pos_emb_p_norm": 1,
            "pos_emb_decay_fn": inverse,
            "val_pos_emb": True,
        }
        plain: dict[str, Any] = {"linear_scaling": False, "attention_mechanism": "IDENTITY"}
        cycle = [[True, False, True], [True, True, False], [False, True, True]]
        moved: dict[str, Any] = {"batch_axis": 1, "channel_axis": 0, "attention_pattern": cycle}
        return [
            (cls(3, 4, 2, 2, **stds, b_std=0.3, causal=True), (2, 3, 2)),
            (cls(3, 2, 3, 2, attention_mechanism="ABS", **appended, **decaying), (4, 2)),
            (cls(2, 3, 2, 2, **plain, pos_emb_type="SUM", **moved), (3, 2)),
            (cls(2, 2, 2, 3, attention_mechanism="RELU"), (3, 2)),
        ]

    def axes_in(self, ndim: int) -> Axes | None:
        return default_axes(ndim, self.batch_axis, self.channel_axis)

    def shape(self, *inputs: Shape) -> Shape:
        check_input(self, inputs[0])
        return inputs[0].with_sizes(inputs[0].spatial, self.n_chan_out)

    def traits(self, *inputs: Traits) -> Traits:
        if not self.linear_scaling and self.attention_mechanism != "IDENTITY":
            raise PlanError(
                f"{self!r} has Gaussian scores, of which the covariance is known for the identity "
                "alone; pass linear_scaling=True or attention_mechanism='IDENTITY', or average "
                "over finite networks."
            )
        return FRESH

    def need(self, out: Need, shape1: Shape, shape2: Shape) -> Need:
        return everything(shape1.spatial, shape2.spatial)

    def sums(self, *inputs: Shape) -> bool:
        return self.linear_scaling

    def multiplies(self, *inputs: Shape) -> bool:
        axes = inputs[0].axes.spatial
        return self.linear_scaling and list(axes) == sorted(axes)

    def maps(self, *inputs: Shape) -> bool:
        return self.linear_scaling and not (self.val_pos_emb and self.pos_emb_type != "NONE")

    def map_features(
        self, at: Place, shape: Shape, features: Features, away: Array | None
    ) -> Features:
        return attention_kernel.map_features(self, at, shape, features, away)

    def sides(self, shape: Shape) -> Need | None:
        return everything(shape.spatial, shape.spatial) if self.linear_scaling else None

    def flops(self, inputs: tuple[Shape, ...]) -> float:
        return 4.0 * math.prod(inputs[0].spatial)

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        return whole_positions(at, masks[0])

    def push(self, ctx: Context, *inputs: Moments) -> Moments:
        return attention_kernel.push(self, ctx, inputs[0])

    def init(self, at: Place, rng: Any, *inputs: Shape) -> Params:
        return attention_finite.init(self, at, rng, inputs[0])

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        return attention_finite.forward(self, run, params, inputs[0])

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        own, below = attention_finite.backward(self, run, params, inputs[0], grad)
        return own, (below,)


def inverse(distance: Array) -> Array:
    """Return a decay, for the examples."""
    return 1 / (1 + distance)
