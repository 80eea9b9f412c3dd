"""What each function of torch does with a parameter, and with which activations.

A handler calls the function and notes every use of a parameter; it returns NotImplemented where
the parameter is used in a way that has no such form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from ntcore.backends.torch_watch import Watch

CONVOLUTIONS = {"conv1d": 1, "conv2d": 2, "conv3d": 3}


def _linear(watch: Watch, func: Any, args: Any, kwargs: Any) -> Any:
    x, weight, bias = _named(args, kwargs, ("input", "weight", "bias"))
    if watch.find(x) is not None:
        return NotImplemented
    return _affine(watch, func(x, weight, bias), x, (weight, False), bias)


def _affine(watch: Watch, out: Any, x: Any, weight: tuple[Any, bool], bias: Any) -> Any:
    """Note a matrix, stored ``(inputs, outputs)`` where turned, and a bias on the last axis."""
    uses: list[tuple[Any, ...]] = []
    found, shift = watch.find(weight[0]), watch.find(bias)
    if found is not None:
        factor = watch.scales.get(id(weight[0]), 1.0)
        data = x.detach() if factor == 1 else x.detach() * factor
        uses.append((found[0], "matrix", (*found[1], weight[1]), data, weight[1]))
    if shift is not None:
        uses.append((shift[0], "shift", shift[1], None, tuple(bias.shape)))
    return watch.note(out, uses)


def _matmul(watch: Watch, func: Any, args: Any, kwargs: Any) -> Any:
    a, b = args[:2]
    if kwargs or watch.find(a) is not None or watch.find(b) is None or b.ndim != 2 or a.ndim < 2:
        return NotImplemented
    return _affine(watch, func(a, b), a, (b, True), None)


def _addmm(watch: Watch, func: Any, args: Any, kwargs: Any) -> Any:
    if kwargs or len(args) != 3 or watch.find(args[1]) is not None:
        return NotImplemented
    bias, x, weight = args
    if isinstance(bias, torch.Tensor) and bias.ndim != 1:
        return NotImplemented
    return _affine(watch, func(bias, x, weight), x, (weight, True), bias)


def _convolution(watch: Watch, func: Any, args: Any, kwargs: Any) -> Any:
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    x, weight, bias, stride, padding, dilation, groups = _named(args, kwargs, names)
    space = CONVOLUTIONS[func.__name__]
    if watch.find(x) is not None or x.ndim != space + 2:
        return NotImplemented
    stride, dilation = (_tuple(1 if v is None else v, space) for v in (stride, dilation))
    taps = tuple(weight.shape[2:])
    before, after = _padding(padding, taps, dilation)
    uses: list[tuple[Any, ...]] = []
    found, shift = watch.find(weight), watch.find(bias)
    extra = (taps, stride, dilation, before, after, groups or 1)
    if found is not None:
        uses.append((found[0], "convolution", found[1], x.detach(), *extra))
    if shift is not None:
        uses.append((shift[0], "shift", shift[1], None, (len(bias), *(1,) * space)))
    return watch.note(func(*args, **kwargs), uses)


def _padding(padding: Any, taps: Any, dilation: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if padding == "valid" or padding is None:
        return (0,) * len(taps), (0,) * len(taps)
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(taps, dilation, strict=True)]
        return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    both = _tuple(padding, len(taps))
    return both, both


def _tuple(v: Any, n: int) -> tuple[int, ...]:
    return (int(v),) * n if isinstance(v, int) else tuple(v) * (n if len(v) == 1 else 1)


def _embedding(watch: Watch, func: Any, args: Any, kwargs: Any) -> Any:
    names = ("input", "weight", "padding_idx", "max_norm")
    index, weight, padding, norm = _named(args, kwargs, names)
    found = watch.find(weight)
    if found is None or found[1] or norm is not None or (padding is not None and padding >= 0):
        return NotImplemented
    use = (found[0], "embedding", ("rows",), index, weight.shape[0])
    return watch.note(func(*args, **kwargs), [use])


def _normalised(names: tuple[str, ...], channels: bool) -> Callable[..., Any]:
    """Make a handler of a normalisation with a scale and a shift."""

    def handler(watch: Watch, func: Any, args: Any, kwargs: Any) -> Any:
        given = dict(zip(names, args, strict=False)) | kwargs
        x, weight, bias = given["input"], given.get("weight"), given.get("bias")
        if watch.find(x) is not None:
            return NotImplemented
        plain = func(**given | {k: None for k in ("weight", "bias") if k in names})
        shape = (-1, *(1,) * (x.ndim - 2)) if channels else tuple(given["normalized_shape"])
        out = plain
        uses: list[tuple[Any, ...]] = []
        for t, kind, data in ((weight, "scale", plain.detach()), (bias, "shift", None)):
            if t is None:
                continue
            t_shaped = t.reshape(shape)
            out = out * t_shaped if kind == "scale" else out + t_shaped
            found = watch.find(t)
            if found is not None:
                uses.append((found[0], kind, found[1], data, tuple(t_shaped.shape)))
        return watch.note(out, uses)

    return handler


def _sum(watch: Watch, func: Any, args: Any, kwargs: Any) -> Any:
    return _entrywise(watch, func, args, kwargs, "shift")


def _product(watch: Watch, func: Any, args: Any, kwargs: Any) -> Any:
    return _entrywise(watch, func, args, kwargs, "scale")


def _entrywise(watch: Watch, func: Any, args: Any, kwargs: Any, kind: str) -> Any:
    found = [watch.find(a) for a in args[:2]]
    if kwargs or len(args) != 2 or all(f is not None for f in found):
        return NotImplemented
    k = 0 if found[0] is not None else 1
    other, own, use = args[1 - k], args[k], found[k]
    if kind == "scale" and isinstance(other, (int, float)):
        return watch.scaled(own, func(*args), float(other))
    if use is None or not isinstance(other, torch.Tensor):
        return NotImplemented
    out = func(*args)
    factor = watch.scales.get(id(own), 1.0)
    data = other.detach().expand(out.shape) * factor if kind == "scale" else None
    data = (
        out.detach().new_full((), factor).expand(out.shape)
        if factor != 1 and data is None
        else data
    )
    return watch.note(out, [(use[0], kind, use[1], data, tuple(own.shape))])


def _named(args: Any, kwargs: Any, names: tuple[str, ...]) -> list[Any]:
    given = dict(zip(names, args, strict=False)) | {k: v for k, v in kwargs.items() if k in names}
    return [given.get(name) for name in names]


_BATCH_NORM = (
    "input",
    "running_mean",
    "running_var",
    "weight",
    "bias",
    "training",
    "momentum",
    "eps",
)
HANDLERS: dict[str, Callable[..., Any]] = {
    "linear": _linear,
    "matmul": _matmul, "__matmul__": _matmul, "mm": _matmul, "addmm": _addmm,
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    "embedding": _embedding,
    "layer_norm": _normalised(("input", "normalized_shape", "weight", "bias", "eps"), False),
    "rms_norm": _normalised(("input", "normalized_shape", "weight", "eps"), False),
    "batch_norm": _normalised(_BATCH_NORM, True),
    "group_norm": _normalised(("input", "num_groups", "weight", "bias", "eps"), True),
    "add": _sum, "__add__": _sum, "__radd__": _sum,
    "mul": _product, "__mul__": _product, "__rmul__": _product,
}  # fmt: skip
