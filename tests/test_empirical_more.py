"""Expansions in parameters, products with vectors, and averages over random networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ntcore as nt
from ntcore import errors, stax
from ntcore.conformance.fixtures import Library
from tests.empirical_problems import TABLE, cases, close, function, mapped

NET = stax.serial(stax.Dense(16), stax.Relu(), stax.Dense(3))
SCALED = 1.3


@pytest.fixture
def mlp(backend: Library) -> tuple[Any, Any, Any, Any]:
    params = mapped(backend.asarray, cases.mlp_params())
    x1, x2 = backend.asarray(cases.X1), backend.asarray(cases.X2)
    return function(backend, cases.mlp), params, x1, x2


# --- expansions ----------------------------------------------------------------------------------


def test_expansions_agree_with_neural_tangents(backend: Library, mlp: Any) -> None:
    f, params, x1, _ = mlp
    moved = mapped(lambda a: SCALED * a, params)
    close(backend, nt.linearize(f, params)(moved, x1), TABLE["linearize"])
    for degree in (0, 2, 3) if backend.name != "jax" else (2,):
        want = TABLE["taylor"][degree]
        close(backend, nt.taylor_expand(f, params, degree)(moved, x1), want)


def test_linearized_networks(backend: Library) -> None:
    x = backend.asarray(cases.X1)
    params = NET.init_fn(0, cases.X1.shape, like=x)[1]
    close(backend, nt.linearize(NET, params)(params, x), backend.to_numpy(NET.apply_fn(params, x)))


@pytest.mark.parametrize("degree", [-1, 1.5, True, "2"])
def test_degrees_are_counts(degree: Any) -> None:
    with pytest.raises(errors.ArgumentError, match="degree"):
        nt.taylor_expand(NET, (), degree)


def test_expansions_keep_their_structure(backend: Library, mlp: Any) -> None:
    f, params, x1, _ = mlp
    with pytest.raises(errors.ArgumentError, match="same structure"):
        nt.linearize(f, params)({"first": params["first"], "last": params["first"]}, x1)


# --- products with vectors -----------------------------------------------------------------------


def test_products_agree_with_neural_tangents(backend: Library, mlp: Any) -> None:
    f, params, x1, x2 = mlp
    product = nt.empirical_ntk_vp_fn(f, x1, x2, params)
    close(backend, product(f(params, x2)), TABLE["vp"])
    with pytest.raises(errors.ShapeError, match="for x2"):
        product(f(params, x1))


def test_operators_and_their_eigenvalues(backend: Library, mlp: Any) -> None:
    f, params, x1, x2 = mlp
    kernel = backend.to_numpy(nt.empirical_ntk_fn(f, contract="full")(x1, x2, params))
    matrix = kernel.transpose(0, 2, 4, 6, 1, 3, 5, 7).reshape(48, 36)
    operator = nt.empirical_ntk_operator(f, x1, x2, params)
    rng = np.random.default_rng(0)
    u, v = rng.standard_normal(48), rng.standard_normal(36)
    np.testing.assert_allclose(operator @ v, matrix @ v, rtol=1e-9)
    np.testing.assert_allclose(operator.T @ u, matrix.T @ u, rtol=1e-9)
    same = backend.to_numpy(nt.empirical_ntk_fn(f, contract="full")(x1, None, params))
    full = same.transpose(0, 2, 4, 6, 1, 3, 5, 7).reshape(48, 48)
    want = np.linalg.eigvalsh(full)[::-1][:3]
    for method in ("lanczos", "lobpcg"):
        found = nt.empirical_ntk_eigenvalues(f, x1, params, 3, method=method)
        np.testing.assert_allclose(found, want, rtol=1e-7)
    with pytest.raises(errors.ArgumentError, match="k=48"):
        nt.empirical_ntk_eigenvalues(f, x1, params, 48)
    with pytest.raises(errors.ArgumentError, match="method"):
        nt.empirical_ntk_eigenvalues(f, x1, params, method="qr")


# --- averages over networks ----------------------------------------------------------------------


def average(backend: Library, n: Any, **kwargs: Any) -> Any:
    init_fn, apply_fn, _ = NET
    return nt.monte_carlo_kernel_fn(init_fn, apply_fn, 5, n, **kwargs)


def test_averages_do_not_depend_on_batches(backend: Library) -> None:
    x1, x2 = backend.asarray(cases.X1), backend.asarray(cases.X2)
    whole = average(backend, 3)
    want = whole(x1, x2)
    assert want._fields == ("nngp", "ntk")
    assert np.array_equal(backend.to_numpy(want.ntk), backend.to_numpy(whole(x1, x2, "ntk")))
    for size in (1, 3, 5) if backend.name != "jax" else (3,):
        found = average(backend, 3, batch_size=size)(x1, x2, ("ntk", "nngp"))
        close(backend, found.ntk, backend.to_numpy(want.ntk))
        close(backend, found.nngp, backend.to_numpy(want.nngp))
    close(backend, average(backend, 3, batch_size=3)(x1, None, "ntk"), whole_of(backend, x1))


def whole_of(backend: Library, x: Any) -> np.ndarray:
    return backend.to_numpy(average(backend, 3)(x, None, "ntk"))


def test_averages_over_several_numbers(backend: Library) -> None:
    x1, seen = backend.asarray(cases.X1), []
    found = average(backend, (n for n in (4, 1)), progress=lambda done, of: seen.append((done, of)))
    kernels = list(found(x1, None, "ntk"))
    assert len(kernels) == 2 and seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    close(backend, kernels[1], backend.to_numpy(average(backend, 4)(x1, None, "ntk")))
    host = average(backend, 1, store_on_device=False)(x1, None, "ntk")
    assert type(host) is np.ndarray


def test_averages_approach_the_infinite_network() -> None:
    found = average(None, 400)(cases.X1, cases.X2)
    want = NET.kernel_fn(cases.X1, cases.X2)
    for got, limit in ((found.nngp, want.nngp), (found.ntk, want.ntk)):
        assert np.max(np.abs(got - limit)) < 0.1 * np.max(np.abs(limit))


@pytest.mark.parametrize("key", [np.random.default_rng(3), 3])
def test_averages_repeat(key: Any) -> None:
    kernel_fn = nt.monte_carlo_kernel_fn(NET.init_fn, NET.apply_fn, key, 2)
    assert np.array_equal(kernel_fn(cases.X1, None, "ntk"), kernel_fn(cases.X1, None, "ntk"))


@pytest.mark.parametrize("n", [0, -1, 2.5, [], "a", [1, 0], True])
def test_numbers_of_samples(n: Any) -> None:
    with pytest.raises(errors.ArgumentError, match="n_samples"):
        average(None, n)


def test_other_arguments_of_averages() -> None:
    with pytest.raises(errors.ArgumentError, match="batch_size"):
        average(None, 1, batch_size=-1)
    with pytest.raises(errors.ArgumentError, match="device_count"):
        average(None, 1, device_count=-2)
    with pytest.raises(errors.ArgumentError, match="key"):
        nt.monte_carlo_kernel_fn(NET.init_fn, NET.apply_fn, "key", 1)(cases.X1)
