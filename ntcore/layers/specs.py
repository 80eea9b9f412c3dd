"""Which axis of an input, a filter and an output is which, in letters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ntcore.errors import ArgumentError
from ntcore.record import settle
from ntcore.shape import Axes, default_axes

Order = tuple[int, ...]


@dataclass(frozen=True)
class Specs:
    """The axes of the input, the filter and the output of a convolution, one letter for each.

    ``N`` and ``C`` are the batch and the channels, ``I`` and ``O`` the channels that a filter
    reads and writes; every other letter is a spatial axis, wherever it stands.
    """

    lhs: str
    rhs: str
    out: str

    @property
    def axes(self) -> Axes:
        """Where the input keeps its axes; its spatial axes are ntcore's, in their order."""
        return default_axes(len(self.lhs), self.lhs.index("N"), self.lhs.index("C"))

    @property
    def filter_order(self) -> Order:
        """The axes of the user's filter in the order: space as in the input, in, out."""
        space = (self.rhs.index(c) for c in self.lhs if c not in "NC")
        return (*space, self.rhs.index("I"), self.rhs.index("O"))

    @property
    def taps_order(self) -> Order:
        """Which of the input's spatial axes each one of the filter is."""
        space = [c for c in self.lhs if c not in "NC"]
        return tuple(space.index(c) for c in self.rhs if c not in "IO")

    def axes_out(self, axes: Axes) -> Axes:
        """Return where the output keeps its axes, for an input that keeps them at ``axes``."""
        space = tuple(self.out.index(self.lhs[i]) for i in axes.spatial)
        return Axes(self.out.index("N"), self.out.index("C"), space)

    def by_axis(self, values: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
        """Return values given in the filter's order in ntcore's order of spatial axes."""
        return _by_axis(self, values, axes)


@lru_cache(maxsize=1024)
def _by_axis(specs: Specs, values: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
    named = dict(zip((c for c in specs.rhs if c not in "IO"), values, strict=True))
    return tuple(named[specs.lhs[i]] for i in axes.spatial)


@lru_cache(maxsize=256)
def make_specs(dimension_numbers: tuple[str, str, str] | None, ndim: int) -> Specs:
    """Return the axes that ``dimension_numbers`` names; channels last where it is None."""
    if dimension_numbers is not None:
        return Specs(*dimension_numbers)
    space = "".join(chr(ord("a") + i) for i in range(ndim))
    return Specs(f"N{space}C", f"{space}IO", f"N{space}C")


def settle_specs(layer: Any, ndim: int) -> None:
    """Bring ``dimension_numbers`` into one form, or say what is wrong with them."""
    given = layer.dimension_numbers
    if given is None:
        return
    error = ArgumentError(
        f"{type(layer).__name__} got dimension_numbers={given!r} for a filter of {ndim} axes; give "
        "three strings such as ('NCHW', 'OIHW', 'NCHW') with one letter per spatial axis."
    )
    if isinstance(given, str) or not all(isinstance(spec, str) for spec in given):
        raise error
    specs = tuple(given)
    if len(specs) != 3 or not _fit(*specs, ndim):
        raise error
    settle(layer, "dimension_numbers", specs)


def _fit(lhs: str, rhs: str, out: str, ndim: int) -> bool:
    space = set(lhs) - set("NC")
    named = len(space) == ndim == len(lhs) - 2 and {"N", "C"} < set(lhs)
    return named and sorted(out) == sorted(lhs) and sorted(rhs) == sorted({*space, "I", "O"})
