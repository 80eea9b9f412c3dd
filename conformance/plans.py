"""A plan asks for exactly what is read, and exactly that is computed."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from ntcore.conformance.bench import EVERYTHING, Bench
from ntcore.conformance.cases import Case
from ntcore.conformance.inputs import pair
from ntcore.conformance.measure import Measures, close, holds
from ntcore.conformance.networks import plan_of
from ntcore.conformance.watching import pushes
from ntcore.cov import Layout, positions
from ntcore.inputs import leaves_of
from ntcore.layers.base import Layer
from ntcore.moments import Context, Moments
from ntcore.network import layers_of
from ntcore.plan import Edge, Options, Plan

ALL_OFFSETS = replace(EVERYTHING, minimal=False)
LEAST = Options(ntk=False)
Counts = Counter[tuple[int, bool]]


def values(bench: Bench, case: Case) -> Measures:
    """Compare the plan with one that asks for every offset at every edge, and count entries."""
    counts = bench.counts
    x1, x2 = pair(case, *counts)
    # Layers are seen as they run, one by one.
    bench = bench.layer_by_layer(with_pullback=None)
    least, counted = _run(bench, case, x1, x2, EVERYTHING)
    most, counted_most = _run(bench, case, x1, x2, ALL_OFFSETS)
    for name, x in least.items():
        yield close(f"{name} with fewer and with all offsets", x, most[name], "tiles", bench.dtype)
    alone = bench.kernel(case.network, x1, x2, LEAST)["nngp"]
    yield close("nngp without and with the NTK", alone, least["nngp"], "tiles", bench.dtype)
    yield from _counts(case, counts, counted, EVERYTHING)
    yield from _counts(case, counts, counted_most, ALL_OFFSETS)


def _run(
    bench: Bench, case: Case, x1: Any, x2: Any, options: Options
) -> tuple[dict[str, np.ndarray], Counts]:
    """Return a kernel and the entries that each layer returned, of pairs and of the sides."""
    counted: Counts = Counter()

    def count(layer: Layer, ctx: Context, inputs: tuple[Moments, ...], out: Moments) -> None:
        counted[id(layer), ctx.layout.paired] += math.prod(out.nngp.data.shape)

    with pushes(case.network, after=count):
        found = bench.kernel(case.network, x1, x2, options)
    return found, counted


def _counts(case: Case, counts: tuple[int, int], counted: Counts, options: Options) -> Measures:
    """Hold what was computed against what the needs of the plan amount to."""
    plan = plan_of(case.network, case.shape1, case.shape2, options, counts)
    expected: Counts = Counter()
    for layer, step in zip(layers_of(case.network), plan.steps, strict=True):
        if step.regroups or step.maps:  # which compute nothing of pairs
            continue
        edge = plan.edges[step.output]
        expected[id(layer), False] += entries(edge, "cross") * edge.pairs
        expected[id(layer), True] += sum(
            entries(edge, f"side{i + 1}") * n for i, n in enumerate(edge.counts)
        )
    for layer in layers_of(case.network):
        for paired in (False, True):
            got, want = counted[id(layer), paired], expected[id(layer), paired]
            what = f"entries of {layer!r}, {'sides' if paired else 'pairs'}"
            yield holds(what, got == want, f"{got} computed, {want} asked for")


def entries(edge: Edge, block: str) -> int:
    """Return the entries per pair that the offsets of a need take, whatever the layout says."""
    need = getattr(edge, block)
    if need is None:
        return 0
    first = (edge.shape2 if block == "side2" else edge.shape1).spatial
    second = (edge.shape1 if block == "side1" else edge.shape2).spatial
    axes = zip(need.axes, first, second, strict=not edge.summed)
    return math.prod(len({d % size2 for d in offsets}) * size1 for offsets, size1, size2 in axes)


# --- is every offset read? ----------------------------------------------------------------------


def exact(bench: Bench, case: Case) -> Measures:
    """Spoil one stored row of offsets at one edge: if the result survives, nobody needed it.

    A row holds offset ``d`` and, beyond its seam, ``d`` less the size of the second image. Where
    examples are picked or joined, kernels are held whole.
    """
    plan = plan_of(case.network, case.shape1, case.shape2, LEAST)
    if any(step.regroups for step in plan.steps):
        return
    bench = bench.layer_by_layer()
    for number, edge in enumerate(plan.edges):
        if number in leaves_of(plan.outputs) or edge.cross is None:
            continue
        readers = _readers(plan, case, number)
        for k, offsets in enumerate(edge.cross.axes):
            size = edge.shape2.spatial[k]
            rows = [{d for d in offsets if d % size == row} for row in range(size)]
            idle = [sorted(r) for r in rows if r and not _read(bench, case, readers, k, r)]
            note = f"{edge} asked for, but nothing reads {idle}"
            yield holds(f"offsets of edge {number}, axis {k}", not idle, note)


def _readers(plan: Plan, case: Case, edge: int) -> set[tuple[int, int]]:
    """Return the layers that read an edge, each with the place of the edge among its inputs."""
    steps = zip(layers_of(case.network), plan.steps, strict=True)
    return {
        (id(layer), place)
        for layer, step in steps
        for place, number in enumerate(step.inputs)
        if number == edge
    }


def _read(bench: Bench, case: Case, readers: set[tuple[int, int]], k: int, row: set[int]) -> bool:
    """Whether the result turns NaN with the entries at some offsets of axis ``k`` of an edge."""

    def spoil(layer: Layer, ctx: Context, inputs: tuple[Moments, ...]) -> tuple[Moments, ...]:
        if ctx.layout.paired:
            return inputs
        return tuple(
            _spoiled(m, k, row) if (id(layer), i) in readers else m for i, m in enumerate(inputs)
        )

    with pushes(case.network, before=spoil):
        found = bench.kernel(case.network, *pair(case, 1, 1), options=LEAST)
    return bool(np.any(np.isnan(found["nngp"])))


def _spoiled(m: Moments, k: int, row: set[int]) -> Moments:
    data, layout = np.asarray(m.nngp.data), m.nngp.layout
    if layout.dense:
        return replace(m, nngp=replace(m.nngp, data=_spoiled_matrix(data, layout, k, row)))
    p, q = positions(layout.axis(k))
    mask = np.isin(q - p, list(row)).reshape(
        (1,) * 2 * k + p.shape + (1,) * (data.ndim - 2 * k - 2)
    )
    return replace(m, nngp=replace(m.nngp, data=np.where(mask, np.nan, data)))


def _spoiled_matrix(data: Any, layout: Layout, k: int, row: set[int]) -> Any:
    """Spoil the entries of a dense block at some offsets of axis ``k``."""
    p, q = (np.indices(sizes)[k].reshape(-1) for sizes in (layout.sizes1, layout.sizes2))
    return np.where(np.isin(q[None, :] - p[:, None], list(row)), np.nan, data)
