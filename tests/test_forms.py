"""Forms of blocks: sums alone below a global pool, and matrices where layers multiply by some."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ntcore import stax
from ntcore.conformance.fixtures import Library

ATTENTION: Any = stax.GlobalSelfAttention
TOLERANCE = 1e-12


def attention(**kwargs: Any) -> Any:
    return ATTENTION(3, 4, 2, 2, W_value_std=1.2, b_std=0.3, **kwargs)


def residual(*layers: Any) -> Any:
    main = stax.serial(*layers)
    return stax.serial(stax.FanOut(2), stax.parallel(main, stax.Dense(3)), stax.FanInSum())


STANDARD = stax.Dense(3, 1.1, 0.2, parameterization="standard")
BELOW = {
    "attention": [attention(), stax.Relu(), attention(causal=True)],
    "dense layers above": [
        attention(),
        stax.Relu(),
        attention(),
        stax.Dense(3, 1.1, 0.4),
        STANDARD,
    ],
    "residual": [stax.Dense(3), stax.Relu(), residual(attention())],
    "positions": [attention(pos_emb_type="SUM", val_pos_emb=True, attention_mechanism="RELU")],
    "none that mixes": [stax.Dense(3), stax.Relu(), stax.Dense(3, 1.1, 0.4)],
}


def examples(backend: Library) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return tuple(
        backend.asarray(rng.standard_normal((n, *s, 4))) for n, s in ((3, (2, 3)), (2, (3, 2)))
    )


def arrays(backend: Library, net: Any, x1: Any, x2: Any) -> dict[str, Any]:
    found = net.kernel_fn(x1, x2)
    return {name: backend.to_numpy(getattr(found, name)) for name in ("nngp", "ntk", "cov1")}


def apart(got: dict[str, Any], want: dict[str, Any]) -> float:
    return max(float(np.max(np.abs(got[k] - want[k])) / np.max(np.abs(want[k]))) for k in want)


@pytest.mark.parametrize("name", BELOW)
def test_a_pooled_kernel_is_the_mean_of_the_whole(backend: Library, name: str) -> None:
    x1, x2 = examples(backend)
    below = BELOW[name]
    for second in (x2, None):
        whole = arrays(backend, stax.serial(*below), x1, second)
        pooled = arrays(backend, stax.serial(*below, stax.GlobalAvgPool()), x1, second)
        mean = {k: v.mean(axis=tuple(range(v.ndim - 4, v.ndim))) for k, v in whole.items()}
        assert apart(pooled, mean) < TOLERANCE


def test_sums_are_asked_of_layers_that_mix_positions_alone() -> None:
    for name, layers in BELOW.items():
        plan = stax.serial(*layers, stax.GlobalAvgPool(), stax.Dense(1)).plan((2, 2, 3, 4))
        pooled = plan.edges[plan.steps[-2].inputs[0]]
        assert pooled.summed == (name != "none that mixes")
        assert pooled.entries == (1 if pooled.summed else 36)
        assert ("sum" in str(plan)) == pooled.summed
    above = stax.serial(attention(), stax.Relu(), stax.GlobalAvgPool()).plan((2, 2, 3, 4))
    assert not any(edge.summed for edge in above.edges)


def test_a_sum_takes_a_fraction_of_the_work() -> None:
    layers = [stax.Dense(3), stax.Relu(), attention()]
    whole = stax.serial(*layers).plan((2, 40, 4))
    pooled = stax.serial(*layers, stax.GlobalAvgPool()).plan((2, 40, 4))
    costs = [plan.flops(plan.steps[2]) for plan in (whole, pooled)]
    assert costs[0] > 20 * costs[1]


def test_rows_of_offsets_and_matrices_give_the_same(backend: Library) -> None:
    """A convolution of one position is a dense layer that knows rows of offsets alone."""
    x1, x2 = examples(backend)

    def net(layer: Any) -> Any:
        return stax.serial(
            attention(),
            stax.Relu(),
            layer(),
            stax.LayerNorm(),
            stax.Erf(),
            attention(attention_mechanism="ABS"),
            stax.Relu(),
            layer(),
        )

    dense = net(lambda: stax.Dense(3, 1.1, 0.4))
    rows = net(lambda: stax.Conv(3, (1, 1), W_std=1.1, b_std=0.4))
    held = [sum(e.dense for e in each.plan(x1.shape).edges) for each in (dense, rows)]
    assert held[0] > held[1]
    for second in (x2, None):
        both = [arrays(backend, each, x1, second) for each in (dense, rows)]
        assert apart(*both) < TOLERANCE


def test_matrices_may_be_masked(backend: Library) -> None:
    x1, _ = examples(backend)
    x1 = backend.asarray(np.where(np.arange(6).reshape(1, 2, 3, 1) == 4, 9.0, backend.to_numpy(x1)))
    nets = [
        stax.serial(attention(), stax.Relu(), layer, attention(), stax.GlobalAvgPool())
        for layer in (stax.Dense(3), stax.Conv(3, (1, 1)))
    ]
    both = [net.kernel_fn(x1, None, "ntk", mask_constant=9.0) for net in nets]
    first, second = map(backend.to_numpy, both)
    assert np.max(np.abs(first - second)) < TOLERANCE * np.max(np.abs(second))
