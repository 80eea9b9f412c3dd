"""Functions of the standard that are made of others: differentiable because those are."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

from ntcore.backend import host
from ntcore.tape.indexing import to_host
from ntcore.tape.shapes import axes_of, normal


def expand_dims(xp: Any, x: Any, /, *, axis: int = 0) -> Any:
    axis = normal(axis, x.ndim + 1)
    return xp.reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))


def squeeze(xp: Any, x: Any, /, axis: int | tuple[int, ...]) -> Any:
    gone = axes_of(axis, x.ndim)
    return xp.reshape(x, tuple(n for k, n in enumerate(x.shape) if k not in gone))


def matrix_transpose(xp: Any, x: Any, /) -> Any:
    return xp.permute_dims(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def moveaxis(xp: Any, x: Any, source: Any, destination: Any, /) -> Any:
    came, go = axes_of(source, x.ndim), axes_of(destination, x.ndim)
    order = [k for k in range(x.ndim) if k not in came]
    for to, axis in sorted(zip(go, came, strict=True)):
        order.insert(to, axis)
    return xp.permute_dims(x, tuple(order))


def stack(xp: Any, arrays: Any, /, *, axis: int = 0) -> Any:
    return xp.concat([expand_dims(xp, a, axis=axis) for a in arrays], axis=axis)


def unstack(xp: Any, x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    lead = (slice(None),) * normal(axis, x.ndim)
    return tuple(x[(*lead, k, ...)] for k in range(x.shape[axis]))


def roll(xp: Any, x: Any, /, shift: Any, *, axis: Any = None) -> Any:
    if axis is None:
        return xp.reshape(roll(xp, xp.reshape(x, (-1,)), shift, axis=0), x.shape)
    axes = axes_of(axis, x.ndim)
    shifts = shift if isinstance(shift, (tuple, list)) else (shift,) * len(axes)
    for by, k in zip(shifts, axes, strict=True):
        cut = -by % max(x.shape[k], 1)
        lead = (slice(None),) * k
        halves = [x[(*lead, slice(cut, None), ...)], x[(*lead, slice(0, cut), ...)]]
        x = xp.concat(halves, axis=k)
    return x


def repeat(xp: Any, x: Any, repeats: Any, /, *, axis: int | None = None) -> Any:
    if axis is None:
        return repeat(xp, xp.reshape(x, (-1,)), repeats, axis=0)
    np = host().namespace
    counts = repeats if isinstance(repeats, int) else to_host(xp.tape, repeats)
    return xp.take(x, np.repeat(np.arange(x.shape[axis]), counts), axis=axis)


def tile(xp: Any, x: Any, repetitions: tuple[int, ...], /) -> Any:
    ndim = max(x.ndim, len(repetitions))
    x = xp.reshape(x, (*(1,) * (ndim - x.ndim), *x.shape))
    for k, times in enumerate((*(1,) * (ndim - len(repetitions)), *repetitions)):
        x = xp.concat([x] * times, axis=k) if times != 1 else x
    return x


def broadcast_arrays(xp: Any, *arrays: Any) -> tuple[Any, ...]:
    np = host().namespace
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    return tuple(xp.broadcast_to(a, shape) for a in arrays)


def meshgrid(xp: Any, *arrays: Any, indexing: str = "xy") -> list[Any]:
    count = len(arrays)
    order = [1, 0, *range(2, count)] if indexing == "xy" and count > 1 else list(range(count))
    shape = tuple(arrays[k].size for k in order)
    flat = [xp.reshape(a, (*(1,) * k, -1, *(1,) * (count - 1 - k))) for k, a in enumerate(arrays)]
    return [xp.broadcast_to(xp.permute_dims(a, tuple(order)), shape) for a in flat]


def full(xp: Any, shape: Any, fill: Any, /, **kwargs: Any) -> Any:
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    return xp.broadcast_to(xp.asarray(fill, **kwargs), tuple(sizes))


def full_like(xp: Any, x: Any, /, fill: Any, *, dtype: Any = None, device: Any = None) -> Any:
    return full(xp, x.shape, fill, dtype=x.dtype if dtype is None else dtype, device=x.device)


def _masked(xp: Any, name: str, x: Any, k: int) -> Any:
    ones = host().namespace.ones(x.shape[-2:], dtype=bool)
    mask = getattr(host().namespace, name)(ones, k=k)
    return xp.where(xp.constant(xp.tape.backend.asarray(mask, None, x.device)), x, 0.0)


def tril(xp: Any, x: Any, /, *, k: int = 0) -> Any:
    return _masked(xp, "tril", x, k)


def triu(xp: Any, x: Any, /, *, k: int = 0) -> Any:
    return _masked(xp, "triu", x, k)


def diff(xp: Any, x: Any, /, *, axis: int = -1, n: int = 1, **ends: Any) -> Any:
    given = [ends.get("prepend"), x, ends.get("append")]
    x = xp.concat([a for a in given if a is not None], axis=axis)
    lead = (slice(None),) * normal(axis, x.ndim)
    for _ in range(n):
        x = x[(*lead, slice(1, None), ...)] - x[(*lead, slice(0, -1), ...)]
    return x


# --- reductions ----------------------------------------------------------------------------------


def mean(xp: Any, x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    count = math.prod(x.shape[k] for k in axes_of(axis, x.ndim))
    return xp.sum(x, axis=axis, keepdims=keepdims) / count


def var(
    xp: Any, x: Any, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False
) -> Any:
    count = math.prod(x.shape[k] for k in axes_of(axis, x.ndim))
    apart = x - mean(xp, x, axis=axis, keepdims=True)
    return xp.sum(apart * apart, axis=axis, keepdims=keepdims) / (count - correction)


def std(xp: Any, x: Any, /, **kwargs: Any) -> Any:
    return root(xp, var(xp, x, **kwargs))


def root(xp: Any, x: Any) -> Any:
    """The square root, with derivative 0 at 0."""
    zero = x == 0
    return xp.where(zero, 0.0, xp.sqrt(xp.where(zero, 1.0, x)))


def extreme(xp: Any, name: str, x: Any, axis: Any, keepdims: bool) -> Any:
    """The mean of those entries that attain the extreme value."""
    below = xp.below(x)
    most = getattr(xp.tape.xp, name)(below, axis=axis, keepdims=True)
    hit = below == most
    weight = xp.constant(xp.tape.xp.astype(hit, x.dtype))
    chosen = xp.where(xp.constant(hit), x, 0.0)
    keep = {"axis": axis, "keepdims": keepdims}
    return xp.sum(chosen, **keep) / xp.sum(weight, **keep)


def max_(xp: Any, x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    return extreme(xp, "max", x, axis, keepdims)


def min_(xp: Any, x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    return extreme(xp, "min", x, axis, keepdims)


def prod(xp: Any, x: Any, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    axes = axes_of(axis, x.ndim)
    out = x if dtype is None else xp.astype(x, dtype)
    for k in sorted(axes, reverse=True):
        out = reduce(lambda a, b: a * b, unstack(xp, out, axis=k))
    kept = tuple(1 if k in axes else n for k, n in enumerate(x.shape))
    return xp.reshape(out, kept) if keepdims else out


def cumulative_prod(
    xp: Any, x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    axis = 0 if axis is None else axis
    x = x if dtype is None else xp.astype(x, dtype)
    out: list[Any] = []
    for term in unstack(xp, x, axis=axis):
        out.append(term * out[-1] if out else term)
    one = [xp.ones_like(out[0])] if include_initial else []
    return stack(xp, one + out, axis=axis)


def clip(xp: Any, x: Any, /, min: Any = None, max: Any = None) -> Any:
    x = x if min is None else xp.maximum(x, min)
    return x if max is None else xp.minimum(x, max)


def sort(
    xp: Any, x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True
) -> Any:
    order = xp.argsort(x, axis=axis, descending=descending, stable=stable)
    return xp.take_along_axis(x, order, axis=axis)


# --- products ------------------------------------------------------------------------------------


def vecdot(xp: Any, a: Any, b: Any, /, *, axis: int = -1) -> Any:
    return xp.sum(a * b, axis=axis)


def tensordot(xp: Any, a: Any, b: Any, /, *, axes: Any = 2) -> Any:
    if isinstance(axes, int):
        axes = (tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes)))
    one, two = (axes_of(tuple(k), x.ndim) for k, x in zip(axes, (a, b), strict=True))
    free_a = tuple(k for k in range(a.ndim) if k not in one)
    free_b = tuple(k for k in range(b.ndim) if k not in two)
    shape = tuple(a.shape[k] for k in free_a) + tuple(b.shape[k] for k in free_b)
    inner = math.prod(a.shape[k] for k in one)
    left = xp.reshape(xp.permute_dims(a, free_a + one), (-1, inner))
    right = xp.reshape(xp.permute_dims(b, two + free_b), (inner, -1))
    return xp.reshape(xp.matmul(left, right), shape)


def fftshift(xp: Any, x: Any, /, *, axes: Any = None) -> Any:
    return _shifted(xp, x, axes, 1)


def ifftshift(xp: Any, x: Any, /, *, axes: Any = None) -> Any:
    return _shifted(xp, x, axes, -1)


def _shifted(xp: Any, x: Any, axes: Any, sign: int) -> Any:
    every = axes_of(axes, x.ndim)
    return roll(xp, x, tuple(sign * (x.shape[k] // 2) for k in every), axis=every)


COMPOSED = {
    f.__name__.rstrip("_"): f
    for f in (
        expand_dims, squeeze, matrix_transpose, moveaxis, stack, unstack, roll, repeat, tile,
        broadcast_arrays, meshgrid, full, full_like, tril, triu, diff, mean, var, std, max_, min_,
        prod, cumulative_prod, clip, sort, vecdot, tensordot,
    )
}  # fmt: skip

FFT = {f.__name__: f for f in (fftshift, ifftshift)}
