"""Stretches of layers as lists of operations, written down once and replayed on every tile.

A layer says what it does by the operations of :mod:`ntcore.ops`. Under one plan these are the same
for every tile of pairs. So a stretch of layers is pushed once through a backend that records
instead of computing, and a backend that can runs the whole list at once, with everything between
its first and its last operation in cache. What cannot be recorded is computed layer by layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ntcore.ops import Table

#: In place of the first rows of an edge: what is there of a batch by itself holds its variances.
OWN = (-1, -1)


@dataclass(frozen=True, eq=False)
class Step:
    """One operation on numbered values, each of which has some entries for every pair.

    Attributes
    ----------
    name : str
        The operation, as in :mod:`ntcore.ops`. A ``product`` with rows is one of two rows of
        examples; nothing reads a ``total`` but who asked for the chain.
    inputs, outputs : tuple of int
        Values; a last input of None is left out.
    scale, bias : float
        What ``gather_sums`` and ``affine`` end with, where ``plus`` is their second input; the
        scale of a ``total`` and of a ``product`` with rows, and of the variances that a
        nonlinearity reads.
    sizes, tables : tuple
        The size of each axis of the input of ``gather_sums``, and its tables.
    rows : tuple of two host arrays of integers, or None
        For each entry, the row of its variance among those of the edge, for either batch; or the
        row of what is multiplied.
    firsts : tuple of int
        The first row of the edge among those of all edges, for either batch; ``OWN`` where
        the variances are entries of the block itself.
    before : tuple of pair of int
        The first rows of other products of examples, which are added up before it.
    entries : host array of integers or None
        The entries that ``put_variances`` replaces.
    """

    name: str
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    scale: float = 1.0
    bias: float = 0.0
    sizes: tuple[int, ...] = ()
    tables: tuple[Table, ...] = ()
    rows: tuple[Any, Any] | None = None
    firsts: tuple[int, int] = (0, 0)
    before: tuple[tuple[int, int], ...] = ()
    entries: Any = None


@dataclass(frozen=True, eq=False)
class Chain:
    """Operations in order, from some values to others.

    Attributes
    ----------
    steps : tuple of Step
        The operations.
    shapes : tuple of tuple of int
        The entries that each value has for every pair, ``(R1, P1, R2, P2, ...)`` rows and
        positions of every axis.
    inputs, outputs : tuple of int
        The values that are given, and those that are asked for.
    sides : tuple of int
        The edges whose variances are read, in the order in which their rows are numbered.
    drawn : tuple of int
        The same for input edges whose examples are read, every channel a block of rows.
    paired : bool
        Whether a pair is an example with itself: ``n`` of them rather than ``n1 * n2``.
    """

    steps: tuple[Step, ...]
    shapes: tuple[tuple[int, ...], ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    sides: tuple[int, ...]
    drawn: tuple[int, ...] = ()
    paired: bool = False

    def size(self, value: int) -> int:
        """Return how many entries a value has for every pair."""
        return math.prod(self.shapes[value])


@dataclass(eq=False)
class Numbering:
    """The rows of edges, one edge below the other, for each batch."""

    firsts: tuple[dict[int, int], dict[int, int]] = field(default_factory=lambda: ({}, {}))
    rows: list[int] = field(default_factory=lambda: [0, 0])

    @property
    def edges(self) -> tuple[int, ...]:
        """The edges, in order."""
        return tuple(self.firsts[0])

    def first(self, edge: int, batch: int, rows: int) -> int:
        """Return the number of an edge's first row in a batch."""
        firsts = self.firsts[batch]
        if edge not in firsts:
            firsts[edge], self.rows[batch] = self.rows[batch], self.rows[batch] + rows
        return firsts[edge]


@dataclass(eq=False)
class Notes:
    """A chain that is being written."""

    paired: bool = False
    steps: list[Step] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    sides: Numbering = field(default_factory=lambda: Numbering())
    drawn: Numbering = field(default_factory=lambda: Numbering())

    def value(self, shape: tuple[int, ...]) -> int:
        """Return the number of a new value."""
        self.shapes.append(shape)
        return len(self.shapes) - 1

    def reshape(self, value: int, shape: tuple[int, ...]) -> None:
        """Note the axes of a value, where they say more than what is known."""
        if len(shape) > len(self.shapes[value]):
            self.shapes[value] = shape

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> Chain:
        """Return the chain that leads to some values, without what does not."""
        steps = _with_slopes_multiplied(_needed(self.steps, outputs), outputs)
        steps = _with_ends_merged(steps, outputs)
        read = {i for s in steps for i in s.inputs}
        given = tuple(i for i in inputs if i in read or i in outputs)
        sides, drawn = self.sides.edges, self.drawn.edges
        return Chain(
            tuple(steps), tuple(self.shapes), given, tuple(outputs), sides, drawn, self.paired
        )


def _needed(steps: Sequence[Step], outputs: Sequence[int]) -> list[Step]:
    found, wanted = [], set(outputs)
    for step in reversed(steps):
        if not wanted.isdisjoint(step.outputs):
            wanted.update(i for i in step.inputs if i is not None)
            found.append(step)
    return found[::-1]


def _with_slopes_multiplied(steps: Sequence[Step], outputs: Sequence[int]) -> list[Step]:
    """Let moments take the tangent kernel along where nothing else reads their slope."""
    uses: dict[int, list[int]] = {}
    for n, step in enumerate(steps):
        for i in step.inputs:
            if i is not None:
                uses.setdefault(i, []).append(n)
    made = {i: n for n, step in enumerate(steps) for i in step.outputs}
    found: list[Step | None] = list(steps)
    for n, step in enumerate(steps):
        if step.name != "product" or step.rows is not None:
            continue
        below, slope = step.inputs
        assert below is not None and slope is not None
        at = made.get(slope, -1)
        dual = found[at] if at >= 0 else None
        alone = uses[slope] == [n] and slope not in outputs
        if dual is None or dual.rows is None or dual.outputs[-1] != slope or not alone:
            continue
        if made.get(below, -1) < at and len(dual.inputs) == 1:
            found[n] = None
            found[at] = replace(
                dual, inputs=(*dual.inputs, below), outputs=(dual.outputs[0], *step.outputs)
            )
    return [step for step in found if step is not None]


def _with_ends_merged(steps: Sequence[Step], outputs: Sequence[int]) -> list[Step]:
    """Let products of examples and gathered sums take along what is done to them alone next.

    A product takes along the sum of products that it is added to.
    """
    uses: dict[int, int] = {}
    for i in (i for step in steps for i in step.inputs if i is not None):
        uses[i] = uses.get(i, 0) + 1
    alone = {i for i, n in uses.items() if n == 1} - set(outputs)
    made = {s.outputs[0]: s for s in steps if _takes_along(s)}
    gone: set[int] = set()
    for step in steps:
        below = step.inputs if step.name == "affine" else ()
        first = made.get(below[0]) if below and below[0] in alone else None
        if first is None:
            continue
        added = made.get(below[1]) if below[1] in alone else None
        merged = _merged(first, step, added)
        if merged is not None:
            gone.update(i for i in below if i is not None)
            made[step.outputs[0]] = merged
    return [made.get(s.outputs[0], s) for s in steps if not gone & set(s.outputs)]


def _takes_along(step: Step) -> bool:
    return step.name == "gather_sums" or (step.name == "product" and step.rows is not None)


def _merged(first: Step, after: Step, added: Step | None) -> Step | None:
    """Return a step followed by an affine one as one step, None where it is none.

    ``added`` is what makes the second input of the affine step, if nothing else reads that.
    """
    plus = after.inputs[1]
    if first.name == "product":
        if first.scale != 1 or after.bias:
            return None
        if plus is None:
            return replace(first, outputs=after.outputs, scale=after.scale)
        if added is None or not _are_alike(first, added) or after.scale != 1:
            return None
        before = (*added.before, added.firsts, *first.before)
        return replace(first, outputs=after.outputs, before=before)
    if plus is not None or first.inputs[1:] not in ((), (None,)):
        return None
    scale, bias = first.scale * after.scale, first.bias * after.scale + after.bias
    return replace(first, outputs=after.outputs, scale=scale, bias=bias)


def _are_alike(one: Step, other: Step) -> bool:
    """Whether two products of examples are of the same rows of different channels."""
    if other.name != "product" or other.scale != 1:
        return False
    return all(a is b for a, b in zip(one.rows or (), other.rows or (), strict=True))
