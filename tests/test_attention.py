"""Attention: the table of neural_tangents, what it cannot do, and averages over finite networks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ntcore import errors, stax
from ntcore.conformance.fixtures import Library
from ntcore.conformance.tolerances import STANDARD_ERRORS

PATH = Path(__file__).parents[1] / "conformance" / "reference" / "attention.json"
TABLE: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
INPUTS = {name: np.array(x) for name, x in TABLE["inputs"].items()}
TOLERANCE = 1e-9
#: A library that compiles runs one case in so many.
STEP = 12
ATTENTION: Any = stax.GlobalSelfAttention


def inverse(distance: Any) -> Any:
    return 1 / (1 + distance)


def model(net: str) -> stax.Model:
    found: stax.Model = eval(net, {**vars(stax), "inverse": inverse})
    return found


def close(got: Any, want: Any) -> bool:
    want = np.asarray(want)
    return bool(np.max(np.abs(got - want)) <= TOLERANCE * (np.max(np.abs(want)) or 1.0))


SOFT = ATTENTION(3, 4, 2, 2, pos_emb_type="SUM", val_pos_emb=True)
SQUARE = ATTENTION(3, 4, 2, 2, False, attention_mechanism="IDENTITY", causal=True)


# --- neural_tangents ----------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(TABLE["kernels"])))
def test_kernels_of_neural_tangents(backend: Library, number: int) -> None:
    if backend.record.stage is not None and number % STEP:
        pytest.skip("one case in twelve where every shape is compiled")
    case = TABLE["kernels"][number]
    x1 = backend.asarray(INPUTS[case["x1"]])
    x2 = None if case["x2"] is None else backend.asarray(INPUTS[case["x2"]])
    constant = TABLE["mask_constant"] if case["masked"] else None
    k = model(case["net"]).kernel_fn(x1, x2, None, mask_constant=constant)
    for name in ("nngp", "ntk", "cov1"):
        assert close(backend.to_numpy(getattr(k, name)), case[name]), name


def test_many_positions_of_many_examples_in_float32(backend: Library) -> None:
    """XLA on the CPU once returned other sums of products where there were so many."""
    net = stax.serial(
        ATTENTION(64, 32, 32, 4, attention_mechanism="IDENTITY"), stax.GlobalAvgPool()
    )
    x = np.random.default_rng(0).standard_normal((16, 64, 32))
    found = net.kernel_fn(backend.asarray(x, "float32"), None, "ntk")
    want = net.kernel_fn(x, None, "ntk")
    error = np.max(np.abs(backend.to_numpy(found) - want)) / np.max(np.abs(want))
    assert error <= 64 * np.finfo(np.float32).eps


@pytest.mark.parametrize("case", TABLE["finite"], ids=lambda c: f"{c['net'][27:]}-{c['x']}")
def test_finite_networks_of_neural_tangents(backend: Library, case: dict[str, Any]) -> None:
    params = tuple(None if p is None else backend.asarray(p) for p in case["params"])
    x, constant = backend.asarray(INPUTS[case["x"]]), TABLE["mask_constant"]
    apply_fn = stax.unmask_fn(model(case["net"]).apply_fn)
    out = apply_fn(params, x, mask_constant=constant if case["masked"] else None)
    assert close(backend.to_numpy(out), case["value"])
    _, drawn = model(case["net"]).init_fn(0, INPUTS[case["x"]].shape, like=x)
    shapes = [None if p is None else tuple(p.shape) for p in params]
    assert [None if p is None else tuple(p.shape) for p in drawn] == shapes


# --- what the table cannot hold -----------------------------------------------------------------


def test_embeddings_of_two_sizes_are_a_part_of_a_larger_grid(backend: Library) -> None:
    """neural_tangents fails here: a masked end stands for a shorter sequence."""
    rng = np.random.default_rng(0)
    short, long = rng.standard_normal((2, 3, 2)), rng.standard_normal((1, 5, 2))
    padded = np.concatenate([short, np.full((2, 2, 2), 9.0)], axis=1)
    net = ATTENTION(3, 4, 2, 2, pos_emb_type="SUM", pos_emb_decay_fn=inverse, val_pos_emb=True)
    x1, x2 = backend.asarray(short), backend.asarray(long)
    for get in ("nngp", "ntk"):
        got = backend.to_numpy(net.kernel_fn(x1, x2, get))
        want = net.kernel_fn(backend.asarray(padded), x2, get, mask_constant=9.0)
        assert close(got, backend.to_numpy(want)[:, :, :3])


def test_causal_outputs_do_not_see_what_comes_after(backend: Library) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 5, 2))
    y = x.copy()
    y[:, 3:] = rng.standard_normal((2, 2, 2))
    for linear, mechanism in ((True, "SOFTMAX"), (True, "RELU"), (False, "IDENTITY")):
        net = ATTENTION(3, 4, 2, 2, linear, attention_mechanism=mechanism, causal=True)
        for get in ("nngp", "ntk"):
            k, moved = (
                backend.to_numpy(net.kernel_fn(backend.asarray(a), None, get)) for a in (x, y)
            )
            assert np.array_equal(k[:, :, :3, :3], moved[:, :, :3, :3])
            assert not np.allclose(k[:, :, 4, 4], moved[:, :, 4, 4])
        _, params = net.init_fn(0, x.shape, like=backend.asarray(x))
        out, other = (backend.to_numpy(net.apply_fn(params, backend.asarray(a))) for a in (x, y))
        assert np.allclose(out[:, :3], other[:, :3], rtol=0, atol=1e-12)


def test_a_pattern_of_images_is_in_row_major_order(backend: Library) -> None:
    """Every position attends to its own row of the image: rows are sequences of their own."""
    x = np.random.default_rng(2).standard_normal((2, 2, 3, 2))
    own_row = np.kron(np.eye(2), np.ones((3, 3))) > 0
    net, line = ATTENTION(3, 4, 2, 2, attention_pattern=own_row), ATTENTION(3, 4, 2, 2)
    k = backend.to_numpy(net.kernel_fn(backend.asarray(x), None, "ntk"))
    for row in range(2):
        want = line.kernel_fn(backend.asarray(np.ascontiguousarray(x[:, row])), None, "ntk")
        assert close(k[:, :, row, row], backend.to_numpy(want))


def test_masked_keys_are_as_good_as_absent(backend: Library) -> None:
    """The kernel of masked sequences is that of the shorter ones, and an empty one has none."""
    x = np.random.default_rng(3).standard_normal((3, 4, 2))
    x[1] = 9.0
    x[2, 2:] = 9.0
    for options in ({}, {"causal": True}, {"pos_emb_type": "CONCAT", "n_chan_pos_emb": 3}):
        net = ATTENTION(3, 4, 2, 2, b_std=0.3, **options)
        k = net.kernel_fn(backend.asarray(x), None, None, mask_constant=9.0)
        ntk = backend.to_numpy(k.ntk)
        short = net.kernel_fn(backend.asarray(x[2:, :2]), None, "ntk")
        assert close(ntk[2, 2, :2, :2], backend.to_numpy(short)[0, 0])
        assert not np.any(ntk[1]) and not np.any(ntk[2, :, 2:]) and np.all(np.isfinite(ntk))
        _, params = net.init_fn(0, x.shape, like=backend.asarray(x))
        out = stax.unmask_fn(net.apply_fn)(params, backend.asarray(x), mask_constant=9.0)
        assert not np.any(backend.to_numpy(out)[1]) and np.all(np.isfinite(backend.to_numpy(out)))


def test_softmax_of_large_scores_is_finite_in_single_precision(backend: Library) -> None:
    x = 1e4 * np.random.default_rng(4).standard_normal((2, 4, 3))
    net = ATTENTION(3, 4, 2, 2)
    k = backend.to_numpy(net.kernel_fn(backend.asarray(x, "float32"), None, "ntk"))
    want = backend.to_numpy(net.kernel_fn(backend.asarray(x), None, "ntk")) if wide(backend) else k
    assert np.all(np.isfinite(k)) and np.allclose(k, want, rtol=1e-5, atol=1e-5 * np.max(want))


def wide(backend: Library) -> bool:
    return "float64" in backend.dtypes()


def test_a_pattern_is_an_array_of_any_library(backend: Library) -> None:
    table = backend.record.asarray(np.array(NEAR), None, None)
    net, same = (ATTENTION(3, 4, 2, 2, attention_pattern=t) for t in (table, NEAR))
    assert net == same == eval(repr(net), vars(stax))
    large = ATTENTION(3, 4, 2, 2, attention_pattern=np.eye(64, dtype=bool))
    assert "<64 by 64 booleans>" in repr(large)


def test_offset_zero_alone_is_a_part_of_the_whole(backend: Library) -> None:
    x = backend.asarray(INPUTS["image"])
    for net in (SOFT, SQUARE):
        for get in ("nngp", "ntk"):
            whole = backend.to_numpy(net.kernel_fn(x, None, get))
            part = net.kernel_fn(x, None, get, diagonal_spatial=True)
            assert close(backend.to_numpy(part), np.einsum("abppqq->abpq", whole))


def test_a_batch_may_be_empty(backend: Library) -> None:
    net = ATTENTION(3, 4, 2, 2, pos_emb_type="CONCAT", b_std=0.1, causal=True)
    one, none = (backend.asarray(np.ones((n, 3, 2))) for n in (1, 0))
    _, params = net.init_fn(0, (1, 3, 2), like=one)
    out, pull = net.vjp_fn(params, none)
    assert out.shape == (0, 3, 3) and pull(out)[1].shape == none.shape
    assert net.kernel_fn(none, one, "ntk").shape == (0, 1, 3, 3)


def test_enumerations_are_names() -> None:
    x = INPUTS["line"]
    member = ATTENTION(
        3,
        4,
        2,
        2,
        attention_mechanism=stax.AttentionMechanism.RELU,
        pos_emb_type=stax.PositionalEmbedding.SUM,
    )
    named = ATTENTION(3, 4, 2, 2, attention_mechanism="RELU", pos_emb_type="SUM")
    assert member == named and repr(eval(repr(named), vars(stax))) == repr(named)
    assert np.array_equal(member.kernel_fn(x, None, "ntk"), named.kernel_fn(x, None, "ntk"))


# --- finite networks ----------------------------------------------------------------------------

KEYS, HEADS, VALUES, OUT, DRAWS = 96, 12, 8, 32, 120
NEAR = [[True, False, True], [True, True, False], [False, True, True]]
SAMPLED: list[dict[str, Any]] = [
    {"causal": True},
    {"attention_pattern": NEAR, "attention_mechanism": "ABS"},
    {"attention_pattern": NEAR, "attention_mechanism": "IDENTITY", "linear_scaling": False},
    {"pos_emb_type": "SUM", "pos_emb_decay_fn": inverse, "val_pos_emb": True, "causal": True},
    {"pos_emb_type": "CONCAT", "pos_emb_decay_fn": inverse, "n_chan_pos_emb": 64},
]


@pytest.mark.parametrize("options", SAMPLED, ids=lambda o: "-".join(o))
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_kernels_are_averages_over_finite_networks(options: dict[str, Any], masked: bool) -> None:
    """Along with decays, masks and patterns, of which neural_tangents has no finite networks."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((2, 3, 48)) / 2
    constant = 9.0 if masked else None
    if masked:
        x[0, 2] = 9.0
    net = ATTENTION(OUT, KEYS, VALUES, HEADS, b_std=0.3, **options)
    want = net.kernel_fn(x, None, ("nngp", "ntk"), mask_constant=constant)
    weights = rng.standard_normal((2, 3))
    theta = np.einsum("abpq,ap,bq->ab", want.ntk, weights, weights)
    draws = [drawn(net, x, weights, constant, seed) for seed in range(DRAWS)]
    judge(np.array([d[0] for d in draws]), want.nngp)
    judge(np.array([d[1] for d in draws]), theta)


def drawn(
    net: Any, x: np.ndarray, weights: np.ndarray, constant: float | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Products of outputs, and of gradients of a weighted sum of the outputs of one channel."""
    _, params = net.init_fn(seed, x.shape)
    out, pull = net.vjp_fn(params, x, mask_constant=constant)
    out = np.asarray(getattr(out, "masked_value", out))
    grads = []
    for i in range(2):
        grad = np.zeros_like(out)
        grad[i, :, 0] = weights[i]
        grads.append(np.concatenate([g.reshape(-1) for g in pull(grad)[0] if g is not None]))
    rows = np.stack(grads)
    return np.einsum("apc,bqc->abpq", out, out) / OUT, rows @ rows.T


def judge(draws: np.ndarray, want: np.ndarray) -> None:
    """Within standard errors, and a bias that falls as the number of channels of keys grows."""
    error = np.std(draws, axis=0, ddof=1) / math.sqrt(len(draws))
    bias = 4 / KEYS * np.max(np.abs(want))
    assert np.all(np.abs(np.mean(draws, axis=0) - want) <= STANDARD_ERRORS * error + bias)


# --- errors -------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"n_heads": 0}, "n_heads"),
    ({"n_chan_key": 1.5}, "n_chan_key"),
    ({"W_key_std": -1.0}, "W_key_std"),
    ({"W_pos_emb_std": None}, "W_pos_emb_std"),
    ({"attention_mechanism": "softmax"}, "attention_mechanism='softmax'"),
    ({"pos_emb_type": "ADD"}, "NONE, SUM, CONCAT"),
    ({"pos_emb_p_norm": 0}, "pos_emb_p_norm"),
    ({"pos_emb_decay_fn": 1.0}, "pos_emb_decay_fn"),
    ({"n_chan_pos_emb": 0}, "n_chan_pos_emb"),
    ({"attention_pattern": [[1, 0], [1, 1]]}, "booleans"),
    ({"attention_pattern": [[True, False]]}, "square"),
]


@pytest.mark.parametrize(("options", "said"), WRONG, ids=lambda x: str(x)[:40])
def test_wrong_arguments(options: dict[str, Any], said: str) -> None:
    arguments = {"n_chan_out": 3, "n_chan_key": 4, "n_chan_val": 2, "n_heads": 2} | options
    with pytest.raises(errors.ArgumentError, match=said):
        ATTENTION(**arguments)


def test_what_has_no_kernel_is_refused_at_planning() -> None:
    square_root = ATTENTION(3, 4, 2, 2, linear_scaling=False)
    with pytest.raises(errors.PlanError, match=r"GlobalSelfAttention\(.*linear_scaling=True"):
        square_root.plan((2, 3, 2))
    assert square_root.init_fn(0, (2, 3, 2))[0] == (2, 3, 3)
    attention = ATTENTION(3, 4, 2, 2)
    for net in (attention, stax.serial(stax.Flatten(), attention)):
        with pytest.raises(errors.ShapeError, match=r"GlobalSelfAttention\(.*no spatial axis"):
            net.plan((2, 3) if net is attention else (2, 3, 2))
    with pytest.raises(errors.ShapeError, match="CONCAT"):
        ATTENTION(3, 4, 2, 2, pos_emb_type="SUM", n_chan_pos_emb=5).plan((2, 3, 2))
    with pytest.raises(errors.ShapeError, match="4 by 4"):
        ATTENTION(3, 4, 2, 2, attention_pattern=NEAR).plan((2, 4, 2))


def test_finite_networks_refuse_other_sizes_and_what_is_no_covariance() -> None:
    net = ATTENTION(3, 4, 2, 2, pos_emb_type="SUM")
    _, params = net.init_fn(0, (2, 3, 2))
    with pytest.raises(errors.ShapeError, match="parameters of shapes"):
        net.apply_fn(params, np.ones((2, 4, 2)))
    net = ATTENTION(3, 4, 2, 2, pos_emb_type="SUM", pos_emb_decay_fn=lambda d: -d)
    with pytest.raises(errors.NotPSDError, match="pos_emb_decay_fn"):
        net.apply_fn(params, np.ones((2, 3, 2)))
