"""Which axes ``lax.dot_general`` contracts, multiplies along and puts where."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

from ntcore.backend import is_number
from ntcore.errors import ArgumentError, PlanError, ShapeError
from ntcore.shape import Axes, Shape

Sizes = tuple[int, ...]
Order = tuple[Sizes, Sizes, Sizes]
Numbers = tuple[tuple[Sizes, Sizes], tuple[Sizes, Sizes]]


@dataclass(frozen=True)
class DotSpecs:
    """The axes of a product of an input with a fixed array.

    Attributes
    ----------
    left : bool
        Whether the array is on the left.
    contracted, batched : tuple of int
        The contracting and the batch axes of the input, as the user counts them.
    own_contracted, own_batched : tuple of int
        Those of the array.
    sizes : tuple of int
        The sizes of the array.
    """

    left: bool
    contracted: Sizes
    batched: Sizes
    own_contracted: Sizes
    own_batched: Sizes
    sizes: Sizes

    @property
    def own_free(self) -> Sizes:
        """The axes of the array that the output gets."""
        used = self.own_contracted + self.own_batched
        return tuple(i for i in range(len(self.sizes)) if i not in used)

    @property
    def new(self) -> Sizes:
        """The sizes of the axes that the output gets of the array."""
        return tuple(self.sizes[i] for i in self.own_free)

    def order(self, axes: Axes) -> Order:
        """Return the spatial axes, as ntcore numbers them: along, contracted, and the rest."""
        along = tuple(axes.spatial.index(a) for a in self.batched)
        mixed = tuple(axes.spatial.index(a) for a in self.contracted)
        return along, mixed, tuple(i for i in range(len(axes.spatial)) if i not in along + mixed)

    def kept(self, axes: Axes) -> list[tuple[int, int]]:
        """Return pairs of an axis of the input that is not contracted and where the output has it.

        The output has those along in front, then the new ones, then those that stay.
        """
        along, _, rest = self.order(axes)
        first = len(along) + len(self.new)
        places = (*range(len(along)), *range(first, first + len(rest)))
        return list(zip((*along, *rest), places, strict=True))

    def check(self, layer: object, shape: Shape) -> None:
        """Raise a typed error where the product with an input has no meaning."""
        axes, sizes = shape.axes, shape.full(-1)
        if {axes.batch, axes.channel} & {*self.contracted, *self.batched}:
            raise PlanError(
                f"{layer!r} contracts or multiplies along axis {axes.batch} (the examples) or "
                f"{axes.channel} (the channels), where no infinite limit exists; use spatial axes."
            )
        theirs = (sizes[a : a + 1] for a in self.contracted + self.batched)
        own = (self.sizes[a : a + 1] for a in self.own_contracted + self.own_batched)
        if tuple(theirs) != tuple(own):
            raise ShapeError(
                f"{layer!r} has an array of sizes {self.sizes} but its input has spatial sizes "
                f"{shape.spatial} on the axes {axes.spatial}; give both one size on the axes that "
                "dimension_numbers pair."
            )

    def axes_out(self, axes: Axes) -> Axes:
        """Return where the output keeps its axes: those along, the new ones, those that stay."""
        used = self.contracted + self.batched
        free = [a for a in range(len(axes.order)) if a not in used]
        n, new = len(self.batched), len(self.new)
        place = {a: n + i + (new if self.left else 0) for i, a in enumerate(free)}
        first = n if self.left else n + len(free)
        stay = (place[axes.spatial[i]] for i in self.order(axes)[2])
        space = (*range(n), *range(first, first + new), *stay)
        return Axes(place[axes.batch], place[axes.channel], space)


def make_dot_specs(numbers: Numbers, left: bool, sizes: Sizes) -> DotSpecs:
    """Return the axes of a product, from ``dimension_numbers`` as tuples."""
    (lhs, rhs), (lhs_batch, rhs_batch) = numbers
    if left:
        return DotSpecs(True, rhs, rhs_batch, lhs, lhs_batch, sizes)
    return DotSpecs(False, lhs, lhs_batch, rhs, rhs_batch, sizes)


def as_tuples(given: Any) -> Any:
    """Return nested lists as nested tuples, anything else as it is."""
    return tuple(map(as_tuples, given)) if isinstance(given, (list, tuple)) else given


def sizes_of(given: Any) -> Sizes:
    """Return the sizes of what is given as an array, none for a number or for nothing."""
    if isinstance(given, tuple) and given:
        inner = {sizes_of(row) for row in given}
        if len(inner) == 1:
            return (len(given), *inner.pop())
    elif given is None or is_number(given):
        return ()
    elif hasattr(given, "shape"):
        return tuple(given.shape)
    raise ArgumentError(f"DotGeneral got {given!r}; give a number, an array or lists of numbers.")


def as_numbers(given: Any, left: bool, sizes: Sizes) -> Numbers:
    """Return ``dimension_numbers`` as tuples, or say how they do not fit an array."""
    error = ArgumentError(
        f"DotGeneral got dimension_numbers={given!r} for an array of sizes {sizes}; give ((lhs "
        "contracting, rhs contracting), (lhs batch, rhs batch)), axes counted from 0, as many on "
        "each side."
    )
    try:
        (lhs, rhs), (lhs_batch, rhs_batch) = (
            tuple(tuple(map(operator.index, axes)) for axes in pair) for pair in given
        )
    except (TypeError, ValueError):
        raise error from None
    numbers = (lhs, rhs), (lhs_batch, rhs_batch)
    specs = make_dot_specs(numbers, left, sizes)
    own, theirs = specs.own_contracted + specs.own_batched, specs.contracted + specs.batched
    counted = len(lhs) == len(rhs) and len(lhs_batch) == len(rhs_batch)
    once = len(set(own)) == len(own) and len(set(theirs)) == len(theirs)
    there = all(0 <= a < len(sizes) for a in own) and all(a >= 0 for a in theirs)
    if not (counted and once and there):
        raise error
    return numbers
