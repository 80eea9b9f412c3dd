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

from ntcore.backends.torch_handlers import HANDLERS

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
        handler = HANDLERS.get(name)
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
