"""Layers that map the features of each batch alone, against the blocks of all pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ntcore import stax
from ntcore.conformance.fixtures import Library
from ntcore.entry import Extras, kernels_of
from ntcore.merged import merges
from ntcore.plan import Options

ATTENTION: Any = stax.GlobalSelfAttention
TOLERANCE = 1e-12


def attention(**kwargs: Any) -> Any:
    return ATTENTION(3, 4, 2, 2, **{"W_value_std": 1.2, "b_std": 0.3, **kwargs})


def residual(*layers: Any) -> Any:
    return stax.serial(
        stax.FanOut(2), stax.parallel(stax.serial(*layers), stax.Dense(3)), stax.FanInSum()
    )


def inverse(distance: Any) -> Any:
    return 1 / (1 + distance)


DECAYING = {"pos_emb_decay_fn": inverse, "W_pos_emb_std": 0.7}
STANDARD = stax.Dense(3, 1.1, 0.2, parameterization="standard")

#: Networks, and how many of their layers map features.
NETS: dict[str, tuple[list[Any], int]] = {
    "identity": ([attention(attention_mechanism="IDENTITY"), stax.Relu()], 1),
    "without a bias": ([attention(b_std=None), stax.Relu(), stax.Flatten()], 1),
    "dense below and above": (
        [stax.Dense(3, 1.1, 0.4), attention(), stax.Dense(3, 0.9, 0.2), stax.Relu()],
        3,
    ),
    "several": ([attention(), stax.Identity(), attention(causal=True), stax.Erf()], 3),
    "embedded keys": ([attention(pos_emb_type="SUM", **DECAYING), stax.Relu()], 1),
    "appended keys": ([attention(pos_emb_type="CONCAT", n_chan_pos_emb=2), stax.Relu()], 1),
    "embedded values": ([attention(pos_emb_type="SUM", val_pos_emb=True), stax.Relu()], 0),
    "Gaussian scores": ([attention(linear_scaling=False, attention_mechanism="IDENTITY")], 0),
    "the standard parameterization": ([STANDARD, attention(), stax.Relu()], 0),
    "pools": ([stax.AvgPool((2, 2), padding="SAME"), attention(), stax.SumPool((1, 2))], 3),
    "branches": ([residual(attention(), stax.Dense(3)), stax.Relu(), attention()], 2),
    "nothing but dense layers": ([stax.Dense(3), stax.Dense(3), stax.Relu()], 0),
    "pooled": ([attention(), stax.Dense(3), stax.GlobalAvgPool(), stax.Dense(1)], 2),
}


def batches(backend: Library) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    sizes = (3, 2, 3, 4), (2, 3, 2, 4)
    return tuple(backend.asarray(rng.standard_normal(s)) for s in sizes)


def kernels(
    backend: Library, net: Any, x1: Any, x2: Any, minimal: bool, **kwargs: Any
) -> dict[str, Any]:
    options = Options(cov=True, minimal=minimal, itemsize=8)
    found = kernels_of(net.network, x1, x2, options, Extras(**kwargs))
    return {name: backend.to_numpy(getattr(found, name)) for name in ("nngp", "ntk", "cov1")}


def assert_same(backend: Library, net: Any, x1: Any, x2: Any, **kwargs: Any) -> None:
    """Compare with the plan that asks for every block, where nothing maps features."""
    got, want = (kernels(backend, net, x1, x2, m, **kwargs) for m in (True, False))
    for name, x in want.items():
        assert np.max(np.abs(got[name] - x)) < TOLERANCE * np.max(np.abs(x)), name


@pytest.mark.parametrize("name", NETS)
def test_features_have_the_products_that_blocks_are(backend: Library, name: str) -> None:
    layers, maps = NETS[name]
    net, (x1, x2) = stax.serial(*layers), batches(backend)
    assert sum(step.maps for step in net.plan(x1.shape).steps) == maps
    for second in (backend.asarray(1 - backend.to_numpy(x1)), None):
        assert_same(backend, net, x1, second)
    if name != "without a bias":  # where images are compared position by position
        assert_same(backend, net, x1, x2)


def test_masked_positions_have_no_features(backend: Library) -> None:
    (x1, _), hidden = batches(backend), np.arange(6).reshape(1, 2, 3, 1) == 4
    x1 = backend.asarray(np.where(hidden, 9.0, backend.to_numpy(x1)))
    for layers in ([stax.Dense(3, 1.1, 0.4), attention()], [attention(pos_emb_type="SUM")]):
        net = stax.serial(*layers, stax.Relu(), attention(), stax.GlobalAvgPool())
        assert_same(backend, net, x1, None, mask_constant=9.0)


def test_axes_may_be_in_any_order(backend: Library) -> None:
    rng = np.random.default_rng(0)
    x1, x2 = (backend.asarray(rng.standard_normal((4, n, 3, 2))) for n in (3, 2))
    moved: Any = {"batch_axis": 1, "channel_axis": 0}
    net = stax.serial(attention(causal=True, pos_emb_type="SUM", **DECAYING, **moved), stax.Relu())
    assert_same(backend, net, x1, x2)


def test_offsets_that_nobody_asks_for_are_not_computed() -> None:
    plan = stax.serial(attention(), stax.Relu(), stax.Flatten()).plan((5, 40, 4))
    assert [edge.entries for edge in plan.edges] == [0, 40, 40, 1]
    deep = stax.serial(attention(), attention(), stax.Relu()).plan((5, 40, 4))
    assert [edge.entries for edge in deep.edges] == [0, 0, 1600, 1600]


def test_a_batch_without_examples_has_features(backend: Library) -> None:
    x1, _ = batches(backend)
    net = stax.serial(attention(), stax.Relu(), stax.GlobalAvgPool())
    assert net.kernel_fn(x1, x1[:0, ...], "ntk").shape == (3, 0)


def test_stencils_are_not_compiled_with_other_layers() -> None:
    def net(layer: Any) -> Any:
        return stax.serial(stax.Dense(3), stax.Relu(), layer, attention(), stax.GlobalAvgPool())

    assert merges(net(stax.Dense(3)).plan((3, 2, 3, 4)))
    assert not merges(net(stax.Conv(3, (2, 2))).plan((3, 2, 3, 4)))
    assert merges(stax.serial(stax.Dense(3), stax.Relu()).plan((3, 2, 3, 4)))
    pooled = stax.serial(stax.Dense(3), stax.Relu(), stax.AvgPool((2, 2)))
    assert not merges(pooled.plan((3, 2, 3, 4)))
