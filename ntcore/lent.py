"""Kernels that another backend computes, faster and in the same memory, where no value is traced.

Arrays are lent once, as the arrays of that backend, and its results come back as the caller's.
"""

from __future__ import annotations

from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

from ntcore import kernel
from ntcore.backend import Array
from ntcore.excerpt import put_in, with_each
from ntcore.kernel import Output, Progress
from ntcore.plan import Plan
from ntcore.program import Job
from ntcore.record import Record, split


def evaluate(job: Job, progress: Progress | None = None) -> dict[int, Output]:
    """Return the arrays of every output edge."""
    lend = job.at.backend.lend
    graphs = any(pattern is not None for pattern in job.patterns)
    if lend is None or job.traced or graphs or not is_portable(job.plan):
        return kernel.evaluate(job, progress)
    tree = job.layers, job.sources, job.masks
    arrays = _owned(job, tree)
    loan = lend(job.at, arrays)
    if loan is None:
        return kernel.evaluate(job, progress)
    layers, sources, masks = put_in(tree, arrays, loan.arrays)
    lent = replace(job, layers=layers, sources=sources, masks=masks, at=loan.at)

    def back(out: Output) -> Output:
        each = ((f.name, getattr(out, f.name)) for f in fields(out))
        return Output(**{name: None if x is None else loan.back(x) for name, x in each})

    return {edge: back(out) for edge, out in kernel.evaluate(lent, progress).items()}


def _owned(job: Job, tree: Any) -> list[Array]:
    """Return the arrays of the job's library that a tree holds, each once."""
    found: dict[int, Array] = {}

    def see(x: Any) -> Any:
        if job.at.backend.owns(x):
            found[id(x)] = x
        return x

    with_each(tree, see)
    return list(found.values())


@lru_cache(maxsize=256)
def is_portable(plan: Plan) -> bool:
    """Whether every layer takes the arrays of any library.

    Layers of others, and functions that the caller gave, may know theirs alone.
    """
    own = all(type(step.layer).__module__.startswith("ntcore.layers.") for step in plan.steps)
    return own and not any(_holds_functions(step.layer) for step in plan.steps)


def _holds_functions(value: Any) -> bool:
    if isinstance(value, Record):
        return any(map(_holds_functions, split(value)))
    return any(map(_holds_functions, value)) if isinstance(value, tuple) else callable(value)
