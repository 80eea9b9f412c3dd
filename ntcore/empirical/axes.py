"""What becomes of each axis of a function's output in its kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ntcore.backend import Array
from ntcore.errors import ArgumentError, ShapeError

CONTRACTIONS = ("trace", "full", "diag")
TRACED, DIAGONAL, FREE = "traced", "diagonal", "free"


@dataclass(frozen=True)
class Contraction:
    """What ``trace_axes``, ``diagonal_axes`` and ``contract`` ask for, before shapes are known."""

    trace_axes: tuple[int, ...] = (-1,)
    diagonal_axes: tuple[int, ...] = ()
    named: str | None = None

    def roles(self, ndim: int, batch: int) -> tuple[str, ...]:
        """Return the role of every axis of an output with ``ndim`` axes.

        Raises
        ------
        ArgumentError
            If an axis is not there, or is both traced and diagonal.
        """
        if self.named is not None:
            rest = {"trace": TRACED, "full": FREE, "diag": DIAGONAL}[self.named]
            return tuple(FREE if k == batch else rest for k in range(ndim))
        traced = _normal(self.trace_axes, ndim, "trace_axes")
        diagonal = _normal(self.diagonal_axes, ndim, "diagonal_axes")
        if traced & diagonal:
            raise ArgumentError(
                f"axis {min(traced & diagonal)} of the output is in trace_axes and in "
                "diagonal_axes; name it in one of them."
            )
        kinds = {**dict.fromkeys(traced, TRACED), **dict.fromkeys(diagonal, DIAGONAL)}
        return tuple(kinds.get(k, FREE) for k in range(ndim))


def contraction(trace_axes: Any, diagonal_axes: Any, contract: str | None) -> Contraction:
    """Return the contraction that three arguments ask for.

    Raises
    ------
    ArgumentError
        If ``contract`` is unknown, or axes are not integers.
    """
    if contract is not None and contract not in CONTRACTIONS:
        raise ArgumentError(
            f"contract={contract!r} is unknown; it is one of {', '.join(map(repr, CONTRACTIONS))}, "
            "or None for trace_axes and diagonal_axes."
        )
    return Contraction(
        _integers(trace_axes, "trace_axes"), _integers(diagonal_axes, "diagonal_axes"), contract
    )


def _integers(axes: Any, name: str) -> tuple[int, ...]:
    given = (axes,) if isinstance(axes, int) else axes
    if not isinstance(given, Sequence) or not all(type(a) is int for a in given):
        raise ArgumentError(f"{name}={axes!r} must be an integer or a tuple of integers.")
    return tuple(given)


def _normal(axes: tuple[int, ...], ndim: int, name: str) -> set[int]:
    if axes and not ndim:
        raise ArgumentError(
            f"{name} names axis {axes[0]} but f puts out a number without axes; pass {name}=()."
        )
    for axis in axes:
        if not -ndim <= axis < ndim:
            raise ArgumentError(
                f"{name} names axis {axis} but the output of f has {ndim} axes; give axes from "
                f"{-ndim} to {ndim - 1}."
            )
    return {axis % ndim for axis in axes}


@dataclass(frozen=True)
class Outputs:
    """The entries that one example puts out, sorted by the roles of their axes.

    Attributes
    ----------
    shape : tuple of int
        Shape of the output of one example, without the batch.
    roles : tuple of str
        One role per axis of ``shape``.
    batch : int or None
        Where the batch stood among the axes of the output; None where it is one of them.
    batch_role : str
        What becomes of the batch.
    """

    shape: tuple[int, ...]
    roles: tuple[str, ...]
    batch: int | None
    batch_role: str

    def axes(self, role: str) -> tuple[int, ...]:
        """Return the axes with a role."""
        return tuple(k for k, r in enumerate(self.roles) if r == role)

    def count(self, role: str) -> int:
        """Return the number of entries along the axes with a role."""
        return math.prod(self.shape[k] for k in self.axes(role))

    @property
    def counts(self) -> tuple[int, int, int]:
        """Return the numbers of diagonal, free and traced rows."""
        return self.count(DIAGONAL), self.count(FREE), self.count(TRACED)

    @property
    def order(self) -> tuple[int, ...]:
        """The axes in the order that rows are counted in: diagonal, free, traced."""
        return (*self.axes(DIAGONAL), *self.axes(FREE), *self.axes(TRACED))

    @property
    def paired(self) -> bool:
        """Whether an example meets only the example at its own position."""
        return self.batch_role != FREE

    def positions(self, xp: Any) -> Any:
        """Return the flat position of every row, ``(diagonal, free, traced)``."""
        table = xp.reshape(xp.arange(math.prod(self.shape)), self.shape)
        return xp.reshape(xp.permute_dims(table, self.order), self.counts)

    def assemble(self, xp: Any, kernel: Array, other: Outputs) -> Array:
        r"""Bring a sum of products into the user's order of axes, and traces to means.

        ``kernel`` has the shape ``(n1, n2, diagonal, free1, free2)``, or ``(n, diagonal, free1,
        free2)`` where examples are paired; ``other`` sorts the outputs of the second argument.
        """
        means = self.count(TRACED)
        if self.batch_role == TRACED:
            means *= kernel.shape[0]
            kernel = xp.sum(kernel, axis=0)
        if not means:
            raise ShapeError(
                "the trace is a mean over axes of the output that hold no entries; leave them out "
                "of trace_axes."
            )
        front: list[Any] = []
        if self.batch is not None and self.batch_role != TRACED:
            front = ["n"] if self.paired else ["n1", "n2"]
        free, same = self.axes(FREE), self.axes(DIAGONAL)
        labels = [*front, *same, *(f"{k}.1" for k in free), *(f"{k}.2" for k in free)]
        sizes = [*kernel.shape[: len(front)], *(self.shape[k] for k in (*same, *free))]
        sizes += [other.shape[k] for k in free]
        kernel = xp.reshape(kernel, tuple(sizes)) / means
        wanted = self._labels(front)
        order = tuple(labels.index(w) for w in wanted)
        return kernel if order == tuple(range(len(order))) else xp.permute_dims(kernel, order)

    def _labels(self, front: list[Any]) -> list[Any]:
        """Return the labels of the axes of the result in the order of the output's axes."""
        found: list[Any] = []
        for k in range(len(self.shape) + 1):
            if k == self.batch:
                found += front
            if k < len(self.shape):
                role = self.roles[k]
                found += [k] * (role == DIAGONAL) + [f"{k}.1", f"{k}.2"] * (role == FREE)
        return found


def outputs_of(shape: tuple[int, ...], contraction: Contraction, batch: int | None) -> Outputs:
    """Return how the entries of one output are sorted.

    Parameters
    ----------
    shape : tuple of int
        Shape of the output for one example, without the batch; of the whole batch where
        ``batch`` is None.
    contraction : Contraction
        What is asked for.
    batch : int or None
        Axis of the batch in the output.
    """
    if batch is None:
        return Outputs(shape, contraction.roles(len(shape), 0), None, FREE)
    ndim = len(shape) + 1
    if not -ndim <= batch < ndim:
        raise ShapeError(f"vmap_axes names axis {batch} of an output that has {ndim} axes.")
    batch %= ndim
    roles = contraction.roles(ndim, batch)
    return Outputs(shape, roles[:batch] + roles[batch + 1 :], batch, roles[batch])
