"""The layers of a plan in the order in which they run, ready for tile after tile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ntcore.backend import Array, Place
from ntcore.inputs import leaves_of
from ntcore.layers.base import Layer
from ntcore.moments import Context, Moments
from ntcore.plan import Edge, Plan
from ntcore.source import Source, Span

Masks = dict[int, Array]


class Company(Protocol):
    """What goes with the moments of one tile; see :class:`ntcore.beside.Company`."""

    def edge(self, edge: int, m: Moments) -> Moments:
        """Return the moments of an edge with what belongs to their examples."""

    def layer(self, output: int, inputs: list[Moments]) -> list[Moments]:
        """Return the inputs of the layer that writes an edge with what it reads of a pattern."""

    def cut(self) -> Company:
        """Return the same company with the arrays of these examples and of no others."""


@dataclass(frozen=True)
class Job:
    """One kernel to compute.

    Attributes
    ----------
    plan : Plan
        What to compute.
    layers : tuple of Layer
        The layers with their leaves, in the order of the plan's steps.
    sources : dict
        The source of each input edge.
    at : Place
        Where.
    counts : tuple of int
        Number of examples in each batch.
    same : bool
        Whether the second batch is the first.
    traced : bool
        Whether values are unknown now, so that everything is one tile.
    diagonal : frozenset of int
        The edges of which the results hold offset 0 alone.
    masks : tuple of dict
        For each batch, the mask of every input edge that has one, ``(n, *spatial, C)``.
    patterns : tuple
        The caller's pattern for each batch.
    """

    plan: Plan
    layers: tuple[Layer, ...]
    sources: dict[int, Source]
    at: Place
    counts: tuple[int, int]
    same: bool
    traced: bool
    diagonal: frozenset[int]
    masks: tuple[Masks, Masks] = ({}, {})
    patterns: tuple[Any, Any] = (None, None)


@dataclass(frozen=True)
class Move:
    """One layer at work in a program, and the edges that nothing reads after it."""

    ctx: Context
    layer: Layer
    inputs: tuple[int, ...]
    output: int
    done_with: tuple[int, ...]


class Program:
    """The layers of a plan that one block needs, from one step on, ready for tile after tile."""

    def __init__(self, job: Job, block: str, start: int = 0) -> None:
        self._at, self._block = job.at, block
        edges = job.plan.edges
        self._outputs = [i for i in leaves_of(job.plan.outputs) if asked(edges[i], block)]
        self._entries = [
            (edge, source, edges[edge].layout(block))
            for edge, source in job.sources.items()
            if asked(edges[edge], block)
        ]
        last = {i: n for n, step in enumerate(job.plan.steps) for i in step.inputs}
        self._moves = [
            self._move(job, n, last)
            for n, step in enumerate(job.plan.steps)
            if n >= start and asked(edges[step.output], block)
        ]
        layouts = [e[2] for e in self._entries if not start]
        layouts += [m.ctx.layout for m in self._moves]
        self.widest = max((layout.entries for layout in layouts), default=1)

    def _move(self, job: Job, n: int, last: dict[int, int]) -> Move:
        plan, step = job.plan, job.plan.steps[n]
        shapes = tuple(plan.edges[i].shape1 for i in step.inputs)
        ntk = plan.blocks == 2 and self._block == "cross"
        ctx = Context(job.at, shapes, plan.edges[step.output].layout(self._block), ntk)
        done_with = tuple(i for i in set(step.inputs) if last[i] == n and i not in self._outputs)
        return Move(ctx, job.layers[n], step.inputs, step.output, done_with)

    def move(self, output: int) -> Move:
        """Return the layer that writes an edge."""
        return next(m for m in self._moves if m.output == output)

    def __len__(self) -> int:
        """Return how many parts there are: see :mod:`ntcore.parts`."""
        return 1

    def part(self, part: int, one: Span, two: Span, company: Company) -> dict[int, Moments]:
        """Push one tile through every layer; return the moments of the outputs."""
        return self.run(one, two, company)

    def join(self, found: list[dict[int, Moments]], company: Company) -> dict[int, Moments]:
        """Return the only part."""
        return found[0]

    def run(self, one: Span, two: Span, company: Company) -> dict[int, Moments]:
        """Push one tile through every layer; return the moments of the outputs."""
        env: dict[int, Moments] = {}
        for edge, source, layout in self._entries:
            arrays = source.arrays(self._at, self._block, one, two)
            enter = staged(self._at, source.moments, (0, 1))
            env[edge] = company.edge(edge, enter(self._at, layout, *arrays))
        return self.go_on(env, company)

    def go_on(self, env: dict[int, Moments], company: Company) -> dict[int, Moments]:
        """Push the moments of some edges through the layers above them."""
        for move in self._moves:
            inputs = company.layer(move.output, [env[i] for i in move.inputs])
            env[move.output] = company.edge(move.output, push(move, *inputs))
            for i in move.done_with:
                env.pop(i, None)
        return {i: env[i] for i in self._outputs}


def asked(edge: Edge, block: str) -> bool:
    """Whether anything of a block is asked for at an edge."""
    return getattr(edge, block) is not None


def push(move: Move, *inputs: Moments) -> Moments:
    """Return the moments of a layer's output."""
    moments: Moments = staged(move.ctx.at, _push, (0,))(move.ctx, move.layer, *inputs)
    return moments


def _push(ctx: Context, layer: Layer, *inputs: Moments) -> Moments:
    return layer.push(ctx, *inputs)


def staged(at: Place, fn: Callable[..., Any], static: tuple[int, ...]) -> Callable[..., Any]:
    """Return a function, compiled on its own where the backend compiles."""
    stage = at.backend.stage
    return fn if stage is None else stage(fn, static)
