"""What layers make of the features of each batch alone, before any pair of examples meets."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from ntcore.backend import Array, Place
from ntcore.cov import Features, features_of_inputs
from ntcore.layers.base import Layer
from ntcore.plan import Plan
from ntcore.program import Job, Masks
from ntcore.shape import Shape
from ntcore.sizing import examples_per_tile, span_of
from ntcore.source import Examples, Mapped, Source
from ntcore.staging import staged

Arrays = dict[int, Array]


@dataclass(frozen=True)
class Mapping:
    """The layers that map features: of each, the edge it reads, that it writes, and its shape.

    ``read`` names the edges whose features others read.
    """

    edges: tuple[tuple[int, int, Shape], ...]
    read: frozenset[int]

    @property
    def known(self) -> set[int]:
        """The edges of which there are features."""
        return {i for edge, output, _ in self.edges for i in (edge, output)}


def mapped(job: Job) -> Job:
    """Return the job of what is above the layers that map features, which are its inputs then."""
    plan = job.plan
    if not any(step.maps for step in plan.steps):
        return job
    rest = [n for n, step in enumerate(plan.steps) if not step.maps]
    read = _read(plan)
    made, masks = _made(job)
    sources: dict[int, Source] = {i: s for i, s in job.sources.items() if i in read}
    sources |= made
    return replace(
        job,
        plan=_above(plan, tuple(sources)),
        layers=tuple(job.layers[n] for n in rest),
        sources=sources,
        masks=masks,
    )


@lru_cache(maxsize=256)
def _above(plan: Plan, inputs: tuple[int, ...]) -> Plan:
    """Return the plan of what is above the layers that map features."""
    steps = tuple(step for step in plan.steps if not step.maps)
    return replace(plan, steps=steps, inputs=inputs)


def _read(plan: Plan) -> frozenset[int]:
    """Return the edges that are read above the layers that map features."""
    above = {i for step in plan.steps if not step.maps for i in step.inputs}
    return frozenset(above | set(plan.output_edges))


def widest_map(plan: Plan) -> int:
    """Return the entries of the largest matrix of positions that an example may be mapped by."""
    edges = [plan.edges[i] for step in plan.steps if step.maps for i in step.inputs]
    shapes = (shape for edge in edges for shape in (edge.shape1, edge.shape2))
    return max((math.prod(shape.spatial) ** 2 for shape in shapes), default=1)


def _made(job: Job) -> tuple[dict[int, Mapped], tuple[Masks, Masks]]:
    """Return the sources of the edges that are read, and the masks of all edges, by batch."""
    masks1, first = features_of(job, 0)
    masks2, second = (masks1, first) if job.same else features_of(job, 1)
    ntk = job.plan.options.ntk
    return {e: Mapped(first[e], second[e], ntk) for e in first}, (masks1, masks2)


def features_of(job: Job, batch: int) -> tuple[Masks, dict[int, Features]]:
    """Return the masks and the features of one batch, some examples after the other."""
    at, plan = job.at, job.plan
    maps, read = [n for n, step in enumerate(plan.steps) if step.maps], _read(plan)
    layers, steps = [job.layers[n] for n in maps], [plan.steps[n] for n in maps]
    masks = dict(job.masks[batch])
    triples = []
    for layer, step in zip(layers, steps, strict=True):
        (edge,) = step.inputs
        shape = plan.edges[edge].shape2 if batch else plan.edges[edge].shape1
        triples.append((edge, step.output, shape))
        if edge in masks:
            masks[step.output] = layer.mask(at, (shape,), (masks[edge],))
    mapping = Mapping(tuple(triples), read)
    sources = {e: s for e, s in job.sources.items() if isinstance(s, Examples)}
    given = {e: sources[e].x2 if batch else sources[e].x1 for e, *_ in triples if e in sources}
    return masks, _in_turn(job, mapping, layers, given, masks, job.counts[batch])


def _in_turn(
    job: Job, mapping: Mapping, layers: list[Layer], given: Arrays, masks: Masks, count: int
) -> dict[int, Features]:
    at = job.at
    widest = max(math.prod(shape.spatial) ** 2 for *_, shape in mapping.edges)
    step = examples_per_tile(job, widest, count)
    found: list[dict[int, Features]] = []
    for start in range(0, max(count, 1), step):
        span = span_of(job, start, min(start + step, count), min(step, count))
        arrays = {e: span.of(at, x, 0) for e, x in given.items()}
        away = {e: span.of(at, x, 0) for e, x in masks.items() if e in mapping.known}
        some = staged(at, _mapped, (0, 1))(at, mapping, tuple(layers), arrays, away)
        found.append({e: _first(f, span.stop - span.start) for e, f in some.items()})
    return {e: _joined(at, [each[e] for each in found]) for e in found[0]}


def _mapped(
    at: Place, mapping: Mapping, layers: tuple[Layer, ...], arrays: Arrays, masks: Arrays
) -> dict[int, Features]:
    """Push the features of some examples through the layers."""
    features = {e: features_of_inputs(x) for e, x in arrays.items()}
    away = {e: at.xp.all(mask, axis=-1) for e, mask in masks.items()}
    for layer, (edge, output, shape) in zip(layers, mapping.edges, strict=True):
        made = layer.map_features(at, shape, features[edge], away.get(edge))
        features[output] = _hidden(at, made, away.get(output))
    return {e: features[e] for _, e, _ in mapping.edges if e in mapping.read}


def _hidden(at: Place, features: Features, away: Array | None) -> Features:
    if away is None:
        return features
    data = features.data
    return replace(features, data=at.xp.where(away[..., None], at.xp.zeros_like(data), data))


def _first(features: Features, count: int) -> Features:
    """Return the features without those of examples that fill up a chunk."""
    data = features.data
    return features if data.shape[0] == count else replace(features, data=data[:count, ...])


def _joined(at: Place, parts: list[Features]) -> Features:
    if len(parts) == 1:
        return parts[0]
    return replace(parts[0], data=at.xp.concat([f.data for f in parts], axis=0))
