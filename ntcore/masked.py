"""Arrays of which some entries are not there."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from ntcore.backend import Array, Place, backend_of
from ntcore.errors import ArgumentError
from ntcore.record import Record, leaf, record


@record
class MaskedArray(Record):
    """An array and where it holds nothing; what ``apply_fn`` returns for masked inputs.

    Attributes
    ----------
    masked_value : array
        Values; those of masked entries mean nothing.
    mask : array of booleans, or None
        True where an entry is masked, in a shape that broadcasts to that of ``masked_value``.
    """

    masked_value: Array = leaf()
    mask: Array | None = leaf(default=None)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the values."""
        return tuple(self.masked_value.shape)


def with_mask(at: Place, x: Any, mask_constant: Any) -> tuple[Array, Array | None]:
    """Return an array with 0 at what is masked, and its mask or None.

    ``x`` is an array, of which the entries equal to ``mask_constant`` are masked (NaN equals
    itself), or a :class:`MaskedArray`.
    """
    if isinstance(x, MaskedArray):
        value, mask = at.asarray(x.masked_value), x.mask
        if mask is not None:
            mask = at.xp.broadcast_to(at.index(mask), value.shape)
    else:
        value = at.asarray(x)
        mask = None if mask_constant is None else _equals(at, value, mask_constant)
    return (value if mask is None else zeroed(at, value, mask)), mask


def _equals(at: Place, x: Array, constant: Any) -> Array:
    try:
        number = float(constant)
    except (TypeError, ValueError):
        raise ArgumentError(
            f"mask_constant is {constant!r}; give the number that marks masked entries, or NaN."
        ) from None
    return at.xp.isnan(x) if math.isnan(number) else x == number


def zeroed(at: Place, x: Array, mask: Array) -> Array:
    """Return an array that is 0 where a mask is true."""
    return at.xp.where(mask, at.xp.zeros_like(x), x)


def values_of(x: Any) -> Array:
    """Return the array itself, of a masked one its values."""
    return x.masked_value if isinstance(x, MaskedArray) else x


def unmask_fn(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that returns plain arrays, 0 where ``fn`` returns masked entries.

    Parameters
    ----------
    fn : callable
        Such as an ``apply_fn``: it returns arrays or :class:`MaskedArray`, or tuples of them.
    """

    @functools.wraps(fn)
    def unmasked(*args: Any, **kwargs: Any) -> Any:
        return _plain(fn(*args, **kwargs))

    return unmasked


def _plain(x: Any) -> Any:
    if isinstance(x, (tuple, list)):
        return type(x)(map(_plain, x))
    if not isinstance(x, MaskedArray):
        return x
    value, mask = x.masked_value, x.mask
    xp = backend_of(value).namespace
    return value if mask is None else xp.where(mask, xp.zeros_like(value), value)
