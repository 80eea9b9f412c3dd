"""The table of checks: what each one measures, on which cases, in which data types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ntcore.conformance import (
    agreement,
    coverage,
    elementwise,
    finite,
    fused,
    places,
    plans,
    sampling,
    symmetry,
    tiling,
    transforms,
)
from ntcore.conformance.bench import Bench
from ntcore.conformance.cases import alone, core_cases, deepest, every_case, leading
from ntcore.conformance.measure import Measures
from ntcore.layers.base import Elementwise, Layer

Subjects = Callable[[type[Layer]], list[Any]]


@dataclass(frozen=True)
class Check:
    """One row of the table of checks; rows of one name make one column of the report.

    Attributes
    ----------
    name : str
        The column.
    about : str
        What is required.
    measure : callable
        ``(bench, subject) -> measures``.
    dtypes : tuple of str
        The data types in which it runs.
    eager, compiled : callable
        The subjects for a layer, where a library runs operation by operation, and where every
        new shape costs a compilation.
    needs : str or None
        A capability of the backend without which there is nothing to measure.
    role : type
        The layers that it is about.
    host : bool
        Whether it is about the layer and not the backend, and so runs on NumPy alone.
    """

    name: str
    about: str
    measure: Callable[[Bench, Any], Measures]
    dtypes: tuple[str, ...]
    eager: Subjects
    compiled: Subjects
    needs: str | None = None
    role: type[Layer] = Layer
    host: bool = False


def itself(cls: type[Layer]) -> list[type[Layer]]:
    """Return the layer class as its only subject."""
    return [cls]


def none(cls: type[Layer]) -> list[Any]:
    """Return no subject."""
    return []


def broad(cls: type[Layer]) -> list[Any]:
    """Return every example alone, and the first one in its deepest network."""
    return [*alone(cls), *leading(cls)[1:]]


DOUBLE, SINGLE = ("float64",), ("float32",)
BOTH = DOUBLE + SINGLE

CHECKS = (
    Check(
        "examples",
        "examples cover every argument",
        coverage.check,
        DOUBLE,
        itself,
        itself,
        host=True,
    ),
    Check("agree", "the numbers of NumPy", agreement.check, DOUBLE, every_case, broad),
    Check("agree", "the numbers of NumPy", agreement.check, SINGLE, core_cases, leading),
    Check("plan", "computes what is planned", plans.values, DOUBLE, core_cases, leading),
    Check("need", "plans what is read", plans.exact, DOUBLE, core_cases, core_cases, host=True),
    Check("symmetry", "symmetric, semi-definite", symmetry.check, DOUBLE, core_cases, leading),
    Check("symmetry", "symmetric, semi-definite", symmetry.check, SINGLE, deepest, none),
    Check("place", "data type and device stay", places.check, BOTH, alone, leading),
    Check("jit", "compiled equals eager", transforms.jit, DOUBLE, deepest, leading, needs="jit"),
    Check("grad", "derivatives", transforms.gradient, DOUBLE, deepest, leading, needs="vjp"),
    Check(
        "corner", "finite derivatives", transforms.corners, DOUBLE, deepest, leading, needs="vjp"
    ),
    Check("corner", "finite derivatives", transforms.corners, SINGLE, deepest, none, needs="vjp"),
    Check("price", "Price's theorem", elementwise.price, DOUBLE, alone, alone, role=Elementwise),
    Check("dual", "quadrature", elementwise.quadrature, DOUBLE, alone, alone, role=Elementwise),
    Check("tiles", "tiles change nothing", tiling.check, DOUBLE, core_cases, leading),
    Check("tiles", "tiles change nothing", tiling.check, SINGLE, deepest, none),
    Check("finite", "finite networks", finite.check, DOUBLE, core_cases, leading),
    Check("sample", "average of finite networks", sampling.check, DOUBLE, alone, alone, host=True),
    Check("fused", "fused equals reference", fused.inside, BOTH, deepest, leading, needs="fused"),
)
COLUMNS = tuple(dict.fromkeys(check.name for check in CHECKS))
