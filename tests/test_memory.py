"""What a plan says a kernel costs, against what it costs."""

import math
import tracemalloc

import numpy as np
import pytest

from ntcore import program, stax, tasks
from ntcore.backends import buffers
from ntcore.conformance.watching import pushes
from ntcore.errors import ArgumentError, BudgetError

RNG = np.random.default_rng(2)
MB = 1_000_000


def network(depth, end):
    layers = [stax.Conv(4, (3, 3), None, "SAME", b_std=0.1), stax.Relu()] * depth
    return stax.serial(*layers[:-1], end(), stax.Dense(1))


def images(n):
    return RNG.standard_normal((n, 16, 16, 3)), RNG.standard_normal((n + 3, 16, 16, 3))


def peak_of(fn):
    """Bytes of arrays that a call holds at most, its tables and plans being there already."""
    fn()
    tasks._pool.cache_clear()  # threads keep memory, which is to be taken anew
    with buffers.holding(0):
        pass
    tracemalloc.start()
    try:
        fn()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("budget", [16 * MB, 6 * MB])
@pytest.mark.parametrize(
    ("depth", "end", "n"),
    [(3, stax.GlobalAvgPool, 3), (8, stax.GlobalAvgPool, 3), (24, stax.Flatten, 40)],
)
def test_a_budget_holds_whatever_the_depth(depth, end, n, budget):
    net, (x1, x2) = network(depth, end), images(n)
    peak = peak_of(lambda: net.kernel_fn(x1, x2, "ntk", memory_budget=budget))
    assert peak <= 1.1 * budget


def test_variances_are_kept_only_where_they_fit():
    net, (x1, x2) = network(24, stax.Flatten), images(40)
    ample = net.plan(x1.shape, x2.shape, "ntk", itemsize=8)
    tight = net.plan(x1.shape, x2.shape, "ntk", itemsize=8, memory_budget=6 * MB)
    assert ample.keeps and not tight.keeps
    assert "kept" in str(ample) and "computed again for every tile" in str(tight)
    want = net.kernel_fn(x1, x2, ("nngp", "ntk"))
    got = net.kernel_fn(x1, x2, ("nngp", "ntk"), memory_budget=6 * MB)
    for a, b in zip(got, want, strict=True):
        assert np.max(np.abs(a - b)) <= 4 * np.finfo(float).eps * np.max(np.abs(b))


def test_too_small_a_budget_says_which_would_do():
    net, (x1, x2) = network(3, stax.GlobalAvgPool), images(2)
    with pytest.raises(BudgetError, match="at least") as caught:
        net.kernel_fn(x1, x2, "ntk", memory_budget=1000)
    assert isinstance(caught.value, MemoryError)
    net.kernel_fn(x1, x2, "ntk", memory_budget=caught.value.least_bytes)
    with pytest.raises(ArgumentError, match="memory_budget=0"):
        net.kernel_fn(x1, x2, "ntk", memory_budget=0)


@pytest.mark.parametrize("end", [stax.GlobalAvgPool, stax.Flatten])
@pytest.mark.parametrize("alone", [False, True])
def test_a_cost_is_what_is_measured(end, alone, monkeypatch):
    for name in ("affordable", "can_play"):  # every layer by itself
        monkeypatch.setattr(program, name, lambda *args: False)
    net, (x1, x2) = network(4, end), images(2)
    counted = {"entries": 0, "moved": 0}

    def count(layer, ctx, inputs, out):
        if ctx.layout.paired:
            return
        written = math.prod(out.nngp.data.shape)
        counted["entries"] += written
        read = sum(math.prod(m.nngp.data.shape) for m in inputs)
        counted["moved"] += (written + read) * 2 * x1.itemsize

    second = None if alone else x2
    with pushes(net.network, after=count):
        ntk = net.kernel_fn(x1, second, ("nngp", "ntk"))
    plan = net.plan(x1.shape, None if alone else x2.shape, itemsize=8)
    cost, entered = plan.cost, plan.edges[0].entries * plan.pairs
    # Tiles on the diagonal are whole squares; parts of a pooled block push its few entries again.
    slack = 1.4 if alone else 1.05
    assert cost.entries - entered <= counted["entries"] <= slack * (cost.entries - entered)
    assert cost.bytes_moved <= counted["moved"] <= slack * cost.bytes_moved
    assert cost.bytes_result == sum(x.nbytes for x in ntk)
