"""Gradients in factors, for torch functions and modules."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from ntcore.backends.torch_watch import Site, Watch

Where = tuple[int, int, bool]
SLACK = 1e-3  # an example alone against itself in a batch, relative: which axis it lies on


def structured(view: Any, seeds: torch.Tensor) -> list[Any]:
    """Return, for each parameter, the parts of its gradients for all examples.

    A part is ``(g,)`` with ``g`` of shape ``(n, rows, ...)``, or ``(a, d, inputs, turned,
    outputs_last)`` as in ``ntcore.empirical.contract.Factored``; None stands for a parameter that
    is used in a way not known here.
    """
    watch, out = _watched(view)
    layout = _layouts(view, watch)
    if layout is None:
        return [None] * len(view.fn.theta)
    lost = set(watch.lost)
    for site, where in zip(watch.sites, layout, strict=True):
        if where is None or site.stale:
            lost.add(site.leaf)
    lost |= _clashing(watch.sites)
    kept = [(s, w) for s, w in zip(watch.sites, layout, strict=True) if s.leaf not in lost]
    signals = _signals(out, [s for s, _ in kept], seeds, view.out is None)
    del watch, out
    parts: list[Any] = [None if k in lost else [] for k in range(len(view.fn.theta))]
    for site, part in zip((s for s, _ in kept), _parts(kept, signals, view.count), strict=True):
        parts[site.leaf].append(part)
    rows = seeds.shape[0]
    return [
        [(seeds.new_zeros((view.count, rows, t.numel())),)] if p == [] else p
        for p, t in zip(parts, view.fn.theta, strict=True)
    ]


def _watched(view: Any) -> tuple[Watch, torch.Tensor]:
    theta = [t.detach() for t in view.fn.theta]
    watch = Watch(theta)
    leaves = [x.detach() if isinstance(x, torch.Tensor) else x for x in view.batch.leaves]
    with torch.enable_grad(), watch:
        out = view.whole(theta, view.fn.constants, leaves)
    if id(out) in watch.frames:
        watch.lost.add(watch.frames[id(out)][0])
    return watch, out


def _clashing(sites: list[Site]) -> set[int]:
    """Return parameters whose uses cannot be added up: rearranged in several ways."""
    frames: dict[int, set[Any]] = {}
    for s in sites:
        frames.setdefault(s.leaf, set()).add((s.kind, s.frame))
    turned = {s.leaf for s in sites if s.frame and s.kind in ("scale", "shift")}
    stored = {
        leaf: all(_is_stored(kind, frame) for kind, frame in found)
        for leaf, found in frames.items()
    }
    return turned | {leaf for leaf, found in frames.items() if len(found) > 1 and not stored[leaf]}


def _is_stored(kind: str, frame: tuple[Any, ...]) -> bool:
    """Whether gradients come in the order in which the parameter is stored."""
    return frame in ((), (False,), (True,), ("rows",))


def _signals(
    out: torch.Tensor, sites: list[Site], seeds: torch.Tensor, whole: bool
) -> list[torch.Tensor]:
    """Return the signal of every row at every site, rows first."""
    if not sites or not out.requires_grad:
        return [seeds.new_zeros((seeds.shape[0], *s.shape)) for s in sites]
    grads = seeds if whole else seeds[:, None].expand(seeds.shape[0], *out.shape)
    edges = list(
        {id(s.edge) if isinstance(s.edge, torch.Tensor) else s.edge: s.edge for s in sites}.values()
    )
    keys = [e if not isinstance(e, torch.Tensor) else id(e) for e in edges]
    try:
        found = torch.autograd.grad(
            out, edges, grads, retain_graph=True, allow_unused=True, is_grads_batched=True
        )
    except RuntimeError:
        rows = [
            torch.autograd.grad(out, edges, g, retain_graph=True, allow_unused=True) for g in grads
        ]
        found = tuple(
            None if every[0] is None else torch.stack(list(every))
            for every in zip(*rows, strict=True)
        )
    table = dict(zip(keys, found, strict=True))
    signals = [table[id(s.edge) if isinstance(s.edge, torch.Tensor) else s.edge] for s in sites]
    return [
        seeds.new_zeros((seeds.shape[0], *s.shape)) if g is None else g
        for s, g in zip(sites, signals, strict=True)
    ]


def count(view: Any) -> tuple[float, float, float]:
    """Return operations, intermediate entries and the largest array of a function."""
    sizes = _Sizes()
    with torch.no_grad(), FlopCounterMode(display=False) as flops, sizes:
        view.whole(*view.arrays)
    return float(flops.get_total_flops()), float(sizes.total), float(sizes.largest)


class _Sizes(TorchDispatchMode):
    """Adds up what every operation puts out."""

    def __init__(self) -> None:
        super().__init__()
        self.total = self.largest = 0

    def __torch_dispatch__(self, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and not func.is_view:
            self.total += out.numel()
            self.largest = max(self.largest, out.numel())
        return out


# --- which axis the examples lie on --------------------------------------------------------------


def _layouts(view: Any, watch: Watch) -> list[Where | None] | None:
    """Return where every site has the examples; None where one example has other sites.

    An example alone tells, once for all calls with the same sites.
    """

    def compared() -> list[Where | None] | None:
        alone = watch if view.count == 1 else _watched(view.part(0, 1))[0]
        if len(watch.sites) != len(alone.sites):
            return None
        pairs = zip(watch.sites, alone.sites, strict=True)
        return [_layout(a, b, view.count) for a, b in pairs]

    sites = tuple((s.leaf, s.kind, str(s.frame), s.shape) for s in watch.sites)
    found: list[Where | None] | None = view.noted("layout", compared, view.count, sites)
    return found


def _layout(site: Site, alone: Site, count: int) -> Where | None:
    """Return the axis of the examples, how many entries of one are along it, and their order.

    The entries of an example lie side by side, or (last) one round after the other; None where
    neither is so.
    """
    if count == 1:
        return (-1, 1, False)
    axes = [k for k, (a, b) in enumerate(zip(site.shape, alone.shape, strict=False)) if a != b]
    same = len(site.shape) == len(alone.shape) and site.kind == alone.kind
    if not same or len(axes) != 1 or site.leaf != alone.leaf:
        return None
    axis = axes[0]
    each = alone.shape[axis]
    if site.shape[axis] != each * count:
        return None
    if not alone.sample.numel():
        return (axis, each, False)
    slack = SLACK * float(alone.sample.abs().max())
    for minor in (False, True) if each > 1 else (False,):
        index = torch.arange(each, device=site.sample.device) * (count if minor else 1)
        first = site.sample.index_select(axis, index)
        if float((first - alone.sample).abs().max()) <= slack:
            return (axis, each, minor)
    return None


def _examples_first(t: torch.Tensor, where: Where, count: int, lead: int) -> torch.Tensor:
    """``(*lead, ..., n * each, ...)`` to ``(n, *lead, each, ...)``, the rest in order."""
    axis, each, minor = where
    if axis == -1:
        return t.unsqueeze(0)
    moved = t.movedim(axis + lead, 0)
    if minor:
        split = moved.reshape(each, count, *moved.shape[1:]).movedim(1, 0)
    else:
        split = moved.reshape(count, each, *moved.shape[1:])
    return split.movedim(1, 1 + lead)


def _parts(kept: list[Any], signals: list[torch.Tensor], count: int) -> list[tuple[Any, ...]]:
    """Return the part of every site; a bias shares the signals of the matrix that it follows."""
    shared: dict[Any, tuple[Any, ...]] = {}
    parts: list[Any] = []
    for (site, where), signal in zip(kept, signals, strict=True):
        parts.append(None if site.kind == "shift" else _part(site, where, signal, count))
        if site.kind in ("matrix", "convolution"):
            shared[_key(site, where, signal)] = parts[-1]
    for k, ((site, where), signal) in enumerate(zip(kept, signals, strict=True)):
        if site.kind == "shift":
            beside = shared.get(_key(site, where, signal))
            alone = beside is None
            parts[k] = (_entrywise(site, where, signal, count),) if alone else _bias(site, beside)
    return parts


def _key(site: Site, where: Where, signal: torch.Tensor) -> tuple[Any, ...]:
    """Return what a matrix and its bias have in common: signals, and the axis of the outputs."""
    if site.kind == "shift":
        several = [k - len(site.extra[0]) for k, size in enumerate(site.extra[0]) if size > 1]
        axis = several[0] % len(site.shape) if len(several) == 1 else None
    else:
        axis = 1 if site.kind == "convolution" else len(site.shape) - 1
    return signal.data_ptr(), tuple(signal.shape), signal.stride(), where, axis


def _bias(site: Site, beside: Any) -> tuple[Any, ...]:
    """Return a bias as a matrix whose one input is a number, 1 unless the bias is scaled."""
    a, d, _, _, outputs_last = beside
    number = 1.0 if site.data is None else float(site.data.reshape(-1)[0])
    return a.new_full((*a.shape[:3], 1), number), d, 1, False, outputs_last


def _part(site: Site, where: Where, signal: torch.Tensor, count: int) -> tuple[Any, ...]:
    rows = signal.shape[0]
    if site.kind == "convolution":
        return _of_convolution(site, where, signal, count)
    if site.kind == "scale":
        return (_entrywise(site, where, signal, count),)
    d = _examples_first(signal, where, count, 1)
    d = d.reshape(count, rows, 1, -1, d.shape[-1]).mT
    a = _examples_first(site.data, where, count, 0)
    if site.kind == "embedding":
        return a.reshape(count, 1, -1), d, site.extra[0], True, True
    return a.reshape(count, 1, -1, a.shape[-1]), d, a.shape[-1], site.extra[0], True


def _entrywise(site: Site, where: Any, signal: torch.Tensor, count: int) -> torch.Tensor:
    """Sum the signal, times the activations of a scale, over the axes of broadcasting."""
    own = (1,) * (len(site.shape) - len(site.extra[0])) + tuple(site.extra[0])
    product = signal if site.data is None else signal * site.data
    axis = where[0]
    g = _examples_first(product, where, count, 1)
    if axis != -1:
        own = own[:axis] + own[axis + 1 :]
        g = g.sum(2)
    gone = [k + 2 for k, size in enumerate(own) if size == 1]
    g = g.sum(gone, keepdim=True) if gone else g
    return g.reshape(count, signal.shape[0], -1)


def _of_convolution(site: Site, where: Where, signal: torch.Tensor, count: int) -> tuple[Any, ...]:
    taps, stride, dilation, before, after, groups = site.extra
    rows, channels = signal.shape[0], signal.shape[2]
    x = site.data
    assert x is not None
    pads = [v for pair in zip(reversed(before), reversed(after), strict=True) for v in pair]
    x = F.pad(x, pads) if any(pads) else x
    for k, (size, step, gap) in enumerate(zip(taps, stride, dilation, strict=True)):
        x = x.unfold(2 + k, gap * (size - 1) + 1, step)[..., ::gap]
    space = len(taps)
    x = x.movedim(tuple(range(-space, 0)), tuple(range(2, 2 + space)))
    inputs = x.shape[1] // groups * math.prod(taps)
    each = x.shape[0] // count
    a = x.reshape(count, each, groups, inputs, -1).movedim(1, -2).reshape(count, groups, inputs, -1)
    d = signal.reshape(rows, count, each, groups, channels // groups, -1)
    d = d.permute(1, 0, 3, 4, 2, 5).reshape(count, rows, groups, channels // groups, -1)
    return a.mT, d, inputs, False, False
