"""The finite-width interpreter: drawing parameters, applying a network, and its derivative."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from ntcore.backend import Array, Place
from ntcore.errors import ShapeError
from ntcore.inputs import leaves_of, map_tree, of_sizes
from ntcore.layers.base import Layer, Run
from ntcore.layers.fan import FanOut
from ntcore.layers.weights import check_made_for
from ntcore.masked import MaskedArray, with_mask, zeroed
from ntcore.network import Parallel, Repeat, Serial, Tree, parts, walk
from ntcore.record import Record, iter_leaves
from ntcore.shape import Shape, default_axes

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
        return shapes, _stacked(at, node, params) if isinstance(node, Repeat) else tuple(params)
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


@dataclass(frozen=True)
class Sized:
    """A shape and the number of examples, -1 where it is not known."""

    shape: Shape
    count: int


def output_sizes(network: Record, shapes: Tree, count: int) -> Tree:
    """Return the sizes of the arrays of the outputs."""

    def emit(layer: Layer, inputs: tuple[Sized, ...]) -> Sized:
        below = tuple(s.shape for s in inputs)
        if not layer.regroups(*below):
            return Sized(layer.shape(*below), inputs[0].count)
        return Sized(layer.shape(*below), layer.count(below, tuple(s.count for s in inputs)))

    entered = map_tree(lambda s: Sized(s, count), shapes)
    return map_tree(lambda s: s.shape.full(s.count), walk(network, entered, emit))


def _split(at: Place, rng: Any, n: int) -> list[Any]:
    return at.backend.split(rng, n) if n else []


def walk_inputs(node: Parallel, value: Tree) -> tuple[Any, ...]:
    """Return the input of each branch, checking that there are as many as branches."""
    below: tuple[Any, ...] = walk(Parallel((Serial(),) * len(node.branches)), value, _no_layer)
    return below


def _no_layer(layer: Any, inputs: tuple[Any, ...]) -> Any:
    raise AssertionError("empty branches hold no layer")


@dataclass(frozen=True)
class Pass:
    """One pass through a finite network: where, with which random state and which pattern."""

    at: Place
    rng: Any = None
    pattern: Any = None

    def split(self, n: int) -> list[Pass]:
        """Return as many passes, each with a random state of its own."""
        keys = [None] * n if self.rng is None else _split(self.at, self.rng, n)
        return [Pass(self.at, key, self.pattern) for key in keys]


@dataclass(frozen=True)
class Held:
    """An array on its way through a network; its mask and, where there is one, its shape.

    The mask has the batch first and the channels last, the array the user's order of axes.
    """

    value: Array
    mask: Array | None = None
    shape: Shape | None = None


def held(network: Record, at: Place, x: Tree, mask_constant: Any) -> Tree:
    """Return the inputs of a network; where one has a mask, all get one, and their shapes."""
    both = [with_mask(at, v, mask_constant) for v in leaves_of(x)]
    if all(mask is None for _, mask in both):
        found = iter([Held(value) for value, _ in both])
    else:
        sizes = map_tree(lambda v: tuple(v.shape), x)
        shapes = leaves_of(of_sizes(network, sizes).shapes1)
        found = iter([_held(at, *b, shape) for b, shape in zip(both, shapes, strict=True)])
    return map_tree(lambda _: next(found), x)


def _held(at: Place, value: Array, mask: Array | None, shape: Shape) -> Held:
    xp = at.xp
    given = xp.zeros_like(value, dtype=xp.bool) if mask is None else mask
    return Held(value, xp.permute_dims(given, shape.axes.order), shape)


def unheld(at: Place, x: Held) -> Any:
    """Return an output of a network: an array, or a MaskedArray where there is a mask."""
    if x.mask is None or x.shape is None:
        return x.value
    return MaskedArray(x.value, at.xp.permute_dims(x.mask, x.shape.axes.inverse))


def apply(node: Record, now: Pass, params: Params, x: Tree) -> Tree:
    """Return the output of a network, for a tree of :class:`Held`."""
    return vjp(node, now, params, x)[0]


def vjp(node: Record, now: Pass, params: Params, x: Tree) -> tuple[Tree, Pullback]:
    """Return the output and a function from its gradient to those of parameters and inputs.

    This is ntcore's own reverse rule, layer by layer; it needs no derivative from the backend.
    """
    if isinstance(node, Serial | Repeat):
        return _serial(node, now, params, x)
    if isinstance(node, Parallel):
        return _parallel(node, now, params, x)
    if isinstance(node, FanOut):
        return (x,) * node.num, lambda grads: ((), reduce(_tree_add, grads))
    pulls: list[Pullback] = []

    def emit(layer: Layer, inputs: tuple[Held, ...]) -> Held:
        out, pull = _layer(layer, now, params, inputs)
        pulls.append(pull)
        return out

    out = walk(node, x, emit)

    def pull_one(grad: Array) -> tuple[Params, Tree]:
        own, below = pulls[0](grad)
        return own, below if isinstance(x, tuple) else below[0]

    return out, pull_one


def _layer(
    layer: Layer, now: Pass, params: Params, inputs: tuple[Held, ...]
) -> tuple[Held, Pullback]:
    at = now.at
    values = tuple(h.value for h in inputs)
    run = Run(
        at,
        tuple(_mask_for(layer, at, h) for h in inputs),
        layer.aside(at, now.pattern, *_sizes_for(layer, values)),
        layer.draw(at, now.rng, *values),
    )
    mask, shape = _mask(layer, at, inputs)
    try:
        out = layer.apply(run, params, *values)
    except Exception:
        check_made_for(layer, at, params, _sizes_for(layer, values)[0])
        raise
    if mask is not None and shape is not None:
        users = at.xp.permute_dims(mask, shape.axes.inverse)
        out = zeroed(at, out, users)

    def pull(grad: Array) -> tuple[Params, Any]:
        if mask is not None:
            grad = zeroed(at, grad, users)
        return layer.vjp(run, params, values, grad)  # type: ignore[no-any-return]

    return Held(out, mask, shape), pull


def _sizes_for(layer: Layer, values: tuple[Array, ...]) -> tuple[tuple[Shape, ...], int]:
    """Return the shapes of a layer's inputs, as the layer sees them, and the number of examples."""
    shapes, count = [], 0
    for x in values:
        axes = layer.axes_in(x.ndim) or default_axes(x.ndim)
        count, *spatial, channels = (int(x.shape[i]) for i in axes.order)
        shapes.append(Shape(tuple(spatial), channels, axes))
    return tuple(shapes), count


def _mask_for(layer: Layer, at: Place, x: Held) -> Array | None:
    """Return the mask of an input with its axes in the order in which the layer has the array's."""
    axes = layer.axes_in(x.value.ndim)
    if x.mask is None or x.shape is None or axes is None:
        return x.mask
    have = x.shape.axes.order
    return at.xp.permute_dims(x.mask, tuple(have.index(i) for i in axes.order))


def _mask(layer: Layer, at: Place, inputs: tuple[Held, ...]) -> tuple[Array | None, Shape | None]:
    """Return the mask and the shape of a layer's output, or nothing where no input has a mask."""
    shapes = tuple(h.shape for h in inputs if h.shape is not None)
    if len(shapes) < len(inputs):
        return None, None
    masks = tuple(h.mask for h in inputs)
    return layer.mask(at, shapes, masks), layer.shape(*shapes)


def _serial(node: Serial | Repeat, now: Pass, params: Params, x: Tree) -> tuple[Tree, Pullback]:
    pulls: list[Pullback] = []
    members = _members(node, params)
    for (child, p), each in zip(members, now.split(len(members)), strict=True):
        x, pull = vjp(child, each, p, x)
        pulls.append(pull)

    def pull_all(grad: Tree) -> tuple[Params, Tree]:
        grads = []
        for pull in reversed(pulls):
            own, grad = pull(grad)
            grads.append(own)
        grads.reverse()
        return _stack(now.at, grads) if isinstance(node, Repeat) else tuple(grads), grad

    return x, pull_all


def _parallel(node: Parallel, now: Pass, params: Params, x: Tree) -> tuple[Tree, Pullback]:
    members = _members(node, params)
    each = zip(members, now.split(len(members)), walk_inputs(node, x), strict=True)
    both = [vjp(b, n, p, v) for (b, p), n, v in each]

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
        several = isinstance(params, (tuple, list))
        got = f"{len(params)} entries" if several else type(params).__name__
        raise ShapeError(
            f"{type(node).__name__.lower()} has {len(members)} members but its parameters are "
            f"{got}; pass what init_fn returned."
        )
    return list(zip(members, params, strict=True))


def _stacked(at: Place, node: Repeat, params: list[Params]) -> Params:
    if len({tuple(tuple(w.shape) for w in iter_leaves(p)) for p in params}) > 1:
        raise ShapeError(
            f"{node!r} has parameters of different shapes from one time to the next; repeat "
            "layers whose output has the same shape as their input, or write them out in serial."
        )
    return _stack(at, params)


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
