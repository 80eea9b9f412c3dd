"""Every replacement of a named operation against its reference, and whether it runs at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ntcore.conformance.bench import Bench
from ntcore.conformance.cases import Case
from ntcore.conformance.inputs import hard_pair, pair
from ntcore.conformance.measure import Measure, Measures, close, holds
from ntcore.ops import REFERENCE, Table, recording

#: A replacement, and its reference, may be asked the same at inputs that nearly coincide.
Operands = Iterator[tuple[str, tuple[Any, ...]]]


def inside(bench: Bench, case: Case) -> Measures:
    """Compare every replacement with its reference each time that a kernel calls it."""
    for condition, inputs in (
        ("fused", pair(case, *bench.counts)),
        ("coincident", hard_pair(case)),
    ):
        found: list[Measure] = []
        spies = {
            name: _spy(bench, name, fn, condition, found) for name, fn in bench.record.fused.items()
        }
        # Values are compared as they come, so nothing may be compiled.
        bench.layer_by_layer(fused=spies).kernel(case.network, *inputs)
        yield from found


def _spy(
    bench: Bench, name: str, fn: Callable[..., Any], condition: str, found: list[Measure]
) -> Callable[..., Any]:
    def both(at: Any, *args: Any) -> Any:
        want = REFERENCE[name](at, *args)
        got = fn(at, *args)
        found.extend(_compared(bench, f"{name}, {condition} inputs", got, want, condition))
        return got

    return both


def operation(bench: Bench, name: str) -> Measures:
    """Compare one replacement with its reference on random and on extreme operands."""
    yield holds(f"{name} has a reference", name in REFERENCE, "is no operation of ntcore.ops")
    if name not in OPERANDS:
        return
    fn, reference = bench.record.fused[name], REFERENCE[name]
    for what, condition, args in OPERANDS[name](np.random.default_rng(13)):
        given = [bench.array(a) if isinstance(a, np.ndarray) else a for a in args]
        want = reference(bench.place, *given)
        got = fn(bench.place, *given)
        yield from _compared(bench, f"{name} of {what}", got, want, condition)


def runs(bench: Bench, name: str, cases: list[Case]) -> Measure:
    """Require that a kernel of one of the cases calls a replacement."""
    eager = bench.layer_by_layer()
    for case in cases:
        with recording() as counts:
            eager.kernel(case.network, *pair(case, *bench.counts))
        if counts.get(name):
            return Measure(f"{name} runs", 0.0)
    return holds(f"{name} runs", False, "no kernel calls it")


def _compared(bench: Bench, what: str, got: Any, want: Any, condition: str) -> Measures:
    got, want = (x if isinstance(x, tuple) else (x,) for x in (got, want))
    yield holds(
        f"{what}: data type", all(g.dtype == w.dtype for g, w in zip(got, want, strict=True))
    )
    for g, w in zip(got, want, strict=True):
        yield close(what, bench.numpy(g), bench.numpy(w), condition, bench.dtype)


# --- operands -----------------------------------------------------------------------------------


def _matrices(rng: np.random.Generator) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    for what, a, b in (
        ("two matrices", (7, 5), (5, 3)),
        ("stacks", (2, 3, 4, 6), (2, 1, 6, 2)),
        ("one channel", (4, 1), (1, 6)),
    ):
        yield what, "fused", (rng.standard_normal(a), rng.standard_normal(b))


def _grams(rng: np.random.Generator) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    for what, condition, (a, b) in _matrices(rng):
        yield what, condition, (a, np.moveaxis(b, -1, -2).copy())


def _pairs(rng: np.random.Generator) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    for what, p, q in (("few rows", 2, 3), ("many rows", 40, 17)):
        yield what, "fused", (rng.standard_normal((3, p, 5)), rng.standard_normal((2, q, 5)))


def _inner(rng: np.random.Generator) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    yield "one shape", "fused", tuple(rng.standard_normal((2, 3, 4, 6)))
    yield "broadcast", "fused", (rng.standard_normal((1, 4, 6)), rng.standard_normal((3, 1, 6)))


def _gathers(rng: np.random.Generator) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    x = rng.standard_normal((2, 6, 5))
    yield "every entry", "fused", (x, Table(rng.integers(0, 6, (3, 8))))
    yield "one tap", "fused", (x, Table(rng.integers(0, 6, (1, 4))))
    yield "some entries", "fused", (x, Table(rng.integers(-1, 6, (4, 8))))
    yield "no entry", "fused", (x, Table(np.full((2, 3), -1)))


def _several_gathers(rng: np.random.Generator) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    x, plus = rng.standard_normal((6, 40, 5)), rng.standard_normal((8, 39, 5))
    window = np.stack([np.arange(39), np.arange(1, 40)])
    window[0, ::13] = -1
    tables = Table(rng.integers(-1, 6, (4, 8))), Table(window)
    yield "two axes", "fused", (x, tables)
    yield "two axes and what follows", "fused", (x, tables, 0.7, 0.3, plus)
    yield "two axes and a scale", "fused", (x, tables, 0.7, None, None)


def _affines(rng: np.random.Generator) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    x, y = rng.standard_normal((2, 3, 4, 5))
    yield "numbers", "fused", (x, 1.3, 0.2, y)
    yield "an array as scale", "fused", (x, y, None, None)
    yield "an array as bias", "fused", (x, None, y[:1], y)
    yield "nothing", "fused", (x, None, None, None)


def _products(rng: np.random.Generator) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    x, y = rng.standard_normal((2, 3, 4, 5))
    yield "one shape", "fused", (x, y)
    yield "broadcast", "fused", (x[:, :1], y[:1])


def _moments(rng: np.random.Generator) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    q1, q2 = rng.uniform(0.2, 3.0, (2, 4, 5))
    rho = rng.uniform(-0.95, 0.95, (4, 5))
    k = np.sqrt(q1 * q2)
    for scale in (1.0, 1e-12, 1e12):
        yield f"variances about {scale:g}", "fused", (scale * rho * k, scale * q1, scale * q2)
    both = np.concatenate([q1, q1])
    sign = np.concatenate([np.ones_like(q1), -np.ones_like(q1)])
    yield "coincident and antipodal inputs", "coincident", (sign * both, both, both)
    near = sign * both * (1 - 1e-7)
    yield "nearly coincident and antipodal inputs", "coincident", (near, both, both)
    yield "zero", "fused", (0 * k, 0 * q1, 0 * q2)
    yield "one side zero", "fused", (0 * k, q1, 0 * q2)
    yield "broadcast variances", "fused", (rho * 0.2, q1[:, :1], q2[:1, :])


#: Operands for the operations that have some of their own; the others are compared as they run.
OPERANDS: dict[str, Callable[[np.random.Generator], Iterator[tuple[str, str, tuple[Any, ...]]]]] = {
    "matmul": _matrices,
    "gram": _grams,
    "pair_products": _pairs,
    "inner": _inner,
    "gather_sum": _gathers,
    "gather_sums": _several_gathers,
    "affine": _affines,
    "product": _products,
    "rectifier": _moments,
    "arcsine": _moments,
    "gelu": _moments,
    "waves": _moments,
    "bell": _moments,
}
