"""Where the moments of an input edge come from: batches of examples, or the result of a kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ntcore.backend import Array, Place, host
from ntcore.cov import (
    Cov,
    Features,
    Layout,
    Tangents,
    diagonal_of_user,
    of_features,
    of_inputs,
    of_user,
    tangent_of_features,
)
from ntcore.errors import PlanError
from ntcore.moments import Moments
from ntcore.result import Kernel

Enter = Callable[..., Moments]
#: An array or None, and the batch, 0 or 1, that each of its first axes goes over.
Held = tuple[Array | None, tuple[int, ...]]
#: The fields of a kernel that moments are made of.
FIELDS = ("nngp", "ntk", "cov1", "cov2")


@dataclass(frozen=True)
class Span:
    """Examples ``start <= i < stop``, repeated at the end to fill ``width``."""

    start: int
    stop: int
    width: int

    def after(self, first: int) -> Span:
        """Return these examples of an array that begins with another one."""
        return self if not first else Span(self.start - first, self.stop - first, self.width)

    def of(self, at: Place, x: Array, axis: int) -> Array:
        """Return these examples of an array."""
        if (self.start, self.stop) == (0, self.width) == (0, x.shape[axis]):
            return x
        if self.stop - self.start == self.width:
            return x[(*(slice(None),) * axis, slice(self.start, self.stop), ...)]
        np = host().namespace
        index = np.minimum(np.arange(self.start, self.start + self.width), self.stop - 1)
        return at.xp.take(x, at.index(index), axis=axis)


class Source(Protocol):
    """The moments of one input edge, for a block ``'cross'``, ``'side1'`` or ``'side2'``."""

    def arrays(self, at: Place, block: str, one: Span, two: Span) -> tuple[Array | None, ...]:
        """Return the arrays that a tile of a block is made of."""

    def enter(self, block: str) -> Enter:
        """Return the function from those arrays to moments; one function per kind of source."""


@dataclass(frozen=True)
class Examples:
    """Two batches of examples, batch first and channels last."""

    x1: Array
    x2: Array

    def arrays(self, at: Place, block: str, one: Span, two: Span) -> tuple[Array | None, ...]:
        """Return both batches of a tile."""
        first = self.x2 if block == "side2" else self.x1
        second = self.x1 if block == "side1" else self.x2
        return one.of(at, first, 0), two.of(at, second, 0)

    def enter(self, block: str) -> Enter:
        """Return the covariance of two batches."""
        return _of_examples

    @property
    def held(self) -> tuple[Held, ...]:
        """Both batches."""
        return (self.x1, (0,)), (self.x2, (1,))

    def holding(self, arrays: Sequence[Array | None]) -> Examples:
        """Return a source with other arrays, in the order of ``held``."""
        return Examples(*arrays)


@dataclass(frozen=True)
class Mapped:
    """Features of two batches, which layers below have mapped; ``ntk`` asks for that as well."""

    one: Features
    two: Features
    ntk: bool

    @property
    def numbers(self) -> int:
        """How many numbers are held."""
        alone = self.one is self.two
        return sum(math.prod(f.data.shape) for f in (self.one, self.two)[alone:])

    def arrays(self, at: Place, block: str, one: Span, two: Span) -> tuple[Array | None, ...]:
        """Return the features of both batches of a tile."""
        first = self.two if block == "side2" else self.one
        second = self.one if block == "side1" else self.two
        return one.of(at, first.data, 0), two.of(at, second.data, 0)

    def enter(self, block: str) -> Enter:
        """Return the products of features."""
        return OfFeatures(self.one.tangents if self.ntk and block == "cross" else ())

    @property
    def held(self) -> tuple[Held, ...]:
        """The features of both batches."""
        return (self.one.data, (0,)), (self.two.data, (1,))

    def holding(self, arrays: Sequence[Array | None]) -> Mapped:
        """Return a source with other arrays, in the order of ``held``."""
        one, two = arrays
        return Mapped(replace(self.one, data=one), replace(self.two, data=two), self.ntk)


@dataclass(frozen=True)
class OfFeatures:
    """The moments that the products of features are, with the NTK where there are tangents."""

    tangents: Tangents

    def __call__(self, at: Place, layout: Layout, *arrays: Array | None) -> Moments:
        """Return the moments of two batches."""
        one, two = arrays
        nngp = of_features(at, one, two, layout)
        if not self.tangents:
            return Moments(nngp)
        return Moments(nngp, tangent_of_features(at, one, two, self.tangents, nngp))


@dataclass(frozen=True)
class Given:
    """The result of another kernel function; ``kernel`` has its arrays in one place."""

    kernel: Kernel

    def arrays(self, at: Place, block: str, one: Span, two: Span) -> tuple[Array | None, ...]:
        """Return the tile of the kernels, or the examples of a side."""
        k = self.kernel
        if block == "cross":
            both = (k.nngp, k.ntk)
            return tuple(None if x is None else two.of(at, one.of(at, x, 0), 1) for x in both)
        side = k.cov1 if block == "side1" or k.cov2 is None else k.cov2
        if side is None:
            raise PlanError(
                "the network needs the variances of its input but the Kernel passed in has "
                "cov1=None; pass a Kernel that kernel_fn returned with get=None."
            )
        return (one.of(at, _paired(at, side, k.diagonal_batch), 0), None)

    def enter(self, block: str) -> Enter:
        """Return the blocks that the arrays of a kernel describe."""
        return _of_diagonal if self.kernel.diagonal_spatial else _of_kernel

    @property
    def held(self) -> tuple[Held, ...]:
        """Both kernels, and the covariances of either batch."""
        k = self.kernel
        each, cov2 = 1 if k.diagonal_batch else 2, k.cov1 if k.cov2 is None else k.cov2
        return (k.nngp, (0, 1)), (k.ntk, (0, 1)), (k.cov1, (0,) * each), (cov2, (1,) * each)

    def holding(self, arrays: Sequence[Array | None]) -> Given:
        """Return a source with other arrays, in the order of ``held``."""
        return Given(self.kernel.replace(**dict(zip(FIELDS, arrays, strict=True))))


def _of_examples(at: Place, layout: Layout, *arrays: Array | None) -> Moments:
    return Moments(of_inputs(at, arrays[0], arrays[1], layout))


def _of_kernel(at: Place, layout: Layout, *arrays: Array | None) -> Moments:
    return _with(of_user, at, layout, arrays)


def _of_diagonal(at: Place, layout: Layout, *arrays: Array | None) -> Moments:
    return _with(diagonal_of_user, at, layout, arrays)


def _with(read: Callable[..., Cov], at: Place, layout: Layout, arrays: tuple[Any, ...]) -> Moments:
    nngp, ntk = arrays
    return Moments(read(at, nngp, layout), None if ntk is None else read(at, ntk, layout))


def _paired(at: Place, x: Array, diagonal_batch: bool) -> Array:
    """Return ``(n, ...)`` from ``(n, ...)`` or from ``(n, n, ...)``."""
    if diagonal_batch:
        return x
    index: Any = host().namespace.arange(x.shape[0]) * (x.shape[0] + 1)
    flat = at.xp.reshape(x, (x.shape[0] * x.shape[0], *x.shape[2:]))
    return at.xp.take(flat, at.index(index), axis=0)
