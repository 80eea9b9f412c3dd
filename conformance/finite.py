"""Finite networks: planned shapes, and ntcore's own reverse rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ntcore.conformance.bench import Bench
from ntcore.conformance.cases import Case
from ntcore.conformance.fixtures import using
from ntcore.conformance.inputs import generic, patterns
from ntcore.conformance.measure import Measures, close, holds
from ntcore.conformance.networks import plan_of
from ntcore.model import Model
from ntcore.record import iter_leaves, map_leaves

COUNT = 2

#: For layers that draw random numbers in every pass.
SEED = 7

#: Central differences of fourth order; the step is small, so that few units cross a kink.
WEIGHTS = ((1, 2 / 3), (2, -1 / 12))
STEP = 1e-5


def check(bench: Bench, case: Case) -> Measures:
    """Compare shapes with the plan, and the reverse rule with the library's or differences."""
    model, x = Model(case.network), bench.array(generic(case.shape1, COUNT, 6))
    graphs = patterns(case.network, x.shape)
    beside = {"rng": SEED, "pattern": None if graphs is None else graphs[0]}
    with using(bench.record):
        planned, params = model.init_fn(0, case.shape1.full(COUNT), like=x)
        out, pull = model.vjp_fn(params, x, **beside)
        applied = model.apply_fn(params, x, **beside)
        plan = plan_of(case.network, case.shape1, case.shape1, counts=(COUNT, COUNT))
        edge = plan.edges[plan.outputs]
        shape = edge.shape1.full(edge.counts[0])
        yield holds("shape of init", planned == shape, f"{planned}, planned {shape}")
        yield holds("shape of apply", applied.shape == shape, f"{applied.shape}, planned {shape}")
        yield from _types(bench, params, applied, x)
        yield close(
            "output of vjp_fn", bench.numpy(out), bench.numpy(applied), "tiles", bench.dtype
        )
        weights = np.random.default_rng(8).standard_normal(shape)
        own, below = pull(bench.array(weights))
        grads = [bench.numpy(g) for g in (*iter_leaves(own), below)]
        point = [*iter_leaves(params), x]
        yield from _shapes(bench, point, grads)
        compare = _by_differences if bench.record.vjp is None else _by_library
        yield from compare(bench, _function(model, params, beside), point, weights, grads)


def _types(bench: Bench, params: Any, out: Any, x: Any) -> Measures:
    arrays = [*iter_leaves(params), out]
    kept = all(a.dtype == x.dtype and bench.record.owns(a) for a in arrays)
    yield holds("data type of finite networks", kept, f"{x.dtype} in, {[a.dtype for a in arrays]}")


def _shapes(bench: Bench, point: list[Any], grads: list[np.ndarray]) -> Measures:
    shapes = [tuple(x.shape) for x in point], [g.shape for g in grads]
    yield holds("shapes of gradients", shapes[0] == shapes[1], f"{shapes[1]}, not {shapes[0]}")


def _function(model: Model, params: Any, beside: dict[str, Any]) -> Callable[..., Any]:
    """Return the function from a flat list of parameters, and inputs, to outputs."""

    def fn(*point: Any) -> Any:
        weights = iter(point[:-1])
        drawn = map_leaves(params, lambda _: next(weights))
        return model.apply_fn(drawn, point[-1], **beside)

    return fn


def _by_library(
    bench: Bench, fn: Callable, point: list[Any], weights: np.ndarray, grads: list[np.ndarray]
) -> Measures:
    want = bench.record.require("vjp", "the suite")(fn, *point)[1](bench.array(weights))
    for i, (got, found) in enumerate(zip(grads, want, strict=True)):
        what = "gradient of the input" if i == len(grads) - 1 else f"gradient of weight {i}"
        yield close(what, got, bench.numpy(found), "autodiff", bench.dtype)


def _by_differences(
    bench: Bench, fn: Callable, point: list[Any], weights: np.ndarray, grads: list[np.ndarray]
) -> Measures:
    rng = np.random.default_rng(9)
    values = [bench.numpy(p) for p in point]
    got, want = [], []
    for i, (value, grad) in enumerate(zip(values, grads, strict=True)):
        way = rng.standard_normal(value.shape)

        def along(
            step: float, i: int = i, value: np.ndarray = value, way: np.ndarray = way
        ) -> float:
            moved = [*point]
            moved[i] = bench.array(value + step * STEP * way)
            return float(np.sum(weights * bench.numpy(fn(*moved))))

        got.append(np.sum(way * grad))
        want.append(sum(w * (along(j) - along(-j)) for j, w in WEIGHTS) / STEP)
    yield close("gradients", np.array(got), np.array(want), "differences", bench.dtype)
