"""What kernels of finite models take while they are computed, beside the budget they are given."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ntcore as nt
from ntcore import stax
from ntcore.conformance.fixtures import Library
from ntcore.empirical import view

WAYS = list(nt.NtkImplementation)
DENSE = stax.serial(
    stax.Dense(256), stax.Relu(), stax.Dense(256, b_std=0.1), stax.Relu(), stax.Dense(10)
)
CONV = stax.serial(
    stax.Conv(16, (3, 3), padding="SAME"), stax.Relu(), stax.Conv(16, (3, 3)), stax.Relu(),
    stax.GlobalAvgPool(), stax.Dense(5),
)  # fmt: skip


@pytest.mark.parametrize(
    ("net", "shape", "budgets"),
    [(DENSE, (40, 64), {1: 6e7, 3: 4e6}), (CONV, (12, 12, 12, 3), {1: 2e7, 3: 2e7})],
    ids=["dense", "conv"],
)
def test_memory_stays_within_its_budget(net: Any, shape: Any, budgets: Any) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    params = net.init_fn(0, x.shape)[1]
    wanted = nt.empirical_ntk_fn(net, (), implementation=3)(x, None, params)
    for way, budget in budgets.items():
        ntk_fn = nt.empirical_ntk_fn(net, (), implementation=way, memory_budget=budget)
        ntk_fn(x[:2], None, params)
        tracemalloc.start()
        found = ntk_fn(x, None, params)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
        assert peak <= 1.1 * budget, (way, peak / budget)


@pytest.mark.parametrize("way", WAYS, ids=lambda w: w.name.lower())
@pytest.mark.parametrize("share", [0.02, 0.2])
def test_compiled_functions_that_take_more_than_expected(
    backend: Library, monkeypatch: Any, way: Any, share: float
) -> None:
    """They get smaller pieces, and one example at least, whatever it takes."""
    if backend.name != "jax":
        pytest.skip("one library tells what compiled functions take")
    jnp, took = backend.xp, []
    within = view.View._within

    def greedy(self: Any, fn: Callable[..., Any], takes: Any, key: Any) -> Any:
        def more(fn: Any, args: Any) -> float:
            took.append(100 * takes(fn, args))
            return took[-1]

        return within(self, fn, more, key)

    def f(params: Any, x: Any) -> Any:
        return jnp.tanh(x @ params[0]) @ params[1]

    rng = np.random.default_rng(1)
    params = [backend.asarray(rng.standard_normal(s)) for s in ((6, 8), (8, 3))]
    x = backend.asarray(rng.standard_normal((5, 6)))
    wanted = nt.empirical_ntk_fn(f, (), implementation=way)(x, None, params)
    monkeypatch.setattr(view.View, "_within", greedy)
    budget = max(share * 5e5, 8 * 15**2)
    found = nt.empirical_ntk_fn(f, (), implementation=way, memory_budget=budget)(x, None, params)
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    assert max(took) > budget
