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
    masking,
    places,
    plans,
    sampling,
    symmetry,
    tiling,
    transforms,
)
from ntcore.conformance.bench import Bench
from ntcore.conformance.cases import (
    alone,
    broad,
    every_case,
    first,
    moving,
    placed,
    structural,
    vectors,
)
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
        new shape costs a compilation; None is no difference.
    needs : str or None
        A capability of the backend without which there is nothing to measure.
    role : type
        The layers that it is about.
    host : bool
        Whether it is about the layer and not the backend, and so runs on NumPy alone.
    may_lack : bool
        Whether a layer may raise ``Unsupported`` instead, having no network of finite width.
    """

    name: str
    about: str
    measure: Callable[[Bench, Any], Measures]
    dtypes: tuple[str, ...]
    eager: Subjects
    compiled: Subjects | None = None
    needs: str | None = None
    role: type[Layer] = Layer
    host: bool = False
    may_lack: bool = False

    def subjects(self, cls: type[Layer], compiles: bool) -> list[Any]:
        """Return what is measured for a layer."""
        return (self.compiled if compiles and self.compiled is not None else self.eager)(cls)


def itself(cls: type[Layer]) -> list[type[Layer]]:
    """Return the layer class as its only subject."""
    return [cls]


def nothing(cls: type[Layer]) -> list[Any]:
    """Return no subject."""
    return []


DOUBLE, SINGLE = ("float64",), ("float32",)
BOTH = DOUBLE + SINGLE

CHECKS = (
    Check("examples", "examples cover every argument", coverage.check, DOUBLE, itself, host=True),
    Check("agree", "the numbers of NumPy", agreement.check, DOUBLE, every_case, broad),
    Check("agree", "the numbers of NumPy", agreement.check, SINGLE, broad, first),
    Check("plan", "computes what is planned", plans.values, DOUBLE, structural, nothing),
    Check("need", "plans what is read", plans.exact, DOUBLE, structural, host=True),
    Check("symmetry", "symmetric, semi-definite", symmetry.check, DOUBLE, structural, first),
    Check("symmetry", "symmetric, semi-definite", symmetry.check, SINGLE, placed, nothing),
    Check("place", "data type and device stay", places.check, BOTH, alone, first),
    Check("mask", "masked inputs", masking.check, DOUBLE, broad, first, may_lack=True),
    Check("jit", "compiled equals eager", transforms.jit, DOUBLE, broad, first, needs="jit"),
    Check("grad", "derivatives", transforms.gradient, DOUBLE, broad, first, needs="vjp"),
    Check("corner", "finite derivatives", transforms.corners, DOUBLE, broad, first, needs="vjp"),
    Check("corner", "finite derivatives", transforms.corners, SINGLE, first, nothing, needs="vjp"),
    Check("price", "Price's theorem", elementwise.price, DOUBLE, alone, role=Elementwise),
    Check(
        "dual", "quadrature", elementwise.quadrature, DOUBLE, alone, role=Elementwise, may_lack=True
    ),
    Check("tiles", "tiles change nothing", tiling.check, DOUBLE, placed, first),
    Check("tiles", "tiles change nothing", tiling.check, SINGLE, moving, nothing),
    Check("finite", "finite networks", finite.check, DOUBLE, broad, moving, may_lack=True),
    Check(
        "sample",
        "average of finite networks",
        sampling.check,
        DOUBLE,
        alone,
        host=True,
        may_lack=True,
    ),
    Check("fused", "fused equals reference", fused.inside, BOTH, broad, vectors, needs="fused"),
)
COLUMNS = tuple(dict.fromkeys(check.name for check in CHECKS))
