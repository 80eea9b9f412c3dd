"""How a named operation is replaced by a backend's own, and noted when that runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

from ntcore.backend import Place

F = TypeVar("F", bound=Callable[..., Any])

REFERENCE: dict[str, Callable[..., Any]] = {}
_ran: ContextVar[dict[str, int] | None] = ContextVar("ran", default=None)


def fusable(reference: F) -> F:
    """Let a backend replace an operation by the entry of the same name in ``Backend.fused``."""
    name = reference.__name__
    REFERENCE[name] = reference

    @wraps(reference)
    def dispatch(at: Place, *args: Any) -> Any:
        chosen = at.backend.fused.get(name, reference)
        if chosen is not reference:
            count(name)
        return chosen(at, *args)

    return dispatch  # type: ignore[return-value]


@contextmanager
def recording() -> Iterator[dict[str, int]]:
    """Count, by name, the fused operations that run inside the ``with`` block."""
    counts: dict[str, int] = {}
    token = _ran.set(counts)
    try:
        yield counts
    finally:
        _ran.reset(token)


def count(name: str) -> None:
    """Note that a fused operation ran."""
    counts = _ran.get()
    if counts is not None:
        counts[name] = counts.get(name, 0) + 1
