"""Gradients in factors: scaled, negated, shared and grouped parameters, alone and with a bias."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ntcore as nt
from ntcore.conformance.fixtures import Library

UNITS = 2.0**10  # of rounding, of the largest entry
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((5, 4)), RNG.standard_normal((3, 4))
MATRIX, OTHER, SHIFT, SCALE = (RNG.standard_normal(s) for s in ((4, 4), (4, 4), (4,), ()))


def scaled(p: Any, x: Any) -> Any:
    return (x @ (p["w"] / 2.0)) * 3.0 + 0.1 * p["b"]


def negated(p: Any, x: Any) -> Any:
    return -(x @ p["w"]) / 4.0 - p["b"]


def subtracted(p: Any, x: Any) -> Any:
    return p["b"] - (p["b"] - x @ (-p["w"])) * 2.0


def residual(p: Any, x: Any) -> Any:
    h = x + x @ p["w"] + p["b"]
    return h + (h * h) @ p["v"] + 2.0 * p["b"]


def shared(p: Any, x: Any) -> Any:
    h = x @ p["w"] + p["b"]
    return (h * h) @ p["w"] + p["b"] + h


def twice(p: Any, x: Any) -> Any:
    h = x @ p["w"]
    return h * h + (h + p["b"]) + (h + p["b"]) * x


def weighed(p: Any, x: Any) -> Any:
    return p["s"] * (x @ p["w"] + p["b"]) + p["s"]


FUNCTIONS = [scaled, negated, subtracted, residual, shared, twice, weighed]


@pytest.mark.parametrize("contract", ["full", "trace", "diag"])
@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_factors_give_the_jacobian_contraction(backend: Library, f: Any, contract: str) -> None:
    if backend.name == "jax" and contract != "full":
        pytest.skip("one contraction is compiled")
    made = {"w": MATRIX, "v": OTHER, "b": SHIFT, "s": SCALE}
    params = {k: backend.asarray(np.asarray(v)) for k, v in made.items()}
    for x1, x2 in ((X, Y), (X, None), (X[:1], Y)):
        given = [None if x is None else backend.asarray(x) for x in (x1, x2)]
        kernels = [
            backend.to_numpy(
                nt.empirical_ntk_fn(f, contract=contract, implementation=way)(*given, params)
            )
            for way in (1, 3)
        ]
        slack = UNITS * np.finfo(kernels[0].dtype).eps * np.max(np.abs(kernels[0]))
        assert np.max(np.abs(kernels[1] - kernels[0])) <= slack
