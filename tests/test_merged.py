"""Networks that are compiled as one: the same numbers, whatever is asked for, and derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ntcore import sizing, stax
from ntcore.conformance.fixtures import Library
from ntcore.merged import has_two_ends, merges

TOLERANCE = 64 * np.finfo(np.float32).eps
RNG = np.random.default_rng(5)
X1, X2 = RNG.standard_normal((5, 7)), RNG.standard_normal((4, 7))
BOTH = ("nngp", "ntk")

NETS: dict[str, Any] = {
    "two layers": stax.serial(stax.Dense(8, 1.3, 0.2), stax.Relu(), stax.Dense(1)),
    "ten layers": stax.serial(*[stax.Dense(8, 1.4, 0.1), stax.Relu()] * 9, stax.Dense(1)),
    "mixed": stax.serial(stax.Dense(8), stax.Erf(), stax.Dense(8, 1.2, 0.3), stax.Gelu()),
    "residual": stax.serial(
        stax.Dense(7), stax.residual(stax.Dense(8), stax.Relu(), stax.Dense(7, 0.9))
    ),
    "no weights above": stax.serial(stax.Dense(8), stax.Rbf(0.3)),
}


@pytest.fixture
def compiled(backend: Library) -> Library:
    if backend.record.stage is None:
        pytest.skip("compiles nothing")
    return backend


def close(found: Any, want: Any) -> bool:
    return bool(np.max(np.abs(found - want)) <= TOLERANCE * np.max(np.abs(want)))


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_kernels_are_the_same_alone_together_and_under_jit(
    name: str, alone: bool, compiled: Library
) -> None:
    net, both = NETS[name], ("nngp", "ntk")
    x1 = compiled.asarray(X1, "float32")
    x2 = None if alone else compiled.asarray(X2, "float32")
    exact = net.kernel_fn(X1.astype("f4").astype("f8"), None if alone else X2, both)
    together = net.kernel_fn(x1, x2, both)
    within = compiled.record.jit(lambda a, b: tuple(net.kernel_fn(a, b, both)))(x1, x2)
    for k, which in enumerate(both):
        got = [together[k], within[k], net.kernel_fn(x1, x2, which)]
        assert all(close(compiled.to_numpy(x), exact[k]) for x in got)


def test_a_batch_with_itself_in_several_tiles(
    compiled: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, net = RNG.standard_normal((70, 7)).astype("f4"), NETS["two layers"]
    monkeypatch.setattr(sizing, "budget", lambda *args, **kwargs: 1 << 12)
    done: list[tuple[int, int]] = []
    found = net.kernel_fn(
        compiled.asarray(x, "float32"), None, BOTH, progress=lambda *now: done.append(now)
    )
    exact = net.kernel_fn(x.astype("f8"), x.astype("f8"), BOTH)
    assert len(done) > 3
    for k in range(2):
        got = compiled.to_numpy(found[k])
        assert close(got, exact[k])
        assert np.array_equal(got, got.T)


def test_a_batch_with_itself_is_symmetric_under_jit(compiled: Library) -> None:
    x = compiled.asarray(RNG.standard_normal((70, 7)), "float32")
    net = NETS["ten layers"]
    found = compiled.to_numpy(compiled.record.jit(lambda a: net.kernel_fn(a, None, "ntk"))(x))
    assert np.array_equal(found, found.T)


def test_derivatives_of_both_kernels_in_weights_and_inputs(compiled: Library) -> None:
    def total(std: Any, x: Any) -> Any:
        net = stax.serial(stax.Dense(8, std, 0.2), stax.Relu(), stax.Dense(1, std))
        nngp, ntk = net.kernel_fn(x, compiled.asarray(X2, "float32"), ("nngp", "ntk"))
        return compiled.xp.sum(nngp) + 2 * compiled.xp.sum(ntk)

    std, x = (compiled.asarray(np.asarray(a), "float32") for a in (1.3, X1))
    value, pull = compiled.record.vjp(total, std, x)
    slope, slopes = (compiled.to_numpy(g) for g in pull(compiled.xp.ones_like(value)))
    step = 1e-2
    ends = [
        float(total(compiled.asarray(np.asarray(1.3 + s), "float32"), x)) for s in (step, -step)
    ]
    assert np.isclose(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-2)
    along = RNG.standard_normal(X1.shape)
    moved = (compiled.asarray(X1 + s * along, "float32") for s in (step, -step))
    ends = [float(total(std, each)) for each in moved]
    assert np.isclose((slopes * along).sum(), (ends[0] - ends[1]) / (2 * step), rtol=1e-2)


@pytest.mark.parametrize("start", [0, 1])
def test_both_kernels_are_nan_where_a_number_is(start: int, compiled: Library) -> None:
    x = X1.copy()
    x[0, start] = np.nan
    fn = compiled.record.jit(lambda a: tuple(NETS["two layers"].kernel_fn(a, None, BOTH)))
    for k in fn(compiled.asarray(x, "float32")):
        assert np.isnan(compiled.to_numpy(k)[0]).all()


def test_second_derivatives_between_equal_variances(compiled: Library) -> None:
    r"""The moment is :math:`\frac{1}{2 \pi} \sqrt{q_1 q_2}` where the covariance is 0."""
    q = compiled.asarray(np.ones(1), "float32")

    def slope(q1: Any) -> Any:
        def moment(q2: Any) -> Any:
            return compiled.record.fused["rectifier"](None, 0 * q, q1, q2)[0]

        value, pull = compiled.record.vjp(moment, q)
        return pull(compiled.xp.ones_like(value))[0]

    value, pull = compiled.record.vjp(slope, q)
    found = compiled.to_numpy(pull(compiled.xp.ones_like(value))[0])
    assert np.isclose(found, 1 / (8 * np.pi), rtol=1e-5)


def test_only_layers_without_neighbours_are_merged_and_end_twice() -> None:
    dense = stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))
    conv = stax.serial(stax.Conv(8, (3, 3)), stax.Relu(), stax.Flatten())
    assert merges(dense.plan((4, 7))) and not merges(conv.plan((4, 5, 5, 2)))
    assert has_two_ends(dense.plan((4, 7))) and not has_two_ends(conv.plan((4, 5, 5, 2)))
