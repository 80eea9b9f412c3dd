"""Networks made of networks: still data, and one way to walk through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ntcore.errors import ArgumentError, PlanError
from ntcore.layers.base import Layer
from ntcore.layers.fan import FanOut
from ntcore.record import Record, leaf, record, settle
from ntcore.shape import Axes, as_count

T = TypeVar("T")
Tree = Any
Emit = Callable[[Layer, tuple[Any, ...]], Any]


@record
class Serial(Record):
    """Layers and networks one after the other."""

    layers: tuple[Record, ...] = leaf(default=())

    def __repr__(self) -> str:
        return f"serial({', '.join(map(repr, self.layers))})"


@record
class Parallel(Record):
    """Layers and networks side by side, one for each input."""

    branches: tuple[Record, ...] = leaf(default=())

    def __repr__(self) -> str:
        return f"parallel({', '.join(map(repr, self.branches))})"


@record
class Repeat(Record):
    """One network several times over, with parameters of its own each time."""

    layer: Record = leaf()
    n: int = 1

    def __post_init__(self) -> None:
        settle(self, "n", as_count(self.n, "n", "repeat"))

    def __repr__(self) -> str:
        return f"repeat({self.layer!r}, {self.n})"


def parts(node: Record) -> tuple[Record, ...] | None:
    """Return the members of a series, the branches of a parallel, and None for a layer."""
    if isinstance(node, Serial):
        return node.layers
    if isinstance(node, Parallel):
        return node.branches
    if isinstance(node, Repeat):
        return (node.layer,) * node.n
    return None


def walk(node: Record, value: Tree, emit: Emit) -> Tree:
    """Pass a value through a network, calling ``emit(layer, inputs)`` at every layer.

    A tuple of values stands for several edges side by side. Layers come in the same order in
    every walk.

    Raises
    ------
    PlanError
        If the number of edges does not fit a layer or a set of branches.
    """
    if isinstance(node, Serial | Repeat):
        for child in parts(node) or ():
            value = walk(child, value, emit)
        return value
    if isinstance(node, Parallel):
        branches = zip(node.branches, _for_branches(node, value), strict=True)
        return tuple(walk(b, v, emit) for b, v in branches)
    if isinstance(node, FanOut):
        return (value,) * node.num
    if isinstance(node, Layer):
        return emit(node, _for_layer(node, value))
    raise ArgumentError(f"{node!r} is not a layer; build networks from the layers of ntcore.stax.")


def _for_branches(node: Parallel, value: Tree) -> tuple[Any, ...]:
    if not isinstance(value, tuple) or len(value) != len(node.branches):
        got = f"{len(value)} inputs" if isinstance(value, tuple) else "one input"
        raise PlanError(
            f"parallel has {len(node.branches)} branches but receives {got}; pass a tuple with "
            f"one input per branch, or put FanOut({len(node.branches)}) before it."
        )
    return value


def _for_layer(layer: Layer, value: Tree) -> tuple[Any, ...]:
    if layer.arity == 1:
        if isinstance(value, tuple):
            raise PlanError(
                f"{layer!r} takes one input but receives {len(value)} branches; merge them first, "
                "for example by FanInSum()."
            )
        return (value,)
    if not isinstance(value, tuple) or any(isinstance(v, tuple) for v in value):
        raise PlanError(
            f"{layer!r} merges branches and needs a flat tuple of them; put FanOut and parallel "
            "before it."
        )
    return value


def layers_of(node: Record) -> Iterator[Layer]:
    """Yield the layers of a network in the order of :func:`walk`."""
    if isinstance(node, Layer):
        yield node
    for child in parts(node) or ():
        yield from layers_of(child)


def regrouping(node: Record, shapes: Tree) -> Layer | None:
    """Return a layer of the network that picks or joins examples, or None where there is none.

    ``shapes`` has the :class:`~ntcore.shape.Shape` of each input.
    """
    found: list[Layer] = []

    def emit(layer: Layer, inputs: tuple[Any, ...]) -> Any:
        if layer.regroups(*inputs):
            found.append(layer)
        return layer.shape(*inputs)

    walk(node, shapes, emit)
    return found[0] if found else None


def declared_axes(node: Record, ndims: Tree) -> Tree:
    """Return where the network expects batch and channels of each input; None: not said.

    ``ndims`` has the number of axes of each input array, in the structure of the inputs.
    """
    if isinstance(node, Layer):
        return None if isinstance(ndims, tuple) else node.axes_in(ndims)
    if isinstance(node, Parallel) and isinstance(ndims, tuple):
        return tuple(declared_axes(b, n) for b, n in zip(node.branches, ndims, strict=False))
    if isinstance(node, Serial | Repeat):
        return _first_declared(parts(node) or (), ndims)
    return None


def _first_declared(layers: tuple[Record, ...], ndims: Tree) -> Tree:
    found: Tree = None
    for i, layer in enumerate(layers):
        if isinstance(layer, FanOut) and not isinstance(ndims, tuple):
            return _any_axes(declared_axes(Serial(layers[i + 1 :]), (ndims,) * layer.num))
        found = declared_axes(layer, ndims)
        if _any_axes(found) is not None:
            return found
    return found


def _any_axes(found: Tree) -> Axes | None:
    if isinstance(found, tuple):
        return next((a for a in map(_any_axes, found) if a is not None), None)
    return found if isinstance(found, Axes) else None
