"""Random functions, axes and budgets, against Jacobians by complex steps in NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import ntcore as nt
from ntcore.conformance.fixtures import Library
from tests.empirical_problems import close, function, mapped

COUNT, COMPILED = 60, 6
STEP = 1e-30


@dataclass
class Problem:
    """A function, where to compute its kernel, and how."""

    fn: Callable
    params: dict[str, np.ndarray]
    x1: np.ndarray
    x2: np.ndarray | None
    axes: dict[str, Any]
    batch: int
    how: dict[str, Any]


def problem(seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    kind = ("dense", "sequence", "attention")[seed % 3]
    widths = [int(w) for w in rng.integers(1, 5, 3)]
    fn, params = {"dense": dense, "sequence": sequence, "attention": attention}[kind](rng, *widths)
    counts = [int(n) for n in rng.integers(1, 6, 2)]
    if rng.random() < 0.5:
        counts[1] = counts[0]
    places = () if kind == "dense" else (int(rng.integers(2, 5)),)
    x1, x2 = (rng.standard_normal((n, *places, widths[0])) for n in counts)
    same = rng.random() < 0.3
    ndim, batch = x1.ndim, 0
    if rng.random() < 0.3:  # the examples elsewhere in the outputs
        batch = int(rng.integers(ndim))
        fn = moved(fn, batch)
    roles = rng.choice(["free", "trace", "diagonal"], ndim, p=[0.4, 0.3, 0.3])
    if rng.random() < 0.8 or not (same or counts[0] == counts[1]):
        roles[batch] = "free"
    axes = {
        f"{role}_axes": tuple(
            int(a - ndim * (rng.random() < 0.5)) for a in range(ndim) if roles[a] == role
        )
        for role in ("trace", "diagonal")
    }
    how: dict[str, Any] = {"implementation": int(rng.integers(4))}
    if rng.random() < 0.5 or batch:
        how["vmap_axes"] = (0, batch, {})
    if rng.random() < 0.5:
        size = counts[0] * counts[0 if same else 1] * (math.prod(places) * widths[2]) ** 2
        how["memory_budget"] = 8 * size * rng.uniform(1, 4) + 200
    return Problem(fn, params, x1, None if same else x2, axes, batch, how)


def dense(rng: Any, d: int, h: int, o: int) -> tuple[Callable, dict[str, np.ndarray]]:
    params = {
        k: rng.standard_normal(s) for k, s in dict(a=(d, h), b=(h, h), c=(h, o), s=(h,)).items()
    }
    scale, depth = rng.uniform(0.3, 2), int(rng.integers(3))

    def fn(xp: Any, p: Any, x: Any) -> Any:
        y = xp.tanh(scale * (x @ p["a"]) + p["s"])
        for _ in range(depth):  # with shared weights
            y = y + xp.sin(y @ (p["b"] / 2.0) - p["s"])
        return (y * p["s"]) @ p["c"]

    return fn, params


def sequence(rng: Any, d: int, h: int, o: int) -> tuple[Callable, dict[str, np.ndarray]]:
    params = {k: rng.standard_normal(s) for k, s in dict(a=(2 * d, h), b=(h, o), s=()).items()}
    twice = bool(rng.integers(2))

    def fn(xp: Any, p: Any, x: Any) -> Any:
        shifted = xp.concat([x[:, 1:, :], x[:, :1, :]], axis=1)
        y = xp.tanh(xp.concat([x, shifted], axis=2) @ p["a"]) * xp.exp(p["s"])
        y = (y - xp.mean(y, axis=1, keepdims=True)) @ p["b"]
        return y * y + p["s"] if twice else y

    return fn, params


def attention(rng: Any, d: int, h: int, o: int) -> tuple[Callable, dict[str, np.ndarray]]:
    params = {k: rng.standard_normal(s) for k, s in dict(q=(d, h), k=(d, h), v=(d, o)).items()}

    def fn(xp: Any, p: Any, x: Any) -> Any:
        e = xp.exp((x @ p["q"]) @ xp.permute_dims(x @ p["k"], (0, 2, 1)) / 4.0)
        return (e / xp.sum(e, axis=-1, keepdims=True)) @ (x @ p["v"])

    return fn, params


def moved(fn: Callable, axis: int) -> Callable:
    return lambda xp, p, x: xp.moveaxis(fn(xp, p, x), 0, axis)


def jacobian(problem: Problem, x: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the outputs' derivatives ``(outputs, parameters)``, and the outputs' shape."""
    columns = []
    for name, value in problem.params.items():
        for k in range(value.size):
            step = np.zeros(value.size, complex)
            step[k] = STEP * 1j
            at = {**problem.params, name: value + step.reshape(value.shape)}
            columns.append(np.imag(problem.fn(np, at, x)) / STEP)
    return np.stack(columns, axis=-1).reshape(-1, len(columns)), columns[0].shape


def kernel(problem: Problem) -> np.ndarray:
    one, shape = jacobian(problem, problem.x1)
    two, other = (one, shape) if problem.x2 is None else jacobian(problem, problem.x2)
    full = (one @ two.T).reshape(*shape, *other)
    ndim = len(shape)
    trace, diagonal = (
        {a % ndim for a in problem.axes[name]} for name in ("trace_axes", "diagonal_axes")
    )
    left = list(range(ndim))
    right = [a if a in trace | diagonal else ndim + a for a in left]
    kept = [[a] if a in diagonal else [a, ndim + a] for a in left if a not in trace]
    means = math.prod(shape[a] for a in trace)
    return np.einsum(full, left + right, [k for pair in kept for k in pair]) / means


@pytest.mark.parametrize("seed", range(COUNT))
def test_random_problems(backend: Library, seed: int) -> None:
    if backend.name == "jax" and seed >= COMPILED:
        pytest.skip("a few problems are compiled")
    p = problem(seed)
    params = mapped(backend.asarray, p.params)
    x1, x2 = backend.asarray(p.x1), None if p.x2 is None else backend.asarray(p.x2)
    kernel_fn = nt.empirical_ntk_fn(function(backend, p.fn), **p.axes, **p.how)
    close(backend, kernel_fn(x1, x2, params), kernel(p))
