"""Expansions in parameters, and products with vectors."""

from __future__ import annotations

import tracemalloc
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


@pytest.mark.parametrize("method", ["lanczos", "lobpcg"])
def test_kernels_too_large_to_form(method: str) -> None:
    count = 40_000  # the kernel would take 12.8 GB
    x = np.random.default_rng(0).standard_normal((count, 8)) * np.arange(1, 9)
    params = (np.ones((8, 1)), np.ones(1))
    f = lambda p, x: x @ p[0] + p[1]  # noqa: E731
    design = np.concatenate([x, np.ones((count, 1))], axis=1)
    want = np.linalg.eigvalsh(design.T @ design)[::-1][:3]
    tracemalloc.start()
    found = nt.empirical_ntk_eigenvalues(f, x, params, 3, method=method)
    image = nt.empirical_ntk_vp_fn(f, x, None, params)(x[:, :1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(found, want, rtol=1e-8)
    np.testing.assert_allclose(image, design @ (design.T @ x[:, :1]), rtol=1e-9, atol=1e-6)
    assert peak < 40 * x.nbytes


def test_expansions_of_trees_on_every_tape(backend: Library, mlp: Any) -> None:
    f, params, x1, _ = mlp
    moved = mapped(lambda a: SCALED * a, params)
    several = lambda p, x: {"y": (f(p, x), f(p, 0.5 * x))}  # noqa: E731
    for degree in (1, 4) if backend.name != "jax" else (2,):
        found = nt.taylor_expand(several, params, degree)(moved, x1)["y"]
        for scale, got in zip((1.0, 0.5), found, strict=True):
            alone = nt.taylor_expand(f, params, degree)(moved, scale * x1)
            close(backend, got, backend.to_numpy(alone))
