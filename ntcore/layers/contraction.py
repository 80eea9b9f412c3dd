"""Contraction of the space of finite batches with an array."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from ntcore.backend import Array, Place, host, is_number
from ntcore.layers.dot_specs import DotSpecs, Order, Sizes
from ntcore.ops import matmul


def arranged(at: Place, given: Any, specs: DotSpecs) -> Array:
    """Return the user's number, array or nested tuples as ``(*along, O, C)``."""
    a = _assembled(at, given)
    a = at.xp.permute_dims(a, (*specs.own_batched, *specs.own_free, *specs.own_contracted))
    return at.xp.reshape(a, (*a.shape[: len(specs.own_batched)], math.prod(specs.new), -1))


def _assembled(at: Place, given: Any) -> Array:
    if not isinstance(given, tuple):
        return at.asarray(given)
    if all(map(is_number, given)):
        return at.asarray(host().namespace.asarray(given))
    return at.xp.stack([_assembled(at, row) for row in given])


def product(at: Place, a: Array, x: Array, order: Order, new: Sizes) -> Array:
    r"""Return :math:`y[n, b, o, f] = \sum_c A[b, o, c]\, x[n, b, c, f]`.

    ``a`` has the shape ``(*along, O, C)`` and ``x`` is a batch ``(n, *spatial, channels)`` whose
    spatial axes along, contracted and left are given by ``order``; ``new`` are the sizes of the
    new axes, which make up ``O``. The result has the axes ``(n, *along, *new, *rest, channels)``.
    """
    xp, (along, mixed, rest) = at.xp, order
    front = tuple(1 + i for i in (*along, *mixed))
    x = xp.permute_dims(x, (*front, 0, *(1 + i for i in rest), x.ndim - 1))
    space, behind = x.shape[: len(along)], x.shape[len(front) :]
    out = matmul(at, a, xp.reshape(x, (*space, a.shape[-1], -1)))
    return xp.moveaxis(xp.reshape(out, (*space, *new, *behind)), len(along) + len(new), 0)


def pullback(at: Place, a: Array, shape: Sizes, order: Order, new: Sizes, grad: Array) -> Array:
    """Return the gradient of a batch of the given shape from that of its :func:`product`."""
    along, mixed, rest = order
    ends = (0, len(along), len(along) + len(new), grad.ndim - 2)
    back: Order = tuple(tuple(range(*pair)) for pair in pairwise(ends))  # type: ignore[assignment]
    sizes = tuple(shape[1 + i] for i in mixed)
    below = product(at, at.xp.matrix_transpose(a), grad, back, sizes)
    place = (*along, *mixed, *rest)
    axes = (0, *(1 + place.index(i) for i in range(len(place))), below.ndim - 1)
    return at.xp.permute_dims(below, axes)
