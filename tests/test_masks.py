"""Inputs of which parts are not there: kernels, masks and finite networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ntcore import errors, stax
from ntcore.conformance.fixtures import Library
from ntcore.layers.base import Layer
from ntcore.record import record

PATH = Path(__file__).parents[1] / "conformance" / "reference" / "masks.json"
TABLE: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
INPUTS = {name: np.array(x) for name, x in TABLE["inputs"].items()}
MASK = TABLE["mask_constant"]
TOLERANCE = 1e-9
#: A library that compiles runs one case in so many.
STEP = 12

CASES = TABLE["kernels"]
IDS = [f"{c['net']}-{c['x2']}" for c in CASES]


def model(net: str) -> stax.Model:
    found: stax.Model = eval(net, vars(stax))
    return found


@pytest.mark.parametrize("number", range(len(CASES)), ids=IDS)
def test_kernels_of_neural_tangents(backend: Library, number: int) -> None:
    if backend.record.stage is not None and number % STEP:
        pytest.skip("one case in twelve where every shape is compiled")
    case = CASES[number]
    x1 = backend.asarray(INPUTS[case["x1"]])
    x2 = None if case["x2"] is None else backend.asarray(INPUTS[case["x2"]])
    k = model(case["net"]).kernel_fn(x1, x2, None, mask_constant=MASK)
    for name in ("nngp", "ntk", "cov1"):
        want = np.array(case[name])
        assert np.max(np.abs(backend.to_numpy(getattr(k, name)) - want)) <= TOLERANCE
    for name in ("mask1", "mask2"):
        got = getattr(k, name)
        if case[name] is not None:
            assert np.array_equal(backend.to_numpy(got), np.array(case[name]))


@pytest.mark.parametrize(
    "case", TABLE["finite"], ids=[f"{c['net']}-{c['x']}" for c in TABLE["finite"]]
)
def test_finite_networks_of_neural_tangents(backend: Library, case: dict[str, Any]) -> None:
    x, apply_fn = backend.asarray(INPUTS[case["x"]]), model(case["net"]).apply_fn
    out = apply_fn((), x, mask_constant=MASK)
    assert np.array_equal(backend.to_numpy(out.mask), np.array(case["mask"]))
    plain = stax.unmask_fn(apply_fn)((), x, mask_constant=MASK)
    assert np.allclose(backend.to_numpy(plain), np.array(case["value"]), rtol=0, atol=1e-12)


NET = stax.serial(
    stax.Conv(3, (2, 2), padding="SAME", W_std=1.2, b_std=0.3), stax.Relu(),
    stax.AvgPool((2, 1), padding="SAME"), stax.Conv(2, (2, 2), b_std=0.1), stax.Erf(),
    stax.GlobalAvgPool(), stax.Dense(1, 1.1, 0.2),
)  # fmt: skip


def test_nan_marks_as_any_number_does(backend: Library) -> None:
    x = INPUTS["image"]
    want = NET.kernel_fn(backend.asarray(x), None, "ntk", mask_constant=MASK)
    holes = backend.asarray(np.where(x == MASK, np.nan, x))
    got = NET.kernel_fn(holes, None, "ntk", mask_constant=float("nan"))
    assert np.array_equal(backend.to_numpy(got), backend.to_numpy(want))


def test_a_mask_of_nothing_changes_nothing(backend: Library) -> None:
    x = backend.asarray(np.random.default_rng(1).standard_normal((3, 4, 5, 2)))
    for get in ("nngp", "ntk"):
        got, want = NET.kernel_fn(x, None, get, mask_constant=-7.0), NET.kernel_fn(x, None, get)
        got, want = backend.to_numpy(got), backend.to_numpy(want)
        assert np.allclose(got, want, rtol=1e-13, atol=0)


def test_kernels_keep_their_masks_from_network_to_network(backend: Library) -> None:
    x = backend.asarray(INPUTS["image"])
    *_, below = stax.serial(stax.Conv(3, (2, 2), padding="SAME", b_std=0.3), stax.Relu())
    *_, above = stax.serial(stax.Conv(2, (2, 2)), stax.GlobalAvgPool(), stax.Dense(1, 1.1, 0.2))
    got = above(below(x, None, None, mask_constant=MASK), None, "ntk")
    both = stax.serial(
        stax.Conv(3, (2, 2), padding="SAME", b_std=0.3), stax.Relu(),
        stax.Conv(2, (2, 2)), stax.GlobalAvgPool(), stax.Dense(1, 1.1, 0.2),
    )  # fmt: skip
    want = both.kernel_fn(x, None, "ntk", mask_constant=MASK)
    assert np.allclose(backend.to_numpy(got), backend.to_numpy(want), rtol=1e-13, atol=1e-15)


def test_what_is_masked_is_not_there() -> None:
    """A sequence padded at its end has the kernel of the shorter sequence."""
    short = np.random.default_rng(2).standard_normal((3, 4, 2))
    padded = np.concatenate([short, np.full((3, 3, 2), MASK)], axis=1)
    net = stax.serial(
        stax.Dense(3, 1.2, 0.3), stax.Relu(), stax.Dense(3, 1.1, 0.1), stax.GlobalAvgPool()
    )
    got = net.kernel_fn(padded, None, "ntk", mask_constant=MASK)
    assert np.allclose(got, net.kernel_fn(short, None, "ntk"), rtol=1e-13)


def test_average_of_finite_networks() -> None:
    """With masks inside, y y' of wide finite networks averages to the NNGP kernel."""
    x, draws, width = INPUTS["image"], 200, 64
    net = stax.serial(
        stax.Conv(width, (2, 2), padding="SAME", W_std=1.3, b_std=0.3), stax.Relu(),
        stax.AvgPool((2, 2), padding="SAME"), stax.Conv(width, (2, 3), padding="SAME", b_std=0.2),
        stax.GlobalAvgPool(),
    )  # fmt: skip
    want = net.kernel_fn(x, None, "nngp", mask_constant=MASK)
    found = []
    for seed in range(draws):
        _, params = net.init_fn(seed, x.shape)
        y = stax.unmask_fn(net.apply_fn)(params, x, mask_constant=MASK)
        found.append(y @ y.T / width)
    error = np.std(found, axis=0, ddof=1) / np.sqrt(draws)
    assert np.all(np.abs(np.mean(found, axis=0) - want) < 5 * error)
    assert np.max(error) < 0.05 * np.max(want)


def test_gradients_of_masked_networks_are_those_of_the_library(backend: Library) -> None:
    if backend.record.vjp is None:
        pytest.skip(f"{backend.name} has no vjp")
    x = INPUTS["image"]
    net = stax.serial(stax.Conv(3, (2, 2), b_std=0.3), stax.Relu(), stax.GlobalAvgPool())
    held = backend.asarray(x)
    _, params = net.init_fn(0, x.shape, like=held)
    out, pull = net.vjp_fn(params, held, mask_constant=MASK)
    ones = backend.asarray(np.ones(out.shape))
    apply_fn = stax.unmask_fn(net.apply_fn)

    def weights(w: Any) -> Any:
        return apply_fn(((w, params[0][1]), *params[1:]), held, mask_constant=MASK)

    want = backend.record.vjp(weights, params[0][0])[1](ones)[0]
    got = pull(ones)[0][0][0]
    assert np.allclose(backend.to_numpy(got), backend.to_numpy(want), rtol=1e-12, atol=1e-14)


@record
class Opaque(Layer):
    """A layer that says nothing about masks."""

    def push(self, ctx, *inputs):
        return inputs[0]

    def forward(self, run, params, *inputs):
        return inputs[0]

    def backward(self, run, params, inputs, grad):
        return (), (grad,)


def test_a_layer_that_carries_no_masks() -> None:
    x = INPUTS["line"]
    net = stax.serial(stax.Dense(2), Opaque())
    for call in (net.kernel_fn, lambda *a, **k: net.apply_fn(net.init_fn(0, x.shape)[1], *a, **k)):
        with pytest.raises(errors.PlanError, match=r"Opaque\(\) is given masked inputs"):
            call(x, mask_constant=MASK)
    assert net.kernel_fn(x, None, "nngp").shape == (4, 4, 7, 7)
