"""What is known of each example of a batch beside its covariances with others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ntcore.backend import Array, Place
from ntcore.company import Alone, Beside
from ntcore.cov import Cov, Layout, layout_of
from ntcore.inputs import leaves_of
from ntcore.need import Need, union
from ntcore.plan import Plan
from ntcore.program import Job, Program
from ntcore.sizing import examples_per_tile, span_of


def make_beside(job: Job, batch: int) -> Beside:
    """Return what belongs to a batch; where layers read variances, push it through alone."""
    at, plan = job.at, job.plan
    masks, asides = dict(job.masks[batch]), {}
    for step, layer in zip(plan.steps, job.layers, strict=True):
        shapes = tuple(_shape(job, i, batch) for i in step.inputs)
        found = layer.aside(at, job.patterns[batch], shapes, job.counts[batch])
        if found is not None:
            asides[step.output] = found
        if any(i in masks for i in step.inputs):
            given = tuple(masks[i] if i in masks else _open(job, i, batch) for i in step.inputs)
            masks[step.output] = layer.mask(at, shapes, given)
    positions = {edge: _positions(at, mask) for edge, mask in masks.items()}
    found = Beside(masks, positions, asides)
    return replace(found, sides=_sides(job, batch, found))


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


def _sides(job: Job, batch: int, beside: Beside) -> dict[int, Cov]:
    """Push a batch through the network alone; return, for each edge, what is read of it."""
    at, block, count = job.at, ("side1", "side2")[batch], job.counts[batch]
    kept = _kept(job.plan, block)
    if not kept or not count:
        return {}
    parts: dict[int, list[Array]] = {}
    program = Program(job, block)
    step = examples_per_tile(job, program.widest, count)
    for start in range(0, count, step):
        span = span_of(job, start, min(start + step, count), step)
        both = (beside, beside), (span, span)
        program.run(span, span, Alone(at, *both, kept=kept, parts=parts))
    joined = {e: p[0] if len(p) == 1 else at.xp.concat(p, axis=-1) for e, p in parts.items()}
    return {e: Cov(x, kept[e]) for e, x in joined.items()}


def _kept(plan: Plan, block: str) -> dict[int, Layout]:
    """Return the layout of what layers or the caller read of each edge."""
    needs: dict[int, Need | None] = {}
    for step in plan.steps:
        for i in step.inputs:
            edge = plan.edges[i]
            shape = edge.shape2 if block == "side2" else edge.shape1
            needs[i] = union([needs.get(i), step.layer.sides(shape)])
    for i in leaves_of(plan.outputs):
        needs[i] = union([needs.get(i), getattr(plan.edges[i], block)])
    kept = {}
    for i, need in needs.items():
        if need is not None:
            edge = plan.edges[i]
            sizes = (edge.shape2 if block == "side2" else edge.shape1).spatial
            kept[i] = layout_of(need, sizes, sizes, paired=True)
    return kept
