"""Tiles and batch splits are nobody's business: the same numbers whatever they are."""

from __future__ import annotations

import numpy as np

from ntcore.conformance.bench import BLOCKS, Bench
from ntcore.conformance.cases import Case
from ntcore.conformance.inputs import generic, patterns, take
from ntcore.conformance.measure import Measures, close, equal_bits
from ntcore.conformance.networks import plan_of
from ntcore.entry import Extras

#: Bytes of a tile's block: one pair at a time, a few, and everything in one tile.
EAGER, COMPILED = (1, 1 << 15, 1 << 30), (1,)


def check(bench: Bench, case: Case) -> Measures:
    """Compare tiles of several sizes, two halves of a batch, and two runs of one plan."""
    bench = bench.alone()
    sizes, (n1, n2) = (COMPILED, (3, 3)) if bench.compiles else (EAGER, (4, 3))
    x1, x2 = generic(case.shape1, n1, 1), generic(case.shape2, n2, 2)
    for second, what in ((x2, "x1, x2"), (None, "x1 alone")):
        if second is None and case.shape1 != case.shape2:
            continue
        whole = bench.kernel(case.network, x1, second)
        again = bench.kernel(case.network, x1, second)
        for name in BLOCKS:
            yield equal_bits(f"{name} of {what} twice", again[name], whole[name])
        for size in sizes:
            tiled = bench.with_record(tile_bytes=lambda device, size=size: size)
            found = tiled.kernel(case.network, x1, second)
            for name, x in whole.items():
                label = f"{name} of {what} in tiles of {size} bytes"
                yield close(label, found[name], x, "tiles", bench.dtype)
        if second is not None and not bench.compiles and not _regroups(case):
            yield from _split(bench, case, x1, second, whole)


def _regroups(case: Case) -> bool:
    """Whether examples are picked or joined, so that half a batch is not half a kernel."""
    plan = plan_of(case.network, case.shape1, case.shape2)
    return any(step.regroups for step in plan.steps)


def _split(
    bench: Bench, case: Case, x1: np.ndarray, x2: np.ndarray, whole: dict[str, np.ndarray]
) -> Measures:
    """Compare a kernel with that of the batch in two pieces."""
    graphs = patterns(case.network, x1.shape, x2.shape)
    parts = []
    for rows in ([0], [1, 2, 3]):
        own = None if graphs is None else (graphs[0][rows], graphs[1])
        piece = take(x1, case.shape1, rows)
        parts.append(bench.kernel(case.network, piece, x2, extras=Extras(pattern=own)))
    for name in BLOCKS:
        joined = np.concatenate([part[name] for part in parts])
        yield close(f"{name} of a batch in two", joined, whole[name], "tiles", bench.dtype)
