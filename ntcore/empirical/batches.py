"""The arguments of a function for several examples, and where the examples are in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ntcore.backend import Backend
from ntcore.empirical.tree import flatten, hashable, is_array, prefix
from ntcore.errors import ArgumentError, ShapeError


@dataclass(frozen=True)
class Batch:
    """The arguments of a function for several examples.

    Attributes
    ----------
    leaves : list of array
        Leaves of ``x``, then of the keyword arguments that are arrays.
    axes : tuple of int or None
        Where each leaf has the examples; None where it has none.
    rebuild : callable
        From leaves to ``(x, kwargs)``.
    key : tuple
        Hashable description of ``rebuild``.
    """

    leaves: list[Any]
    axes: tuple[int | None, ...]
    rebuild: Callable[[Sequence[Any]], tuple[Any, dict[str, Any]]]
    key: tuple[Any, ...]

    @property
    def count(self) -> int:
        """Number of examples."""
        sizes = {x.shape[a] for x, a in zip(self.leaves, self.axes, strict=True) if a is not None}
        if not sizes:
            raise ShapeError(
                "vmap_axes names no axis of x that holds examples; name one for at least one array."
            )
        if len(sizes) != 1:
            raise ShapeError(
                f"the arrays of a batch hold {sorted(sizes)} examples; give every array of x the "
                "same number, or name the axes of the examples in vmap_axes."
            )
        return int(sizes.pop())

    def part(self, start: int, stop: int) -> Batch:
        """Return some of the examples."""
        cut = [
            x if a is None else x[(*(slice(None),) * a, slice(start, stop), ...)]
            for x, a in zip(self.leaves, self.axes, strict=True)
        ]
        return replace(self, leaves=cut)


def batch_of(backend: Backend, x: Any, kwargs: dict[str, Any], axes: Any) -> Batch:
    """Return the arguments of a call as a batch.

    Parameters
    ----------
    axes : None, int or tuple
        ``vmap_axes``: an axis for every array of ``x``, or ``(axes of x, axes of outputs, axes of
        keyword arguments)``.
    """
    leaves, structure = flatten(backend, x)
    if not leaves or not all(is_array(leaf) and leaf.ndim for leaf in leaves):
        raise ShapeError(
            "x must be an array, or a tree of arrays, with an axis of examples; give at least one "
            "axis."
        )
    in_axes, _, kw_axes = split_axes(axes)
    where = _where(structure.unflatten(leaves), in_axes)
    named = sorted(k for k, v in kwargs.items() if is_array(v))
    arrays = [kwargs[k] for k in named]
    rest = {k: v for k, v in kwargs.items() if k not in named}

    def rebuild(values: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
        keywords = dict(zip(named, values[len(leaves) :], strict=True))
        return structure.unflatten(values[: len(leaves)]), {**rest, **keywords}

    kw_where = [kw_axes.get(k) if isinstance(kw_axes, dict) else None for k in named]
    every = [*(backend.asarray(leaf, None, None) for leaf in leaves), *arrays]
    ndims = [leaf.ndim for leaf in every]
    normal = tuple(_counted(a, n) for a, n in zip([*where, *kw_where], ndims, strict=True))
    key = (structure, tuple(named), tuple((k, hashable(v)) for k, v in sorted(rest.items())))
    return Batch(every, normal, rebuild, key)


def arguments_of(backend: Backend, x: Any, kwargs: dict[str, Any]) -> Batch:
    """Return the arguments of a call, of any kind, as one example."""
    leaves, structure = flatten(backend, (x, kwargs))
    arrays = [i for i, leaf in enumerate(leaves) if is_array(leaf)]

    def rebuild(values: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
        full = dict(enumerate(leaves)) | dict(zip(arrays, values, strict=True))
        return tuple(structure.unflatten([full[i] for i in range(len(leaves))]))

    return Batch([leaves[i] for i in arrays], (None,) * len(arrays), rebuild, (structure,))


def _where(x: Any, axes: Any) -> list[int | None]:
    try:
        return prefix(x, axes)
    except (KeyError, IndexError, TypeError):
        raise ArgumentError(
            f"vmap_axes names {axes!r} for x, which is built differently; give one axis for every "
            "array, or a tree like x."
        ) from None


def _counted(axis: int | None, ndim: int) -> int | None:
    """Return an axis counted from the front."""
    if axis is None:
        return None
    if type(axis) is not int or not -ndim <= axis < ndim:
        raise ShapeError(f"vmap_axes names axis {axis!r} of an array that has {ndim} axes.")
    return axis % ndim


def split_axes(axes: Any) -> tuple[Any, Any, Any]:
    """Return the axes of inputs, outputs and keyword arguments that ``vmap_axes`` names.

    Raises
    ------
    ArgumentError
        If it is neither an integer nor a tuple of three.
    """
    if axes is None:
        return 0, 0, {}
    if isinstance(axes, int):
        return axes, axes, {}
    if isinstance(axes, tuple) and len(axes) == 3:
        return axes
    raise ArgumentError(
        f"vmap_axes={axes!r} must be None, an integer, or a tuple (axes of x, axes of outputs, "
        "axes of keyword arguments)."
    )
