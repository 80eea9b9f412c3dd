"""In which form a block is held at every edge: whole, as a sum alone, as matrices, or not at all.

What layers make of inputs that multiply the positions of every example by a matrix takes no block:
it is a product of what each batch gives by itself; see :mod:`ntcore.cov.features`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import replace

from ntcore.need import SUM
from ntcore.plan import Edge, Step
from ntcore.shape import Shape


def summed_edges(steps: Sequence[Step], edges: Sequence[Edge], kept: Set[int]) -> set[int]:
    """Return the edges of which one layer reads a sum that another gives for less than the rest.

    Layers that act position by position pass the question on.
    """
    maker = {s.output: s for s in steps}
    readers = Counter(i for s in steps for i in s.inputs)

    def gives(i: int) -> bool:
        if i in kept or i not in maker or readers[i] > 1 or edges[i].traits.masked:
            return False
        return bool(edges[i].shape1.ndim) and maker[i].layer.sums(*_shapes(edges, maker[i]))

    found: set[int] = set()
    for step in reversed(steps):
        if step.layer.totals or (step.output in found and _passes_sums(edges, step)):
            found.update(filter(gives, step.inputs))
    for step in steps:
        if step.output in found and _passes_sums(edges, step) and found.isdisjoint(step.inputs):
            found.remove(step.output)
    return found


def mapping_steps(steps: Sequence[Step], edges: Sequence[Edge], inputs: Set[int]) -> list[Step]:
    """Return the steps, with a mark on those that map features of each batch by themselves.

    These are the layers above some inputs that can, wherever one of them multiplies by a matrix.
    """
    able, found, seeds = set(inputs), list[int](), set[int]()
    for n, step in enumerate(steps):
        shapes = _shapes(edges, step)
        if able.issuperset(step.inputs) and len(step.inputs) == 1 and step.layer.maps(*shapes):
            able.add(step.output)
            found.append(n)
            if step.layer.multiplies(*shapes):
                seeds.add(n)
    above = {steps[n].output for n in seeds}
    below = {i for n in seeds for i in steps[n].inputs}
    for n in found:
        if not above.isdisjoint(steps[n].inputs):
            above.add(steps[n].output)
    for n in reversed(found):
        if steps[n].output in below:
            below.update(steps[n].inputs)
    chosen = {n for n in found if steps[n].output in above | below}
    return [replace(s, maps=n in chosen) for n, s in enumerate(steps)]


def dense_edges(steps: Sequence[Step], edges: Sequence[Edge]) -> set[int]:
    """Return the edges whose blocks are matrices: those of layers that multiply by some.

    What acts entry by entry keeps the layout of its neighbours.
    """

    def takes(step: Step) -> bool:
        layer = step.layer
        return step.maps or layer.pointwise or layer.multiplies(*_shapes(edges, step))

    able = {i for i, e in enumerate(edges) if e.cross is not None and not e.summed}
    for step in steps:
        if not takes(step):
            able.discard(step.output)
            if not step.layer.totals:
                able.difference_update(step.inputs)
    whole = {i for i in able if edges[i].layout().ndim and edges[i].layout().whole}
    found: set[int] = set()
    for step in steps:
        if step.maps or step.layer.multiplies(*_shapes(edges, step)):
            found |= whole.intersection((*step.inputs, step.output))
    size = -1
    while size < len(found):
        size = len(found)
        for step in (*steps, *reversed(steps)):
            here = whole.intersection((*step.inputs, step.output))
            if takes(step) and not found.isdisjoint(here):
                found |= here
    return found


def _shapes(edges: Sequence[Edge], step: Step) -> tuple[Shape, ...]:
    return tuple(edges[i].shape1 for i in step.inputs)


def _passes_sums(edges: Sequence[Edge], step: Step) -> bool:
    """Whether the sum of a layer's output takes nothing but sums of its inputs."""
    first = edges[step.inputs[0]]
    return step.layer.need(SUM, first.shape1, first.shape2) == SUM
