"""Averages of empirical kernels over random networks."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import ntcore as nt
from ntcore import errors, stax
from ntcore.conformance.fixtures import Library
from tests.empirical_problems import cases, close

NET = stax.serial(stax.Dense(16), stax.Relu(), stax.Dense(3))
DROPPING = stax.serial(
    stax.Dense(48), stax.Relu(), stax.Dropout(0.7, mode="train"), stax.Dense(32)
)  # fmt: skip


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


# --- networks that draw numbers ------------------------------------------------------------------


def test_dropout_averages_to_its_infinite_limit() -> None:
    count = 150
    kernel_fn = nt.monte_carlo_kernel_fn(
        DROPPING.init_fn, DROPPING.apply_fn, 1, range(1, count + 1)
    )
    for x2 in (None, cases.X2):
        means, want = list(kernel_fn(cases.X1, x2)), DROPPING.kernel_fn(cases.X1, x2)
        for name in ("nngp", "ntk"):
            sums = np.stack([k * getattr(m, name) for k, m in enumerate(means, 1)])
            single = np.diff(sums, axis=0, prepend=0)
            error = single.std(0, ddof=1) / count**0.5
            assert np.all(np.abs(single.mean(0) - getattr(want, name)) < 4.5 * error)


def mixing(params: Any, x: Any) -> Any:
    """A function whose outputs depend on the whole batch."""
    w, _ = params[0]
    return x @ w + x[-1:, :] @ w


@pytest.mark.parametrize("apply_fn", [DROPPING.apply_fn, mixing], ids=["dropout", "mixing"])
def test_what_concerns_the_whole_batch_does_not_depend_on_batches(
    backend: Library, apply_fn: Any
) -> None:
    x1, x2 = backend.asarray(cases.X1), backend.asarray(cases.X2)

    def found(second: Any, size: int) -> np.ndarray:
        kernel_fn = nt.monte_carlo_kernel_fn(
            DROPPING.init_fn, apply_fn, 2, 2, size, implementation=1
        )
        return backend.to_numpy(kernel_fn(x1, second, "ntk"))

    for second in (None, x2):
        want = found(second, 0)
        assert np.array_equal(want, found(second, 0))
        for size in (1, 3) if backend.name != "jax" else (3,):
            np.testing.assert_allclose(found(second, size), want, rtol=1e-12, atol=1e-12)


def test_axes_that_do_not_allow_blocks() -> None:
    for axes in ({"diagonal_axes": (0,)}, {"trace_axes": (0, 1)}, {"contract": "diag"}):
        want = average(None, 2, **axes)(cases.X1, None, "ntk")
        found = average(None, 2, batch_size=2, **axes)(cases.X1, None, "ntk")
        np.testing.assert_allclose(found, want, rtol=1e-12)


def test_functions_get_random_states(backend: Library) -> None:
    seen = []

    def named(params: Any, x: Any, rng: Any = None) -> Any:
        seen.append(rng)
        return x @ params[0][0]

    def strict(params: Any, x: Any, **kwargs: Any) -> Any:
        if kwargs:
            raise TypeError("unexpected keyword argument 'rng'")
        return x @ params[0][0]

    def draw(fn: Any, **kwargs: Any) -> Any:
        kernel_fn = nt.monte_carlo_kernel_fn(NET.init_fn, fn, 4, 1, implementation=1)
        return kernel_fn(backend.asarray(cases.X1), backend.asarray(cases.X2), "nngp", **kwargs)

    want = draw(named)
    states = {str(rng) for rng in seen}
    assert len(states) == 2 or backend.name == "jax"  # one for each batch; traced ones on JAX
    assert np.array_equal(backend.to_numpy(draw(strict)), backend.to_numpy(want))
    seen.clear()
    draw(named, rng="mine")
    assert set(seen) == {"mine"}


# --- devices -------------------------------------------------------------------------------------

DEVICES = """
import jax, numpy as np, ntcore as nt
from ntcore import stax
put, used = jax.device_put, set()
jax.device_put = lambda x, device=None, **kwargs: (used.add(device), put(x, device, **kwargs))[1]
net = stax.serial(stax.Dense(8), stax.Relu(), stax.Dropout(0.5, mode="train"), stax.Dense(2))
x = jax.numpy.asarray(np.random.default_rng(0).standard_normal((4, 3)), dtype="float32")
found = []
for count in (1, 2, -1):
    kernel_fn = nt.monte_carlo_kernel_fn(
        net.init_fn, net.apply_fn, jax.random.key(0), [1, 3], 2, device_count=count)
    found.append([np.asarray(k.ntk) for k in kernel_fn(x, None)])
    if count == 1:
        used.clear()
assert {d for d in used if d is not None} == set(jax.devices()) and len(jax.devices()) == 2, used
for other in found[1:]:
    assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))
try:
    nt.monte_carlo_kernel_fn(net.init_fn, net.apply_fn, 0, 1, device_count=3)(x)
except nt.errors.ArgumentError as error:
    print(error)
"""


def test_networks_are_spread_over_devices(backend: Library) -> None:
    if backend.name != "jax":
        pytest.skip("for JAX")
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", DEVICES],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    assert "device_count=3 but there are 2 devices" in done.stdout


def test_there_is_one_device_otherwise() -> None:
    with pytest.raises(errors.ArgumentError, match="device_count=2 but there are 1 devices"):
        average(None, 1, device_count=2)(cases.X1)
    assert np.array_equal(
        average(None, 1, device_count=1)(cases.X1, None, "ntk"),
        average(None, 1)(cases.X1, None, "ntk"),
    )
