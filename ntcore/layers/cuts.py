"""Indices as data: integers and slices, one for each axis, as a layer can hold and print them."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

from ntcore.errors import ArgumentError, ShapeError


class Cut(NamedTuple):
    """A slice, which can be hashed."""

    start: int | None = None
    stop: int | None = None
    step: int | None = None

    @property
    def slice(self) -> slice:
        """The slice itself."""
        return slice(*self)

    def __str__(self) -> str:
        start, stop, step = ("" if x is None else str(x) for x in self)
        return f"{start}:{stop}" + (f":{step}" if step else "")


WHOLE = Cut()
Part = Any  # an integer, a Cut or an Ellipsis
Parts = tuple[Part, ...]


def parts_of(idx: Any) -> Parts:
    """Return the parts of an index, or raise :class:`ArgumentError`."""
    given = idx if isinstance(idx, tuple) and not isinstance(idx, Cut) else (idx,)
    parts = tuple(_part(i, idx) for i in given)
    if parts.count(Ellipsis) > 1:
        raise ArgumentError(f"Index got {idx!r}, with several '...'; give one at most.")
    return parts


def _part(part: Any, idx: Any) -> Part:
    if part is Ellipsis or isinstance(part, Cut):
        return part
    try:
        if isinstance(part, slice):
            ends = (part.start, part.stop, part.step)
            found = Cut(*(None if x is None else operator.index(x) for x in ends))
            if found.step != 0:
                return found
        elif not isinstance(part, bool) and not hasattr(part, "shape"):
            return operator.index(part)
    except TypeError:
        pass
    raise ArgumentError(
        f"Index got {idx!r}, which holds {part!r}; use integers, slices with a step other than 0, "
        "and one '...'."
    )


def expanded(parts: Parts, ndim: int) -> Parts:
    """Return one part for each axis."""
    given = parts if Ellipsis in parts else (*parts, Ellipsis)
    at = given.index(Ellipsis)
    missing = ndim - (len(given) - 1)
    if missing < 0:
        raise ShapeError(
            f"Slice[{written(parts)}] has {len(given) - 1} parts but its input has {ndim} axes; "
            "give at most one part for each."
        )
    return (*given[:at], *(WHOLE,) * missing, *given[at + 1 :])


def written(parts: Parts) -> str:
    """Return an index as it stands between brackets."""
    return ", ".join("..." if p is Ellipsis else str(p) for p in parts)


def chosen(part: Part, size: int) -> range:
    """Return the positions that a part picks of an axis; of an integer, the one or none."""
    if isinstance(part, Cut):
        return range(size)[part.slice]
    at = part + size if part < 0 else part
    return range(size)[at : at + 1] if at >= 0 else range(0)
