"""Derivatives on ntcore's tape, against numerical ones, against JAX, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntcore import errors, tape
from ntcore.conformance.fixtures import Library
from tests.tape_problems import (
    NUMPY,
    STEP,
    W,
    X,
    assert_close,
    check_first,
    check_second,
    differences,
    on,
)

UNARY = """
    abs asinh atan cos cosh exp expm1 log log10 log1p log2 negative reciprocal sin sinh sqrt square
    tan tanh
""".split()  # noqa: SIM905

#: Name -> a function of the namespace, of positive numbers (3, 4) and of a matrix (4, 4).
FUNCTIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    **{name: lambda xp, x, w, name=name: getattr(xp, name)(x) for name in UNARY},
    "acos": lambda xp, x, w: xp.acos(x / 9) + xp.asin(x / 9) * xp.atanh(x / 9),
    "acosh": lambda xp, x, w: xp.acosh(x + 1.5),
    "add": lambda xp, x, w: x + w[:3, :] + 2.0 + x[:1, :],
    "subtract": lambda xp, x, w: 1.0 - x - w[:1, :],
    "multiply": lambda xp, x, w: x * w[:3, :] * x[:, :1],
    "divide": lambda xp, x, w: (w[:3, :] / x) / (1.0 / x[:, 1:2]),
    "pow": lambda xp, x, w: x**3 + x**w[:3, :] + 2.0**x,
    "atan2": lambda xp, x, w: xp.atan2(x, w[:3, :]),
    "hypot": lambda xp, x, w: xp.hypot(x, w[:3, :]),
    "logaddexp": lambda xp, x, w: xp.logaddexp(x, w[:3, :]),
    "maximum": lambda xp, x, w: xp.maximum(x, w[:3, :]) * xp.minimum(x, w[:1, :]),
    "where": lambda xp, x, w: xp.where(w[:3, :] > 0, x**2, w[:1, :]),
    "clip": lambda xp, x, w: xp.clip(w, -0.5, 0.5),
    "matmul": lambda xp, x, w: x @ w @ w.T @ x[0, :],
    "batched": lambda xp, x, w: xp.stack([w, w.T]) @ xp.stack([w + 1, w]) @ w,
    "tensordot": lambda xp, x, w: xp.tensordot(x, w, axes=((1,), (0,))),
    "vecdot": lambda xp, x, w: xp.vecdot(x, w[:3, :]),
    "sum": lambda xp, x, w: xp.sum(x * x, axis=0) * xp.sum(w, axis=1, keepdims=True) + xp.sum(x),
    "mean": lambda xp, x, w: xp.mean(x * x, axis=-1, keepdims=True) + xp.mean(w),
    "var": lambda xp, x, w: xp.var(w, axis=0) + xp.std(w, axis=1, correction=1),
    "max": lambda xp, x, w: xp.max(w, axis=0) + xp.min(w * w, axis=1, keepdims=True),
    "prod": lambda xp, x, w: xp.prod(w, axis=1),
    "cumulative_sum": lambda xp, x, w: xp.cumulative_sum(w * w, axis=1),
    "reshape": lambda xp, x, w: xp.reshape(x * x, (2, -1)) * xp.reshape(x, (-1,))[:6],
    "permute_dims": lambda xp, x, w: xp.permute_dims(xp.reshape(w, (2, 2, 4)), (2, 0, 1)) ** 2,
    "moveaxis": lambda xp, x, w: xp.moveaxis(xp.reshape(w, (2, 2, 4)), 0, -1) ** 2,
    "broadcast_to": lambda xp, x, w: xp.broadcast_to(x[:, None, :] ** 2, (3, 2, 4)) * w[:2, :],
    "concat": lambda xp, x, w: xp.concat([x, w, x * x], axis=0) ** 2,
    "stack": lambda xp, x, w: xp.stack([x, w[:3, :]], axis=1) ** 2,
    "unstack": lambda xp, x, w: xp.unstack(w, axis=1)[2] * xp.unstack(w)[0],
    "squeeze": lambda xp, x, w: xp.squeeze(xp.expand_dims(w, axis=1), axis=1) ** 2,
    "flip": lambda xp, x, w: xp.flip(w, axis=1) * w,
    "roll": lambda xp, x, w: xp.roll(w, 1, axis=0) * w,
    "repeat": lambda xp, x, w: xp.repeat(w, 2, axis=0) ** 2,
    "tile": lambda xp, x, w: xp.tile(x, (1, 2)) ** 2,
    "take": lambda xp, x, w: xp.take(w, xp.asarray([1, 1, 3]), axis=1) ** 2,
    "slices": lambda xp, x, w: w[::2, 1] * w[1::2, -1] + w[0, ::-2],
    "sort": lambda xp, x, w: xp.sort(w, axis=0) * w,
    "tril": lambda xp, x, w: xp.tril(w) @ xp.triu(w, k=1),
    "diff": lambda xp, x, w: xp.diff(w, axis=0) ** 2,
    "diagonal": lambda xp, x, w: xp.linalg.diagonal(w) ** 2 + xp.linalg.trace(w),
    "norm": lambda xp, x, w: xp.linalg.vector_norm(w, axis=1) + xp.linalg.matrix_norm(w),
    "solve": lambda xp, x, w: xp.linalg.solve(w + 5 * xp.eye(4), xp.permute_dims(x, (1, 0))),
    "softmax": lambda xp, x, w: xp.exp(w) / xp.sum(xp.exp(w), axis=-1, keepdims=True),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_are_those_of_differences(backend: Library, name: str) -> None:
    if backend.record.vjp is not None:
        pytest.skip(f"{backend.name} has derivatives of its own")
    check_first(backend, FUNCTIONS[name])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_second_derivatives(backend: Library, name: str) -> None:
    if backend.record.vjp is not None:
        pytest.skip(f"{backend.name} has derivatives of its own")
    check_second(backend, FUNCTIONS[name])


@pytest.mark.parametrize("name", ["softmax", "matmul", "var", "slices", "sort", "pow", "solve"])
def test_derivatives_are_those_of_jax(backend: Library, name: str) -> None:
    if backend.name != "jax":
        pytest.skip("compares NumPy with JAX")
    import jax

    fn = FUNCTIONS[name]
    values, pull = tape.vjp(NUMPY, on(fn), X, W)
    want, theirs = jax.vjp(lambda x, w: fn(backend.xp, x, w), X, W)
    assert_close(values[0], np.asarray(want))
    for g, h in zip(pull([np.ones_like(values[0])]), theirs(want * 0 + 1), strict=True):
        assert_close(g, np.asarray(h))


STEPS = st.sampled_from(["tanh", "sin", "softmax", "flip", "tril", "matmul", "prod"])


@settings(max_examples=25, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=4))
def test_compositions(names: list[str]) -> None:
    def fn(w: Any) -> list[Any]:
        xp = w.__array_namespace__()
        for name in names:
            y = FUNCTIONS[name](xp, w[:3, :], w)
            w = xp.sin(w + xp.sum(y) / 10) if y.shape != (4, 4) else xp.sin(y)
        return [w]

    along = np.ones_like(W)

    def value(t: float) -> Any:
        return tape.vjp(NUMPY, fn, W + t * along)[0][0]

    want = differences(value, STEP / 2)
    error = np.max(np.abs(want - differences(value)))  # of differences, where a function is steep
    found = tape.jvp(NUMPY, fn, [W], [along])[1][0]
    assert np.max(np.abs(found - want)) <= 1e-5 * max(1.0, np.max(np.abs(want))) + error


def test_constants_and_numpy_functions() -> None:
    values, pull = tape.vjp(NUMPY, lambda w: [np.tanh(X @ w) + X[:, :1]], W)
    assert_close(values[0], np.tanh(X @ W) + X[:, :1])
    assert pull([np.ones((3, 4))])[0].shape == W.shape
    _, pull = tape.vjp(NUMPY, lambda w: [X], W)
    assert np.all(pull([X])[0] == 0)


def changes(w: Any) -> Any:
    w[0, 0] = 1.0
    return [w]


def grows(w: Any) -> Any:
    w += 1.0
    return [w]


REFUSED: list[tuple[Callable, str]] = [
    (changes, "in place"),
    (grows, "in place"),
    (lambda w: [w.__array_namespace__().floor(w)], "floor, a step function"),
    (lambda w: [w // 2.0], "floor_divide"),
    (lambda w: [w.__array_namespace__().argmax(w)], "int64 numbers"),
    (lambda w: [w.__array_namespace__().unique_values(w)], "unique_values"),
    (lambda w: [w * float(w[0, 0])], "Python float"),
    (lambda w: [w * 2 if w[0, 0] > 0 else w, w.__array_namespace__().fft.fft(w)], "fft.fft"),
    (lambda w: [np.asarray(w)], "__array_namespace__"),
    (lambda w: [np.linalg.inv(w)], "__array_namespace__"),
]


@pytest.mark.parametrize(("fn", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_is_refused(fn: Callable, words: str) -> None:
    with pytest.raises(errors.DerivativeError, match=words) as caught:
        tape.vjp(NUMPY, fn, W)
    assert "\n" not in str(caught.value)
