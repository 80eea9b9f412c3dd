"""Data type and device in are data type and device out."""

from __future__ import annotations

from dataclasses import replace

from ntcore.conformance.bench import FIELDS, Bench
from ntcore.conformance.cases import Case
from ntcore.conformance.inputs import pair
from ntcore.conformance.measure import Measures, holds


def check(bench: Bench, case: Case) -> Measures:
    """Run on every device of the library, or on the one asked for."""
    where_asked = bench.library.where
    for where in bench.record.devices() if where_asked is None else [where_asked]:
        there = replace(bench, library=replace(bench.library, where=where))
        if there.dtype in there.library.dtypes():
            yield from _on_device(there, case)


def _on_device(bench: Bench, case: Case) -> Measures:
    x1, x2 = pair(case, *bench.counts)
    given = bench.array(x1)
    kernel = bench.native(case.network, x1, x2)
    device = bench.record.device
    for name in FIELDS:
        x = getattr(kernel, name)
        yield holds(
            f"data type of {name} on {bench.library!r}",
            x.dtype == given.dtype,
            f"{given.dtype} in, {x.dtype} out",
        )
        yield holds(
            f"device of {name} on {bench.library!r}",
            bench.record.owns(x) and device(x) == device(given),
            f"{device(given)} in, {type(x).__name__} on {device(x)} out",
        )
