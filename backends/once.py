"""What is found out about an array once, and known as long as the array is there."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np


def once(fn: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], Any]:
    """Return a function that remembers what it made of an array as long as that is there.

    The variances of a tile are those of all its parts.
    """
    made: dict[int, tuple[Any, Any]] = {}

    def remembered(x: np.ndarray) -> Any:
        key = id(x)
        if key not in made:
            found = fn(x)
            made[key] = weakref.ref(x, lambda _: made.pop(key, None)), found
        return made[key][1]

    return remembered
