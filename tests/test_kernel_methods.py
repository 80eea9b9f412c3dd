"""The methods of ``Kernel``, against the kernel of the function they stand for."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from ntcore import Kernel, errors, stax

RNG = np.random.default_rng(0)
X1, X2 = RNG.normal(size=(3, 4, 5, 2)), RNG.normal(size=(2, 4, 5, 2))
NET = stax.serial(stax.Conv(3, (3, 3), padding="SAME"), stax.Relu(), stax.Conv(3, (1, 1)))
ARRAYS = ("nngp", "ntk", "cov1", "cov2")


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return NET.kernel_fn(X1, X2)


def assert_same(a: Kernel, b: Kernel) -> None:
    for name in a.asdict():
        x, y = getattr(a, name), getattr(b, name)
        if name in ARRAYS and x is not None and y is not None:
            np.testing.assert_array_equal(x, y, err_msg=name)
        else:
            assert (x is None) == (y is None) and (name in ARRAYS or x == y), name


def test_slice_is_the_kernel_of_fewer_examples(kernel):
    assert_same(kernel.slice(slice(1, 3), slice(0, 1)), NET.kernel_fn(X1[1:3], X2[:1]))


def test_slice_of_one_batch_knows_whether_both_are_still_one():
    k = NET.kernel_fn(X1)
    same, other = k.slice(slice(0, 2), slice(0, 2)), k.slice(slice(0, 2), slice(1, 3))
    assert same.x1_is_x2 and same.cov2 is None
    assert not other.x1_is_x2
    np.testing.assert_array_equal(other.cov2, k.cov1[1:3])


def test_indexing_cuts_examples_and_positions(kernel):
    cut = kernel[1:, 2:, ::2]
    np.testing.assert_array_equal(cut.nngp, kernel.nngp[1:, 1:, 2:, 2:, ::2, ::2])
    np.testing.assert_array_equal(cut.cov1, kernel.cov1[1:, 2:, 2:, ::2, ::2])
    assert cut.shape1 == (2, 2, 3, 3)
    at = kernel[:, 1]
    np.testing.assert_array_equal(at.ntk, kernel.ntk[:, :, 1, 1])
    assert at.shape1 == (3, 5, 3) and (at.batch_axis, at.channel_axis) == (0, 2)


@pytest.mark.parametrize("idx", [np.s_[..., :1], np.s_[0], np.s_[:, :, :, :, :], np.s_[None]])
def test_indexing_refuses(kernel, idx):
    with pytest.raises(errors.ArgumentError):
        kernel[idx]


def test_mask_hides_what_either_mask_marks(kernel):
    mask1, mask2 = np.zeros((3, 4, 5, 1), bool), np.zeros((2, 4, 5, 1), bool)
    mask1[0, 1], mask2[1, :, 2] = True, True
    hidden = kernel.mask(mask1, mask2)
    assert (hidden.nngp[0, :, 1] == 0).all() and (hidden.ntk[:, 1, :, :, :, 2] == 0).all()
    assert (hidden.cov1[0, 1] == 0).all() and (hidden.cov1[0, :, 1] == 0).all()
    seen = hidden.nngp != 0
    np.testing.assert_array_equal(hidden.nngp[seen], kernel.nngp[seen])
    np.testing.assert_array_equal(hidden.nngp[1, 0], kernel.nngp[1, 0])
    with pytest.raises(errors.ArgumentError, match="mask"):
        kernel.mask(mask1[..., 0], None)


def test_transpose_and_reverse(kernel):
    turned = kernel.transpose((1, 0))
    np.testing.assert_array_equal(turned.nngp, np.transpose(kernel.nngp, (0, 1, 4, 5, 2, 3)))
    np.testing.assert_array_equal(turned.cov2, np.transpose(kernel.cov2, (0, 3, 4, 1, 2)))
    assert kernel.reverse().is_reversed and not kernel.reverse().reverse().is_reversed
    np.testing.assert_array_equal(kernel.reverse().ntk, turned.ntk)
    with pytest.raises(errors.ArgumentError, match="permutation"):
        kernel.transpose((0, 0))


def test_a_reversed_kernel_goes_through_the_next_network(kernel):
    after = stax.serial(stax.Relu(), stax.GlobalAvgPool())
    forwards, backwards = after.kernel_fn(kernel), after.kernel_fn(kernel.reverse())
    np.testing.assert_allclose(forwards.ntk, backwards.ntk, rtol=1e-14)


def test_numbers_scale_and_shift_the_function(kernel):
    doubled, shifted = kernel * 2.0, kernel + 3.0
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(doubled, name), 4 * getattr(kernel, name))
    np.testing.assert_array_equal(shifted.nngp, kernel.nngp + 9)
    np.testing.assert_array_equal(shifted.ntk, kernel.ntk)


def test_replace_asdict_astuple(kernel):
    assert list(kernel.asdict()) == [f.name for f in dataclasses.fields(Kernel)]
    assert len(kernel.astuple()) == len(kernel.asdict())
    assert kernel.replace(is_gaussian=False).is_gaussian is False
    with pytest.raises(errors.ArgumentError, match="nngpp"):
        kernel.replace(nngpp=1)


@pytest.mark.parametrize("diagonal", [False, True])
def test_a_kernel_continues_in_the_next_network(diagonal):
    head = stax.serial(stax.Relu(), stax.Flatten(), stax.Dense(2, b_std=0.1))
    whole = stax.serial(NET, head).kernel_fn(X1, X2)
    parts = head.kernel_fn(NET.kernel_fn(X1, X2, diagonal_spatial=diagonal))
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-13)


def test_a_diagonal_kernel_cannot_feed_a_pool():
    k = NET.kernel_fn(X1, X2, diagonal_spatial=True)
    with pytest.raises(errors.PlanError, match="diagonal_spatial"):
        stax.GlobalAvgPool().kernel_fn(k)


def test_pickle(kernel):
    assert_same(pickle.loads(pickle.dumps(kernel)), kernel)
