"""What the tests of empirical kernels share: the table, its cases, and a comparison."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ntcore.conformance.fixtures import Library

REFERENCE = Path(__file__).parents[1] / "conformance" / "reference"
TABLE = json.loads((REFERENCE / "empirical.json").read_text(encoding="utf-8"))
SPEC = importlib.util.spec_from_file_location("cases", REFERENCE / "empirical_cases.py")
cases = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(cases)

TOLERANCE = 1e-10  # of the largest entry; the table is in float64


def mapped(fn: Callable, tree: Any) -> Any:
    if isinstance(tree, dict):
        return {k: mapped(fn, v) for k, v in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(mapped(fn, v) for v in tree)
    return None if tree is None else fn(tree)


def function(backend: Library, fn: Callable) -> Callable:
    """A case for the arrays of a library, or of a tape over them."""

    def f(params: Any, x: Any) -> Any:
        first = x
        while isinstance(first, (dict, list)):
            first = next(iter(first.values())) if isinstance(first, dict) else first[0]
        own = hasattr(first, "__array_namespace__")
        return fn(first.__array_namespace__() if own else backend.xp, params, x)

    return f


def close(backend: Library, found: Any, want: Any) -> None:
    want = np.asarray(want)
    got = backend.to_numpy(found)
    assert got.shape == want.shape
    assert np.max(np.abs(got - want)) <= TOLERANCE * np.max(np.abs(want))
