"""The public result of a kernel function."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ntcore import index
from ntcore.backend import Array, backend_of
from ntcore.errors import ArgumentError
from ntcore.record import Record, leaf, record


@record
class Kernel(Record):
    """Kernels of a pair of batches, and what is known about them.

    Attributes
    ----------
    nngp, ntk : array
        ``(n1, n2)`` after a flatten or a global pool, ``(n1, n2, H, H, W, W)`` where space is
        left, or ``(n1, n2, H, W)`` with ``diagonal_spatial``. ``ntk`` is None where it was not
        asked for.
    cov1, cov2 : array
        Covariance of each example with itself, ``(n1,)``, ``(n1, H, H, W, W)`` or ``(n1, H, W)``;
        of all pairs, ``(n1, n1, ...)``, where ``diagonal_batch`` is False. ``cov2`` is None where
        ``x1_is_x2``.
    x1_is_x2 : bool
        Whether the second batch is the first.
    is_gaussian, is_input : bool
        Whether channels are independent Gaussians; whether these are the moments of an input.
    is_reversed : bool
        Whether spatial axes come in reversed order; always False in what ntcore returns.
    diagonal_batch, diagonal_spatial : bool
        Whether ``cov1`` and ``cov2`` hold no pairs of different examples; whether spatial
        covariances hold no pairs of different positions.
    shape1, shape2 : tuple of int
        Shapes of the (finite) outputs that the kernel describes.
    batch_axis, channel_axis : int
        Axes of examples and channels in those shapes.
    mask1, mask2 : array or None
        Masks of the two batches.
    """

    nngp: Array = leaf(default=None)
    ntk: Array | None = leaf(default=None)
    cov1: Array | None = leaf(default=None)
    cov2: Array | None = leaf(default=None)
    x1_is_x2: bool = False
    is_gaussian: bool = False
    is_reversed: bool = False
    is_input: bool = False
    diagonal_batch: bool = True
    diagonal_spatial: bool = False
    shape1: tuple[int, ...] = ()
    shape2: tuple[int, ...] = ()
    batch_axis: int = 0
    channel_axis: int = -1
    mask1: Array | None = leaf(default=None)
    mask2: Array | None = leaf(default=None)

    def replace(self, **changes: Any) -> Kernel:
        """Return a copy with some fields replaced."""
        unknown = set(changes) - set(FIELDS)
        if unknown:
            raise ArgumentError(f"Kernel has no field {sorted(unknown)[0]!r}; it has {FIELDS}.")
        return dataclasses.replace(self, **changes)

    def reverse(self) -> Kernel:
        """Return the kernel with its spatial axes in the opposite order."""
        ndim = self._spatial
        turned = self.transpose(tuple(reversed(range(ndim))))
        return turned.replace(is_reversed=not self.is_reversed)

    def transpose(self, axes: tuple[int, ...] | None = None) -> Kernel:
        """Return the kernel with its spatial axes permuted, reversed by default."""
        ndim = self._spatial
        order = tuple(reversed(range(ndim))) if axes is None else axes
        if sorted(order) != list(range(ndim)):
            raise ArgumentError(
                f"transpose got axes={axes!r}; give a permutation of {tuple(range(ndim))}."
            )
        if order == tuple(range(ndim)):
            return self
        each = 1 if self.diagonal_spatial else 2
        moved = [each * k + e for k in order for e in range(each)]
        return self._map(lambda x: _permute_behind(x, moved))

    @property
    def _spatial(self) -> int:
        """Number of spatial axes that the arrays have."""
        known: Any = self.ntk if self.nngp is None else self.nngp
        return int(known.ndim - 2) // (1 if self.diagonal_spatial else 2)

    def _map(self, fn: Callable[[Array], Array]) -> Kernel:
        arrays = {name: getattr(self, name) for name in ("nngp", "ntk", "cov1", "cov2")}
        return self.replace(**{n: None if x is None else fn(x) for n, x in arrays.items()})

    def slice(self, n1_slice: slice, n2_slice: slice) -> Kernel:
        """Return the kernel of some examples of the first batch and some of the second."""
        return index.examples(self, n1_slice, n2_slice)

    def __getitem__(self, idx: Any) -> Kernel:
        """Return the kernel of ``f(x)[idx]``, for an index into the outputs of the network."""
        return index.outputs(self, idx)

    def mask(self, mask1: Array | None, mask2: Array | None) -> Kernel:
        """Return the kernel with 0 wherever either mask is true, and with these masks.

        Masks have the shape of the outputs with one channel, ``(n1, H, W, 1)``, and are true
        where there is nothing.
        """
        return index.masked(self, mask1, mask2)

    def __mul__(self, factor: Any) -> Kernel:
        """Return the kernel of the function times a number: covariances times its square."""
        return self._map(lambda x: x * factor**2)

    __rmul__ = __mul__

    def __add__(self, offset: Any) -> Kernel:
        """Return the kernel of the function plus a fixed number: its square on covariances."""
        shifted = self._map(lambda x: x + offset**2)
        return shifted.replace(ntk=self.ntk)

    __radd__ = __add__

    def astuple(self) -> tuple[Any, ...]:
        """Return the values of the fields, in order."""
        return tuple(getattr(self, name) for name in FIELDS)

    def asdict(self) -> dict[str, Any]:
        """Return the fields and their values."""
        return {name: getattr(self, name) for name in FIELDS}


FIELDS = tuple(f.name for f in dataclasses.fields(Kernel))


def _permute_behind(x: Array, order: list[int]) -> Array:
    """Permute the last axes of an array."""
    first = x.ndim - len(order)
    axes = (*range(first), *(first + i for i in order))
    return backend_of(x).namespace.permute_dims(x, axes)
