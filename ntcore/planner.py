"""Making plans: forwards for shapes and traits, backwards for needs.

Forwards, every layer says the shape and the traits of its output, and refuses what has no
Gaussian limit. Backwards, from the entries asked for at the output, every layer says which
offsets of its input they take. Plans are cached by the structure of the network, never by the
values of its leaves.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from ntcore.errors import NtcoreError, PlanError, ShapeError
from ntcore.forms import dense_edges, mapping_steps, summed_edges
from ntcore.inputs import Inputs, leaves_of
from ntcore.layers.base import Layer, no_mask
from ntcore.need import SUM, Need, diagonal, everything, union
from ntcore.network import Tree, walk
from ntcore.piece import held_edges
from ntcore.plan import Edge, Options, Plan, Step, block_shapes
from ntcore.record import Record, skeleton
from ntcore.shape import Shape


def make_plan(network: Record, inputs: Inputs, options: Options) -> Plan:
    """Plan a network for inputs of the given shapes.

    Raises
    ------
    PlanError
        If the network has no Gaussian limit as composed.
    ShapeError
        If a layer does not fit its input.
    """
    try:
        return _plan(skeleton(network), inputs, options)
    except NtcoreError:
        return _plan.__wrapped__(network, inputs, options)  # to name the layer with its values


@lru_cache(maxsize=256)
def _plan(network: Record, inputs: Inputs, options: Options) -> Plan:
    edges, entered = _input_edges(inputs)
    steps: list[Step] = []

    def emit(layer: Layer, ids: tuple[int, ...]) -> int:
        inputs = [edges[i] for i in ids]
        edge, regroups = _output_edge(layer, inputs, len(steps) + 1)
        steps.append(Step(layer, ids, len(edges), regroups))
        edges.append(edge)
        return len(edges) - 1

    outputs = walk(network, entered, emit)
    for i in leaves_of(outputs):
        edges[i] = _asked(edges[i], options)
    held = held_edges(steps)
    if options.minimal and inputs.drawn:
        steps = mapping_steps(steps, edges, frozenset(leaves_of(entered)) - held)
    if options.minimal:
        for i in summed_edges(steps, edges, held | set(leaves_of(outputs))):
            edges[i] = replace(edges[i], summed=True)
    for step in reversed(steps):
        if step.output in held:
            edges[step.output] = _held(edges[step.output])
        if not step.maps:
            _ask_inputs(edges, step)
    for i in held & set(leaves_of(entered)):
        edges[i] = _held(edges[i])
    for i in dense_edges(steps, edges):
        edges[i] = replace(edges[i], dense=True)
    if not options.minimal:
        edges[:] = [_ask_everything(e) for e in edges]
    return Plan(tuple(steps), tuple(edges), entered, outputs, options)


@lru_cache(maxsize=256)
def narrowed(plan: Plan, edge: int, needs: tuple[Need, ...]) -> tuple[Plan, ...]:
    """Return the plans of what leads to one edge, asked for parts of its need alone."""
    steps = tuple(s for s in plan.steps if s.output <= edge)
    silent = tuple(replace(e, cross=None) for e in plan.edges)

    def asked(need: Need) -> Plan:
        edges = list(silent)
        edges[edge] = replace(edges[edge], cross=need)
        for step in reversed(steps):
            _ask_cross(edges, step)
        return replace(plan, steps=steps, edges=tuple(edges), outputs=edge)

    return tuple(map(asked, needs))


# --- forwards -----------------------------------------------------------------------------------


def _input_edges(inputs: Inputs) -> tuple[list[Edge], Tree]:
    edges: list[Edge] = []
    traits = iter(inputs.traits)

    def enter(a: Tree, b: Tree) -> Tree:
        if isinstance(a, tuple) or isinstance(b, tuple):
            if type(a) is not type(b) or len(a) != len(b):
                raise ShapeError("x1 and x2 hold different numbers of inputs; pass as many.")
            return tuple(enter(x, y) for x, y in zip(a, b, strict=True))
        _check_pair(a, b)
        given = next(traits)
        known = replace(given, roots=frozenset({-1 - len(edges)}), alike=given.gaussian)
        edges.append(Edge(a, b, known, inputs.counts, inputs.same))
        return len(edges) - 1

    return edges, enter(inputs.shapes1, inputs.shapes2)


def _check_pair(a: Shape, b: Shape) -> None:
    if a.ndim != b.ndim or a.channels != b.channels:
        raise ShapeError(
            f"x1 has {a.ndim} spatial axes and {a.channels} channels but x2 has {b.ndim} and "
            f"{b.channels}; both need the same number of each."
        )
    if 0 in (*a.spatial, a.channels, *b.spatial):
        raise ShapeError(
            f"an input has a spatial axis or channels of size 0 (spatial {a.spatial}, channels "
            f"{a.channels}); every size must be at least 1."
        )


def _output_edge(layer: Layer, inputs: list[Edge], number: int) -> tuple[Edge, bool]:
    """Return the edge that a layer writes, and whether its examples are others."""
    for edge in inputs:
        _check_axes(layer, edge.shape1)
    first, second = tuple(e.shape1 for e in inputs), tuple(e.shape2 for e in inputs)
    traits = layer.traits_at(first, tuple(e.traits for e in inputs))
    if any(e.traits.masked for e in inputs):
        _check_mask(layer)
        traits = replace(traits, masked=True)
    if traits.roots is None:
        traits = replace(traits, roots=frozenset({number}))
    traits = replace(traits, alike=traits.alike or traits.gaussian)
    shape1, shape2 = layer.shape(*first), layer.shape(*second)
    regroups = layer.regroups(*first)
    counts = _counts(layer, inputs, regroups)
    return Edge(shape1, shape2, traits, counts, inputs[0].same), regroups


def _counts(layer: Layer, inputs: list[Edge], regroups: bool) -> tuple[int, int]:
    each = [e.counts for e in inputs]
    if regroups:
        one = layer.count(tuple(e.shape1 for e in inputs), tuple(n for n, _ in each))
        return one, layer.count(tuple(e.shape2 for e in inputs), tuple(n for _, n in each))
    if len(set(each)) > 1:
        raise ShapeError(
            f"{layer!r} receives branches with different numbers of examples "
            f"({', '.join(str(n) for n, _ in each)} in x1); pick as many in every branch."
        )
    return each[0]


def _check_mask(layer: Layer) -> None:
    if not layer.carries_masks:
        raise PlanError(no_mask(layer))


def _check_axes(layer: Layer, shape: Shape) -> None:
    wanted = layer.axes_in(shape.ndim + 2)
    have = shape.axes
    if wanted is not None and (wanted.batch, wanted.channel) != (have.batch, have.channel):
        raise ShapeError(
            f"{layer!r} expects the batch on axis {wanted.batch} and the channels on axis "
            f"{wanted.channel}, but they are on axes {have.batch} and {have.channel}; give every "
            "layer the same batch_axis and channel_axis."
        )


# --- backwards ----------------------------------------------------------------------------------


def _asked(edge: Edge, options: Options) -> Edge:
    if options.diagonal_spatial:
        full = one = two = diagonal(edge.shape1.ndim)
    else:
        full = everything(edge.shape1.spatial, edge.shape2.spatial)
        one = everything(edge.shape1.spatial, edge.shape1.spatial)
        two = everything(edge.shape2.spatial, edge.shape2.spatial)
    edge = replace(edge, cross=union([edge.cross, full]))
    if not options.cov:
        return edge
    return replace(edge, side1=union([edge.side1, one]), side2=union([edge.side2, two]))


def _held(edge: Edge) -> Edge:
    """Ask for offset 0 alone or for everything: what a kernel of whole batches can hold."""
    asked = [n for n in (edge.cross, edge.side1, edge.side2) if n is not None]
    only_zero = all(n == diagonal(edge.shape1.ndim) for n in asked)
    return edge if only_zero else _ask_everything(edge)


def _ask_inputs(edges: list[Edge], step: Step) -> None:
    out, inputs = edges[step.output], [edges[i] for i in step.inputs]
    for block in ("cross", "side1", "side2"):
        asked = _asked_of(step.layer, out, inputs, block)
        for i, need in zip(step.inputs, asked, strict=True):
            needs = [getattr(edges[i], block), _fitted(edges[i], block, need)]
            found: Any = {block: union(needs)}
            edges[i] = replace(edges[i], **found)


def _ask_cross(edges: list[Edge], step: Step) -> None:
    out, inputs = edges[step.output], [edges[i] for i in step.inputs]
    if out.cross is None:
        return
    below = _asked_of(step.layer, out, inputs, "cross")
    for i, need in zip(step.inputs, below, strict=True):
        needs = [edges[i].cross, _fitted(edges[i], "cross", need)]
        edges[i] = replace(edges[i], cross=union(needs))


def _asked_of(layer: Layer, out: Edge, inputs: list[Edge], block: str) -> list[Need | None]:
    need = getattr(out, block)
    ones, twos = zip(*(block_shapes(e, block) for e in inputs), strict=True)
    below: list[Need | None] = [None] * len(inputs)
    if need is not None:
        below = [*layer.needs(need, ones, twos)]
    if block == "cross" or (out.cross is None and need is None):
        return below
    return [union([n, layer.sides(one)]) for n, one in zip(below, ones, strict=True)]


def _fitted(edge: Edge, block: str, need: Need | None) -> Need | None:
    """Return a need as an edge can have it, where a layer asks for a sum."""
    if need is None or edge.summed:
        return None if need is None else SUM
    if need == SUM:
        one, two = block_shapes(edge, block)
        return everything(one.spatial, two.spatial)
    return need


def _ask_everything(edge: Edge) -> Edge:
    one, two = edge.shape1.spatial, edge.shape2.spatial
    asked = {"cross": everything(one, two), "side1": everything(one, one)}
    asked["side2"] = everything(two, two)
    kept = {k: v for k, v in asked.items() if getattr(edge, k) is not None}
    return replace(edge, **kept)  # type: ignore[arg-type]
