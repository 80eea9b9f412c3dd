"""Kernels of networks in which examples are picked or joined, one piece after the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ntcore import followed
from ntcore.backend import Array
from ntcore.cov import diagonal_of_user, diagonal_to_user, layout_of, of_user, to_user
from ntcore.kernel import Output, Progress
from ntcore.layers.base import Layer
from ntcore.need import diagonal
from ntcore.piece import Piece, held_edges, pieces_of
from ntcore.plan import Edge, Step
from ntcore.program import Job
from ntcore.public import forwards, mask_of, public
from ntcore.result import Kernel
from ntcore.source import Given

ARRAYS = {"nngp": 2, "ntk": 2, "cov1": 1, "cov2": 1}  # and how many axes of examples they have
Held = dict[int, Kernel]  # with the spatial axes in ntcore's order


def evaluate(job: Job, progress: Progress | None = None) -> dict[int, Output]:
    """Return the arrays of every output edge.

    ``progress`` hears of each piece in turn.
    """
    pieces = pieces_of(job.plan)
    if len(pieces) == 1:
        return followed.evaluate(job, progress)
    options = replace(job.plan.options, nngp=True)  # a piece above may read it
    job = replace(job, plan=replace(job.plan, options=options))
    held: Held = {}
    for piece in pieces:
        if piece.first is not None:
            held[job.plan.steps[piece.first].output] = _regrouped(job, piece.first, held)
        if piece.outputs:
            below = _job(job, piece, held)
            found = followed.evaluate(below, progress)
            held |= {e: _kernel(below, e, out) for e, out in found.items()}
    return {e: _output(job, e, held[e]) for e in job.plan.output_edges}


def _job(job: Job, piece: Piece, held: Held) -> Job:
    """Return the job of one piece, whose inputs are those of the network or held kernels."""
    plan = job.plan
    steps = tuple(plan.steps[n] for n in piece.steps)
    last = job.diagonal - held_edges(plan.steps)
    sources = {e: Given(held[e]) if e in held else job.sources[e] for e in piece.inputs}
    return replace(
        job,
        plan=replace(plan, steps=steps, inputs=piece.inputs, outputs=piece.outputs),
        layers=tuple(job.layers[n] for n in piece.steps),
        sources=sources,
        counts=plan.edges[piece.inputs[0]].counts,
        diagonal=frozenset(e for e in piece.outputs if e in last or _only_zero(plan.edges[e])),
        masks=(_masks(job, piece, held, 0), _masks(job, piece, held, 1)),
    )


def _masks(job: Job, piece: Piece, held: Held, batch: int) -> dict[int, Array]:
    """Return the masks of one batch at the edges that a piece reads."""
    name = ("mask1", "mask2")[batch]
    known = {e: m for e, m in job.masks[batch].items() if e in piece.inputs}
    found = {e: getattr(held[e], name) for e in piece.inputs if e in held}
    return known | {e: m for e, m in found.items() if m is not None}


def _only_zero(edge: Edge) -> bool:
    """Whether no offset but 0 is asked for of any block."""
    zero = diagonal(edge.shape1.ndim)
    return all(need in (None, zero) for need in (edge.cross, edge.side1, edge.side2))


def _kernel(job: Job, edge: int, out: Output) -> Kernel:
    return Kernel(**vars(out), x1_is_x2=job.same, diagonal_spatial=edge in job.diagonal)


# --- picking and joining ------------------------------------------------------------------------


def _regrouped(job: Job, number: int, held: Held) -> Kernel:
    """Return the kernel of a layer that picks or joins examples."""
    step, layer = job.plan.steps[number], job.layers[number]
    if layer.acts_on_kernels:
        return _acted_on(job, step, layer, held)
    edges = [job.plan.edges[i] for i in step.inputs]
    shapes = tuple(e.shape1 for e in edges), tuple(e.shape2 for e in edges)
    flat = any(held[i].diagonal_spatial for i in step.inputs)
    below = [_in_form(job, held[i], e, flat) for i, e in zip(step.inputs, edges, strict=True)]
    changes: dict[str, Any] = {}
    for name, axes in ARRAYS.items():
        arrays = tuple(getattr(k, name) for k in below)
        if all(x is not None for x in arrays):
            each = 1 if flat else 2
            changes[name] = layer.regroup(job.at, shapes[0], arrays, axes, each)
    for batch, name in enumerate(("mask1", "mask2")):
        masks = [getattr(k, name) for k in below]
        if any(m is not None for m in masks):
            both = zip(masks, edges, strict=True)
            every = tuple(_open(job, e, batch) if m is None else m for m, e in both)
            changes[name] = layer.mask(job.at, shapes[batch], every)
    return Kernel(**changes, x1_is_x2=job.same, diagonal_spatial=flat)


def _acted_on(job: Job, step: Step, layer: Layer, held: Held) -> Kernel:
    """Return the kernel that a function of kernels makes of the one below it."""
    edge = job.plan.edges[step.inputs[0]]
    below = _in_form(job, held[step.inputs[0]], edge, False)
    if below.ntk is None and job.plan.options.ntk:
        below = below.replace(ntk=job.at.xp.zeros_like(below.nngp))
    arrays = {name: getattr(below, name) for name in (*ARRAYS, "mask1", "mask2")}
    k = public(job.at, edge, Output(**arrays), job.same, False)
    found: Kernel = layer.of_kernel(k.replace(cov2=None) if job.same else k)
    masks = {f"mask{i}": mask_of(job.at, found, i) for i in (1, 2)}
    return forwards(found).replace(**masks)


def _open(job: Job, edge: Edge, batch: int) -> Array:
    """Return the mask of examples without masked entries."""
    shape = (edge.shape1, edge.shape2)[batch]
    xp = job.at.xp
    return xp.zeros((edge.counts[batch], *shape.spatial, 1), dtype=xp.bool, device=job.at.device)


def _in_form(job: Job, k: Kernel, edge: Edge, flat: bool) -> Kernel:
    """Return a kernel that holds offset 0 alone, or one that holds every offset."""
    if k.diagonal_spatial == flat:
        return k
    read, write = (of_user, diagonal_to_user) if flat else (diagonal_of_user, to_user)
    one, two, zero = edge.shape1.spatial, edge.shape2.spatial, diagonal(edge.shape1.ndim)
    sizes = {"nngp": (one, two), "ntk": (one, two), "cov1": (one, one), "cov2": (two, two)}

    def turned(name: str) -> Array | None:
        x = getattr(k, name)
        layout = layout_of(zero, *sizes[name], paired=ARRAYS[name] == 1)
        return None if x is None else write(job.at, read(job.at, x, layout))

    changes = {name: turned(name) for name in ARRAYS}
    return k.replace(**changes, diagonal_spatial=flat)


def _output(job: Job, edge: int, k: Kernel) -> Output:
    """Return what the user asked for of an edge; all sizes are 1 where it is to be filled up."""
    asked = _in_form(job, k, job.plan.edges[edge], edge in job.diagonal)
    names = (*ARRAYS, "mask1", "mask2")
    return Output(**{name: getattr(asked, name) for name in names})
