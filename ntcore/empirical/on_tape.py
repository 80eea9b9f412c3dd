"""Gradients in factors, from ntcore's own tape: NumPy, CuPy, array_api_strict.

The whole batch is recorded once, and its first example alone once more: the axis that differs
between the two is that of the examples, wherever the function has moved it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ntcore import tape
from ntcore.backend import Array
from ntcore.empirical.tape_parts import HANDLERS, Where, kind, parts_of
from ntcore.empirical.view import View
from ntcore.tape.trace import Node

VIEWS = frozenset(["reshape", "permute_dims"])
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
    end : int
        Position of the node where the signal is read: what ``node`` puts out may be scaled and
        added to something on its way there.
    scale : number or array without axes
        What it is multiplied with, before the node and behind it.
    """

    leaf: int
    node: int
    side: int
    frame: tuple[Any, ...]
    end: int
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
    whole = _recorded(view)
    alone = whole if view.count == 1 else _recorded(view.part(0, 1))
    parts = _parts(view, whole, alone, seeds)
    for recording in (whole, alone):
        recording.on.nodes.clear()  # a tape and its nodes refer to each other
    return parts


def _parts(view: View, whole: Recording, alone: Recording, seeds: Array) -> list[Any]:
    count, theta = view.count, view.fn.theta
    if [(u.leaf, u.node, u.side) for u in whole.uses] != [
        (u.leaf, u.node, u.side) for u in alone.uses
    ]:
        return [None] * len(theta)
    where = [_layout(view, whole, alone, u, count) for u in whole.uses]
    lost = _lost(whole, where)
    kept = [(u, w) for u, w in zip(whole.uses, where, strict=True) if u.leaf not in lost]
    signals = _signals(view, whole, list(dict.fromkeys(u.end for u, _ in kept)), seeds)
    parts: list[Any] = [None if k in lost else [] for k in range(len(theta))]
    nodes = whole.on.nodes
    uses = [(u, nodes[u.node], w) for u, w in kept if w is not None]
    for (use, *_), part in zip(uses, parts_of(view, uses, signals), strict=True):
        parts[use.leaf].append(part)
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
                uses.append(Use(leaf, at, side, frame, at, scale))
    children = _children(on)
    uses = [_carried(on, children, getattr(out, "node", None), use) for use in uses]
    if getattr(out, "node", None) in frames:
        uses.append(Use(frames[out.node][0], out.node, -1, (), out.node))
    return Recording(on, out, uses, frozenset(frames))


def _scales(node: Node) -> bool:
    """Whether a node multiplies a parameter with one number."""
    return kind(node) == "multiply" and len(_numbers(node)) == 1


def _numbers(node: Node) -> list[Any]:
    """Return the arguments of a node that are numbers, not recorded."""
    pairs = zip(node.values, node.parents, strict=True)
    return [v for v, p in pairs if p is None and getattr(v, "ndim", 0) == 0]


def _children(on: tape.Tape) -> dict[int, list[int]]:
    """Return, for every node, the nodes that take it, as often as they do."""
    found: dict[int, list[int]] = {}
    for at, node in enumerate(on.nodes):
        for parent in node.parents:
            if parent is not None:
                found.setdefault(parent, []).append(at)
    return found


def _carried(on: tape.Tape, children: dict[int, list[int]], out: int | None, use: Use) -> Use:
    """Follow what a node puts out to the last node with the same signal times a number."""
    end, scale = use.end, use.scale
    while end != out and len(children.get(end, ())) == 1:
        at = children[end][0]
        factor = _passed(on.nodes[at], end)
        if factor is None or on.nodes[at].out.shape != on.nodes[end].out.shape:
            break
        end, scale = at, scale * factor
    return replace(use, end=end, scale=scale)


def _passed(node: Node, parent: int) -> Any:
    """Return what a node multiplies one of its arguments with, or None."""
    name = kind(node)
    if name == "add":
        return 1.0
    if name == "subtract":
        return 1.0 if node.parents[0] == parent else -1.0
    if name == "negative":
        return -1.0
    numbers = _numbers(node)
    if name == "multiply" and len(numbers) == 1:
        return numbers[0]
    if name == "divide" and len(numbers) == 1 and node.parents[0] == parent:
        return 1.0 / numbers[0]
    return None


def _lost(recording: Recording, where: list[Any]) -> set[int]:
    """Return parameters with a use that has no factors, or uses that cannot be added up."""
    lost: set[int] = set()
    frames: dict[int, set[Any]] = {}
    for use, axis in zip(recording.uses, where, strict=True):
        node = recording.on.nodes[use.node]
        if axis is None or not _is_known(node, use):
            lost.add(use.leaf)
        frames.setdefault(use.leaf, set()).add((kind(node), use.frame))
    mixed = {k for k, found in frames.items() if len(found) > 1 and any(f for _, f in found)}
    return lost | mixed


def _is_known(node: Node, use: Use) -> bool:
    name = kind(node)
    alone = sum(p is not None and p == node.parents[use.side] for p in node.parents) == 1
    if use.side < 0 or name not in HANDLERS or not alone:
        return False
    if name == "matmul":
        return use.side == 1 and node.values[1].ndim == 2
    if name == "gather_sum":
        table = node.static["table"]
        single = table.index.shape[0] == 1 and table.valid is None
        return single and node.values[0].shape[0] == 1 and use.frame == ()
    return use.frame == ()


def _signals(view: View, recording: Recording, nodes: list[int], seeds: Array) -> dict[int, Array]:
    """Return the signal of every row at some nodes, rows first."""
    xp, out = view.backend.namespace, recording.out
    if view.out is not None and out.node is not None:
        seeds = xp.broadcast_to(seeds[:, None, ...], (seeds.shape[0], *out.shape))
    found = [None] * len(nodes)
    if out.node is not None and nodes:
        found = recording.on.pull({out.node: seeds}, nodes, recording.pure)
    shapes = [(seeds.shape[0], *recording.on.nodes[k].out.shape) for k in nodes]
    return {
        k: xp.zeros(shape, dtype=seeds.dtype, device=view.place.device) if g is None else g
        for k, g, shape in zip(nodes, found, shapes, strict=True)
    }


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
