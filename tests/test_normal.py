"""LayerNorm, Dropout and Aggregate against the stored values of neural_tangents.

The table and the script that makes it are in conformance/reference.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ntcore import stax
from ntcore.conformance.fixtures import Library

PATH = Path(__file__).parents[1] / "conformance" / "reference" / "normal.json"
TABLE: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
GIVEN = {name: np.array(x) for name, x in (TABLE["inputs"] | TABLE["patterns"]).items()}
MASK = TABLE["mask_constant"]
#: Relative to the largest entry of a field, and where an angle is the root of a rounding error.
TOLERANCE, ROOT = 1e-9, 1e-7
#: A library that compiles runs one case in so many.
STEP = 9

SCOPE = {**vars(stax), "TO_DENSE": lambda pattern: 2 * pattern}


def cases(kind: str) -> Any:
    found = TABLE[kind]
    ids = [f"{c['net']}-{c['x']}-{c['pattern']}{'-alone' * c.get('alone', 0)}" for c in found]
    return pytest.mark.parametrize("number", range(len(found)), ids=ids)


def model(net: str) -> stax.Model:
    found: stax.Model = eval(net, SCOPE)
    return found


def options(case: dict[str, Any], backend: Library, alone: bool) -> dict[str, Any]:
    """The arguments of a case beside its inputs."""
    found: dict[str, Any] = {"mask_constant": MASK} if case["x"] == "masked" else {}
    if case["pattern"] is not None:
        ends = ("", "") if alone else ("", "b")
        found["pattern"] = tuple(array(backend, case["pattern"] + end) for end in ends)
    return found


def array(backend: Library, name: str) -> Any:
    x = GIVEN[name]
    return backend.asarray(x, "int64" if "edges" in name else "float64")


@cases("kernels")
def test_kernels_of_neural_tangents(backend: Library, number: int) -> None:
    if backend.record.stage is not None and number % STEP:
        pytest.skip("one case in nine where every shape is compiled")
    case = TABLE["kernels"][number]
    x1 = array(backend, case["x"])
    x2 = None if case["alone"] else array(backend, case["x"] + "b")
    k = model(case["net"]).kernel_fn(x1, x2, None, **options(case, backend, case["alone"]))
    assert k.is_gaussian == case["gaussian"]
    for name in ("nngp", "ntk", "cov1"):
        want, got = np.array(case[name]), backend.to_numpy(getattr(k, name))
        assert got.shape == want.shape
        allowed = ROOT if name == "ntk" and case["alone"] else TOLERANCE
        assert np.max(np.abs(got - want)) <= allowed * np.max(np.abs(want))


@cases("finite")
def test_finite_layers_of_neural_tangents(backend: Library, number: int) -> None:
    case = TABLE["finite"][number]
    given = options(case, backend, alone=True)
    if "pattern" in given:
        given["pattern"] = given["pattern"][0]
    apply_fn = stax.unmask_fn(model(case["net"]).apply_fn)
    out = backend.to_numpy(apply_fn((), array(backend, case["x"]), **given))
    assert np.max(np.abs(out - np.array(case["value"]))) <= TOLERANCE


# --- LayerNorm ----------------------------------------------------------------------------------

IMAGES = np.random.default_rng(33).standard_normal((2, 3, 4, 2))


def test_masked_entries_have_no_part_in_the_variance(backend: Library) -> None:
    """The peer counts the zeros in their place: [1, 3, masked] has the variance 1, not 3."""
    x = backend.asarray([[1.0, 3.0, MASK]])
    out = stax.LayerNorm().apply_fn((), x, mask_constant=MASK)
    assert np.allclose(backend.to_numpy(out.masked_value), [[-1.0, 1.0, 0.0]])


def test_masked_entries_are_as_good_as_absent(backend: Library) -> None:
    padded = np.concatenate([IMAGES, np.full((2, 2, 4, 2), MASK)], axis=1)
    layer, net = (
        stax.LayerNorm((1, 3)),
        stax.serial(stax.Dense(3, 1.2, 0.3), stax.LayerNorm((1, 3))),
    )
    whole, part = backend.asarray(padded), backend.asarray(IMAGES)
    out = stax.unmask_fn(layer.apply_fn)((), whole, mask_constant=MASK)
    want = backend.to_numpy(layer.apply_fn((), part))
    assert np.allclose(backend.to_numpy(out)[:, :3], want, rtol=1e-12)
    k = backend.to_numpy(net.kernel_fn(whole, None, "ntk", mask_constant=MASK))
    assert np.allclose(k[:, :, :3, :3], backend.to_numpy(net.kernel_fn(part, None, "ntk")))
    assert not np.any(k[:, :, 3:])


def test_masks_follow_the_order_of_space() -> None:
    """A layer whose input keeps its space in another order reads masks in that of the array."""
    x = IMAGES.copy()
    x[0, 2:], x[1, :, 3] = MASK, MASK
    turned = stax.Conv(2, (1, 1), dimension_numbers=("NWHC", "HWIO", "NWHC"))
    net = stax.serial(turned, stax.LayerNorm((2, 3)))
    plain = stax.serial(stax.Conv(2, (1, 1)), stax.LayerNorm((2, 3)))
    params = net.init_fn(0, x.shape)[1]
    got, want = (stax.unmask_fn(m.apply_fn)(params, x, mask_constant=MASK) for m in (net, plain))
    assert np.allclose(got, want)


@pytest.mark.parametrize("eps", [1e-12, 0.0])
def test_no_variance_gives_zero_and_finite_gradients(backend: Library, eps: float) -> None:
    x = backend.asarray(np.zeros((2, 3)))
    net = stax.serial(stax.Dense(4), stax.LayerNorm(eps=eps), stax.Relu(), stax.Dense(1))
    assert not np.any(backend.to_numpy(net.kernel_fn(x, None, "ntk")))
    params = net.init_fn(0, (2, 3), like=x)[1]
    out, pull = net.vjp_fn(params, x)
    _, below = pull(backend.asarray(np.ones((2, 1))))
    assert np.all(np.isfinite(backend.to_numpy(below))) and not np.any(backend.to_numpy(out))
    if backend.record.vjp is not None:
        value, pull = backend.record.vjp(lambda y: net.kernel_fn(y, None, "ntk"), x)
        assert np.all(
            np.isfinite(backend.to_numpy(pull(backend.record.namespace.ones_like(value))[0]))
        )


def test_layer_norm_of_masked_finite_networks_averages_to_its_kernel() -> None:
    x, width, draws = IMAGES.copy(), 512, 60
    x[0, 2:], x[1, 0, 1] = MASK, MASK
    net = stax.serial(
        stax.Conv(width, (2, 2), padding="SAME", W_std=1.2, b_std=0.3), stax.LayerNorm((1, 3), 0.1)
    )
    want = net.kernel_fn(x, None, "nngp", mask_constant=MASK)
    found = []
    for seed in range(draws):
        params = net.init_fn(seed, x.shape)[1]
        y = stax.unmask_fn(net.apply_fn)(params, x, mask_constant=MASK)
        found.append(np.einsum("nhwc,mxyc->nmhxwy", y, y) / width)
    error = np.std(found, axis=0, ddof=1) / np.sqrt(draws)
    assert np.all(np.abs(np.mean(found, axis=0) - want) <= 5 * error + 4 / width)


# --- Dropout ------------------------------------------------------------------------------------


def test_dropout_is_one_draw_for_each_seed(backend: Library) -> None:
    x, layer = backend.asarray(np.ones((40, 50))), stax.Dropout(0.7)
    first, again, other = (layer.apply_fn((), x, rng=seed) for seed in (3, 3, 4))
    first, again, other = map(backend.to_numpy, (first, again, other))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    kept = first != 0
    assert np.allclose(first[kept], 1 / 0.7) and abs(np.mean(kept) - 0.7) < 0.05
    assert np.array_equal(first, stax.Dropout(0.7).apply_fn((), np.ones((40, 50)), rng=3))


def test_dropout_of_nothing_and_without_training_is_the_identity(backend: Library) -> None:
    x = backend.asarray(IMAGES)
    for layer, rng in ((stax.Dropout(1.0), 0), (stax.Dropout(0.3, "test"), None)):
        assert np.array_equal(backend.to_numpy(layer.apply_fn((), x, rng=rng)), IMAGES)


def test_dropout_with_a_rate_that_is_differentiated(backend: Library) -> None:
    if backend.record.vjp is None:
        pytest.skip("no derivatives")
    x = backend.asarray(IMAGES[:, 0, 0])

    hidden = stax.serial(stax.Dense(3), stax.Relu())

    def total(rate: Any) -> Any:
        net = stax.serial(hidden, stax.Dropout(rate))
        return backend.xp.sum(net.kernel_fn(x, None, "nngp"))

    rate = backend.asarray(np.array(0.5))
    (slope,) = backend.record.vjp(total, rate)[1](backend.asarray(1.0))
    own = np.trace(backend.to_numpy(hidden.kernel_fn(x, None, "nngp")))
    assert np.isclose(float(slope), -own / 0.5**2)
