"""Gradients in factors, from ntcore's own tape: NumPy, CuPy, array_api_strict.

The whole batch is recorded once, and its first example alone once more: the axis that differs
between the two is that of the examples, wherever the function has moved it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ntcore import tape
from ntcore.backend import Array, host
from ntcore.empirical.view import View
from ntcore.tape.trace import Node

VIEWS = frozenset(["reshape", "permute_dims"])
Where = tuple[int, int, bool]
SLACK = 1e-3  # an example alone against itself in a batch, relative: which axis it lies on


@dataclass(frozen=True)
class Use:
    """A node that takes a parameter.

    Attributes
    ----------
    leaf : int
        Which parameter.
    node : int
        Position on the tape.
    side : int
        Which argument of the node the parameter is.
    frame : tuple
        How it is rearranged there.
    scale : number or array without axes
        What it is multiplied with before.
    """

    leaf: int
    node: int
    side: int
    frame: tuple[Any, ...]
    scale: Any = 1.0


@dataclass
class Recording:
    """A function on the tape, and where its parameters are used."""

    on: tape.Tape
    out: Any
    uses: list[Use]
    pure: frozenset[int]


def structured_on_tape(view: View, seeds: Array) -> list[Any]:
    """Return, for each parameter, the parts of its gradients, or None where it has no factors.

    A part is ``(g,)`` or the fields of :class:`~ntcore.empirical.contract.Factored`.
    """
    count, theta = view.count, view.fn.theta
    whole = _recorded(view)
    alone = whole if count == 1 else _recorded(view.part(0, 1))
    if [(u.leaf, u.node, u.side) for u in whole.uses] != [
        (u.leaf, u.node, u.side) for u in alone.uses
    ]:
        return [None] * len(theta)
    where = [_layout(view, whole, alone, u, count) for u in whole.uses]
    lost = _lost(whole, where)
    kept = [(u, w) for u, w in zip(whole.uses, where, strict=True) if u.leaf not in lost]
    signals = _signals(view, whole, [u.node for u, _ in kept], seeds)
    parts: list[Any] = [None if k in lost else [] for k in range(len(theta))]
    for (use, axis), signal in zip(kept, signals, strict=True):
        node = whole.on.nodes[use.node]
        if signal is None:
            signal = view.backend.namespace.zeros(
                (seeds.shape[0], *node.out.shape), dtype=seeds.dtype, device=view.place.device
            )
        signal = signal if isinstance(use.scale, float) and use.scale == 1 else signal * use.scale
        parts[use.leaf].append(_HANDLERS[_kind(node)](view, node, use, signal, axis))
    return [[_zero(view, seeds, k)] if p == [] else p for k, p in enumerate(parts)]


def _zero(view: View, seeds: Array, k: int) -> tuple[Array]:
    shape = (view.count, seeds.shape[0], *view.fn.theta[k].shape)
    xp = view.backend.namespace
    return (xp.zeros(shape, dtype=seeds.dtype, device=view.place.device),)


def _recorded(view: View) -> Recording:
    on = tape.tape_of(view.backend, view.fn.theta)
    theta = [tape.Traced(t, on, on.source(t)) for t in view.fn.theta]
    out = view.whole(theta, view.fn.constants, view.batch.leaves)
    frames: dict[int, tuple[int, tuple[Any, ...], Any]] = {
        k: (k, (), 1.0) for k in range(len(theta))
    }
    uses = []
    for at, node in enumerate(on.nodes):
        for side, parent in enumerate(node.parents):
            if parent not in frames:
                continue
            leaf, frame, scale = frames[parent]
            if node.op is not None and node.op.name in VIEWS:
                step = () if node.op.name == "reshape" else (str(node.static),)
                frames[at] = (leaf, (*frame, *step), scale)
            elif _scales(node):
                frames[at] = (leaf, frame, scale * node.values[1 - side])
            else:
                uses.append(Use(leaf, at, side, frame, scale))
    if getattr(out, "node", None) in frames:
        uses.append(Use(frames[out.node][0], out.node, -1, ()))
    return Recording(on, out, uses, frozenset(frames))


def _scales(node: Node) -> bool:
    """Whether a node multiplies a parameter with one number."""
    constants = [v for v, p in zip(node.values, node.parents, strict=True) if p is None]
    single = len(constants) == 1 and getattr(constants[0], "ndim", 0) == 0
    return _kind(node) == "multiply" and single


def _kind(node: Node) -> str:
    return node.op.name if node.op is not None else ""


def _lost(recording: Recording, where: list[Any]) -> set[int]:
    """Return parameters with a use that has no factors, or uses that cannot be added up."""
    lost: set[int] = set()
    frames: dict[int, set[Any]] = {}
    for use, axis in zip(recording.uses, where, strict=True):
        node = recording.on.nodes[use.node]
        if axis is None or not _is_known(node, use):
            lost.add(use.leaf)
        frames.setdefault(use.leaf, set()).add((_kind(node), use.frame))
    mixed = {k for k, found in frames.items() if len(found) > 1 and any(f for _, f in found)}
    return lost | mixed


def _is_known(node: Node, use: Use) -> bool:
    kind = _kind(node)
    alone = sum(p is not None and p == node.parents[use.side] for p in node.parents) == 1
    if use.side < 0 or kind not in _HANDLERS or not alone:
        return False
    if kind == "matmul":
        return use.side == 1 and node.values[1].ndim == 2
    if kind == "gather_sum":
        table = node.static["table"]
        single = table.index.shape[0] == 1 and table.valid is None
        return single and node.values[0].shape[0] == 1 and use.frame == ()
    return use.frame == ()


def _signals(view: View, recording: Recording, nodes: list[int], seeds: Array) -> list[Any]:
    if recording.out.node is None or not nodes:
        return [None] * len(nodes)
    xp, out = view.backend.namespace, recording.out
    if view.out is not None:
        seeds = xp.broadcast_to(seeds[:, None, ...], (seeds.shape[0], *out.shape))
    return recording.on.pull({out.node: seeds}, nodes, recording.pure)


# --- which axis the examples lie on --------------------------------------------------------------


def _layout(view: View, whole: Recording, alone: Recording, use: Use, count: int) -> Where | None:
    """Return the axis of the examples, how many entries of one are along it, and their order.

    The entries of an example lie side by side, or (last) one round after the other; None where
    neither is so.
    """
    if count == 1:
        return (-1, 1, False)
    a, b = (r.on.nodes[use.node].out for r in (whole, alone))
    axes = [k for k, (m, n) in enumerate(zip(a.shape, b.shape, strict=False)) if m != n]
    if a.ndim != b.ndim or len(axes) != 1 or a.shape[axes[0]] != count * b.shape[axes[0]]:
        return None
    each = b.shape[axes[0]]
    lead = (slice(None),) * axes[0]
    for minor in (False, True) if each > 1 else (False,):
        step = slice(0, None, count) if minor else slice(0, each)
        if _close(view, a[(*lead, step, ...)], b):
            return (axes[0], each, minor)
    return None


def _close(view: View, a: Array, b: Array) -> bool:
    if not b.size:
        return True
    xp = view.backend.namespace
    return float(xp.max(xp.abs(a - b))) <= SLACK * float(xp.max(xp.abs(b)))


def _examples_first(view: View, t: Array, where: Where, count: int, lead: int) -> Array:
    """``(*lead, ..., n * each, ...)`` to ``(n, *lead, each, ...)``, the rest in order."""
    xp, (axis, each, minor) = view.backend.namespace, where
    if axis == -1:
        return t[None, ...]
    moved = xp.moveaxis(t, axis + lead, 0)
    sizes = (each, count) if minor else (count, each)
    split = xp.reshape(moved, (*sizes, *moved.shape[1:]))
    split = xp.moveaxis(split, 1, 0) if minor else split
    return xp.moveaxis(split, 1, 1 + lead)


# --- primitives ----------------------------------------------------------------------------------


def _of_product(view: View, node: Node, use: Use, signal: Array, where: Any) -> tuple[Any, ...]:
    xp, count, rows = view.backend.namespace, view.count, signal.shape[0]
    d = _examples_first(view, signal, where, count, 1)
    d = xp.matrix_transpose(xp.reshape(d, (count, rows, 1, -1, d.shape[-1])))
    a = _examples_first(view, node.values[0], where, count, 0)
    a = xp.reshape(a, (count, 1, -1, a.shape[-1]))
    return a, d, a.shape[-1], True


def _of_gather(view: View, node: Node, use: Use, signal: Array, where: Any) -> tuple[Any, ...]:
    xp, count, rows = view.backend.namespace, view.count, signal.shape[0]
    d = _examples_first(view, signal[:, 0, ...], (min(where[0], 0), *where[1:]), count, 1)
    d = xp.matrix_transpose(xp.reshape(d, (count, rows, 1, -1, d.shape[-1])))
    index = host().namespace.reshape(node.static["table"].index[0], (count, 1, -1))
    return view.place.index(index), d, node.values[0].shape[1], True


def _entrywise(sign: Callable[[Node, Use], Any]) -> Callable[..., tuple[Any, ...]]:
    """Make a handler that sums the signal times ``sign`` over the axes of broadcasting."""

    def handler(view: View, node: Node, use: Use, signal: Array, where: Any) -> tuple[Any, ...]:
        xp, count = view.backend.namespace, view.count
        product = signal * sign(node, use)
        shape = tuple(node.values[use.side].shape)
        own = (1,) * (node.out.ndim - len(shape)) + shape
        g = _examples_first(view, product, where, count, 1)
        if where[0] >= 0:
            own = (*own[: where[0]], 1, *own[where[0] + 1 :])
            g = xp.moveaxis(g, 2, where[0] + 2)
        gone = tuple(k + 2 for k, size in enumerate(own) if size == 1)
        return (xp.sum(g, axis=gone) if gone else g,)

    return handler


_HANDLERS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "matmul": _of_product,
    "gather_sum": _of_gather,
    "add": _entrywise(lambda node, use: 1.0),
    "subtract": _entrywise(lambda node, use: 1.0 if use.side == 0 else -1.0),
    "multiply": _entrywise(lambda node, use: node.values[1 - use.side]),
}
