"""Kernels as the user sees them, and what the library reads off them."""

from __future__ import annotations

from ntcore.backend import Array, Place
from ntcore.kernel import Output
from ntcore.plan import Edge
from ntcore.result import Kernel
from ntcore.shape import Axes, Shape, default_axes


def public(at: Place, edge: Edge, out: Output, same: bool, diagonal_spatial: bool) -> Kernel:
    """Return the arrays of an edge as a kernel, with the axes of the user's arrays."""
    axes = edge.shape1.axes
    return Kernel(
        nngp=out.nngp,
        ntk=out.ntk,
        cov1=out.cov1,
        cov2=out.cov2,
        x1_is_x2=same,
        is_gaussian=edge.traits.gaussian,
        is_input=edge.traits.is_input,
        diagonal_spatial=diagonal_spatial,
        shape1=edge.shape1.full(edge.counts[0]),
        shape2=edge.shape2.full(edge.counts[1]),
        batch_axis=axes.batch,
        channel_axis=axes.channel,
        mask1=_users(at, out.mask1, axes),
        mask2=_users(at, out.mask2, axes),
    ).transpose(_user_order(axes))


def _users(at: Place, mask: Array | None, axes: Axes) -> Array | None:
    return None if mask is None else at.xp.permute_dims(mask, axes.inverse)


def _user_order(axes: Axes) -> tuple[int, ...]:
    """Return ntcore's spatial axes in the order in which the user's array has them."""
    return tuple(sorted(range(len(axes.spatial)), key=axes.spatial.__getitem__))


def forwards(k: Kernel) -> Kernel:
    """Return a kernel with its spatial axes in ntcore's order."""
    return k.reverse() if k.is_reversed else k


def mask_of(at: Place, k: Kernel, which: int) -> Array | None:
    """Return the mask of a batch with the batch first and the channels last."""
    mask = k.mask1 if which == 1 or (k.mask2 is None and k.x1_is_x2) else k.mask2
    if mask is None:
        return None
    order = default_axes(mask.ndim, k.batch_axis, k.channel_axis).order
    return at.xp.permute_dims(at.index(mask), order)


def shape_of(k: Kernel, which: int) -> Shape:
    """Return the shape of the outputs that a kernel describes."""
    sizes = k.shape1 if which == 1 else k.shape2
    axes = default_axes(len(sizes), k.batch_axis, k.channel_axis)
    return Shape(tuple(sizes[i] for i in axes.spatial), sizes[axes.channel], axes)
