"""Arrays that another backend computes with: the same numbers, and whose arrays come back."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from ntcore import stax
from ntcore.backend import Place, load
from ntcore.conformance.fixtures import Library
from ntcore.extend import record
from ntcore.layers.rectifier import Relu
from ntcore.lent import is_portable

RNG = np.random.default_rng(11)
X1, X2 = RNG.standard_normal((5, 6, 6, 2)), RNG.standard_normal((3, 6, 6, 2))
CONV = (
    stax.Conv(4, (3, 3), W_std=1.3, b_std=0.2, padding="SAME"),
    stax.Relu(),
    stax.Conv(4, (3, 3)),
)
NETS: dict[str, Any] = {
    "pooled": stax.serial(*CONV, stax.GlobalAvgPool(), stax.Dense(1)),
    "flat": stax.serial(*CONV, stax.Flatten(), stax.Dense(1)),
    "whole": stax.serial(*CONV),
    "attention": stax.serial(stax.GlobalSelfAttention(4, 4, 4, 2, linear_scaling=True), *CONV),
}


@pytest.fixture
def lender(backend: Library) -> Library:
    """A backend that lends what it holds now."""
    if backend.record.lend is None or backend.where not in (None, "cpu"):
        pytest.skip("lends nothing")
    if lent(backend, backend.asarray(X1)) is None:
        pytest.skip("lends nothing without numba")
    return backend


def lent(library: Library, *arrays: Any) -> Any:
    at = Place(library.record, arrays[0].dtype, library.record.device(arrays[0]))
    assert library.record.lend is not None
    return library.record.lend(at, arrays)


@record
class Own(Relu):
    """A layer of somebody else."""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETS)
def test_kernels_are_those_of_the_other_backend(name: str, dtype: str, lender: Library) -> None:
    net = NETS[name]
    x1, x2 = (lender.asarray(x, dtype) for x in (X1, X2))
    ours = net.kernel_fn(x1, x2)
    theirs = net.kernel_fn(X1.astype(dtype), X2.astype(dtype))
    for field in ("nngp", "ntk", "cov1", "cov2"):
        found = getattr(ours, field)
        assert lender.record.owns(found) and found.dtype == x1.dtype
        assert lender.record.device(found) == lender.record.device(x1)
        assert np.array_equal(lender.to_numpy(found), getattr(theirs, field))


def test_memory_is_shared_both_ways(lender: Library) -> None:
    x = lender.asarray(X1)
    loan = lent(lender, x)
    assert np.shares_memory(loan.arrays[0], lender.to_numpy(x))
    made = loan.at.empty((64, 64), loan.at.dtype)
    made[...] = 3
    assert np.shares_memory(made, lender.to_numpy(loan.back(made)))


def test_a_result_stays_what_it_was(lender: Library) -> None:
    net, x1, x2 = NETS["whole"], lender.asarray(X1), lender.asarray(X2)
    first = net.kernel_fn(x1, x2, "ntk")  # one tile, large enough for its memory to be used again
    before = np.array(lender.to_numpy(first))
    for _ in range(5):
        net.kernel_fn(2 * x1, x2, "ntk")
    assert np.array_equal(lender.to_numpy(first), before)


def test_masks_come_back(lender: Library) -> None:
    holes = np.where(RNG.random(X1.shape[:3]) < 0.3, 100.0, X1[..., 0])
    x = lender.asarray(np.repeat(holes[..., None], 2, axis=-1))
    found = NETS["whole"].kernel_fn(x, None, mask_constant=100.0)
    theirs = NETS["whole"].kernel_fn(lender.to_numpy(x), None, mask_constant=100.0)
    assert lender.record.owns(found.mask1)
    assert np.array_equal(lender.to_numpy(found.mask1), theirs.mask1)
    assert np.array_equal(lender.to_numpy(found.nngp), theirs.nngp)


def test_kernels_are_lent_too(lender: Library) -> None:
    below, above = stax.serial(*CONV), stax.serial(stax.Relu(), stax.GlobalAvgPool())
    passed = below.kernel_fn(lender.asarray(X1), lender.asarray(X2))
    found = above.kernel_fn(passed, get="ntk")
    want = stax.serial(below, above).kernel_fn(X1, X2, "ntk")
    assert lender.record.owns(found)
    assert np.allclose(lender.to_numpy(found), want, rtol=1e-13, atol=0)


def test_a_tangent_kernel_may_be_followed_alone(lender: Library) -> None:
    below, above = stax.serial(*CONV), stax.serial(stax.Relu(), stax.GlobalAvgPool())
    k = below.kernel_fn(lender.asarray(X1), None)

    def total_of(ntk: Any) -> Any:
        return lender.xp.sum(above.kernel_fn(k.replace(ntk=ntk), get="ntk"))

    value, pull = lender.record.vjp(total_of, k.ntk)
    (slope,) = pull(lender.xp.ones_like(value))
    constant = total_of(0 * k.ntk)  # the rest is linear
    assert np.isclose(float(lender.xp.sum(slope * k.ntk)), float(value) - float(constant))


def test_weights_are_lent_too(lender: Library) -> None:
    std = lender.asarray(np.asarray(1.3))
    net = stax.serial(stax.Dense(4, std, 0.1), stax.Relu(), stax.Dense(1, std))
    known = stax.serial(stax.Dense(4, 1.3, 0.1), stax.Relu(), stax.Dense(1, 1.3))
    x = X1.reshape(5, -1)
    found = lender.to_numpy(net.kernel_fn(lender.asarray(x), None, "ntk"))
    assert np.allclose(found, known.kernel_fn(x, None, "ntk"), rtol=1e-14, atol=0)


def test_a_callers_function_keeps_the_callers_arrays(lender: Library) -> None:
    seen = []

    def cube(x: Any) -> Any:
        seen.append(lender.record.owns(x))
        return x**3

    net = stax.serial(stax.Dense(4), stax.ElementwiseNumerical(cube, 10), stax.Dense(1))
    net.kernel_fn(lender.asarray(X1.reshape(5, -1)), None, "nngp")
    assert seen and all(seen)


def test_layers_and_functions_of_others_are_not_lent() -> None:
    shape = (4, 6)
    plans = {
        "ours": stax.serial(stax.Dense(3), stax.Relu()),
        "theirs": stax.serial(stax.Dense(3), Own()),
        "function": stax.serial(stax.Dense(3), stax.Elementwise(nngp_fn=lambda k, p, q: k * k)),
    }
    found = {name: is_portable(net.plan(shape)) for name, net in plans.items()}
    assert found == {"ours": True, "theirs": False, "function": False}


def test_what_derivatives_follow_is_not_lent(lender: Library) -> None:
    x = lender.asarray(X1)
    if hasattr(x, "requires_grad_"):
        assert lent(lender, x.requires_grad_()) is None
    else:
        (slope,) = lender.record.vjp(total(lender), x)[1](lender.asarray(np.asarray(1.0)))
        assert float(lender.xp.sum(lender.xp.abs(slope))) > 0


def total(library: Library) -> Any:
    return lambda x: library.xp.sum(NETS["pooled"].kernel_fn(x, None, "ntk"))


def test_half_precision_is_not_lent(backend: Library) -> None:
    record_, half = backend.record, getattr(backend.xp, "bfloat16", None)
    if record_.lend is None or half is None:
        pytest.skip("lends nothing, or has no short numbers")
    x = backend.xp.astype(backend.asarray(X1.reshape(5, -1)), half)
    assert lent(backend, x) is None
    net = stax.serial(stax.Dense(3), stax.Relu(), stax.Dense(1))
    found = net.kernel_fn(x, None, ("nngp", "ntk"))
    want = net.kernel_fn(X1.reshape(5, -1), None, ("nngp", "ntk"))
    for a, b in zip(found, want, strict=True):
        assert a.dtype == half
        wide = backend.to_numpy(backend.xp.astype(a, backend.xp.float32))
        assert np.allclose(wide, b, rtol=0.1)


def test_what_cannot_be_written_to_is_copied_without_a_warning(lender: Library) -> None:
    x = X1.copy()
    x[0, 0] = 100.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = stax.Flatten().kernel_fn(lender.asarray(x), None, mask_constant=100.0)
    want = stax.Flatten().kernel_fn(x, None, mask_constant=100.0)
    assert not want.mask1.flags.writeable
    assert np.array_equal(lender.to_numpy(found.mask1), want.mask1)


def test_the_host_lends_nothing() -> None:
    assert load("numpy").lend is None
