"""Kernels and predictions agree with those stored from neural_tangents.

The tables and the script that makes them are in conformance/reference.
"""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ntcore import predict, stax
from ntcore.conformance.fixtures import Library

REFERENCE = Path(__file__).parents[1] / "conformance" / "reference"
TABLE = json.loads((REFERENCE / "neural_tangents.json").read_text(encoding="utf-8"))
with np.load(REFERENCE / "neural_tangents.npz") as arrays:
    VALUES: dict[str, np.ndarray] = dict(arrays)

# Relative to the largest entry of a field. The stored values have a rounding error of their own,
# ``noise``, where the kernel of an input with itself is not smooth in the angle.
TOLERANCE = 1e-10
NOISES = 10.0
# The other backends share every formula with NumPy: they run one case in so many.
STEP = 8

Case = dict[str, Any]
AsArray = Callable[[Any], Any]
Pair = namedtuple("Pair", ["nngp", "ntk"])


def named(cases: list[Case]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[c["name"] for c in cases])


def inputs(names: str | list[str] | None, asarray: AsArray) -> Any:
    """The stored array of this name, or a tuple of them."""
    if isinstance(names, list):
        return tuple(inputs(name, asarray) for name in names)
    return None if names is None else asarray(VALUES[f"input/{names}"])


def kernel_fn_of(case: Case) -> Callable[..., Any]:
    return eval(case["net"], vars(stax))[2]


def flat(answer: Any, prefix: str = "", bare: str = "mean") -> Iterator[tuple[str, Any]]:
    """The arrays of nested (named) tuples with their keys in the table."""
    if not isinstance(answer, tuple):
        yield prefix.rstrip("/") or bare, answer
        return
    names = getattr(answer, "_fields", range(len(answer)))
    for name, part in zip(names, answer, strict=True):
        yield from flat(part, f"{prefix}{name}/")


def stored(case: Case) -> dict[str, np.ndarray]:
    """The fields that the table holds for a case."""
    start = case["name"] + "/"
    return {
        key.removeprefix(start): value
        for key, value in VALUES.items()
        if key.startswith(start) and "/kernel/" not in key
    }


def assert_agrees(case: Case, answer: Any, to_numpy: AsArray = np.asarray) -> None:
    """Same fields, same shapes, and entries within the tolerance of the largest one."""
    expected = stored(case)
    got = {key: to_numpy(value) for key, value in flat(answer)}
    assert list(got) == list(expected)
    for key, value in expected.items():
        assert got[key].shape == value.shape, key
        scale = np.max(np.abs(value)) or 1.0
        assert np.all(np.abs(got[key] - value) <= allowed(case, key) * scale), key


def allowed(case: Case, key: str) -> Any:
    """The relative tolerance of each entry; noise is between an example and itself in a kernel."""
    noisy = max(TOLERANCE, NOISES * case["noise"][key])
    shape = stored(case)[key].shape
    if "x1" not in case or len(shape) < 2:
        return noisy
    pairs = np.where(np.eye(*shape[:2], dtype=bool), noisy, TOLERANCE)
    return pairs.reshape(shape[:2] + (1,) * (len(shape) - 2))


def kernels(case: Case, asarray: AsArray) -> Any:
    x1, x2 = inputs(case["x1"], asarray), inputs(case["x2"], asarray)
    return kernel_fn_of(case)(x1, x2, tuple(case["get"]), **case["kwargs"])


def predictions(case: Case, asarray: AsArray) -> Any:
    """What ours answers to a predict case."""
    names = ("learning_rate", "diag_reg", "diag_reg_absolute_scale", "momentum", "y_train_size")
    options = {name: case[name] for name in names if name in case}
    return CALLS[case["function"]](case, options, asarray)


def gp_inference(case: Case, options: dict[str, Any], asarray: AsArray) -> Any:
    blocks = [stored_pair(case, n, asarray) for n in ("train_train", "test_train", "test_test")]
    predict_fn = predict.gp_inference(blocks[0], inputs(case["y"], asarray), **options)
    return predict_fn(get_of(case), *blocks[1:])


def ensemble(case: Case, options: dict[str, Any], asarray: AsArray) -> Any:
    x, y = inputs(case["x_train"], asarray), inputs(case["y"], asarray)
    predict_fn = predict.gradient_descent_mse_ensemble(kernel_fn_of(case), x, y, **options)
    x_test = inputs(case["x_test"], asarray) if case.get("test", True) else None
    return predict_fn(time_of(case, asarray), x_test, get_of(case), case.get("cov", False))


def descent(case: Case, options: dict[str, Any], asarray: AsArray) -> Any:
    train, test = (stored_pair(case, n, asarray) for n in ("train_train", "test_train"))
    assert train is not None
    predict_fn = predict.gradient_descent_mse(train.ntk, inputs(case["y"], asarray), **options)
    f_train, f_test = inputs(["f6x10", "f3x10"], asarray) if case.get("fx") else (0.0, 0.0)
    if test is None:
        return predict_fn(time_of(case, asarray), f_train)
    return predict_fn(time_of(case, asarray), f_train, f_test, test.ntk)


def rate(case: Case, options: dict[str, Any], asarray: AsArray) -> Any:
    train = stored_pair(case, "train_train", asarray)
    assert train is not None
    return predict.max_learning_rate(train.ntk, **options)


CALLS = {
    "gp_inference": gp_inference,
    "gradient_descent_mse_ensemble": ensemble,
    "gradient_descent_mse": descent,
    "max_learning_rate": rate,
}


def get_of(case: Case) -> Any:
    return tuple(case["get"]) if isinstance(case["get"], list) else case["get"]


def time_of(case: Case, asarray: AsArray) -> Any:
    return asarray(case["t"]) if isinstance(case["t"], list) else case["t"]


def stored_pair(case: Case, name: str, asarray: AsArray) -> Pair | None:
    """A kernel that the table holds as an argument of the call, None if it has none."""
    start = f"{case['name']}/kernel/{name}"
    if f"{start}/nngp" not in VALUES:
        return None
    return Pair(*(asarray(VALUES[f"{start}/{field}"]) for field in Pair._fields))


@named(TABLE["kernels"])
def test_kernel(case: Case) -> None:
    assert_agrees(case, kernels(case, np.asarray))


@named(TABLE["predictions"])
def test_prediction(case: Case) -> None:
    assert_agrees(case, predictions(case, np.asarray))


@named(TABLE["kernels"][::STEP])
def test_kernel_on_every_backend(case: Case, backend: Library) -> None:
    assert_agrees(case, kernels(case, backend.asarray), backend.to_numpy)


@named(TABLE["predictions"])
def test_prediction_on_every_backend(case: Case, backend: Library) -> None:
    assert_agrees(case, predictions(case, backend.asarray), backend.to_numpy)


def test_every_stored_value_belongs_to_a_case() -> None:
    cases = [c["name"] for c in (*TABLE["kernels"], *TABLE["predictions"])]
    assert len(set(cases)) == len(cases)
    assert {key.split("/")[0] for key in VALUES} == {*cases, "input"}
