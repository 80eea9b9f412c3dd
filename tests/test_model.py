"""Networks as data, the triple, and the contract of ``kernel_fn``."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from ntcore import Kernel, entry, layers, stax
from ntcore.backend import place_of
from ntcore.record import Record, skeleton

RNG = np.random.default_rng(1)
X1, X2 = RNG.normal(size=(4, 6, 5, 3)), RNG.normal(size=(3, 6, 5, 3))
NET = stax.serial(
    stax.Conv(8, (3, 3), padding="SAME", W_std=1.3, b_std=0.1),
    stax.FanOut(2),
    stax.parallel(stax.serial(stax.Relu(), stax.Conv(8, (1, 1))), stax.Identity()),
    stax.FanInSum(),
    stax.Relu(),
    stax.GlobalAvgPool(),
    stax.repeat(stax.serial(stax.Dense(8), stax.Erf()), 2),
    stax.Dense(2),
)
LAYERS = [c for c in vars(layers).values() if isinstance(c, type) and issubclass(c, Record)]
MADE = [e for c in LAYERS if hasattr(c, "examples") for e in c.examples()]
EXAMPLES = [e[0] if isinstance(e, tuple) else e for e in MADE]


def test_a_network_is_neural_tangents_triple():
    init_fn, apply_fn, kernel_fn = NET
    shape, params = init_fn(0, X1.shape)
    assert shape == (4, 2) == apply_fn(params, X1).shape
    assert kernel_fn(X1, X2, "ntk").shape == (4, 3)
    assert NET[2](X1, X2, "nngp").shape == (4, 3) and len(NET) == 3


@pytest.mark.parametrize("network", [NET, *EXAMPLES], ids=lambda n: repr(n)[:60])
def test_networks_are_data(network):
    names = {**vars(stax)}
    rebuilt = eval(repr(network), names)
    assert repr(rebuilt) == repr(network)
    same = getattr(rebuilt, "network", rebuilt)
    plain = getattr(network, "network", network)
    assert same == plain and hash(same) == hash(plain)
    assert pickle.loads(pickle.dumps(network)) == network
    assert hash(skeleton(plain)) == hash(skeleton(same))


def test_what_get_returns():
    k = NET.kernel_fn
    assert isinstance(k(X1, X2), Kernel)
    both = k(X1, X2, ("ntk", "nngp"))
    assert both._fields == ("ntk", "nngp") and type(both).__name__ == "AnalyticKernel"
    np.testing.assert_array_equal(k(X1, X2, "NNGP"), both.nngp)
    assert k(X1, X2, "shape1") == (4, 2) and k(X1, None, "x1_is_x2") is True
    assert k(X1, X2, "cov1").shape == (4,) and k(X1, X2).cov2.shape == (3,)
    assert k(X1).cov2 is None


def test_shapes_without_a_final_pool_are_never_reversed():
    net = stax.serial(stax.Conv(4, (1, 1)))
    k = net.kernel_fn(X1, X2)
    direct = np.einsum("ihwc,jkvc->ijhkwv", X1, X2) / 3
    np.testing.assert_allclose(k.nngp, direct, rtol=1e-13, atol=1e-15)
    assert k.is_reversed is False and k.cov1.shape == (4, 6, 6, 5, 5)
    diagonal = net.kernel_fn(X1, X2, diagonal_spatial=True)
    np.testing.assert_allclose(
        diagonal.nngp, np.einsum("ijhhww->ijhw", direct), rtol=1e-13, atol=1e-15
    )
    alone = net.kernel_fn(X1, None, "nngp", diagonal_spatial=True)
    np.testing.assert_array_equal(alone, net.kernel_fn(X1, X1 + 0, "nngp", diagonal_spatial=True))
    same = np.einsum("ihwc,jhwc->ijhw", X1, X1) / 3
    np.testing.assert_allclose(alone, same, rtol=1e-13, atol=1e-15)
    whole = net.kernel_fn(X1, X2, diagonal_batch=False)
    np.testing.assert_allclose(whole.cov2, net.kernel_fn(X2, None, "nngp"), rtol=1e-13)


def test_one_batch_is_symmetric_bit_for_bit_and_equal_to_itself_passed_twice():
    for get in ("nngp", "ntk"):
        k = NET.kernel_fn(X1, None, get)
        np.testing.assert_array_equal(k, k.T)
        np.testing.assert_array_equal(k, NET.kernel_fn(X1, X1.copy(), get))


def test_several_inputs_come_in_tuples():
    net = stax.parallel(stax.Dense(3), stax.serial(stax.Dense(2), stax.Relu()))
    a, b = RNG.normal(size=(4, 5)), RNG.normal(size=(4, 7))
    first, second = net.kernel_fn((a, b), None, "nngp")
    np.testing.assert_array_equal(first, stax.Dense(3).kernel_fn(a, None, "nngp"))
    assert second.shape == (4, 4)
    _, params = net.init_fn(0, (a.shape, b.shape))
    assert [y.shape for y in net.apply_fn(params, (a, b))] == [(4, 3), (4, 2)]


def test_parameters_have_staxs_structure():
    _, params = NET.init_fn(3, X1.shape)
    conv, fan, branches, total, relu, pool, repeated, dense = params
    assert [w.shape for w in conv] == [(3, 3, 3, 8), (1, 1, 1, 8)]
    assert fan == total == relu == pool == () and branches[1] == ()
    assert branches[0][1][0].shape == (1, 1, 8, 8) and branches[0][1][1] is None
    assert repeated[0][0].shape == (2, 8, 8) and dense[0].shape == (8, 2)


def test_a_seed_gives_the_same_parameters_everywhere(backend):
    like = backend.asarray(X1)
    _, mine = NET.init_fn(7, X1.shape, like=like)
    _, reference = NET.init_fn(7, X1.shape)
    np.testing.assert_array_equal(backend.to_numpy(mine[0][0]), reference[0][0])
    out = NET.apply_fn(mine, like)
    np.testing.assert_allclose(backend.to_numpy(out), NET.apply_fn(reference, X1), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_data_type_and_library_in_are_those_out(backend, dtype):
    x = backend.asarray(X1, dtype)
    k = NET.kernel_fn(x, None)
    for name in ("nngp", "ntk", "cov1"):
        array = getattr(k, name)
        assert backend.record.owns(array) and array.dtype == x.dtype


def test_dimension_numbers_permute_and_nothing_else():
    last = stax.serial(stax.Conv(4, (3, 2), (2, 1), "SAME"), stax.Relu(), stax.Conv(4, (2, 2)))
    specs = ("NCHW", "OIHW", "NCHW")
    first = stax.serial(
        stax.Conv(4, (3, 2), (2, 1), "SAME", dimension_numbers=specs),
        stax.Relu(),
        stax.Conv(4, (2, 2), dimension_numbers=specs),
    )
    moved = [np.moveaxis(x, -1, 1) for x in (X1, X2)]
    np.testing.assert_array_equal(first.kernel_fn(*moved, "ntk"), last.kernel_fn(X1, X2, "ntk"))
    k = first.kernel_fn(*moved)
    assert k.shape1 == (4, 4, 2, 4) and k.channel_axis == 1
    swapped = stax.Conv(4, (3, 2), (2, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NWHC"))
    plain = stax.Conv(4, (3, 2), (2, 1), "SAME")
    turned = np.transpose(plain.kernel_fn(X1, X2, "nngp"), (0, 1, 4, 5, 2, 3))
    np.testing.assert_array_equal(swapped.kernel_fn(X1, X2, "nngp"), turned)


def test_progress_reports_every_tile():
    seen = []
    NET.kernel_fn(X1, X2, "ntk", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == len(seen)


@pytest.mark.parametrize("head", [[], [stax.Dense(2, b_std=0.1), stax.Erf(), stax.Dense(1)]])
def test_a_pair_wider_than_a_tile_is_pooled_part_by_part(backend, head, monkeypatch):
    net = stax.serial(
        stax.Conv(4, (3, 2), padding="SAME", b_std=0.1),
        stax.Relu(),
        stax.AvgPool((2, 2), (2, 1)),
        stax.Conv(4, (2, 2), padding="CIRCULAR"),
        stax.Relu(),
        stax.GlobalSumPool(),
        *head,
    )
    x1, x2 = backend.asarray(X1), backend.asarray(X2)
    whole = [net.kernel_fn(x1, x2), net.kernel_fn(x1)]
    small = dataclasses.replace(backend.record, tile_bytes=lambda device: 400)

    def cramped(*args):
        return dataclasses.replace(place_of(*args), backend=small)

    monkeypatch.setattr(entry, "place_of", cramped)
    for before, after in zip(whole, [net.kernel_fn(x1, x2), net.kernel_fn(x1)], strict=True):
        for name in ("nngp", "ntk", "cov1"):
            a, b = (backend.to_numpy(getattr(k, name)) for k in (before, after))
            np.testing.assert_allclose(a, b, rtol=1e-13)
