"""Plans: what they ask for, what they print, and that they hold no array."""

from __future__ import annotations

import numpy as np
import pytest

from ntcore import errors, stax
from ntcore.entry import kernels_of
from ntcore.inputs import of_sizes
from ntcore.need import Need, everything, through_windows
from ntcore.plan import Options
from ntcore.planner import make_plan
from ntcore.shape import Window


def block(strides=(1, 1), channel_mismatch=False):
    main = stax.serial(
        stax.Relu(),
        stax.Conv(8, (3, 3), strides, "SAME"),
        stax.Relu(),
        stax.Conv(8, (3, 3), padding="SAME"),
    )
    side = stax.Conv(8, (3, 3), strides, "SAME") if channel_mismatch else stax.Identity()
    return stax.serial(stax.FanOut(2), stax.parallel(main, side), stax.FanInSum())


def wide_resnet(head=stax.GlobalAvgPool):
    return stax.serial(
        stax.Conv(8, (3, 3), padding="SAME"),
        block(channel_mismatch=True),
        block((2, 2), True),
        block((2, 2), True),
        head(),
        stax.Dense(10),
    )


def test_a_strided_wide_resnet_needs_every_fourth_offset_of_its_first_stage():
    plan = wide_resnet().plan((1, 32, 32, 3))
    fourth = frozenset(range(-28, 29, 4))
    first_stage = [e for e in plan.edges if e.shape1.spatial == (32, 32)]
    assert len(first_stage) > 5
    assert all(axis == fourth for e in first_stage for axis in e.cross.axes)
    assert all(e.entries == (8 * 32) ** 2 for e in first_stage)
    assert "-28..28 step 4 x -28..28 step 4" in str(plan)


def test_flatten_needs_offset_zero_alone():
    plan = wide_resnet(stax.Flatten).plan((1, 32, 32, 3))
    assert all(axis == {0} for e in plan.edges for axis in e.cross.axes)


def test_a_pool_before_a_flatten_needs_its_neighbours():
    net = stax.serial(
        stax.Conv(8, (3, 3)), stax.Relu(), stax.AvgPool((2, 2), (2, 2)), stax.Flatten()
    )
    plan = net.plan((2, 10, 10, 3))
    assert plan.edges[0].cross == Need((frozenset({-1, 0, 1}),) * 2)
    assert plan.edges[2].side1 == Need((frozenset({0}),) * 2) or plan.edges[2].side1 is None


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR"])
@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.parametrize(("size1", "size2"), [(7, 7), (8, 8), (6, 9)])
@pytest.mark.parametrize(("width", "stride"), [(3, 1), (2, 2), (5, 3), (9, 2)])
def test_needs_are_those_found_by_enumeration(size1, size2, width, stride, padding, spread):
    one, two = (Window(size, width, stride, padding) for size in (size1, size2))
    if min(one.out, two.out) < 1:
        pytest.skip("the window does not fit")
    for out in [{0}, {1}, {-1, 0, 2}, set(range(1 - one.out, two.out))]:
        found = set()
        for p in range(one.out):
            for d in out:
                for t in range(width):
                    for u in range(width) if spread else (t,):
                        if 0 <= p + d < two.out:
                            a, b = one.sources(t)[p], two.sources(u)[p + d]
                            found |= {b - a} if min(a, b) >= 0 else set()
        asked = through_windows(Need((frozenset(out),)), (one,), (two,), spread)
        assert found <= asked.axes[0] <= everything((size1,), (size2,)).axes[0]
        if padding == "VALID" and len(out) > 3:
            assert asked.axes[0] == found


def test_plans_are_cached_by_structure_and_not_by_the_values_of_leaves():
    plans = [stax.Dense(3, W_std=w, b_std=0.1).plan((4, 5)) for w in (1.0, 2.0)]
    assert plans[0] is plans[1]
    assert stax.Dense(3, W_std=1.0).plan((4, 5)) is not plans[0]


def test_minimal_plans_compute_fewer_entries_and_the_same_values():
    net, x = wide_resnet(), np.random.default_rng(0).normal(size=(2, 8, 8, 3))
    options = [Options(minimal=minimal, itemsize=8) for minimal in (True, False)]
    lean, full = (make_plan(net.network, of_sizes(net.network, x.shape), o) for o in options)
    assert lean.cost.entries < full.cost.entries / 3
    kernels = [kernels_of(net.network, x, None, o) for o in options]
    np.testing.assert_allclose(kernels[0].ntk, kernels[1].ntk, rtol=1e-14)


def test_the_table_has_a_row_for_every_edge_and_totals():
    plan = stax.serial(stax.Conv(4, (3, 3)), stax.Relu(), stax.Flatten()).plan(
        (5, 8, 6, 3), (7, 8, 6, 3)
    )
    lines = str(plan).splitlines()
    assert [line.split()[0].split("(")[0] for line in lines[:5]] == [
        "layer", "input", "Conv", "Relu", "Flatten",
    ]  # fmt: skip
    assert "35 pairs" in lines[-1] and "6x4x4" in lines[2]
    assert plan.cost.entries == 35 * (48 + 24 + 24 + 1)
    assert plan.cost.bytes_result == 35 * 4 * 2


def test_images_of_two_sizes():
    net = stax.serial(
        stax.Conv(4, (3, 2), (2, 1), "SAME", b_std=0.1),
        stax.Relu(),
        stax.Conv(4, (2, 2)),
        stax.GlobalAvgPool(),
    )
    rng = np.random.default_rng(0)
    x1, x2 = rng.normal(size=(2, 9, 6, 3)), rng.normal(size=(3, 6, 8, 3))
    one, two = net.kernel_fn(x1, x2, "ntk"), net.kernel_fn(x2, x1, "ntk")
    np.testing.assert_allclose(one, two.T, rtol=1e-13)
    with pytest.raises(errors.ShapeError, match="position by position"):
        stax.serial(stax.Conv(4, (3, 3)), stax.Flatten()).plan(x1.shape, x2.shape)
