"""Primitives of the tape whose gradient in a parameter is known in factors, or sums up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ntcore.backend import Array, host
from ntcore.empirical.view import View
from ntcore.tape.trace import Node

Where = tuple[int, int, bool]


def kind(node: Node) -> str:
    """Return the name of the primitive; empty for a source."""
    return node.op.name if node.op is not None else ""


def parts_of(
    view: View, uses: Sequence[tuple[Any, Node, Where]], signals: dict[int, Array]
) -> list[tuple[Any, ...]]:
    """Return the part of every use; a bias shares the signals of the matrix that it follows."""
    shared: dict[Any, Array] = {}
    for use, node, where in uses:
        key = (use.end, where)
        if kind(node) == "matmul" and key not in shared:
            shared[key] = _signals_of_matrix(view, signals[use.end], where)
    return [
        HANDLERS[kind(node)](view, node, use, signals[use.end], where, shared.get((use.end, where)))
        for use, node, where in uses
    ]


def _signals_of_matrix(view: View, signal: Array, where: Where) -> Array:
    """``(n, rows, 1, outputs, positions)``."""
    xp, count, rows = view.backend.namespace, view.count, signal.shape[0]
    d = _examples_first(view, signal, where, count, 1)
    return xp.matrix_transpose(xp.reshape(d, (count, rows, 1, -1, d.shape[-1])))


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


def _scaled(t: Array, scale: Any) -> Array:
    return t if isinstance(scale, float) and scale == 1 else t * scale


def _of_product(
    view: View, node: Node, use: Any, signal: Array, where: Where, d: Array
) -> tuple[Any, ...]:
    a = _examples_first(view, node.values[0], where, view.count, 0)
    a = view.backend.namespace.reshape(a, (view.count, 1, -1, a.shape[-1]))
    return _scaled(a, use.scale), d, a.shape[-1], True, True


def _of_gather(
    view: View, node: Node, use: Any, signal: Array, where: Where, d: Any
) -> tuple[Any, ...]:
    signal = _scaled(signal[:, 0, ...], use.scale)
    d = _signals_of_matrix(view, signal, (min(where[0], 0), *where[1:]))
    index = host().namespace.reshape(node.static["table"].index[0], (view.count, 1, -1))
    return view.place.index(index), d, node.values[0].shape[1], True, True


def _of_sum(
    view: View, node: Node, use: Any, signal: Array, where: Where, d: Any
) -> tuple[Any, ...]:
    """A bias is a matrix whose one input is a number, where a matrix has the same signals."""
    sign = -1.0 if kind(node) == "subtract" and use.side == 1 else 1.0
    shape = tuple(node.values[use.side].shape)
    if d is None or shape[-1:] != (d.shape[3],) or any(size != 1 for size in shape[:-1]):
        return _summed(view, node, use, _scaled(signal, sign * use.scale), where)
    ones = view.backend.namespace.ones(
        (view.count, 1, d.shape[4], 1), dtype=d.dtype, device=view.place.device
    )
    return ones * (sign * use.scale), d, 1, True, True


def _of_scale(
    view: View, node: Node, use: Any, signal: Array, where: Where, d: Any
) -> tuple[Any, ...]:
    product = signal * node.values[1 - use.side]
    return _summed(view, node, use, _scaled(product, use.scale), where)


def _summed(view: View, node: Node, use: Any, product: Array, where: Where) -> tuple[Any, ...]:
    """Sum over the axes along which a parameter was broadcast."""
    xp = view.backend.namespace
    shape = tuple(node.values[use.side].shape)
    own = (1,) * (node.out.ndim - len(shape)) + shape
    g = _examples_first(view, product, where, view.count, 1)
    if where[0] >= 0:
        own = (*own[: where[0]], 1, *own[where[0] + 1 :])
        g = xp.moveaxis(g, 2, where[0] + 2)
    gone = tuple(k + 2 for k, size in enumerate(own) if size == 1)
    return (xp.sum(g, axis=gone) if gone else g,)


HANDLERS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "matmul": _of_product,
    "gather_sum": _of_gather,
    "add": _of_sum,
    "subtract": _of_sum,
    "multiply": _of_scale,
}
