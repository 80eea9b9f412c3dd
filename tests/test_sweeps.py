"""Parts that a backend computes in one compiled loop: the same numbers, kinds and derivatives."""

from dataclasses import replace

import numpy as np
import pytest

from ntcore import kernel, stax
from ntcore.conformance.fixtures import using
from ntcore.parts import Swept, make_program
from tests.test_parts import NETWORKS

#: Parts of many sizes, which are not worth a compilation each.
RAGGED = ("residual",)
TOLERANCE = 64 * np.finfo(np.float32).eps


@pytest.fixture
def swept(backend, monkeypatch):
    """Have every kernel computed in parts; return the programs that did."""
    if backend.record.sweep is None:
        pytest.skip("computes parts one by one, or none")
    programs = []

    def make(job):
        programs.append(make_program(job))
        return programs[-1]

    monkeypatch.setattr(kernel, "make_program", make)
    with using(replace(backend.record, tile_bytes=lambda device: 1 << 12, lend=None)):
        yield programs


def batches(backend, shape):
    rng = np.random.default_rng(3)
    x1, x2 = rng.standard_normal((3, *shape)), rng.standard_normal((2, *shape))
    return tuple(backend.asarray(x, "float32") for x in (x1, x2))


def close(found, want):
    return np.max(np.abs(found - want)) <= TOLERANCE * np.max(np.abs(want))


@pytest.mark.parametrize("name", NETWORKS)
def test_parts_change_nothing(name, backend, swept):
    net, shape = NETWORKS[name]
    x1, x2 = batches(backend, shape)
    exact = net.kernel_fn(*(backend.to_numpy(x).astype("float64") for x in (x1, x2)))
    found = net.kernel_fn(x1, x2)
    assert isinstance(swept[-1], Swept) == (name not in RAGGED)
    assert close(backend.to_numpy(found.nngp), exact.nngp)
    assert close(backend.to_numpy(found.ntk), exact.ntk)


def dropping():
    return stax.serial(*convolved(), stax.Dropout(0.6), *convolved(), stax.GlobalAvgPool())


def convolved():
    return stax.Conv(4, (3, 3), padding="SAME", b_std=0.2), stax.Relu()


@pytest.mark.parametrize("together", [False, True])
def test_only_an_example_with_itself_is_dropped_alike(together, backend, swept):
    x1, x2 = batches(backend, (8, 6, 3))
    two = None if together else x2
    found = dropping().kernel_fn(x1, two)
    assert isinstance(swept[-1], Swept)
    given = (None if x is None else backend.to_numpy(x).astype("float64") for x in (x1, two))
    exact = dropping().kernel_fn(*given)
    assert close(backend.to_numpy(found.nngp), exact.nngp)
    assert close(backend.to_numpy(found.ntk), exact.ntk)


def test_masks_belong_to_the_examples_of_a_pair(backend, swept):
    net = stax.serial(*convolved(), *convolved(), stax.GlobalAvgPool())
    x1, x2 = (backend.to_numpy(x).copy() for x in batches(backend, (8, 6, 3)))
    x1[1, 2:, :] = x2[0, :, 4:] = 9.0
    found = net.kernel_fn(*map(backend.asarray, (x1, x2)), mask_constant=9.0)
    assert isinstance(swept[-1], Swept)
    exact = net.kernel_fn(x1.astype("float64"), x2.astype("float64"), mask_constant=9.0)
    assert close(backend.to_numpy(found.nngp), exact.nngp)
    assert close(backend.to_numpy(found.ntk), exact.ntk)


def test_a_kernel_comes_in_as_a_list_of_pairs(backend, swept):
    net = stax.serial(*convolved(), *convolved(), stax.GlobalAvgPool())
    below = stax.serial(*convolved(), stax.Conv(4, (3, 3), padding="SAME"))
    x1, x2 = batches(backend, (8, 6, 3))
    found = net.kernel_fn(below.kernel_fn(x1, x2))
    assert isinstance(swept[-1], Swept)
    exact = stax.serial(below, net).kernel_fn(
        *(backend.to_numpy(x).astype("float64") for x in (x1, x2))
    )
    assert close(backend.to_numpy(found.nngp), exact.nngp)
    assert close(backend.to_numpy(found.ntk), exact.ntk)


def test_parts_are_differentiated_and_compiled(backend, swept):
    shape = (8, 6, 3)
    x1, x2 = batches(backend, shape)

    def kernel_of(W_std, x1, x2):
        layers = [stax.Conv(4, (3, 3), padding="SAME", W_std=W_std), stax.Relu()] * 2
        return stax.serial(*layers, stax.GlobalAvgPool()).kernel_fn(x1, x2, "ntk")

    def derivatives(*point):
        value, pull = backend.record.vjp(kernel_of, *point)
        return value, *pull(backend.xp.ones_like(value))

    point = backend.asarray(1.3, "float32"), x1, x2
    found = backend.record.jit(derivatives)(*point)
    assert isinstance(swept[-1], Swept)
    with using(replace(backend.record, sweep=None)):
        want = derivatives(*point)
    for a, b in zip(found, want, strict=True):
        assert close(*map(backend.to_numpy, (a, b)))
