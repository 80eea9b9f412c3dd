"""Matrix products, of arrays with at least two axes."""

from __future__ import annotations

from ntcore.backend import Array, Place
from ntcore.ops import matmul
from ntcore.tape.shapes import unbroadcast
from ntcore.tape.trace import Node, Op, Tape


def _value(tape: Tape, a: Array, b: Array) -> Array:
    return matmul(Place(tape.backend, a.dtype, tape.backend.device(a)), a, b)


def _push(node: Node, i: int, t: Array) -> Array:
    a, b = node.values
    return _value(node.tape, t, b) if i == 0 else _value(node.tape, a, t)


def _pull(node: Node, i: int, g: Array) -> Array:
    a, b = node.values
    lead = node.lead(g)
    if i == 0:
        return unbroadcast(node.xp, _times(node, g, b), tuple(a.shape), lead)
    if b.ndim == 2:
        return _weight(node, a, g, lead)
    product = _value(node.tape, node.xp.matrix_transpose(a), g)
    return unbroadcast(node.xp, product, tuple(b.shape), lead)


def _times(node: Node, g: Array, b: Array) -> Array:
    """``g bᵀ``, as one product where ``b`` is one matrix."""
    xp, turned = node.xp, node.xp.matrix_transpose(b)
    if b.ndim > 2 or g.ndim == 2:
        return _value(node.tape, g, turned)
    flat = _value(node.tape, xp.reshape(g, (-1, g.shape[-1])), turned)
    return xp.reshape(flat, (*g.shape[:-1], b.shape[0]))


def _weight(node: Node, a: Array, g: Array, lead: int) -> Array:
    """``Σ aᵀ g`` over every axis in front of the matrices."""
    xp = node.xp
    rows = xp.reshape(a, (-1, a.shape[-1]))
    flat = xp.reshape(g, (*g.shape[:lead], rows.shape[0], g.shape[-1]))
    return _value(node.tape, xp.matrix_transpose(rows), flat)


OPS: dict[str, Op] = {"matmul": Op("matmul", _value, _push, _pull)}
