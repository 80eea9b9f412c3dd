"""What is compiled on its own, where a backend compiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ntcore.backend import Place


def staged(
    at: Place, fn: Callable[..., Any], static: tuple[int, ...], whole: bool = False
) -> Callable[..., Any]:
    """Return a function, compiled on its own where the backend compiles.

    ``whole`` says that what is staged inside is not, unless that is whole too.
    """
    stage = at.backend.stage
    return fn if stage is None else stage(fn, static, whole)
