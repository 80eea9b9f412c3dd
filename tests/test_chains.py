"""Stretches of layers that run as one chain, against the same layers one by one."""

import importlib.util
import math

import numpy as np
import pytest

from ntcore import ops, parts, program, stax, stretches
from ntcore.chain import Chain
from tests.test_parts import NETWORKS, computed

Conv, Dense, Relu = stax.Conv, stax.Dense, stax.Relu
NUMBA = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba's groups")


def convolutions(*nonlinearities, shape=(7, 6, 3), padding="SAME", end=stax.Flatten):
    layers = [x for f in nonlinearities for x in (Conv(4, (3, 2), None, padding, b_std=0.2), f)]
    return stax.serial(*layers, Conv(4, (2, 3), (2, 1), padding), end(), Dense(1)), shape


CHAINED = {
    "erf": convolutions(stax.Erf(), stax.Erf()),
    "scaled": convolutions(stax.Erf(1.2, 0.7, 0.1), stax.Sigmoid_like(), stax.Erf(b=1.9)),
    "gelu": convolutions(stax.Gelu(), stax.Gelu(approximate=True), end=stax.GlobalAvgPool),
    "waves": convolutions(stax.Sin(), stax.Sin(1.4, 0.7, 0.3), stax.Cos(0.6, 1.2)),
    "normalized": convolutions(stax.LayerNorm(), Relu(), stax.LayerNorm(eps=0.1), Relu()),
    "normalized branches": (
        stax.serial(
            Conv(3, (3, 2), None, "SAME"),
            stax.residual(stax.LayerNorm(eps=0.3), Relu(), Conv(3, (2, 2), None, "SAME")),
            stax.LayerNorm(), stax.GlobalAvgPool(), Dense(1),
        ),
        (5, 4, 2),
    ),
    "bell": convolutions(stax.Rbf(), stax.Rbf(0.3), stax.Rbf(0.1)),
    "slopes": convolutions(stax.LeakyRelu(0.3), stax.ABRelu(-0.5, 1.5), stax.Abs()),
    "standard": (
        stax.serial(
            Dense(4, 1.3, 0.2, parameterization="standard"), Relu(),
            Dense(5, parameterization="standard"), Relu(), Dense(1, 1.1, 0.1),
        ),
        (9,),
    ),
    "circular": convolutions(Relu(), Relu(), padding="CIRCULAR", end=stax.GlobalAvgPool),
    "valid": convolutions(Relu(), Relu(), padding="VALID", end=stax.GlobalSumPool),
    "one axis": (
        stax.serial(Conv(3, (3,), (2,), "SAME"), Relu(), Conv(3, (2,)), stax.Erf(), stax.Flatten()),
        (11, 2),
    ),
    "a layer that is none": convolutions(Relu(), stax.Exp(b=0.3), Relu(), Relu()),
    "unequal branches": (
        stax.serial(
            Conv(3, (3, 3), None, "SAME"),
            Relu(),
            stax.FanOut(2),
            stax.parallel(
                stax.serial(Conv(3, (3, 3), (2, 2), "SAME"), Relu(), Conv(3, (3, 3))),
                stax.serial(stax.AvgPool((2, 2), (2, 2)), Conv(3, (3, 3))),
            ),
            stax.FanInSum(),
            Conv(3, (1, 1), b_std=0.1),
            stax.Flatten(),
        ),
        (10, 10, 2),
    ),
    "a pool beside a convolution": (
        stax.serial(
            Conv(3, (3, 3), None, "SAME"),
            Relu(),
            stax.FanOut(3),
            stax.parallel(
                stax.serial(stax.GlobalAvgPool(), Dense(2)),
                stax.serial(stax.AvgPool((2, 3), (2, 2)), stax.Flatten(), Dense(2)),
                stax.serial(Conv(3, (2, 2)), Relu(), stax.GlobalSumPool(), Dense(2)),
            ),
            stax.FanInSum(),
        ),
        (9, 8, 4),
    ),
    "pools": (
        stax.serial(
            Conv(3, (3, 2), None, "SAME"), Relu(), stax.AvgPool((2, 3), (2, 2)),
            Conv(3, (3, 3), None, "SAME"), Relu(), stax.SumPool((2, 2), (1, 2), "SAME"),
            Conv(3, (1, 1)), Relu(), stax.Flatten(),
        ),
        (12, 9, 5),
    ),
    **NETWORKS,
}  # fmt: skip


def images(shape, *counts):
    rng = np.random.default_rng(7)
    return [rng.standard_normal((n, *shape)) if n else None for n in counts]


def alone(monkeypatch, fn):
    """The result with every layer by itself."""
    with monkeypatch.context() as patch:
        patch.setattr(program, "can_play", lambda *args: False)
        return fn()


@pytest.mark.parametrize("name", CHAINED)
@pytest.mark.parametrize("counts", [(3, 5), (1, 40), (33, 2), (2, 67), (9, 10), (9, 0), (37, 0)])
def test_a_chain_changes_nothing(name, counts, monkeypatch):
    net, shape = CHAINED[name]
    x1, x2 = images(shape, *counts)
    ran = spied(monkeypatch)
    found = net.kernel_fn(x1, x2, ("nngp", "ntk"))
    assert any(ran)
    want = alone(monkeypatch, lambda: net.kernel_fn(x1, x2, ("nngp", "ntk")))
    for a, b in zip(found, want, strict=True):
        assert np.max(np.abs(a - b)) <= 8 * np.finfo(float).eps * np.max(np.abs(b))
    if x2 is None:
        assert all(np.array_equal(a, a.T) for a in found if a.ndim == 2)


DEEP = {
    "valid": convolutions(
        Relu(), Relu(), Relu(), padding="VALID", shape=(11, 12, 2), end=stax.GlobalAvgPool
    ),
    "odd sizes": (
        stax.serial(
            *(x for s in (None, (2, 2), (2, 3)) for x in (Conv(3, (3, 3), s, "SAME"), Relu())),
            stax.GlobalAvgPool(), Dense(1),
        ),
        (13, 11, 2),
    ),
    "pools": CHAINED["pools"],
    "one axis": (
        stax.serial(*(x for _ in range(4) for x in (Conv(3, (3,)), Relu())), stax.GlobalAvgPool()),
        (21, 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("counts", [(3, 5), (6, 0)])
def test_a_chain_may_end_where_rows_meet(name, counts, monkeypatch):
    net, shape = DEEP[name]
    x1, x2 = images(shape, *counts)
    want = alone(monkeypatch, lambda: net.kernel_fn(x1, x2, ("nngp", "ntk")))
    ends, are_apart = [], stretches._are_apart

    def watched(*args):
        ends.append(are_apart(*args))
        return ends[-1]

    monkeypatch.setattr(stretches, "_are_apart", watched)
    for least, most in ((1 << 13, 1 << 17), (0, 1 << 17), (0, 0)):
        ends.clear()
        program._known.cache_clear()
        monkeypatch.setattr(stretches, "LEAST_ENTRIES", least)
        monkeypatch.setattr(stretches, "MOST_ENTRIES", most)
        ran = spied(monkeypatch)
        found = net.kernel_fn(x1, x2, ("nngp", "ntk"))
        assert any(ran)
        assert ends
        assert all(ends) if most == 0 else not (least and any(ends))
        for a, b in zip(found, want, strict=True):
            assert np.max(np.abs(a - b)) <= 8 * np.finfo(float).eps * np.max(np.abs(b))
    program._known.cache_clear()


@pytest.mark.parametrize("net, shape", [CHAINED["erf"], CHAINED["slopes"], CHAINED["pools"]])
@pytest.mark.parametrize("n", [1, 2, 35])
def test_variances_come_from_a_chain(net, shape, n, monkeypatch):
    (x,) = images(shape, n)
    ran = spied(monkeypatch)
    found = net.kernel_fn(x, None, "cov1")
    assert any(ran)
    want = alone(monkeypatch, lambda: net.kernel_fn(x, None, "cov1"))
    assert np.max(np.abs(found - want)) <= 8 * np.finfo(float).eps * np.max(want)


@pytest.mark.parametrize("scale", [1e-18, 1e18])
def test_variances_too_far_from_one_for_a_chain(scale):
    net, shape = CHAINED["erf"] if scale < 1 else CHAINED["slopes"]
    (x,) = images(shape, 3)
    want = net.kernel_fn(x * scale, None, "nngp")
    found = net.kernel_fn((x * scale).astype(np.float32), None, "nngp")
    assert np.all(np.isfinite(found))
    assert np.max(np.abs(found - want)) <= 1e-5 * np.max(want)


@pytest.mark.parametrize("n", [5, 21])
def test_covariances_of_a_batch_with_itself_in_space(n, monkeypatch):
    net = stax.serial(*[x for _ in range(3) for x in (Conv(3, (3, 2), (2, 1), "SAME"), Relu())])
    (x,) = images((7, 6, 2), n)
    ran = spied(monkeypatch)
    found = net.kernel_fn(x, None, ("nngp", "ntk"))
    assert any(ran)
    want = alone(monkeypatch, lambda: net.kernel_fn(x, None, ("nngp", "ntk")))
    for a, b in zip(found, want, strict=True):
        assert np.max(np.abs(a - b)) <= 8 * np.finfo(float).eps * np.max(np.abs(b))
        assert np.array_equal(a, np.permute_dims(a, (1, 0, 3, 2, 5, 4)))


def test_images_of_two_sizes(monkeypatch):
    rng = np.random.default_rng(8)
    x1, x2 = rng.standard_normal((3, 7, 6, 2)), rng.standard_normal((4, 6, 8, 2))
    ran = spied(monkeypatch)
    for end in (stax.GlobalAvgPool, stax.Identity):
        layers = [x for _ in range(3) for x in (Conv(3, (3, 2), (2, 1), "SAME", b_std=0.1), Relu())]
        net = stax.serial(*layers, end())
        found = net.kernel_fn(x1, x2, ("nngp", "ntk"))
        want = alone(monkeypatch, lambda net=net: net.kernel_fn(x1, x2, ("nngp", "ntk")))
        for a, b in zip(found, want, strict=True):
            assert np.max(np.abs(a - b)) <= 8 * np.finfo(float).eps * np.max(np.abs(b))
    assert any(ran)


@pytest.mark.parametrize("counts", [(3, 5), (1, 40), (21, 0)])
def test_parts_of_a_window_are_added_up_in_one_place(counts, monkeypatch):
    net, shape = NETWORKS["pools between"]
    x1, x2 = images(shape, *counts)
    ran, add = [], program.Program.add

    def watched(self, *args):
        found = add(self, *args)
        ran.append(found is not None)
        return found

    monkeypatch.setattr(program.Program, "add", watched)
    found, _ = computed(monkeypatch, net, x1, x2, 1 << 14, workers=1)
    assert len(ran) > 2 and all(ran)
    monkeypatch.setattr(parts.Parts, "_adding", [])
    want, _ = computed(monkeypatch, net, x1, x2, 1 << 14, workers=1)
    for a, b in zip(found, want, strict=True):
        assert np.max(np.abs(a - b)) <= 4 * np.finfo(float).eps * np.max(np.abs(b))


def spied(monkeypatch):
    """A list that grows with every chain, by whether it ran."""
    ran, play = [], stretches.play

    def watched(*args):
        found = play(*args)
        ran.append(found is not None)
        return found

    monkeypatch.setattr(program, "play", watched)
    return ran


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_near_and_coincident_examples(dtype, monkeypatch):
    net, shape = CHAINED["erf"]
    deep, _ = convolutions(*[Relu()] * 6)
    x = images(shape, 4)[0].astype(dtype)
    near = np.concatenate([x, x * (1 + 1e-4), -x, 0 * x]).astype(dtype)
    for each in (net, deep):
        found = each.kernel_fn(x, near, ("nngp", "ntk"))
        want = each.kernel_fn(x.astype(float), near.astype(float), ("nngp", "ntk"))
        layers = alone(monkeypatch, lambda each=each: each.kernel_fn(x, near, ("nngp", "ntk")))
        for a, b, one, power in zip(found, want, layers, (1.0, 0.5), strict=True):
            # The slope's error between near-duplicates is the root of that of the covariance.
            allowed = 4 * (16 * np.finfo(dtype).eps) ** power
            assert a.dtype == dtype and np.all(np.isfinite(a))
            assert np.max(np.abs(a - b)) <= allowed * np.max(np.abs(b))
            assert np.max(np.abs(a - one)) <= 8 * np.finfo(dtype).eps * np.max(np.abs(one))


def test_leaves_are_told_apart(monkeypatch):
    shape = (6, 5, 2)
    x1, x2 = images(shape, 3, 4)
    for std in (1.0, 1.7, 1.0, np.float64(0.4)):
        net = stax.serial(Conv(3, (3, 3), None, "SAME", std), Relu(), stax.Flatten(), Dense(1, std))
        found = net.kernel_fn(x1, x2, "ntk")
        want = alone(monkeypatch, lambda net=net: net.kernel_fn(x1, x2, "ntk"))
        assert np.max(np.abs(found - want)) <= 8 * np.finfo(float).eps * np.max(np.abs(want))


def test_what_cannot_be_recorded_is_computed_layer_by_layer(monkeypatch):
    ran = spied(monkeypatch)
    net, shape = convolutions(stax.Exp(b=0.3), stax.Hermite(2))
    net.kernel_fn(*images(shape, 4, 5))
    masked, _ = convolutions(Relu(), Relu())
    x1, x2 = images(shape, 4, 5)
    x1[0, 0] = 100.0
    masked.kernel_fn(x1, x2, mask_constant=100.0)
    assert not ran


def test_extreme_variances_take_the_reference(monkeypatch):
    ran = spied(monkeypatch)
    net, shape = convolutions(Relu(), Relu(), end=stax.Flatten)
    x1, x2 = images(shape, 4, 5)
    found = net.kernel_fn(1e150 * x1, 1e150 * x2, "nngp")
    assert ran and not any(ran) and np.all(np.isfinite(found))


def test_recorded_operations_are_those_that_run():
    net, shape = convolutions(Relu(), stax.Erf())
    with ops.recording() as counts:
        net.kernel_fn(*images(shape, 4, 5))
    assert counts["rectifier"] and counts["arcsine"] and counts["gather_sums"]


def test_a_chain_knows_its_sizes():
    chain = Chain((), ((2, 3, 4, 5), ()), (0,), (1,), ())
    assert [chain.size(i) for i in (0, 1)] == [math.prod((2, 3, 4, 5)), 1]


@NUMBA
@pytest.mark.parametrize("n", [1, 2, 8, 17, 48])
def test_groups_of_half_a_square_hold_every_pair_once(n):
    groups = importlib.import_module("ntcore.backends.numba_groups").make_groups(n, n, 32, True)
    real = groups.pairs >= 0
    one, two = np.triu_indices(n)
    assert np.array_equal(np.sort(groups.pairs[real]), one * n + two)
    assert np.array_equal((groups.ones * n + groups.twos)[real], groups.pairs[real])


@NUMBA
@pytest.mark.parametrize("n1, n2", [(1, 1), (1, 16), (5, 5), (10, 10), (3, 99), (99, 3), (17, 33)])
@pytest.mark.parametrize("most", [1, 40, 256])
def test_groups_hold_every_pair_once(n1, n2, most):
    groups = importlib.import_module("ntcore.backends.numba_groups").make_groups(n1, n2, most)
    ones, twos, pairs = (
        x.reshape(groups.whole.size, -1) for x in (groups.ones, groups.twos, groups.pairs)
    )
    real = pairs >= 0
    assert np.array_equal(np.sort(pairs[real]), np.arange(n1 * n2))
    assert np.array_equal((ones * n2 + twos)[real], pairs[real])
    assert groups.pairs.shape[1] <= max(most, pairs.shape[1])
    if groups.along < 2:
        moving, fixed = (ones, twos) if groups.along == 0 else (twos, ones)
        held = real.any(axis=1)
        assert np.all(np.diff(moving[held], axis=1) == 1) and np.all(np.ptp(fixed, axis=1) == 0)
    assert groups.beyond == bool(np.any(ones >= n1) or np.any(twos >= n2))
