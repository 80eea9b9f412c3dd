"""Networks that put branches together, pick positions and examples, and repeat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ntcore import errors, monte_carlo_kernel_fn, stax
from ntcore.backend import place_of
from ntcore.conformance.fixtures import Library
from ntcore.layers import Index
from ntcore.layers.picking import pick, unpick
from ntcore.need import Need
from ntcore.shape import Shape, default_axes
from ntcore.stax import Model, Slice

PATH = Path(__file__).parents[1] / "conformance" / "reference" / "combining.json"
TABLE: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
INPUTS = {name: np.array(x) for name, x in TABLE["inputs"].items()}
MASK = TABLE["mask_constant"]
ARRAYS = ("nngp", "ntk", "cov1", "cov2")
TOLERANCE = 1e-9
#: The peer's NTK of an input with itself is off by the root of a rounding error per rectifier.
NOISE = 1e-7
#: A library that compiles runs one case in so many.
STEP = 9

CASES = TABLE["kernels"]
RNG = np.random.default_rng(5)
X1, X2 = RNG.standard_normal((4, 5, 4, 3)), RNG.standard_normal((3, 5, 4, 3))
VECTORS = RNG.standard_normal((4, 3))


def conv(channels: int = 4, **kwargs: Any) -> Model:
    return stax.Conv(channels, (3, 2), padding="SAME", W_std=1.3, b_std=0.2, **kwargs)


def dense(width: int = 4) -> Model:
    return stax.Dense(width, 1.3, 0.2)


def bent(width: int = 4) -> Model:
    return stax.serial(dense(width), stax.Relu())


def fan(merge: Model, *branches: Model) -> Model:
    return stax.serial(stax.FanOut(len(branches)), stax.parallel(*branches), merge)


def same(got: Any, want: Any, names: tuple[str, ...] = ARRAYS) -> None:
    for name in names:
        a, b = getattr(got, name), getattr(want, name)
        assert (a is None) == (b is None), name
        if a is not None:
            assert a.shape == b.shape, name
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{c['net']}-{c['x2']}" for c in CASES])
def test_kernels_of_neural_tangents(backend: Library, number: int) -> None:
    if backend.record.stage is not None and number % STEP:
        pytest.skip("one case in nine where every shape is compiled")
    case = CASES[number]
    x1 = backend.asarray(INPUTS[case["x1"]])
    x2 = None if case["x2"] is None else backend.asarray(INPUTS[case["x2"]])
    mask = MASK if case["x1"] == "holes" else None
    k = eval(case["net"], vars(stax)).kernel_fn(x1, x2, None, mask_constant=mask)
    assert list(k.shape1) == case["shape1"] and k.is_gaussian == case["is_gaussian"]
    for name in ARRAYS:
        if case[name] is None:
            continue
        want, got = np.array(case[name]), backend.to_numpy(getattr(k, name))
        assert got.shape == want.shape, name
        near = NOISE if name == "ntk" and x2 is None else TOLERANCE
        assert np.max(np.abs(got - want)) <= near * np.max(np.abs(want)), name
    for name in ("mask1", "mask2"):
        if case[name] is not None:
            want, got = np.array(case[name]), backend.to_numpy(getattr(k, name))
            assert np.array_equal(np.broadcast_to(got, want.shape), want)


# --- against averages over finite networks ------------------------------------------------------

PAIR = RNG.standard_normal((2, 3, 3))
LAW = {
    "raw times relu": (fan(stax.FanInProd(), stax.Identity(), bent(3)), VECTORS),
    "relu times relu": (fan(stax.FanInProd(), bent(64), bent(64)), VECTORS),
    "channels": (fan(stax.FanInConcat(), stax.Identity(), bent(61)), VECTORS),
    "examples": (fan(stax.FanInConcat(0), bent(64), dense(64)), VECTORS),
    "space": (
        stax.serial(
            fan(stax.FanInConcat(1), stax.Identity(), dense(3)), Slice[:, 1:], stax.GlobalAvgPool()
        ),
        PAIR,
    ),
}


@pytest.mark.parametrize(("net", "x"), LAW.values(), ids=LAW)
def test_finite_networks_average_to_the_kernel(net: Model, x: Any) -> None:
    """What the peer refuses, or computes for branches that it should refuse."""
    read = stax.serial(net, stax.Dense(1))
    want = read.kernel_fn(x, None, ("nngp", "ntk"))
    draws: dict[str, list[Any]] = {"nngp": [], "ntk": []}
    for seed in range(200):
        average = monte_carlo_kernel_fn(read.init_fn, read.apply_fn, seed, 1)
        for name, found in draws.items():
            found.append(average(x, None, name))
    for name, found in draws.items():
        error = np.std(found, axis=0) / np.sqrt(len(found))
        apart = np.abs(np.mean(found, axis=0) - getattr(want, name))
        assert np.all(apart <= 5 * error + 1e-12), name


# --- picking ------------------------------------------------------------------------------------

TAILS = {
    "space": (),
    "flat": (stax.Flatten(), dense()),
    "pooled": (stax.GlobalAvgPool(), dense()),
}


@pytest.mark.parametrize("second", [X2, None], ids=["x2", "none"])
@pytest.mark.parametrize("diagonal", [False, True], ids=["every", "diagonal"])
@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_picked_examples_are_those_of_a_smaller_batch(
    tail: tuple[Model, ...], diagonal: bool, second: Any
) -> None:
    above = (conv(), stax.Relu(), *tail)
    got = stax.serial(conv(), stax.Relu(), Slice[1:4:2], *above)
    want = stax.serial(conv(), stax.Relu(), *above)
    cut = None if second is None else second[1:4:2]
    options: Any = {"diagonal_spatial": diagonal}
    same(got.kernel_fn(X1, second, **options), want.kernel_fn(X1[1:4:2], cut, **options))
    for whole in (True, False):
        k = got.kernel_fn(X1, second, diagonal_batch=whole)
        same(k, want.kernel_fn(X1[1:4:2], cut, diagonal_batch=whole))
        assert k.x1_is_x2 == (second is None) and k.shape1[0] == 2


def test_branches_of_picked_examples_go_on_together(backend: Library) -> None:
    """One branch skips the layer that picks, another passes two of them."""
    head = stax.serial(stax.Relu(), dense())
    one = stax.serial(dense(), Slice[::-1])
    two = stax.serial(dense(), Slice[1:], head, Slice[:-1], dense(), stax.FanOut(2))
    net = stax.serial(
        stax.FanOut(3),
        stax.parallel(one, two, dense()),
        stax.parallel(stax.Identity(), stax.parallel(Slice[:1], stax.Identity()), head),
    )
    x = backend.asarray(VECTORS)
    got = net.kernel_fn(x, None, "ntk")
    pair = stax.serial(dense(), head, dense())
    k = backend.to_numpy(pair.kernel_fn(x, None, "ntk"))
    shallow = backend.to_numpy(dense().kernel_fn(x, None, "ntk"))
    want = [shallow[::-1, ::-1], k[1:2, 1:2], k[1:3, 1:3]]
    deep = backend.to_numpy(stax.serial(dense(), head).kernel_fn(x, None, "ntk"))
    found = [got[0], *got[1], got[2]]
    for a, b in zip(found, [*want, deep], strict=True):
        np.testing.assert_allclose(backend.to_numpy(a), b, rtol=1e-12)


def test_an_integer_and_a_step_ask_for_the_offsets_they_read() -> None:
    one, two = (Shape(n, 3, default_axes(4)) for n in ((9, 7), (11, 7)))
    every = Index((slice(None), slice(-5, None, 2), 3))
    assert every.need(Need((frozenset({-1, 0, 2}),)), one, two) == Need(
        (frozenset({0, 2, 6}), frozenset({0}))
    )
    last = Index((slice(None), -1))
    assert last.need(Need((frozenset({1}),)), one, two).axes == (frozenset({2}), frozenset({1}))


def test_finite_networks_are_indexed_as_arrays_are(backend: Library) -> None:
    x = backend.asarray(X1)
    for idx in (np.s_[1], np.s_[::-2, 1:], np.s_[..., 0], np.s_[:, -1, ::-1, 1:2], np.s_[2:2]):
        found = stax.Index(idx).apply_fn((), x)
        np.testing.assert_array_equal(backend.to_numpy(found), X1[idx])
    net = stax.serial(Slice[::-1, 1:3, 0], fan(stax.FanInConcat(0), dense(), dense()))
    shape, params = net.init_fn(0, (-1, 5, 4, 3))
    assert shape == (-1, 2, 4) and net.init_fn(0, X1.shape)[0] == (8, 2, 4)
    params = net.init_fn(0, X1.shape, like=x)[1]
    assert net.apply_fn(params, x).shape == (8, 2, 4)


def test_what_is_picked_can_be_put_back(backend: Library) -> None:
    at = backend.asarray(np.zeros(1))
    parts = Index(np.s_[::-2, 1, 1:3]).idx
    found = pick(place_of([at]), backend.asarray(X1[..., 0]), parts)
    back = backend.to_numpy(unpick(place_of([at]), found, X1.shape[:3], parts))
    want = np.zeros(X1.shape[:3])
    want[np.s_[::-2, 1, 1:3]] = X1[..., 0][np.s_[::-2, 1, 1:3]]
    np.testing.assert_array_equal(back, want)


@pytest.mark.parametrize("net", [Slice[:, 1:-1, ..., ::2], stax.Index(np.s_[:, 2], 1, 0), Slice[3]])
def test_slices_print_as_they_are_written(net: Model) -> None:
    assert eval(repr(net), vars(stax)) == net
    assert repr(Slice[:2, ..., -1]) == "Slice[:2, ..., -1]"
    assert stax.Index(Slice[1:]) == Slice[1:]


def test_masks_are_picked_and_joined_in_finite_networks_too() -> None:
    x = INPUTS["holes"]
    for net in (
        stax.serial(fan(stax.FanInConcat(0), conv(), dense()), Slice[1:, ::-1], conv()),
        fan(stax.FanInConcat(), conv(), dense()),
        stax.serial(fan(stax.FanInConcat(1), conv(), dense()), Slice[:, 1:, 0]),
    ):
        _, params = net.init_fn(0, x.shape)
        out = net.apply_fn(params, x, mask_constant=MASK)
        k = net.kernel_fn(x, None, None, mask_constant=MASK)
        assert np.array_equal(np.all(out.mask, axis=-1), np.all(k.mask1, axis=-1))


def test_the_plan_says_where_batches_are_held() -> None:
    net = stax.serial(conv(), stax.Relu(), Slice[:2], conv(), stax.Flatten())
    plan = net.plan(X1.shape)
    assert "whole batches are held at Slice[:2]" in str(plan)
    assert [e.pairs for e in plan.edges] == [10, 10, 10, 3, 3, 3]
    assert all(axis == {0} for e in plan.edges for axis in e.cross.axes)
    assert "held" not in str(stax.serial(conv(), stax.Relu()).plan(X1.shape))


def test_small_tiles_change_nothing_in_any_piece() -> None:
    net = stax.serial(conv(), stax.Relu(), Slice[::-1], conv(), stax.Relu(), stax.GlobalAvgPool())
    small = net.kernel_fn(X1, X2, "ntk", memory_budget=10**6)
    np.testing.assert_allclose(small, net.kernel_fn(X1, X2, "ntk"), rtol=1e-12)


def test_an_output_that_is_read_on_at_other_offsets() -> None:
    pool = stax.serial(stax.AvgPool((2, 2)), Slice[:2])
    net = stax.serial(conv(), stax.Relu(), stax.FanOut(2), stax.parallel(stax.serial(), pool))
    got = net.kernel_fn(X1, X2, "ntk", diagonal_spatial=True)
    below = stax.serial(conv(), stax.Relu())
    want = below.kernel_fn(X1, X2, "ntk", diagonal_spatial=True)
    np.testing.assert_allclose(got[0], want, rtol=1e-12)
    want = stax.serial(below, stax.AvgPool((2, 2))).kernel_fn(X1, X2, "ntk", diagonal_spatial=True)
    np.testing.assert_allclose(got[1], want[:2, :2], rtol=1e-12)


def test_offset_zero_of_a_batch_with_itself() -> None:
    """With x2=None the lower half of a kernel is the mirror image of the upper."""
    x, net = X1[:, :4], stax.serial(conv(), stax.Relu(), conv())
    every = net.kernel_fn(x, None, "nngp")
    got = net.kernel_fn(x, None, "nngp", diagonal_spatial=True)
    np.testing.assert_allclose(got, np.einsum("abiijj->abij", every), rtol=1e-13)


# --- combining ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3])
def test_repeat_is_a_series_for_any_number_of_convolutions(n: int) -> None:
    block = (conv(3), stax.Relu()), (conv(3), stax.Relu(), stax.Conv(3, (1, 2), padding="SAME"))
    for layers in block:
        got = stax.repeat(stax.serial(*layers), n).kernel_fn(X1, X2)
        same(got, stax.serial(*(layers * n)).kernel_fn(X1, X2))


def test_repeat_of_a_network_that_changes_its_parameters() -> None:
    with pytest.raises(errors.ShapeError, match=r"repeat\(.*same shape"):
        stax.repeat(dense(5), 2).init_fn(0, (2, 3))


def test_residual_is_sugar() -> None:
    stem, branch = conv(), (stax.Relu(), conv())
    got = stax.serial(stem, stax.residual(*branch))
    want = stax.serial(stem, fan(stax.FanInSum(), stax.Identity(), stax.serial(*branch)))
    same(got.kernel_fn(X1, X2), want.kernel_fn(X1, X2))
    assert eval(repr(got), vars(stax)) == got
    wide = stax.residual(stax.Relu(), conv(6), shortcut=stax.Conv(6, (1, 1)))
    assert stax.serial(stem, wide).kernel_fn(X1, X2, "shape1") == (4, 5, 4, 6)


def test_nested_branches_come_out_nested() -> None:
    net = stax.parallel(dense(), stax.parallel(bent(), stax.serial(dense(), stax.FanOut(2))))
    x = (VECTORS, (VECTORS, VECTORS[:, :2]))
    k = net.kernel_fn(x, None, "nngp")
    assert isinstance(k, tuple) and isinstance(k[1], tuple) and len(k[1][1]) == 2
    shape, params = net.init_fn(0, ((4, 3), ((4, 3), (4, 2))))
    assert shape == ((4, 4), ((4, 4), ((4, 4), (4, 4))))
    assert net.apply_fn(params, x)[1][1][0].shape == (4, 4)
    inner = stax.serial(stax.parallel(dense(), bent()), stax.FanInProd())
    merged = stax.serial(net, stax.parallel(stax.Identity(), stax.parallel(dense(), inner)))
    want = dense().kernel_fn(VECTORS[:, :2], None, "nngp")
    for layer in (dense(), bent()):
        deep = stax.serial(dense(), layer).kernel_fn(VECTORS[:, :2], None, "nngp")
        want = deep if layer == dense() else want * deep
    np.testing.assert_allclose(merged.kernel_fn(x, None, "nngp")[1][1], want, rtol=1e-13)


# --- refusals -----------------------------------------------------------------------------------

SHARED = stax.serial(dense(3), stax.FanOut(2), stax.parallel(stax.Identity(), stax.Identity()))
FLAT = stax.serial(conv(), stax.Flatten())
REFUSED = {
    "product of one's own": (stax.serial(SHARED, stax.FanInProd()), "shares its last weights"),
    "space of one's own": (stax.serial(SHARED, stax.FanInConcat(1)), "shares its last weights"),
    "batch of one's own": (stax.serial(SHARED, stax.FanInConcat(0)), "shares its last weights"),
    "product of flattened": (fan(stax.FanInProd(), FLAT, FLAT), "not distributed alike"),
    "bent and bent in space": (fan(stax.FanInConcat(1), bent(), bent()), "not Gaussian"),
    "bent and bent in batch": (fan(stax.FanInConcat(0), bent(), bent()), "not Gaussian"),
    "relu of a product": (
        stax.serial(fan(stax.FanInProd(), dense(), dense()), stax.Relu()),
        r"Relu\(\)",
    ),
    "relu of channels": (
        stax.serial(fan(stax.FanInConcat(), dense(), dense()), stax.Relu()),
        r"Relu\(\)",
    ),
    "sum of products": (
        fan(stax.FanInSum(), fan(stax.FanInProd(), dense(), dense()), dense()),
        "not Gaussian",
    ),
    "no such axis": (fan(stax.FanInConcat(4), dense(), dense()), "no such axis"),
    "other sizes": (fan(stax.FanInConcat(1), dense(4), dense(5)), "different shapes"),
    "products of other sizes": (fan(stax.FanInProd(), dense(4), dense(5)), "different shapes"),
    "other counts": (
        fan(stax.FanInSum(), stax.serial(dense(), Slice[:2]), dense()),
        "different numbers of examples",
    ),
    "channels": (stax.serial(dense(), Slice[..., :2]), "infinitely many"),
    "one example": (stax.serial(dense(), Slice[1]), "slice of length 1"),
    "out of range": (stax.serial(dense(), Slice[:, 9]), "what is not there"),
    "too many parts": (stax.serial(dense(), Slice[:, :, :, :, :]), "at most one part"),
    "nothing left": (stax.serial(dense(), Slice[:, 3:3]), "or nothing"),
}


@pytest.mark.parametrize(("net", "match"), REFUSED.values(), ids=REFUSED)
def test_refused_at_planning(net: Model, match: str) -> None:
    with pytest.raises((errors.PlanError, errors.ShapeError), match=match):
        net.plan(X1.shape)


@pytest.mark.parametrize("idx", [None, [0, 1], np.arange(2), True, np.s_[..., 0, ...], "a", 1.5])
def test_indices_that_are_none(idx: Any) -> None:
    with pytest.raises(errors.ArgumentError, match="Index got"):
        stax.Index(idx)
