r"""Blocks that are products of what each example gives by itself.

Inputs are such, and so is what layers make of them that multiply the positions of every example
by a matrix: :math:`A_1 X_1 X_2^\top A_2^\top` is the product of :math:`A_1 X_1` and
:math:`A_2 X_2`, which take a batch each to compute, and not all pairs of two.
"""

from __future__ import annotations

import math

from ntcore.backend import Array, Place, host
from ntcore.cov.inputs import products
from ntcore.cov.layout import Cov, Layout
from ntcore.cov.read import affine
from ntcore.record import Record, leaf, record

Tangents = tuple[tuple[int, float], ...]


@record
class Features(Record):
    r"""Features of the positions of a batch, of which two batches have the products

    .. math:: K[p, p'] = \sum_c f_1[p, c]\, f_2[p', c], \qquad
              \Theta[p, p'] = \sum_c t_c\, f_1[p, c]\, f_2[p', c].

    Attributes
    ----------
    data : array
        ``(n, *spatial, C)``.
    tangents : tuple of pairs
        Numbers of features that lie side by side, and their :math:`t`.
    """

    data: Array = leaf()
    tangents: Tangents = ()

    def mapped(self, at: Place, data: Array, bias: Array | None, added: float) -> Features:
        """Return the features of an affine layer.

        ``data`` is what it makes of these; ``bias`` is the standard deviation of what it adds at
        every position, a feature of its own; and what is trained there adds ``added`` to every
        ``t``.
        """
        tangents = tuple((n, t + added) for n, t in self.tangents)
        if bias is None:
            return Features(data, tangents)
        ones = at.xp.ones_like(data[..., :1])
        return Features(at.xp.concat([data, bias * ones], axis=-1), (*tangents, (1, 1.0)))


def features_of_inputs(x: Array) -> Features:
    """Return the features that inputs ``(n, *spatial, C)`` are."""
    channels = x.shape[-1]
    return Features(x / math.sqrt(channels), ((channels, 0.0),))


def of_features(at: Place, one: Array, two: Array, layout: Layout) -> Cov:
    """Return the block of the features of two batches."""
    if layout.summed:
        one, two = (at.xp.sum(x, axis=tuple(range(1, x.ndim - 1))) for x in (one, two))
    return products(at, one, two, layout)


def tangent_of_features(at: Place, one: Array, two: Array, tangents: Tangents, nngp: Cov) -> Cov:
    """Return the NTK of the features of two batches, of which the block is ``nngp``.

    It is the block itself as often as most features say, and what the others have beyond that.
    """
    np = host().namespace
    _, most = max(tangents)
    beyond = np.concatenate([np.full(n, t - most) for n, t in tangents])
    (which,) = np.nonzero(beyond)
    if not len(which):
        return affine(at, nngp, most)
    index = at.index(which)
    one, two = (at.xp.take(x, index, axis=-1) for x in (one, two))
    rest = of_features(at, one * at.asarray(beyond[which]), two, nngp.layout)
    return affine(at, nngp, most, None, rest)
