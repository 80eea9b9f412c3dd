"""What is known of each example of a batch beside its covariances with others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ntcore.backend import Array, Place
from ntcore.company import Alone, Beside
from ntcore.cov import Cov, variances
from ntcore.layers.base import Layer
from ntcore.merged import Merged, program_of
from ntcore.plan import Step
from ntcore.program import Job
from ntcore.sizing import examples_per_tile, span_of, threads
from ntcore.source import Examples
from ntcore.tasks import in_order


def settled(job: Job) -> tuple[Job, tuple[Beside, Beside]]:
    """Return what belongs to both batches, and the job with layers that serve their variances."""
    while True:
        first = make_beside(job, 0)
        besides = first, first if job.same else make_beside(job, 1)
        layers = job.layers if job.traced else _examined(job, besides)
        if all(a is b for a, b in zip(layers, job.layers, strict=True)):
            return job, besides
        job = replace(job, layers=layers)


def _examined(job: Job, besides: tuple[Beside, Beside]) -> tuple[Layer, ...]:
    layers = list(job.layers)
    for n, step in enumerate(job.plan.steps):
        for beside in besides:
            side = beside.sides.get(step.inputs[0])
            if side is not None and type(layers[n]).examine is not Layer.examine:
                layers[n] = layers[n].examine(job.at, variances(side))
    return tuple(layers)


def make_beside(job: Job, batch: int) -> Beside:
    """Return what belongs to a batch; where layers read variances, push it through alone."""
    at, plan = job.at, job.plan
    masks = dict(job.masks[batch])
    for step, layer in zip(plan.steps, job.layers, strict=True):
        shapes = _shapes(job, step, batch)
        if any(i in masks for i in step.inputs):
            given = tuple(masks[i] if i in masks else _open(job, i, batch) for i in step.inputs)
            masks[step.output] = layer.mask(at, shapes, given)
    positions = {edge: _positions(at, mask) for edge, mask in masks.items()}
    drawn = {e: s for e, s in job.sources.items() if isinstance(s, Examples)}
    examples = {e: s.x2 if batch else s.x1 for e, s in drawn.items()}
    found = Beside(masks, positions, asides_of(job, batch), examples=examples)
    return with_sides(job, batch, found, 0, job.counts[batch]) if plan.keeps else found


def asides_of(job: Job, batch: int) -> dict[int, Array]:
    """Return what layers read of the caller's pattern, by the edges that they write."""
    count, pattern = job.counts[batch], job.patterns[batch]
    found = {
        step.output: layer.aside(job.at, pattern, _shapes(job, step, batch), count)
        for step, layer in zip(job.plan.steps, job.layers, strict=True)
    }
    return {edge: aside for edge, aside in found.items() if aside is not None}


def with_sides(job: Job, batch: int, beside: Beside, start: int, stop: int) -> Beside:
    """Push some examples of a batch through the network alone, for what is read of each edge."""
    return replace(beside, sides=_sides(job, batch, beside, start, stop), start=start)


def _shapes(job: Job, step: Step, batch: int) -> tuple[Any, ...]:
    return tuple(_shape(job, i, batch) for i in step.inputs)


def _shape(job: Job, edge: int, batch: int) -> Any:
    found = job.plan.edges[edge]
    return found.shape2 if batch else found.shape1


def _open(job: Job, edge: int, batch: int) -> Array:
    """Return the mask of a batch without masked entries."""
    shape = (job.counts[batch], *_shape(job, edge, batch).spatial, 1)
    return job.at.xp.zeros(shape, dtype=job.at.xp.bool, device=job.at.device)


def _positions(at: Place, mask: Array) -> Array:
    whole = at.xp.all(mask, axis=-1)
    return at.xp.permute_dims(whole, (*range(1, whole.ndim), 0))


def _sides(job: Job, batch: int, beside: Beside, first: int, last: int) -> dict[int, Cov]:
    at, block, count = job.at, ("side1", "side2")[batch], last - first
    kept = job.plan.kept(block)
    if not kept or not count:
        return {}
    program = program_of(job, block)
    step = examples_per_tile(job, program.widest, count)

    def part(start: int) -> dict[int, Array]:
        span = span_of(job, start, min(start + step, last), step)
        if isinstance(program, Merged):
            return program.collect(beside, span, kept)
        company = Alone(at, (beside, beside), (span, span), kept=kept)
        program.run(span, span, company)
        return company.found

    starts = range(first, last, step)
    parts = [found for _, found in in_order(threads(job), part, starts, len(starts))]
    joined = {e: _joined(at, [p[e] for p in parts]) for e in parts[0]}
    return {e: Cov(x, kept[e]) for e, x in joined.items()}


def _joined(at: Place, parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else at.xp.concat(parts, axis=-1)
