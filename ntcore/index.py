"""Cutting and masking the arrays of a kernel, by examples and by positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntcore.backend import Array, backend_of
from ntcore.errors import ArgumentError

if TYPE_CHECKING:
    from ntcore.result import Kernel

WHOLE = slice(None)


def examples(kernel: Kernel, one: slice, two: slice) -> Kernel:
    """Return a kernel of some examples of each batch."""
    same = kernel.x1_is_x2 and _picked(kernel, 1, one) == _picked(kernel, 2, two)
    side2 = kernel.cov1 if kernel.cov2 is None and not same else kernel.cov2
    return kernel.replace(
        nngp=_cut(kernel.nngp, (one, two)),
        ntk=_cut(kernel.ntk, (one, two)),
        cov1=_cut(kernel.cov1, _sides(kernel, one)),
        cov2=_cut(side2, _sides(kernel, two)),
        mask1=_cut(kernel.mask1, _on_axis(kernel.batch_axis, one)),
        mask2=_cut(kernel.mask2, _on_axis(kernel.batch_axis, two)),
        shape1=_resized(kernel.shape1, kernel.batch_axis, one),
        shape2=_resized(kernel.shape2, kernel.batch_axis, two),
        x1_is_x2=same,
    )


def outputs(kernel: Kernel, idx: Any) -> Kernel:
    """Return the kernel of outputs at an index into them."""
    every = _expanded(idx, len(kernel.shape1))
    batch, channel = every[kernel.batch_axis], every[kernel.channel_axis]
    if channel != WHOLE:
        raise ArgumentError(
            f"Kernel[{idx!r}] cuts axis {kernel.channel_axis}, the channels, of which there are "
            "infinitely many; index the examples and positions alone."
        )
    if not isinstance(batch, slice):
        raise ArgumentError(
            f"Kernel[{idx!r}] has an integer on the axis of the examples; use a slice of length 1."
        )
    space = [i for i in range(len(every)) if i not in (kernel.batch_axis, kernel.channel_axis)]
    cut = examples(kernel, batch, batch)
    each = 1 if kernel.diagonal_spatial else 2
    picked = tuple(every[axis] for axis in space for _ in range(each))
    changes = {
        name: _cut(getattr(cut, name), (*(WHOLE,) * leading, *picked))
        for name, leading in _leading(kernel).items()
    }
    kept = _expanded_without(every, kernel.batch_axis)
    shapes = {name: _shape_at(getattr(cut, name), kept) for name in ("shape1", "shape2")}
    masks = {name: _cut(getattr(cut, name), kept) for name in ("mask1", "mask2")}
    axes = _axes_after(every, kernel.batch_axis), _axes_after(every, kernel.channel_axis)
    return cut.replace(**changes, **shapes, **masks, batch_axis=axes[0], channel_axis=axes[1])


def masked(kernel: Kernel, mask1: Array | None, mask2: Array | None) -> Kernel:
    """Return a kernel that is 0 where either mask is true."""
    second = mask1 if mask2 is None and kernel.x1_is_x2 else mask2
    pairs = {"nngp": (mask1, second), "ntk": (mask1, second), "cov1": (mask1, mask1)}
    pairs["cov2"] = (second, second)
    changes = {
        name: _hidden(kernel, getattr(kernel, name), leading, *pairs[name])
        for name, leading in _leading(kernel).items()
    }
    return kernel.replace(**changes, mask1=mask1, mask2=second)


def _hidden(
    kernel: Kernel, x: Array | None, leading: int, mask1: Array | None, mask2: Array | None
) -> Array | None:
    if x is None:
        return None
    xp = backend_of(x).namespace
    for mask, first in ((mask1, True), (mask2, False)):
        if mask is not None:
            x = xp.where(_aligned(kernel, mask, leading, first), xp.zeros_like(x), x)
    return x


def _aligned(kernel: Kernel, mask: Array, leading: int, first: bool) -> Array:
    """Return a mask of outputs with the axes of an array of a kernel."""
    xp = backend_of(mask).namespace
    if mask.ndim != len(kernel.shape1) or mask.shape[kernel.channel_axis] != 1:
        raise ArgumentError(
            f"a mask of shape {tuple(mask.shape)} came for outputs of shape {kernel.shape1}; give "
            "it the same axes, with one channel."
        )
    flat = xp.moveaxis(xp.squeeze(mask, axis=kernel.channel_axis), _batch_of(kernel), 0)
    shape = _beside(flat.shape[0], leading == 1, first)
    for size in flat.shape[1:]:
        shape += _beside(size, kernel.diagonal_spatial, first)
    return xp.reshape(flat, shape)


def _beside(size: int, alone: bool, first: bool) -> tuple[int, ...]:
    """The axes that one axis of outputs has in an array that compares two of them."""
    if alone:
        return (size,)
    return (size, 1) if first else (1, size)


def _batch_of(kernel: Kernel) -> int:
    """The axis of the examples once the channels are gone."""
    return kernel.batch_axis - (kernel.channel_axis < kernel.batch_axis)


def _leading(kernel: Kernel) -> dict[str, int]:
    """Number of axes of examples of each array."""
    side = 1 if kernel.diagonal_batch else 2
    return {"nngp": 2, "ntk": 2, "cov1": side, "cov2": side}


def _sides(kernel: Kernel, part: slice) -> tuple[slice, ...]:
    return (part,) if kernel.diagonal_batch else (part, part)


def _cut(x: Array | None, parts: tuple[Any, ...]) -> Array | None:
    return None if x is None else x[(*parts, ...)]


def _on_axis(axis: int, part: slice) -> tuple[slice, ...]:
    return (*(WHOLE,) * axis, part)


def _picked(kernel: Kernel, which: int, part: slice) -> range:
    count = (kernel.shape1 if which == 1 else kernel.shape2)[kernel.batch_axis]
    return range(count)[part]


def _resized(shape: tuple[int, ...], axis: int, part: slice) -> tuple[int, ...]:
    return tuple(len(range(n)[part]) if i == axis else n for i, n in enumerate(shape))


def _expanded(idx: Any, ndim: int) -> tuple[Any, ...]:
    """Return an index with one entry per axis."""
    given = idx if isinstance(idx, tuple) else (idx,)
    bad = [i for i in given if not (isinstance(i, (int, slice)) or i is Ellipsis)]
    if bad or isinstance(idx, bool):
        raise ArgumentError(f"Kernel[{idx!r}] holds {bad[0]!r}; use integers, slices and '...'.")
    if Ellipsis not in given:
        given = (*given, Ellipsis)
    at = given.index(Ellipsis)
    missing = ndim - (len(given) - 1)
    if missing < 0:
        raise ArgumentError(f"Kernel[{idx!r}] has more entries than the outputs' {ndim} axes.")
    return (*given[:at], *(WHOLE,) * missing, *given[at + 1 :])


def _expanded_without(every: tuple[Any, ...], batch: int) -> tuple[Any, ...]:
    return tuple(WHOLE if i == batch else part for i, part in enumerate(every))


def _shape_at(shape: tuple[int, ...], parts: tuple[Any, ...]) -> tuple[int, ...]:
    both = zip(shape, parts, strict=True)
    return tuple(len(range(n)[p]) for n, p in both if isinstance(p, slice))


def _axes_after(every: tuple[Any, ...], axis: int) -> int:
    """Where an axis is once integers have removed others."""
    return axis - sum(isinstance(p, int) for p in every[:axis])
