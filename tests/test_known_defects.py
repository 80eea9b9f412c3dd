"""What is known to be wrong in neural_tangents 0.6.5 is right here: one test for each defect.

Some stand beside their layer as well, with more cases; this file is the list.
"""

from __future__ import annotations

import enum
import warnings

import numpy as np
import pytest

import ntcore as nt
from ntcore import errors, stax
from ntcore.conformance.fixtures import Library

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 6, 5, 3))
V = RNG.standard_normal((5, 3))
MASK = 100.0


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_dropout_on_the_raw_input_is_refused() -> None:
    with pytest.raises(errors.PlanError, match="Dropout"):
        stax.serial(stax.Dropout(0.5), stax.Dense(1)).kernel_fn(V)


def test_layer_norm_counts_no_masked_zeros() -> None:
    x = np.array([[[1.0], [3.0], [MASK]]])
    out = stax.LayerNorm((1, 2)).apply_fn((), x, mask_constant=MASK)
    assert np.allclose(out.masked_value[0, :2, 0], [-1.0, 1.0])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4])
def test_batches_of_any_size_give_the_same_kernel(batch_size: int) -> None:
    kernel_fn = stax.serial(stax.Dense(2), stax.Relu(), stax.Dense(1)).kernel_fn
    got = nt.batch(kernel_fn, batch_size)(V, V[:3], "ntk")
    assert np.allclose(got, kernel_fn(V, V[:3], "ntk"), rtol=1e-14)


def test_one_batch_is_compared_with_itself_once() -> None:
    net = stax.serial(stax.Dense(2), stax.Relu(), stax.Dense(1))
    once, twice = (net.plan(V.shape, other).cost.flops for other in (None, V.shape))
    assert once < 0.65 * twice
    k = net.kernel_fn(V, None, "ntk")
    assert np.array_equal(k, k.T)


def test_branches_with_other_axes_are_refused() -> None:
    branches = stax.parallel(
        stax.Conv(2, (1, 1)),
        stax.Conv(2, (1, 1), dimension_numbers=("NHWC", "HWIO", "NCHW")),
    )
    net = stax.serial(stax.FanOut(2), branches, stax.FanInSum())
    with pytest.raises(errors.ShapeError, match=r"FanInSum\(\).*axes"):
        net.kernel_fn(X)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_rectified_monomials_of_coincident_inputs(degree: int) -> None:
    twice = np.concatenate([V, V[:1]])
    net = stax.serial(stax.Dense(2), stax.RectifiedMonomial(degree), stax.Dense(1))
    k = net.kernel_fn(twice, None, ("nngp", "ntk"))
    for x in k:
        assert np.all(np.isfinite(x)) and np.allclose(x[0], x[-1], rtol=1e-12)


def test_polynomials_of_zero() -> None:
    net = stax.serial(stax.Dense(2), stax.Polynomial((0.3, -0.2, 0.5)), stax.Dense(1))
    k = net.kernel_fn(np.zeros((2, 3)), None, "nngp")
    assert np.allclose(k, 0.09)


def test_a_product_with_nothing_is_the_identity() -> None:
    k = stax.serial(stax.Dense(2), stax.DotGeneral()).kernel_fn(V, None, "ntk")
    assert np.array_equal(k, stax.Dense(2).kernel_fn(V, None, "ntk"))


def test_methods_of_resizing_as_enums() -> None:
    method = enum.Enum("ResizeMethod", ["LINEAR", "CUBIC"])
    for each in method:
        got, want = (
            stax.ImageResize((-1, 4, 7, -1), m).kernel_fn(X, None, "nngp")
            for m in (each, each.name.lower())
        )
        assert np.array_equal(got, want) and np.all(np.isfinite(got))


def test_a_missing_pattern_is_said_to_be_missing() -> None:
    net = stax.serial(stax.Dense(2), stax.Aggregate(1))
    with pytest.raises(errors.NtcoreError, match="pattern"):
        net.kernel_fn(X[:, :, 0, :])


def test_structured_derivatives_with_the_examples_last(backend: Library) -> None:
    """``w @ x`` with the batch on the last axis, as some write a linear layer."""
    w, x = (backend.asarray(RNG.standard_normal(s)) for s in ((2, 3), (4, 3)))

    def fn(w, x):
        z = w @ x.T
        return (z * z * z).T

    each = [nt.NtkImplementation.STRUCTURED_DERIVATIVES, nt.NtkImplementation.JACOBIAN_CONTRACTION]
    got, want = (nt.empirical_ntk_fn(fn, implementation=e)(x, None, w) for e in each)
    assert np.allclose(backend.to_numpy(got), backend.to_numpy(want), rtol=1e-10)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_any_number_of_repeated_convolutions(n: int) -> None:
    block = stax.serial(stax.Conv(3, (3, 2), padding="SAME", b_std=0.2), stax.Relu())
    got = stax.repeat(block, n).kernel_fn(X, None, "ntk")
    assert np.array_equal(got, stax.serial(*[block] * n).kernel_fn(X, None, "ntk"))


def test_variances_beside_a_sign() -> None:
    """``cov1`` keeps the pairs of different positions, whichever batches are compared."""
    net = stax.serial(stax.Conv(2, (2, 2)), stax.Sign())
    k = net.kernel_fn(X, X[:2], None)
    full = net.kernel_fn(X, None, "nngp")
    assert np.allclose(k.cov1, np.moveaxis(np.diagonal(full), -1, 0), rtol=0, atol=1e-12)
