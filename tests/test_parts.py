"""Kernels in parts: the same numbers, whatever is cut where."""

import os

import numpy as np
import pytest

from ntcore import kernel, parts, stax
from ntcore.parts import Parts, make_program
from ntcore.stax import AvgPool, Conv, Dense, Erf, FanInSum, FanOut, Flatten, GlobalAvgPool, Relu

EPS = np.finfo(np.float64).eps


def block(strides):
    main = stax.serial(
        Relu(), Conv(4, (3, 3), strides, "SAME"), Relu(), Conv(4, (3, 3), None, "SAME")
    )
    side = Conv(4, (1, 1), strides, "SAME", b_std=0.1)
    return stax.serial(FanOut(2), stax.parallel(main, side), FanInSum())


NETWORKS = {
    "plain": (
        stax.serial(*[Conv(4, (3, 3), None, "SAME", b_std=0.2), Relu()] * 3, GlobalAvgPool()),
        (9, 7, 3),
    ),
    "residual": (
        stax.serial(Conv(4, (3, 3)), block((1, 1)), block((2, 2)), GlobalAvgPool(), Dense(1)),
        (13, 10, 3),
    ),
    "pools between": (
        stax.serial(
            *[Conv(4, (3, 3), None, "SAME"), Relu(), AvgPool((2, 2), (2, 2))] * 2, GlobalAvgPool()
        ),
        (12, 13, 3),
    ),
    "window": (stax.serial(Conv(4, (3, 3)), Relu(), AvgPool((3, 2), (2, 2)), Flatten()), (9, 8, 2)),
    "space kept": (
        stax.serial(Conv(3, (3, 3), padding="CIRCULAR"), Erf(), Conv(3, (2, 2), (2, 2), "SAME")),
        (9, 11, 2),
    ),
    "one axis": (
        stax.serial(
            Conv(3, (3,), (2,), "CIRCULAR"), Relu(), Conv(3, (2,), None, "SAME"), GlobalAvgPool()
        ),
        (33, 2),
    ),
    "three axes": (
        stax.serial(
            Conv(3, (3, 2, 2), None, "SAME"),
            Relu(),
            stax.SumPool((2, 1, 2), (2, 1, 1), "SAME"),
            Conv(3, (2, 2, 2), None, "SAME"),
            GlobalAvgPool(),
        ),
        (5, 4, 6, 2),
    ),
}


def computed(monkeypatch, net, x1, x2, size, workers=2):
    """Kernels in tiles of a size, and the program that computed them."""
    programs = []

    def make(job):
        programs.append(make_program(job))
        return programs[-1]

    monkeypatch.setattr(parts, "budget", lambda job, chained=False: size)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(workers)))
    monkeypatch.setattr(kernel, "make_program", make)
    found = net.kernel_fn(x1, x2, ("nngp", "ntk"))
    return found, programs[0]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("alone", [False, True])
def test_parts_change_nothing(name, alone, monkeypatch):
    net, shape = NETWORKS[name]
    rng = np.random.default_rng(3)
    x1, x2 = rng.standard_normal((3, *shape)), rng.standard_normal((5, *shape))
    second = None if alone else x2
    whole, _ = computed(monkeypatch, net, x1, second, 1 << 30)
    for size in (1, 1 << 14):
        found, program = computed(monkeypatch, net, x1, second, size)
        assert isinstance(program, Parts)
        for one, every in zip(found, whole, strict=True):
            assert np.max(np.abs(one - every)) <= 4 * EPS * np.max(np.abs(every))


def test_threads_change_no_bit(monkeypatch):
    net, shape = NETWORKS["residual"]
    rng = np.random.default_rng(4)
    x1, x2 = rng.standard_normal((3, *shape)), rng.standard_normal((5, *shape))
    one, _ = computed(monkeypatch, net, x1, x2, 1 << 14, workers=1)
    four, _ = computed(monkeypatch, net, x1, x2, 1 << 14, workers=4)
    assert np.array_equal(one.nngp, four.nngp) and np.array_equal(one.ntk, four.ntk)
