"""The convolution."""

from __future__ import annotations

from typing import Any

from ntcore.layers.filters import Filter
from ntcore.record import leaf, record


@record
class Conv(Filter):
    r"""Convolution over 1, 2, 3 or more spatial axes.

    .. math:: K'[p, p'] = \frac{\sigma_w^2}{T} \sum_t K[s p + t - l, s p' + t - l] + \sigma_b^2,
              \qquad \Theta' = \frac{\sigma_w^2}{T} \sum_t \Theta[\ldots] + K'

    over the :math:`T` taps of the filter, with stride :math:`s` and :math:`l` positions of
    padding in front; an entry is 0 where either position is padding (Arora et al. 2019,
    section 4; Novak et al. 2019, eq. 9). :math:`T` counts every tap, padding included.

    Parameters
    ----------
    out_chan : int
        Number of output channels.
    filter_shape : tuple of int
        Size of the filter on each spatial axis.
    strides : tuple of int, optional
        Stride on each spatial axis, 1 by default.
    padding : {'VALID', 'SAME', 'CIRCULAR'}
        ``CIRCULAR`` has the output size of ``SAME`` and wraps around.
    W_std, b_std : float or array
        Standard deviations of the weights and of the bias; ``b_std=None`` means no bias.
    dimension_numbers : tuple of str, optional
        Axes of the input, the filter and the output, such as ``('NCHW', 'OIHW', 'NCHW')``;
        channels last by default. ``filter_shape`` and ``strides`` are in the order of
        the filter's axes, and meet those of the input and output by letter.
    parameterization : {'ntk', 'standard'}
        As in :class:`~ntcore.layers.dense.Dense`; the fan-in is the number of taps times the
        number of input channels.
    s : tuple of int, default (1, 1)
        Width multipliers of the input and of the output, in the standard parameterization.

    Raises
    ------
    ArgumentError
        If an argument is outside what is listed.
    ShapeError
        If the filter does not fit the input.
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
        return [
            cls(5, (3, 3), padding="SAME", W_std=1.3, b_std=0.2),
            cls(5, (3, 2)),
            cls(5, (2, 3), (2, 1), "VALID", b_std=0.1),
            cls(5, (3, 4), (2, 3), "SAME", W_std=1.1),
            cls(5, (3, 3), (2, 2), "CIRCULAR", b_std=0.3),
            cls(5, (2, 5), None, "CIRCULAR"),
            cls(5, (3, 2), padding="SAME", b_std=0.3, parameterization="standard", s=(1, 2)),
            cls(5, (3, 2), (1, 2), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")),
            cls(5, (3,), (2,), "SAME", b_std=0.1),
            cls(5, (2, 3, 2), (1, 2, 1), "CIRCULAR", b_std=0.1),
        ]
