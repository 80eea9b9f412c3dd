"""``ntcore.batch``: the same results, whatever the size of a block."""

import numpy as np
import pytest

import ntcore
from ntcore import stax
from ntcore.errors import ArgumentError, Unsupported

NET = stax.serial(
    stax.Conv(4, (3, 3), padding="SAME"), stax.Relu(), stax.GlobalAvgPool(), stax.Dense(1)
)
SPATIAL = stax.serial(stax.Conv(4, (3, 3), padding="SAME"), stax.Relu(), stax.Conv(4, (2, 2)))
RNG = np.random.default_rng(1)
X1, X2 = RNG.standard_normal((7, 5, 4, 3)), RNG.standard_normal((5, 5, 4, 3))
SIZES = (0, 1, 2, 3, 7, 100)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("net", [NET, SPATIAL])
@pytest.mark.parametrize("alone", [False, True])
def test_blocks_of_any_size_give_the_kernel(net, size, alone):
    x2 = None if alone else X2
    want, got = net.kernel_fn(X1, x2), ntcore.batch(net.kernel_fn, size)(X1, x2)
    for name in ("nngp", "ntk", "cov1", "cov2"):
        a, b = getattr(want, name), getattr(got, name)
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(b, a, rtol=1e-13, atol=1e-15)
    for name in ("x1_is_x2", "shape1", "shape2", "is_gaussian", "batch_axis", "channel_axis"):
        assert getattr(want, name) == getattr(got, name)


@pytest.mark.parametrize("size", SIZES)
def test_fields_and_named_tuples(size):
    batched = ntcore.batch(NET.kernel_fn, size)
    np.testing.assert_allclose(batched(X1, X2, "ntk"), NET.kernel_fn(X1, X2, "ntk"), rtol=1e-13)
    got, want = batched(X1, X2, ("cov1", "nngp")), NET.kernel_fn(X1, X2, ("cov1", "nngp"))
    assert got._fields == want._fields
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_several_inputs():
    net = stax.serial(stax.parallel(stax.Dense(3), stax.Dense(3)), stax.FanInSum())
    a, b = RNG.standard_normal((2, 5, 4)), RNG.standard_normal((2, 3, 4))
    got = ntcore.batch(net.kernel_fn, 2)(tuple(a), tuple(b), "ntk")
    np.testing.assert_allclose(got, net.kernel_fn(tuple(a), tuple(b), "ntk"), rtol=1e-13)


def test_a_kernel_is_cut_up_too():
    above = stax.serial(stax.Relu(), stax.Dense(1))
    below = stax.serial(stax.Flatten(), stax.Dense(4)).kernel_fn(X1, X2)
    got = ntcore.batch(above.kernel_fn, 3)(below)
    np.testing.assert_allclose(got.ntk, above.kernel_fn(below).ntk, rtol=1e-13)


def test_kernels_of_finite_networks():
    net = stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))
    x1, x2 = RNG.standard_normal((5, 3)), RNG.standard_normal((3, 3))
    _, params = net.init_fn(0, x1.shape)

    def kernel_fn(a, b, params):
        b = a if b is None else b
        return net.apply_fn(params, a) @ net.apply_fn(params, b).T

    got = ntcore.batch(kernel_fn, 2, store_on_device=False)(x1, x2, params)
    np.testing.assert_allclose(got, kernel_fn(x1, x2, params), rtol=1e-13)


def test_refusals():
    with pytest.raises(ArgumentError, match="batch_size=-1"):
        ntcore.batch(NET.kernel_fn, -1)
    with pytest.raises(Unsupported, match="device_count=2"):
        ntcore.batch(NET.kernel_fn, 1, 2)
    with pytest.raises(Unsupported, match="diagonal_batch"):
        ntcore.batch(NET.kernel_fn, 2)(X1, X2, diagonal_batch=False)
    picks = stax.serial(stax.Dense(3), stax.Slice[::-1])
    with pytest.raises(Unsupported, match=r"Slice\[::-1\] picks or joins"):
        ntcore.batch(picks.kernel_fn, 2)(X1, X2)
    with pytest.raises(Unsupported, match=r"Slice\[::-1\] picks or joins"):
        ntcore.batch(picks.kernel_fn, 2)(stax.Dense(3).kernel_fn(X1, X2))
