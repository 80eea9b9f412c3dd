"""Trees of arrays: nested tuples, lists, dictionaries and records, flattened and put back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ntcore.backend import Backend, loaded
from ntcore.record import Record, join, split

LEAF = "leaf"


@dataclass(frozen=True)
class Structure:
    """What is left of a tree without its leaves; hashable."""

    kind: Any
    keys: tuple[Any, ...] = ()
    children: tuple[Structure, ...] = ()

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """Return the tree with other leaves."""
        return self._take(iter(leaves))

    def _take(self, leaves: Any) -> Any:
        if self.kind is LEAF:
            return next(leaves)
        made = [child._take(leaves) for child in self.children]
        if self.kind is None:
            return None
        if self.kind is dict:
            return dict(zip(self.keys, made, strict=True))
        if issubclass(self.kind, Record):
            return join(self.kind, tuple(made), self.keys)
        return self.kind(*made) if hasattr(self.kind, "_fields") else self.kind(made)


def flatten(backend: Backend | None, tree: Any) -> tuple[list[Any], Any]:
    """Return the leaves of a tree, in order, and its structure.

    The library's own trees where it has them; otherwise tuples, lists, dictionaries, records and
    ``None``, which has no leaf.
    """
    if backend is not None and backend.flatten is not None:
        return backend.flatten(tree)
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree: Any, leaves: list[Any]) -> Structure:
    def all_of(children: Any) -> tuple[Structure, ...]:
        return tuple(_flatten(child, leaves) for child in children)

    if tree is None:
        return Structure(None)
    if isinstance(tree, Record):
        inner, static = split(tree)
        return Structure(type(tree), static, all_of(inner))
    if isinstance(tree, Mapping):
        return Structure(dict, tuple(tree), all_of(tree.values()))
    if isinstance(tree, (tuple, list)):
        return Structure(type(tree), (), all_of(tree))
    leaves.append(tree)
    return Structure(LEAF)


def map_tree(backend: Backend | None, fn: Callable[[Any], Any], tree: Any) -> Any:
    """Apply a function to every leaf."""
    leaves, structure = flatten(backend, tree)
    return structure.unflatten([fn(x) for x in leaves])


def prefix(tree: Any, axes: Any) -> list[Any]:
    """Return one axis per leaf of a tree, from a tree of axes that may stop at a subtree."""
    if axes is None or isinstance(axes, int):
        return [axes] * len(flatten(None, tree)[0])
    pairs = (tree, axes) if isinstance(tree, Mapping) else (dict(enumerate(tree)), axes)
    if not isinstance(tree, Mapping):
        return [a for k, child in pairs[0].items() for a in prefix(child, axes[k])]
    return [a for k, child in tree.items() for a in prefix(child, axes[k])]


def is_array(x: object) -> bool:
    """Whether something is an array of any library in use."""
    return any(backend.owns(x) for backend in loaded())


def hashable(x: Any) -> Any:
    """Return a value itself, or its identity where it has no hash."""
    try:
        hash(x)
    except TypeError:
        return id(x)
    return x
