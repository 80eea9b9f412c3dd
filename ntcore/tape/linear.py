"""Primitives that move and add entries: linear, so that a tangent goes the way of the value."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from ntcore.backend import Array, Place, host
from ntcore.ops import Table, gather_sum
from ntcore.tape.shapes import axes_of, normal, unbroadcast
from ntcore.tape.trace import Node, Op, Tape


def _linear(
    name: str, value: Callable[..., Array], transpose: Callable[[Node, Array, int], Array]
) -> Op:
    """Make a primitive of one array from its value and ``(node, g, lead) -> cotangent``."""
    return Op(
        name,
        value,
        lambda node, i, t: value(node.tape, t, **node.static),
        lambda node, i, g: transpose(node, g, node.lead(g)),
    )


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(node.values[0].shape)


def _front(g: Array, lead: int) -> tuple[int, ...]:
    return tuple(g.shape[:lead])


def _reshape_back(node: Node, g: Array, lead: int) -> Array:
    return node.xp.reshape(g, _front(g, lead) + _shape(node))


def _permute_back(node: Node, g: Array, lead: int) -> Array:
    axes = [normal(a, g.ndim - lead) for a in node.static["axes"]]
    back = sorted(range(len(axes)), key=axes.__getitem__)
    return node.xp.permute_dims(g, (*range(lead), *(lead + k for k in back)))


def _broadcast_back(node: Node, g: Array, lead: int) -> Array:
    return unbroadcast(node.xp, g, _shape(node), lead)


def _sum_back(node: Node, g: Array, lead: int) -> Array:
    shape = _shape(node)
    summed = axes_of(node.static["axis"], len(shape))
    kept = tuple(1 if k in summed else size for k, size in enumerate(shape))
    front = _front(g, lead)
    return node.xp.broadcast_to(node.xp.reshape(g, front + kept), front + shape)


def _flip_back(node: Node, g: Array, lead: int) -> Array:
    axes = axes_of(node.static["axis"], g.ndim - lead)
    return node.xp.flip(g, axis=tuple(lead + a for a in axes))


def _cumulate_back(node: Node, g: Array, lead: int) -> Array:
    axis = lead + normal(node.static["axis"], g.ndim - lead)
    xp = node.xp
    return xp.flip(xp.cumulative_sum(xp.flip(g, axis=axis), axis=axis), axis=axis)


def _cast_back(node: Node, g: Array, lead: int) -> Array:
    return node.xp.astype(g, node.values[0].dtype)


# --- several arrays ------------------------------------------------------------------------------


def _concat_push(node: Node, i: int, t: Array) -> Array:
    xp = node.xp
    parts = [t if k == i else xp.zeros_like(v) for k, v in enumerate(node.values)]
    return xp.concat(parts, axis=node.static["axis"])


def _concat_pull(node: Node, i: int, g: Array) -> Array:
    axis = normal(node.static["axis"], node.out.ndim)
    start = sum(v.shape[axis] for v in node.values[:i])
    span = slice(start, start + node.values[i].shape[axis])
    return g[(*(slice(None),) * (node.lead(g) + axis), span, ...)]


# --- gathering by a static table -----------------------------------------------------------------


@lru_cache(maxsize=256)
def _reverse_of(table: Table, size: int) -> Table:
    """Return, for each of ``size`` entries, the (tap, output) slots that read it."""
    np = host().namespace
    reads = np.where(table.valid, table.index, -1) if table.valid is not None else table.index
    slots = np.argsort(reads.reshape(-1), stable=True)
    read = reads.reshape(-1)[slots]
    slots, read = slots[read >= 0], read[read >= 0]
    first = np.searchsorted(read, np.arange(size))
    rank = np.arange(read.shape[0]) - first[read]
    back = np.full((max(1, int(rank.max(initial=-1)) + 1), size), -1)
    back[rank, read] = slots
    return Table(back)


def _gathered(tape: Tape, x: Array, table: Table) -> Array:
    at = Place(tape.backend, x.dtype, tape.backend.device(x))
    return gather_sum(at, x, table)


def _gather_back(node: Node, g: Array, lead: int) -> Array:
    """Sum what every entry was read for; the slots of a tap lie one after the other."""
    (a, size, b), table = _shape(node), node.static["table"]
    taps, slots = table.index.shape
    xp, front = node.xp, _front(g, lead)
    flat = xp.reshape(g, (-1, slots, b))
    if taps > 1:
        flat = xp.broadcast_to(flat[:, None, ...], (flat.shape[0], taps, slots, b))
        flat = xp.reshape(flat, (-1, taps * slots, b))
    return xp.reshape(_gathered(node.tape, flat, _reverse_of(table, size)), (*front, a, size, b))


OPS: dict[str, Op] = {
    op.name: op
    for op in (
        _linear("reshape", lambda tape, x, shape: tape.xp.reshape(x, shape), _reshape_back),
        _linear("permute_dims", lambda tape, x, axes: tape.xp.permute_dims(x, axes), _permute_back),
        _linear(
            "broadcast_to", lambda tape, x, shape: tape.xp.broadcast_to(x, shape), _broadcast_back
        ),
        _linear(
            "sum",
            lambda tape, x, axis, keepdims: tape.xp.sum(x, axis=axis, keepdims=keepdims),
            _sum_back,
        ),
        _linear("flip", lambda tape, x, axis: tape.xp.flip(x, axis=axis), _flip_back),
        _linear(
            "cumulative_sum",
            lambda tape, x, axis: tape.xp.cumulative_sum(x, axis=axis),
            _cumulate_back,
        ),
        _linear("astype", lambda tape, x, dtype: tape.xp.astype(x, dtype), _cast_back),
        _linear("gather_sum", _gathered, _gather_back),
        Op(
            "concat",
            lambda tape, *xs, axis: tape.xp.concat(list(xs), axis=axis),
            _concat_push,
            _concat_pull,
        ),
    )
}
