"""The library's own transformations of a kernel: compilation, and derivatives in everything.

A kernel is a function of the leaves of its network (standard deviations, slopes) and of its
inputs; both are compared, and both are differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ntcore.conformance.bench import BLOCKS, Bench
from ntcore.conformance.cases import Case
from ntcore.conformance.fixtures import using
from ntcore.conformance.inputs import generic, hard_pair, pair, patterns
from ntcore.conformance.measure import Measure, Measures, close, finite
from ntcore.entry import Extras, kernels_of
from ntcore.plan import Options
from ntcore.record import iter_leaves, map_leaves

Arrays = tuple[np.ndarray, ...]

#: Central differences of fourth order, and their step.
WEIGHTS = ((1, 2 / 3), (2, -1 / 12))
STEP = 3e-4
DIRECTIONS = 2


def jit(bench: Bench, case: Case) -> Measures:
    """Compare a compiled kernel with the eager one, in leaves and inputs."""
    fn, compile_fn = _function(bench, case), bench.record.require("jit", "the suite")
    for what, inputs in _batches(bench, case):
        point = _point(bench, case, inputs)
        compiled, eager = compile_fn(fn)(*point), fn(*point)
        yield from _same(bench, f"under jit, {what}", compiled, eager, "agreement")


def gradient(bench: Bench, case: Case) -> Measures:
    """Compare derivatives at generic inputs with differences, along random directions."""
    fn, vjp = _function(bench, case), bench.record.require("vjp", "the suite")
    rng = np.random.default_rng(7)
    for what, inputs in _batches(bench, case):
        point = _point(bench, case, inputs)
        value, pull = vjp(fn, *point)
        yield from _same(bench, f"under vjp, {what}", value, fn(*point), "agreement")
        weights = [rng.standard_normal(bench.numpy(x).shape) for x in value]
        grads = pull(tuple(map(bench.array, weights)))
        yield from (finite(f"gradient of {what}", bench.numpy(g)) for g in grads)
        ways = [
            [rng.standard_normal(bench.numpy(p).shape) for p in point] for _ in range(DIRECTIONS)
        ]
        got = [
            sum(np.sum(w * bench.numpy(g)) for w, g in zip(way, grads, strict=True)) for way in ways
        ]
        want = [_slope(bench, fn, point, way, weights) for way in ways]
        yield close(
            f"gradient of {what}", np.array(got), np.array(want), "differences", bench.dtype
        )


def corners(bench: Bench, case: Case) -> Measures:
    """Require finite derivatives, and unchanged values, where examples coincide or vanish."""
    fn, vjp = _function(bench, case), bench.record.require("vjp", "the suite")
    both = hard_pair(case)
    for what, inputs in (("x1, x2", both), ("x1 alone", both[:1])):
        point = _point(bench, case, inputs)
        value, pull = vjp(fn, *point)
        yield from _same(bench, f"under vjp, hard {what}", value, fn(*point), "coincident")
        for x in pull(tuple(map(bench.library.xp.ones_like, value))):
            yield finite(f"gradient at hard {what}", bench.numpy(x))


# --- the function -------------------------------------------------------------------------------


def _function(bench: Bench, case: Case) -> Callable[..., tuple[Any, ...]]:
    """Return the function from leaves and one or two batches to both blocks."""
    count = len(list(iter_leaves(case.network)))

    def fn(*point: Any) -> tuple[Any, ...]:
        leaves = iter(point[:count])
        network = map_leaves(case.network, lambda _: next(leaves))
        x1, x2 = (*point[count:], None)[:2]
        graphs = patterns(case.network, x1.shape, None if x2 is None else x2.shape)
        with using(bench.record):
            kernel = kernels_of(network, x1, x2, Options(), Extras(pattern=graphs))
        return tuple(getattr(kernel, name) for name in BLOCKS)

    return fn


def _batches(bench: Bench, case: Case) -> list[tuple[str, Arrays]]:
    both = ("x1, x2", pair(case, *bench.counts))
    if case.shape1 != case.shape2:
        return [both]
    return [both, ("x1 alone", (generic(case.shape1, bench.counts[0], 5),))]


def _point(bench: Bench, case: Case, inputs: Arrays) -> tuple[Any, ...]:
    return tuple(map(bench.array, (*iter_leaves(case.network), *inputs)))


def _same(bench: Bench, what: str, got: Any, want: Any, condition: str) -> list[Measure]:
    return [
        close(f"{name} {what}", bench.numpy(a), bench.numpy(b), condition, bench.dtype)
        for name, a, b in zip(BLOCKS, got, want, strict=True)
    ]


def _slope(
    bench: Bench, fn: Callable, point: tuple, way: list[np.ndarray], weights: list[np.ndarray]
) -> float:
    """Return the derivative of the weighted sum of a function along a direction."""

    def along(step: float) -> float:
        moved = [
            bench.array(bench.numpy(p) + step * STEP * d) for p, d in zip(point, way, strict=True)
        ]
        out = fn(*moved)
        return float(sum(np.sum(w * bench.numpy(x)) for w, x in zip(weights, out, strict=True)))

    return sum(w * (along(j) - along(-j)) for j, w in WEIGHTS) / STEP
