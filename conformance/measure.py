"""How far two results are apart, in units of the tolerance: 1 is at the tolerance."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntcore.conformance.tolerances import tolerance


@dataclass(frozen=True)
class Measure:
    """One thing that was measured.

    Attributes
    ----------
    what : str
        What was compared.
    ratio : float
        Disagreement over tolerance; infinite where a requirement has no tolerance.
    note : str
        What was found, where a number alone does not say it.
    """

    what: str
    ratio: float
    note: str = ""

    @property
    def failed(self) -> bool:
        """Whether the disagreement is beyond the tolerance."""
        return not self.ratio <= 1.0


Measures = Iterator[Measure]


def close(
    what: str, got: Any, want: Any, condition: str, dtype: Any, stated: float = 0.0
) -> Measure:
    """Compare two arrays, relative to the largest entry of the second.

    ``stated`` is an error that a layer says it has, and is added to the tolerance.
    """
    got, want = _wide(got), _wide(want)
    if got.shape != want.shape:
        return Measure(what, math.inf, f"shapes {got.shape} and {want.shape}")
    if not np.all(np.isfinite(got)):
        return Measure(what, math.inf, "holds NaN or infinity")
    largest = float(np.max(np.abs(want), initial=0.0))
    apart = float(np.max(np.abs(got - want), initial=0.0))
    if apart == 0.0:
        return Measure(what, 0.0)
    scale = (tolerance(condition, dtype) + stated) * largest
    return Measure(what, apart / scale if scale else math.inf, f"{apart:.2g} of {largest:.2g}")


def equal_bits(what: str, got: Any, want: Any) -> Measure:
    """Compare two arrays bit for bit (and NaN with NaN)."""
    got, want = np.asarray(got), np.asarray(want)
    same = got.dtype == want.dtype and got.shape == want.shape
    if same and got.tobytes() == want.tobytes():
        return Measure(what, 0.0)
    apart = np.max(np.abs(_wide(got) - _wide(want)), initial=0.0) if same else "another type"
    return Measure(what, math.inf, f"bits differ by {apart}")


def holds(what: str, condition: object, note: str = "") -> Measure:
    """Require a requirement that has no tolerance."""
    return Measure(what, 0.0) if condition else Measure(what, math.inf, note)


def finite(what: str, x: Any) -> Measure:
    """Require that an array holds neither NaN nor infinity."""
    return holds(what, np.all(np.isfinite(_wide(x))), "holds NaN or infinity")


def _wide(x: Any) -> np.ndarray:
    return np.asarray(x, dtype=np.float64)
