"""Frozen data with two kinds of field: static structure, and leaves that hold numbers or arrays.

Layers, networks, covariance blocks and kernels are all records. The split lets a network be
hashed and cached by its structure while its leaves are traced values or tensors that require
grad, and makes every record a pytree for the libraries that have pytrees.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeVar, dataclass_transform

R = TypeVar("R", bound="Record")
T = TypeVar("T")

_ROLE = "ntcore"
ARGUMENT = "ntcore argument"  # in the metadata of a field: what its constructor calls it
_classes: list[type[Record]] = []
_listeners: list[Callable[[type[Record]], None]] = []


class _Present:
    """Stands in a skeleton for a leaf that has a value."""

    def __repr__(self) -> str:
        return "..."


PRESENT = _Present()


def leaf(*, default: Any = dataclasses.MISSING, **kwargs: Any) -> Any:
    """Declare a field that holds a number, an array, ``None`` or a tree of records."""
    return dataclasses.field(default=default, metadata={_ROLE: "leaf"}, **kwargs)


class Record:
    """Base of frozen dataclasses made by :func:`record`."""

    def __repr__(self) -> str:
        shown = [
            f"{f.metadata.get(ARGUMENT, f.name)}={getattr(self, f.name)!r}"
            for f in dataclasses.fields(self)  # type: ignore[arg-type]
            if f.init and not _is_default(getattr(self, f.name), f.default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other) and _key(self) == _key(other))

    def __hash__(self) -> int:
        return _remembered(self, "_hash", lambda: hash(_key(self)))

    def __getstate__(self) -> dict[str, Any]:
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        every = {f.name: getattr(self, f.name) for f in fields}
        return {f.name: every[f.name] for f in fields if every[f.name] is not f.default}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, f.name, state.get(f.name, f.default))


@dataclass_transform(frozen_default=True, field_specifiers=(leaf, dataclasses.field))
def record(cls: type[R]) -> type[R]:
    """Make ``cls`` a frozen dataclass whose equality and hash do not compare arrays."""
    made = dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
    _classes.append(made)
    for listener in _listeners:
        listener(made)
    return made


def settle(value: Record, name: str, to: Any) -> None:
    """Replace a field while a record is made, to bring an argument into its one form."""
    object.__setattr__(value, name, to)


def on_record(listener: Callable[[type[Record]], None]) -> None:
    """Call ``listener`` with every record class there is and will be."""
    _listeners.append(listener)
    for cls in list(_classes):
        listener(cls)


def split(value: Record) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the leaf values and the static values of a record, each in field order."""
    leaves, static = _names(type(value))  # type: ignore[arg-type]
    return tuple([getattr(value, n) for n in leaves]), tuple([getattr(value, n) for n in static])


@cache
def _names(cls: type[Record]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the leaves and of the static fields of a class of records."""
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    leaves = tuple(f.name for f in fields if _is_leaf(f))
    return leaves, tuple(f.name for f in fields if not _is_leaf(f))


def join(cls: type[R], leaves: tuple[Any, ...], static: tuple[Any, ...]) -> R:
    """Rebuild a record from :func:`split`, without running the checks of its constructor."""
    made = object.__new__(cls)
    both = _names(cls)  # type: ignore[arg-type]
    for names, values in zip(both, (leaves, static), strict=True):
        for name, value in zip(names, values, strict=True):
            object.__setattr__(made, name, value)
    return made


def map_leaves(value: Any, fn: Callable[[Any], Any]) -> Any:
    """Apply ``fn`` to every leaf of a tree of records, tuples and values; ``None`` stays."""
    if isinstance(value, Record):
        leaves, static = split(value)
        return join(type(value), tuple(map_leaves(x, fn) for x in leaves), static)
    if isinstance(value, tuple):
        return tuple(map_leaves(x, fn) for x in value)
    return None if value is None else fn(value)


def iter_leaves(value: Any) -> Iterator[Any]:
    """Yield every leaf of a tree of records and tuples that is not ``None``."""
    if isinstance(value, Record):
        value = split(value)[0]
    if isinstance(value, tuple):
        for x in value:
            yield from iter_leaves(x)
    elif value is not None:
        yield value


def skeleton(value: R) -> R:
    """Return the structure of a record: every leaf that has a value becomes ``PRESENT``."""
    made: R = _remembered(value, "_skeleton", lambda: map_leaves(value, lambda _: PRESENT))
    return made


def _is_leaf(f: dataclasses.Field[Any]) -> bool:
    return f.metadata.get(_ROLE) == "leaf"


def _is_default(value: Any, default: Any) -> bool:
    if value is default:
        return True
    if value is PRESENT:
        return default is not None and default is not dataclasses.MISSING
    simple = (bool, int, float, str, tuple, enum.Enum, type(None))
    return isinstance(value, simple) and type(value) is type(default) and value == default


def _remembered(value: Record, name: str, make: Callable[[], T]) -> T:
    """Return what follows from a record, which never changes, and keep it there."""
    known: dict[str, Any] = value.__dict__
    if name not in known:
        known[name] = make()
    found: T = known[name]
    return found


def _key(value: Any) -> Any:
    """Hashable stand-in for a value: plain values as they are, arrays by identity."""
    if isinstance(value, Record):
        return _remembered(value, "_key", lambda: _key_of(value))
    if isinstance(value, tuple):
        return tuple(map(_key, value))
    plain = value is None or isinstance(value, (bool, int, float, complex, str, _Present))
    return value if plain else ("id", id(value))


def _key_of(value: Record) -> Any:
    leaves, static = split(value)
    return type(value), tuple(map(_key, leaves)), static
