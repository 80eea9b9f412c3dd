"""The transposed convolution."""

from __future__ import annotations

from typing import Any, ClassVar

from ntcore.backend import Array, Place
from ntcore.layers.base import whole_positions
from ntcore.layers.filters import Filter
from ntcore.layers.windows import patches
from ntcore.record import leaf, record
from ntcore.shape import Shape


@record
class ConvTranspose(Filter):
    r"""Transposed, or fractionally strided, convolution over 1, 2, 3 or more spatial axes.

    .. math:: K'[q, q'] = \frac{\sigma_w^2}{T} \sum_{(p, p')} K[p, p'] + \sigma_b^2, \qquad
              \Theta'[q, q'] = \frac{\sigma_w^2}{T} \sum_{(p, p')} \Theta[p, p'] + K'[q, q']

    over the pairs with :math:`s p = q + t - l` and :math:`s p' = q' + t - l` for one of the
    :math:`T` taps :math:`t` of the filter: a convolution (Novak et al. 2019, eq. 9) of the input
    spread out by its stride :math:`s` (Dumoulin and Visin 2016, section 4). The output of an
    axis of :math:`n` positions under a filter of :math:`w` taps has :math:`n s` positions, with
    ``VALID`` padding :math:`\max(w - s, 0)` more, and :math:`l` is :math:`w - 1` with ``VALID``
    padding or :math:`s \ge w`, and :math:`\lceil (w + s - 2) / 2 \rceil` otherwise.

    Offset :math:`d` of the output comes from offset :math:`d / s` of the input. Where that is not
    whole, and where nothing is read, entries are :math:`\sigma_b^2`; every tap counts in
    :math:`T` wherever it reads.

    An output is masked where any position that it reads is, not counting what ``CIRCULAR``
    padding wraps around, as in neural_tangents.

    Parameters
    ----------
    out_chan, filter_shape, padding, W_std, b_std, dimension_numbers, parameterization, s
        As in :class:`~ntcore.layers.conv.Conv`.
    strides : tuple of int, optional
        How far apart the inputs are spread on each spatial axis, 1 by default.

    Raises
    ------
    ArgumentError
        If an argument is outside what is listed.
    ShapeError
        If the input has another number of spatial axes than the filter.
    """

    transposed: ClassVar[bool] = True

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
        small = (3, 4, 3)
        return [
            (cls(5, (3, 3), (2, 2), "SAME", W_std=1.3, b_std=0.2), small),
            (cls(5, (3, 2)), small),
            (cls(5, (2, 4), (2, 1), "VALID", b_std=0.1), small),
            (cls(5, (2, 3), (3, 2), "SAME", W_std=1.1), small),
            (cls(5, (4, 3), (2, 1), "CIRCULAR", b_std=0.3), small),
            (cls(5, (7, 5), (1, 2), "CIRCULAR"), small),
            (cls(5, (3, 2), None, "SAME", 1.1, 0.3, None, "standard", (1, 2)), small),
            (cls(5, (3, 2), (1, 2), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")), small),
            (cls(5, (5,), (2,), "SAME", b_std=0.1), (7, 3)),
            (cls(5, (2, 1, 3), (1, 2, 1), "SAME", b_std=0.1), (2, 2, 3, 2)),
        ]

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        unwrapped = "SAME" if self.padding == "CIRCULAR" else self.padding
        windows = self.windows(shapes[0].spatial, shapes[0].axes, unwrapped)
        held = at.xp.astype(whole_positions(at, masks[0]), at.dtype)
        found = at.xp.any(patches(at, held, windows) > 0, axis=2)
        return at.xp.reshape(found, (held.shape[0], *(w.out for w in windows), 1))
