"""One number everywhere: a backend against NumPy, and NumPy against array_api_strict."""

from __future__ import annotations

from ntcore.conformance.bench import Bench
from ntcore.conformance.cases import Case
from ntcore.conformance.inputs import hard_pair, pair
from ntcore.conformance.measure import Measures, close


def check(bench: Bench, case: Case) -> Measures:
    """Compare kernels with the reference in float64, at generic inputs and at hard ones.

    The hard ones are coincident, antipodal, zero and nearly coincident.
    """
    yield from _compared(bench, case, pair(case, *bench.counts), "agreement")
    yield from _compared(bench, case, hard_pair(case), "coincident")


def _compared(bench: Bench, case: Case, inputs: tuple, condition: str) -> Measures:
    reference = bench.reference()
    if reference is None:
        return
    x1, x2 = (x.astype(bench.dtype) for x in inputs)
    alone = bench.alone().kernel(case.network, x1, x2)
    lent = bench.kernel(case.network, x1, x2) if bench.lends else alone
    want = reference.kernel(case.network, x1, x2)
    for name, x in want.items():
        yield close(f"{name}, {condition} inputs", alone[name], x, condition, bench.dtype)
        if lent is not alone:
            yield close(f"{name}, lent {condition} inputs", lent[name], x, condition, bench.dtype)
