"""Watching where the parameters of a torch function meet its data.

Every call of torch that takes a parameter passes through :class:`Watch`: modules and functions
alike, shared parameters in every place. What it knows (``linear``, ``matmul``, convolutions,
embeddings, normalisation affine, sums and products) it notes with the activations; a parameter used
in any other way is left to the Jacobian.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

RESHAPES = (
    "view",
    "reshape",
    "unsqueeze",
    "squeeze",
    "flatten",
    "contiguous",
    "to",
    "view_as",
    "__getitem__",
)
TURNS = ("t", "transpose", "swapaxes", "permute", "T", "mT", "movedim")
CONVOLUTIONS = {"conv1d": 1, "conv2d": 2, "conv3d": 3}


@dataclass
class Site:
    """One place where a parameter meets data.

    Attributes
    ----------
    leaf : int
        Which parameter.
    kind : str
        ``'matrix'``, ``'scale'``, ``'shift'`` or ``'embedding'``.
    frame : tuple
        How the parameter is rearranged there.
    edge : GradientEdge or Tensor
        Where the signal arrives.
    shape : tuple of int
        Shape of what is put out.
    sample : Tensor
        What is put out.
    data : callable or None
        From nothing to the activations.
    extra : tuple
        What else the kind needs.
    """

    leaf: int
    kind: str
    frame: tuple[Any, ...]
    edge: Any
    shape: tuple[int, ...]
    sample: torch.Tensor
    data: torch.Tensor | None
    version: int
    extra: tuple[Any, ...] = ()

    @property
    def stale(self) -> bool:
        """Whether the activations were changed after they were noted."""
        return self.data is not None and self.data._version != self.version


class Watch(TorchFunctionMode):
    """Notes where each of some parameters is used."""

    def __init__(self, theta: list[torch.Tensor]) -> None:
        super().__init__()
        self.frames: dict[int, tuple[int, tuple[Any, ...]]] = {
            id(t): (k, ()) for k, t in enumerate(theta)
        }
        self.scales: dict[int, float] = {}
        self.kept: list[Any] = list(theta)  # an id is that of one tensor while the tensor lives
        self.sites: list[Site] = []
        self.lost: set[int] = set()

    def __torch_function__(self, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        used = [t for t in _tensors((*args, *kwargs.values())) if id(t) in self.frames]
        if not used:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name == "__get__":
            name = getattr(func.__self__, "__name__", "")
            if name in ("shape", "dtype", "device", "ndim", "is_cuda", "requires_grad", "layout"):
                return func(*args, **kwargs)
        if name in _HARMLESS:
            return func(*args, **kwargs)
        if name in RESHAPES + TURNS and args and args[0] is used[0] and len(used) == 1:
            return self._view(func, name, args, kwargs)
        handler = _HANDLERS.get(name)
        if handler is not None and (
            name in _SCALABLE or not any(id(t) in self.scales for t in used)
        ):
            found = handler(self, func, args, kwargs)
            if found is not NotImplemented:
                return found
        if isinstance(func, types.FunctionType):
            with self:
                return _body(func)(*args, **kwargs)
        self.lost.update(self.frames[id(t)][0] for t in used)
        return func(*args, **kwargs)

    def _view(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        out = func(*args, **kwargs)
        leaf, frame = self.frames[id(args[0])]
        if not isinstance(out, torch.Tensor) or out.numel() != args[0].numel():
            self.lost.add(leaf)
            return out
        step = () if name in RESHAPES and out.is_contiguous() else ((name, str(args[1:])),)
        self.frames[id(out)] = (leaf, (*frame, *step))
        if id(args[0]) in self.scales:
            self.scales[id(out)] = self.scales[id(args[0])]
        self.kept.append(out)
        return out

    def scaled(self, t: torch.Tensor, out: torch.Tensor, factor: float) -> torch.Tensor:
        """Note that ``out`` is a parameter times a number."""
        self.frames[id(out)] = self.frames[id(t)]
        self.scales[id(out)] = self.scales.get(id(t), 1.0) * factor
        self.kept.append(out)
        return out

    def find(self, t: Any) -> tuple[int, tuple[Any, ...]] | None:
        """Return ``(parameter, frame)`` of a tensor, or None."""
        return self.frames.get(id(t)) if isinstance(t, torch.Tensor) else None

    def note(self, out: torch.Tensor, uses: list[tuple[Any, ...]]) -> torch.Tensor:
        """Note uses ``(leaf, kind, frame, activations, *extra)`` that put out ``out``."""
        if not out.requires_grad:
            out = out.detach().requires_grad_()
            edge: Any = out
            given = out.clone()
        else:
            edge, given = torch.autograd.graph.get_gradient_edge(out), out
        for leaf, kind, frame, data, *extra in uses:
            version = 0 if data is None else data._version
            sample = out.detach()
            self.sites.append(
                Site(leaf, kind, frame, edge, tuple(out.shape), sample, data, version, tuple(extra))
            )
        return given


_SCALABLE = (
    "matmul",
    "__matmul__",
    "mm",
    "add",
    "__add__",
    "__radd__",
    "mul",
    "__mul__",
    "__rmul__",
)
_HARMLESS = ("size", "dim", "numel", "is_floating_point", "stride", "is_contiguous", "__len__")


def _tensors(values: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    for v in values:
        if isinstance(v, torch.Tensor):
            found.append(v)
        elif isinstance(v, (tuple, list)):
            found += _tensors(v)
    return found


def _body(func: types.FunctionType) -> Callable[..., Any]:
    """Return a function of torch that goes straight to its body, whose calls are then watched."""
    names = {**func.__globals__}
    for name in list(names):
        if name.startswith("has_torch_function"):
            names[name] = lambda *args: False
    made = types.FunctionType(
        func.__code__, names, func.__name__, func.__defaults__, func.__closure__
    )
    made.__kwdefaults__ = func.__kwdefaults__
    return made


# --- handlers ------------------------------------------------------------------------------------


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
        plain = func(**{**given, "weight": None, "bias": None})
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
_HANDLERS: dict[str, Callable[..., Any]] = {
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
