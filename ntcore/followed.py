"""Kernels as one differentiable operation, where a backend takes an operation with its way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ntcore import lent
from ntcore.backend import Array
from ntcore.excerpt import arrays_in, put_in
from ntcore.kernel import Output, Progress
from ntcore.program import Job
from ntcore.reverse import ARRAYS, Gradients, Reverse


def evaluate(job: Job, progress: Progress | None = None) -> dict[int, Output]:
    """Return the arrays of every output edge, followed as one operation where that can be."""
    with_pullback = job.at.backend.with_pullback
    if with_pullback is None or job.traced or 0 in job.counts:
        return lent.evaluate(job, progress)
    args = arrays_in((job.layers, job.sources, job.patterns), job.at)
    names: list[tuple[int, str]] = []
    rest: dict[int, Output] = {}

    def forward(*given: Any) -> tuple[Array, ...]:
        found = lent.evaluate(_holding(job, args, given), progress)
        names[:] = [(e, n) for e, out in found.items() for n in ARRAYS if _has(out, n)]
        rest.update({e: replace(out, **dict.fromkeys(ARRAYS)) for e, out in found.items()})
        return tuple(getattr(found[e], n) for e, n in names)

    def pullback(gradient: Any, given: Any, wanted: Any, cotangents: Any) -> Gradients:
        both = zip(names, cotangents, strict=True)
        weights = {name: x for name, x in both if x is not None}
        sought = {id(x): x for x, want in zip(given, wanted, strict=True) if want}
        sums = Reverse(_holding(job, args, given), gradient, sought).run(weights)
        return [sums.of(x) for x in given]

    values = with_pullback(forward, pullback, args)
    arrays: dict[int, dict[str, Any]] = {edge: {} for edge in rest}
    for (edge, name), x in zip(names, values, strict=True):
        arrays[edge][name] = x
    return {edge: replace(out, **arrays[edge]) for edge, out in rest.items()}


def _has(out: Output, name: str) -> bool:
    return getattr(out, name) is not None


def _holding(job: Job, old: Sequence[Array], new: Sequence[Any]) -> Job:
    """Return a job with other arrays."""
    layers, sources, patterns = put_in((job.layers, job.sources, job.patterns), old, new)
    return replace(job, layers=layers, sources=sources, patterns=patterns)
