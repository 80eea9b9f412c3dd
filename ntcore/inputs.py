"""What a network is given: the shapes, the number and the traits of its inputs; no arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ntcore.errors import ArgumentError, ShapeError
from ntcore.moments import Traits
from ntcore.network import Tree, declared_axes
from ntcore.record import Record
from ntcore.shape import Axes, Shape, default_axes


@dataclass(frozen=True)
class Inputs:
    """The inputs of a kernel.

    Attributes
    ----------
    shapes1, shapes2 : tree of Shape
        The shape of each input, for both batches.
    counts : tuple of int
        Number of examples in each batch.
    same : bool
        Whether the second batch is the first.
    traits : tuple of Traits
        The traits of each input, in order.
    drawn : bool
        Whether examples come, and not their kernel.
    """

    shapes1: Tree
    shapes2: Tree
    counts: tuple[int, int]
    same: bool
    traits: tuple[Traits, ...]
    drawn: bool = True

    @property
    def pairs(self) -> int:
        """Pairs of examples to be computed, each once where both batches are one."""
        return pairs_of(self.counts, self.same)


def pairs_of(counts: tuple[int, int], same: bool) -> int:
    """Return the pairs of examples of two batches, each once where both batches are one."""
    n1, n2 = counts
    return n1 * (n1 + 1) // 2 if same else n1 * n2


def of_sizes(network: Record, sizes1: Any, sizes2: Any = None) -> Inputs:
    """Return the inputs for arrays of the given shapes; ``sizes2=None`` means the same batch.

    Raises
    ------
    ShapeError
        If a shape has fewer than two axes, or both batches do not fit each other.
    """
    first = _sizes(sizes1)
    second = first if sizes2 is None else _sizes(sizes2)
    axes = declared_axes(network, _ndims(first))
    one, two = _shape(first, axes), _shape(second, axes)
    counts = _count(first, one, "x1"), _count(second, two, "x2")
    traits = tuple(Traits(is_input=True) for _ in leaves_of(one))
    return Inputs(one, two, counts, sizes2 is None, traits)


def leaves_of(tree: Tree) -> tuple[Any, ...]:
    """Return the leaves of a nested tuple, in order."""
    if isinstance(tree, tuple):
        return tuple(x for branch in tree for x in leaves_of(branch))
    return (tree,)


def map_tree(fn: Any, tree: Tree) -> Tree:
    """Apply a function to every leaf of a nested tuple."""
    return tuple(map_tree(fn, x) for x in tree) if isinstance(tree, tuple) else fn(tree)


def _is_sizes(sizes: Any) -> bool:
    return isinstance(sizes, tuple) and all(isinstance(x, int) for x in sizes)


def _sizes(sizes: Any) -> Tree:
    """Turn lists and array shapes into nested tuples of ints."""
    if isinstance(sizes, int):
        return int(sizes)
    try:
        found = tuple(_sizes(x) for x in sizes)
    except TypeError as error:
        raise ArgumentError(f"a shape must hold integers but {sizes!r} came.") from error
    if _is_sizes(found) and len(found) < 2:
        raise ShapeError(
            f"an input of shape {found} came; it needs at least a batch axis and a channel axis, "
            "such as (n, channels)."
        )
    return found


def _ndims(sizes: Tree) -> Tree:
    return len(sizes) if _is_sizes(sizes) else tuple(map(_ndims, sizes))


def _shape(sizes: Tree, axes: Any) -> Tree:
    if not _is_sizes(sizes):
        every = axes if isinstance(axes, tuple) else (axes,) * len(sizes)
        return tuple(_shape(s, a) for s, a in zip(sizes, every, strict=False))
    found = axes if isinstance(axes, Axes) else default_axes(len(sizes))
    if len(found.order) != len(sizes):
        found = default_axes(len(sizes), found.batch, found.channel)
    return Shape(tuple(sizes[i] for i in found.spatial), sizes[found.channel], found)


def _count(sizes: Tree, shapes: Tree, name: str) -> int:
    if not _is_sizes(sizes):
        counts = {_count(s, x, name) for s, x in zip(sizes, shapes, strict=True)}
        if len(counts) != 1:
            raise ShapeError(
                f"the inputs in {name} have different numbers of examples ({sorted(counts)}); "
                "give every input as many."
            )
        return counts.pop()
    return int(sizes[shapes.axes.batch])
