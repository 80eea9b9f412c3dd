"""Empirical kernels against neural_tangents' table, and what is refused."""

from __future__ import annotations

import inspect
import pickle
import re
from functools import partial
from typing import Any

import numpy as np
import pytest

import ntcore as nt
from ntcore import stax
from ntcore.conformance.fixtures import Library
from tests.empirical_problems import TABLE, cases, close, function, mapped

WAYS = list(nt.NtkImplementation)
#: jit of every function and every axis takes minutes; one of each kind is compiled.
FEW = ("mlp (-1,) ()", "mlp () (1,)", "attention () ()", "inputs (-1,) ()", "mlp (-1,) (0,) same")


def axes_of(key: str) -> list[Any]:
    return [eval(part) for part in re.findall(r"\([^)]*\)", key)]


@pytest.mark.parametrize("way", WAYS, ids=lambda w: w.name.lower())
@pytest.mark.parametrize("key", [k for k in TABLE if k.split()[0] in cases.FUNCTIONS])
def test_functions_agree_with_neural_tangents(backend: Library, key: str, way: Any) -> None:
    if backend.name == "jax" and key not in FEW:
        pytest.skip("one case of each kind is compiled")
    fn, params, x1, x2 = mapped(lambda x: x, cases.FUNCTIONS[key.split()[0]])
    params, x1, x2 = (mapped(backend.asarray, a) for a in (params, x1, x2))
    f, axes = function(backend, fn), axes_of(key)
    kernel_fn = nt.empirical_kernel_fn(f, *axes, implementation=way)
    found = kernel_fn(x1, None if key.endswith("same") else x2, None, params)
    close(backend, found.nngp, TABLE[key]["nngp"])
    close(backend, found.ntk, TABLE[key]["ntk"])


@pytest.mark.parametrize("way", WAYS, ids=lambda w: w.name.lower())
@pytest.mark.parametrize("key", [k for k in TABLE if k.split()[0] in cases.NETWORKS])
def test_networks_agree_with_neural_tangents(backend: Library, key: str, way: Any) -> None:
    if backend.name == "jax" and key != "conv () ()":
        pytest.skip("one network is compiled")
    net = cases.NETWORKS[key.split()[0]](stax)
    _, shapes = net.init_fn(0, cases.IMAGES1.shape)
    params = mapped(backend.asarray, cases.numbers(shapes, 100))
    kernel_fn = nt.empirical_kernel_fn(net.apply_fn, *axes_of(key), implementation=way)
    images = (backend.asarray(cases.IMAGES1), backend.asarray(cases.IMAGES2))
    found = kernel_fn(*images, None, params)
    close(backend, found.nngp, TABLE[key]["nngp"])
    close(backend, found.ntk, TABLE[key]["ntk"])


def test_trees_of_outputs(backend: Library) -> None:
    params = mapped(backend.asarray, cases.mlp_params())
    x1, x2 = backend.asarray(cases.X1), backend.asarray(cases.X2)
    found = nt.empirical_ntk_fn(function(backend, cases.tree))(x1, x2, params)
    close(backend, found["mean"], TABLE["tree"]["mean"])
    for got, want in zip(found["pair"], TABLE["tree"]["pair"], strict=True):
        close(backend, got, want)


def test_kernels_of_several_outputs(backend: Library) -> None:
    params = mapped(backend.asarray, cases.mlp_params())
    f = function(backend, lambda xp, p, x: (cases.mlp(xp, p, x), [cases.mlp(xp, p, 2.0 * x)]))
    args = (backend.asarray(cases.X1), backend.asarray(cases.X2))
    one, (two,) = nt.empirical_kernel_fn(f)(*args, None, params)
    assert one._fields == two._fields == ("nngp", "ntk") and type(one) is type(two)
    ntk = nt.empirical_kernel_fn(f)(*args, "ntk", params)
    close(backend, two.ntk, backend.to_numpy(ntk[1][0]))
    copied = pickle.loads(pickle.dumps(one))
    close(backend, copied.nngp, backend.to_numpy(one.nngp))


# --- a small problem for everything else ---------------------------------------------------------


def affine(params: Any, x: Any) -> Any:
    w, b = params
    return x @ w + b


@pytest.fixture
def problem(backend: Library) -> tuple[Any, Any, Any]:
    params = (backend.asarray(cases.draw(3, 2)), backend.asarray(cases.draw(2)))
    return params, backend.asarray(cases.X1.copy()), backend.asarray(cases.X2.copy())


def test_named_contractions(backend: Library, problem: Any) -> None:
    params, x1, x2 = problem
    inner = cases.X1 @ cases.X2.T + 1
    close(backend, nt.empirical_ntk_fn(affine, contract="trace")(x1, x2, params), inner)
    full = inner[:, :, None, None] * np.eye(2)
    close(backend, nt.empirical_ntk_fn(affine, contract="full")(x1, x2, params), full)
    diagonal = np.repeat(inner[:, :, None], 2, axis=2)
    close(backend, nt.empirical_ntk_fn(affine, contract="diag")(x1, x2, params), diagonal)


@pytest.mark.parametrize("make", [nt.empirical_ntk_fn, nt.empirical_kernel_fn])
def test_the_default_is_the_cheapest_way(backend: Library, problem: Any, make: Any) -> None:
    params, x1, x2 = problem
    assert inspect.signature(make).parameters["implementation"].default is WAYS[0]
    given = (x1, x2, params) if make is nt.empirical_ntk_fn else (x1, x2, "ntk", params)
    want = backend.to_numpy(make(affine, ())(*given))
    for way in WAYS:
        close(backend, make(affine, (), implementation=way)(*given), want)


@pytest.mark.parametrize("way", WAYS, ids=lambda w: w.name.lower())
def test_pieces_that_fit_a_budget(backend: Library, problem: Any, way: Any) -> None:
    params, x1, x2 = problem
    ntk_fn = partial(nt.empirical_ntk_fn, affine, (), implementation=way)
    whole, parts = ntk_fn(), ntk_fn(memory_budget=8 * 48 * 3)
    close(backend, parts(x1, x2, params), backend.to_numpy(whole(x1, x2, params)))
    same = backend.to_numpy(parts(x1, None, params)[:2, :2, ...])
    close(backend, whole(x1, None, params)[:2, :2, ...], same)
    symmetric = backend.to_numpy(whole(x1, None, params))
    assert np.array_equal(symmetric, symmetric.transpose(1, 0, 3, 2))


def test_functions_that_mix_examples_are_differentiated_whole(
    backend: Library, problem: Any
) -> None:
    params, x1, _ = problem

    def centred(params: Any, x: Any) -> Any:
        y = affine(params, x)
        ones = x[:, :1] * 0 + 1
        return y - ones @ (ones[:1, :] * (y[:1, :] + y[1:2, :]))

    found = nt.empirical_ntk_fn(centred, contract="full")(x1, None, params)
    mix = np.eye(4) - np.array([[1, 1, 0, 0]] * 4)
    design = mix @ np.concatenate([cases.X1, np.ones((4, 1))], axis=1)
    close(backend, found, (design @ design.T)[:, :, None, None] * np.eye(2))
