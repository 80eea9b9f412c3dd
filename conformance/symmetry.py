"""What a kernel is: symmetric bit for bit, semi-definite, with the variances on its diagonal."""

from __future__ import annotations

import math

import numpy as np

from ntcore.conformance.bench import BLOCKS, Bench
from ntcore.conformance.cases import Case
from ntcore.conformance.inputs import hard, pair, take
from ntcore.conformance.measure import Measure, Measures, close, equal_bits
from ntcore.conformance.tolerances import tolerance

#: Rows of the hard batch that are compared, and those of which no two nearly coincide.
EAGER, COMPILED = [0, 1, 2, 3, 4, 5], [0, 1, 4]
APART = {0, 2, 4}


def check(bench: Bench, case: Case) -> Measures:
    """Compare ``x2=None``, ``x2=x1``, the transpose, the spectrum and the diagonal."""
    bench = bench.alone()
    if case.shape1 == case.shape2:
        rows = COMPILED if bench.compiles else EAGER
        x = take(hard(case.shape1), case.shape1, rows)
        apart = [i for i, row in enumerate(rows) if row in APART]
        alone = bench.kernel(case.network, x)
        twice = bench.kernel(case.network, x, x.copy())
        for name in BLOCKS:
            k = alone[name]
            yield equal_bits(f"{name} with x2=None is symmetric", k, mirrored(k))
            yield equal_bits(f"{name} with x2=None is that with x2=x1", twice[name], k)
            some = k[np.ix_(apart, apart)]
            what = f"{name} is positive semi-definite"
            yield semidefinite(what, some, "semidefinite", bench.dtype)
            what = f"{name} of coincident inputs is positive semi-definite"
            yield semidefinite(what, k, "coincident", bench.dtype)
        diagonal = np.moveaxis(np.diagonal(alone["nngp"]), -1, 0)
        yield close("diagonal is cov1", diagonal, alone["cov1"], "diagonal", bench.dtype)
    x1, x2 = pair(case, *bench.counts)
    forth, back = bench.kernel(case.network, x1, x2), bench.kernel(case.network, x2, x1)
    for name in BLOCKS:
        turned = mirrored(back[name])
        yield close(
            f"{name} of (x2, x1) is transposed", turned, forth[name], "transpose", bench.dtype
        )


def mirrored(k: np.ndarray) -> np.ndarray:
    """Exchange the two examples, and the two positions on every spatial axis."""
    order = [i + (1 if i % 2 == 0 else -1) for i in range(k.ndim)]
    return np.ascontiguousarray(np.transpose(k, order))


def semidefinite(what: str, k: np.ndarray, condition: str, dtype: str) -> Measure:
    """Require that a kernel of examples and positions has no negative eigenvalue."""
    first, second = range(0, k.ndim, 2), range(1, k.ndim, 2)
    rows = math.prod(k.shape[i] for i in first)
    matrix = np.transpose(k, (*first, *second)).reshape(rows, rows).astype(np.float64)
    least = float(np.linalg.eigvalsh(matrix)[0])
    largest = float(np.max(np.abs(matrix)))
    if least >= 0 or largest == 0:
        return Measure(what, 0.0)
    ratio = -least / (tolerance(condition, dtype) * rows * largest)
    return Measure(what, ratio, f"least eigenvalue {least:.2g}, largest entry {largest:.2g}")
