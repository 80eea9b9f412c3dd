"""The finite-width interpreter: drawing parameters, applying a network, and its derivative."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any

from ntcore.backend import Array, Place
from ntcore.errors import ShapeError
from ntcore.layers.fan import FanOut
from ntcore.network import Parallel, Repeat, Serial, Tree, parts, walk
from ntcore.record import Record

Params = Any
Pullback = Callable[[Tree], tuple[Params, Tree]]


def init(node: Record, at: Place, rng: Any, shapes: Tree) -> tuple[Tree, Params]:
    """Return the shape of the output and freshly drawn parameters.

    ``shapes`` is a tree of :class:`~ntcore.shape.Shape`. Parameters have one entry per layer, a
    tuple of them for a network, and ``()`` where nothing is trained.
    """
    if isinstance(node, Serial | Repeat):
        params = []
        members = parts(node) or ()
        for child, key in zip(members, _split(at, rng, len(members)), strict=True):
            shapes, drawn = init(child, at, key, shapes)
            params.append(drawn)
        return shapes, _stack(at, params) if isinstance(node, Repeat) else tuple(params)
    if isinstance(node, Parallel):
        keys = _split(at, rng, len(node.branches))
        below = walk_inputs(node, shapes)
        both = [init(b, at, k, s) for b, k, s in zip(node.branches, keys, below, strict=True)]
        return tuple(s for s, _ in both), tuple(p for _, p in both)
    own: list[Params] = []

    def emit(layer: Any, inputs: tuple[Any, ...]) -> Any:
        own.append(layer.init(at, rng, *inputs))
        return layer.shape(*inputs)

    return walk(node, shapes, emit), own[0] if own else ()


def _split(at: Place, rng: Any, n: int) -> list[Any]:
    return at.backend.split(rng, n) if n else []


def walk_inputs(node: Parallel, value: Tree) -> tuple[Any, ...]:
    """Return the input of each branch, checking that there are as many as branches."""
    below: tuple[Any, ...] = walk(Parallel((Serial(),) * len(node.branches)), value, _no_layer)
    return below


def _no_layer(layer: Any, inputs: tuple[Any, ...]) -> Any:
    raise AssertionError("empty branches hold no layer")


def apply(node: Record, at: Place, params: Params, x: Tree) -> Tree:
    """Return the output of a network for arrays in the user's order of axes."""
    if isinstance(node, Serial | Repeat):
        for child, p in _members(node, params):
            x = apply(child, at, p, x)
        return x
    if isinstance(node, Parallel):
        below = zip(_members(node, params), walk_inputs(node, x), strict=True)
        return tuple(apply(b, at, p, v) for (b, p), v in below)
    return walk(node, x, lambda layer, inputs: layer.apply(at, params, *inputs))


def vjp(node: Record, at: Place, params: Params, x: Tree) -> tuple[Tree, Pullback]:
    """Return the output and a function from its gradient to those of parameters and inputs.

    This is ntcore's own reverse rule, layer by layer; it needs no derivative from the backend.
    """
    if isinstance(node, Serial | Repeat):
        return _serial_vjp(node, at, params, x)
    if isinstance(node, Parallel):
        return _parallel_vjp(node, at, params, x)
    if isinstance(node, FanOut):
        return (x,) * node.num, lambda grads: ((), reduce(_tree_add, grads))

    def pull(grad: Array) -> tuple[Params, Tree]:
        inputs = x if isinstance(x, tuple) else (x,)
        own, below = node.vjp(at, params, inputs, grad)  # type: ignore[attr-defined]
        return own, below if isinstance(x, tuple) else below[0]

    return apply(node, at, params, x), pull


def _serial_vjp(node: Serial | Repeat, at: Place, params: Params, x: Tree) -> tuple[Tree, Pullback]:
    pulls: list[Pullback] = []
    for child, p in _members(node, params):
        x, pull = vjp(child, at, p, x)
        pulls.append(pull)

    def pull_all(grad: Tree) -> tuple[Params, Tree]:
        grads = []
        for pull in reversed(pulls):
            own, grad = pull(grad)
            grads.append(own)
        grads.reverse()
        return _stack(at, grads) if isinstance(node, Repeat) else tuple(grads), grad

    return x, pull_all


def _parallel_vjp(node: Parallel, at: Place, params: Params, x: Tree) -> tuple[Tree, Pullback]:
    below = zip(_members(node, params), walk_inputs(node, x), strict=True)
    both = [vjp(b, at, p, v) for (b, p), v in below]

    def pull_all(grads: Tree) -> tuple[Params, Tree]:
        pulled = [pull(g) for (_, pull), g in zip(both, grads, strict=True)]
        return tuple(own for own, _ in pulled), tuple(g for _, g in pulled)

    return tuple(y for y, _ in both), pull_all


def _tree_add(a: Tree, b: Tree) -> Tree:
    if isinstance(a, tuple):
        return tuple(_tree_add(x, y) for x, y in zip(a, b, strict=True))
    return add(a, b)


def _members(node: Record, params: Params) -> list[tuple[Record, Params]]:
    """Return the members of a network, each with its parameters."""
    members = parts(node) or ()
    if isinstance(node, Repeat):
        return [(child, _entry(params, i)) for i, child in enumerate(members)]
    if not isinstance(params, (tuple, list)) or len(params) != len(members):
        got = (
            f"{len(params)} entries" if isinstance(params, (tuple, list)) else type(params).__name__
        )
        raise ShapeError(
            f"{type(node).__name__.lower()} has {len(members)} members but its parameters are "
            f"{got}; pass what init_fn returned."
        )
    return list(zip(members, params, strict=True))


def _stack(at: Place, params: list[Params]) -> Params:
    """Stack parameters of one structure on a leading axis."""
    first = params[0]
    if isinstance(first, (tuple, list)):
        return tuple(_stack(at, list(p)) for p in zip(*params, strict=True))
    return None if first is None else at.xp.stack(params)


def _entry(params: Params, i: int) -> Params:
    """Return one entry of stacked parameters."""
    if isinstance(params, (tuple, list)):
        return tuple(_entry(p, i) for p in params)
    return None if params is None else params[i, ...]
