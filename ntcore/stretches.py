"""Which layers of a program run as one chain, and running them so."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import takewhile
from typing import Any

from ntcore.apart import mix_rows
from ntcore.backend import Array, Place, host
from ntcore.chain import Chain, Notes
from ntcore.cov import Cov, Layout, of_inputs, select
from ntcore.ghosts import Batch, Same, Side, Unrecordable
from ntcore.moments import Moments
from ntcore.moves import Company, Move
from ntcore.ops import recording
from ntcore.plan import Plan
from ntcore.recorder import Value
from ntcore.recording import recording_place

Env = dict[int, Moments]
#: The layouts of the covariance and of the tangent kernel of edges.
Given = Mapping[int, tuple[Layout, Layout | None]]
#: The layout of an edge whose block is the product of two batches, and the channels of both.
Drawn = Mapping[int, tuple[Layout, int]]
#: What does less is as fast layer by layer.
LEAST_STEPS = 3
#: Nonlinearities, and entries of the widest edge, that are worth a chain for what comes before rows
#: of pairs meet: it takes them row by row.
LEAST_APART, LEAST_ENTRIES = 2, 1 << 13
#: Entries of an edge that are too many for one chain where rows meet.
MOST_ENTRIES = 1 << 17
#: What a thread takes for a chain: its work space, and the tile before and after.
WORK_BYTES = 1 << 26


@dataclass(frozen=True)
class Block:
    """A covariance of an edge, or its tangent kernel, as a value of a chain."""

    edge: int
    tangent: bool
    layout: Layout
    value: int


@dataclass(frozen=True)
class Beside:
    """What is known beside the blocks.

    Attributes
    ----------
    side : callable
        From an edge to the layouts of what is kept of its examples, for each batch.
    same : bool
        Whether some pairs are one example twice.
    drawn : dict
        The edges that nothing is known of yet but the examples that they are the products of.
    alone : dict or None
        Where a batch passes by itself, so that every block holds the variances of its edge: what
        is kept of each edge.
    whole : bool
        Whether one chain is to hold as many layers as can be.
    """

    side: Callable[[int], tuple[Layout | None, Layout | None]]
    same: bool
    drawn: Drawn = field(default_factory=dict)
    alone: dict[int, Layout] | None = None
    whole: bool = False


@dataclass(frozen=True)
class Stretch:
    """Layers that run as one chain.

    Attributes
    ----------
    chain : Chain
        What they do.
    stop : int
        The first layer after them.
    given, made : tuple of Block
        What is read, in the order of the chain's inputs, and what is written.
    """

    chain: Chain
    stop: int
    given: tuple[Block, ...]
    made: tuple[Block, ...]

    @cached_property
    def written(self) -> tuple[Any, ...]:
        """What each block is that is written, and the place of its output."""
        outputs = self.chain.outputs
        return tuple((b.edge, b.tangent, b.layout, outputs.index(b.value)) for b in self.made)


def affordable(at: Place, plan: Plan) -> bool:
    """Whether chains can be, and a memory budget leaves room for what they take.

    That is the variances once more, one below the other, and work space for every thread.
    """
    given = plan.options.memory_budget
    if at.backend.chain is None or given is None:
        return at.backend.chain is not None
    kept = plan.cost.bytes_kept if plan.keeps else 0
    space = WORK_BYTES * max(at.backend.workers(at.device), 1)
    return given - plan.cost.bytes_result - 2 * kept >= space


def can_play(at: Place, plan: Plan, company: Company) -> bool:
    """Whether chains are worth looking for."""
    return company.plain and affordable(at, plan)


def find_stretch(
    at: Place, moves: Sequence[Move], start: int, given: Given, beside: Beside, kept: Iterable[int]
) -> Stretch | None:
    """Record as many layers as can be, from one on; None where that is not worth it.

    The first layer that lets rows of pairs meet may be the last: what comes before it fits the
    cache row by row.
    ``kept`` names the edges that are wanted in the end.
    """
    if any(nngp.dense for nngp, _ in given.values()):
        return None
    notes = Notes(beside.alone is not None)
    apart: Env = {}
    ghosts = {edge: _ghost(notes, beside, edge, *layouts) for edge, layouts in given.items()}
    read = [b for edge in given for b in _blocks(edge, ghosts[edge])]
    place, stop, mixed = recording_place(at), start, False
    with suppress(Unrecordable), recording():
        for edge, (layout, channels) in beside.drawn.items():
            x1, x2 = (_batch(notes, edge, b, layout, channels) for b in (0, 1))
            made = Moments(of_inputs(place, x1, x2, layout))
            ghosts[edge] = _attended(notes, beside, edge, made)
            apart |= _kept(place, beside, edge, made)
        for move in takewhile(lambda m: not m.ctx.layout.dense, moves[start:]):
            ctx = replace(move.ctx, at=place)
            written = len(notes.steps)
            made = move.layer.push(ctx, *(ghosts[i] for i in move.inputs))
            ghosts[move.output] = _attended(notes, beside, move.output, made)
            apart |= _kept(place, beside, move.output, made)
            stop += 1
            if beside.alone is None and mix_rows(notes.steps[written:], notes.shapes):
                if _are_apart(notes, mixed, beside.whole):
                    break
                mixed = True
    if not ghosts.keys() >= beside.drawn.keys():
        return None
    alive = {i for move in moves[stop:] for i in move.inputs} | set(kept)
    edges = [*beside.drawn, *(m.output for m in moves[start:stop])]
    ends = apart | {i: ghosts[i] for i in edges if i in alive}
    wanted = [b for edge in edges if edge in ends for b in _blocks(edge, ends[edge])]
    chain = notes.finish([b.value for b in read], list(dict.fromkeys(b.value for b in wanted)))
    nonlinear = any(len(s.outputs) > 1 for s in chain.steps)
    if len(chain.steps) < LEAST_STEPS or not nonlinear:
        return None
    by_value = {b.value: b for b in read}
    return Stretch(chain, stop, tuple(by_value[i] for i in chain.inputs), tuple(wanted))


def _are_apart(notes: Notes, mixed: bool, whole: bool) -> bool:
    """Whether a chain ends where rows meet, so that what is before it stays in cache.

    ``mixed`` says that rows met before, so that nothing is won by it but space.
    """
    widest = max(map(math.prod, notes.shapes))
    if mixed or whole:
        return widest > MOST_ENTRIES
    nonlinear = sum(len(step.outputs) > 1 for step in notes.steps)
    return widest > MOST_ENTRIES or (nonlinear >= LEAST_APART and widest > LEAST_ENTRIES)


def play(
    at: Place, stretch: Stretch, env: Env, company: Company, onto: Array | None = None
) -> Array | None:
    """Run a stretch, and add what it makes to an array if there is one; None where it cannot."""
    assert at.backend.chain is not None
    counts = tuple(span.width for span in company.spans)
    examples = math.prod(_examples(stretch, company))
    arrays = []
    for block in stretch.given:
        cov = env[block.edge].ntk if block.tangent else env[block.edge].nngp
        assert cov is not None
        arrays.append(at.xp.reshape(cov.data, (-1, examples)))
    return at.backend.chain(
        stretch.chain, arrays, company.rows(stretch.chain.sides),
        company.drawn(stretch.chain.drawn), company.same, counts, onto,
    )  # fmt: skip


def moments_of(at: Place, stretch: Stretch, found: Array, company: Company) -> Env:
    """Return the moments of the edges that a stretch writes, out of what it made."""
    data, start = {}, 0
    for i in stretch.chain.outputs:
        data[i] = found[start : start + stretch.chain.size(i), :]
        start += stretch.chain.size(i)
    covs: dict[int, dict[bool, Cov]] = {}
    for block in stretch.made:
        shape = (*block.layout.space, *_examples(stretch, company))
        made = Cov(at.xp.reshape(data[block.value], shape), block.layout)
        covs.setdefault(block.edge, {})[block.tangent] = made
    return {e: company.edge(e, Moments(c[False], c.get(True))) for e, c in covs.items()}


def _examples(stretch: Stretch, company: Company) -> tuple[int, ...]:
    counts = tuple(span.width for span in company.spans)
    return counts[:1] if stretch.chain.paired else counts


def _ghost(notes: Notes, beside: Beside, edge: int, nngp: Layout, ntk: Layout | None) -> Moments:
    """Return what stands for the moments of an edge that are given."""
    tangent = None if ntk is None else _value(notes, ntk)
    return _attended(notes, beside, edge, Moments(_value(notes, nngp), tangent))


def _value(notes: Notes, layout: Layout) -> Cov:
    return Cov(Value(notes, notes.value(layout.space), (*layout.space, 1, 1)), layout)


def _attended(notes: Notes, beside: Beside, edge: int, m: Moments) -> Moments:
    """Return moments with what stands for the variances of their examples."""
    if beside.alone is not None:
        return replace(m, side1=m.nngp, side2=m.nngp)
    layouts = enumerate(beside.side(edge))
    one, two = (None if x is None else Cov(_side(notes, edge, b, x), x) for b, x in layouts)
    return replace(m, side1=one, side2=two, same=Same() if beside.same else None)


def _kept(place: Place, beside: Beside, edge: int, m: Moments) -> Env:
    """Return what is kept of an edge, which may be less than its block."""
    layout = (beside.alone or {}).get(edge)
    return {} if layout is None else {edge: Moments(select(place, m.nngp, layout))}


def _side(notes: Notes, edge: int, batch: int, layout: Layout) -> Side:
    rows = host().namespace.arange(math.prod(layout.space))
    first = partial(notes.sides.first, edge, batch, rows.size)
    return Side(notes, rows.reshape(layout.space), first)


def _batch(notes: Notes, edge: int, batch: int, layout: Layout, channels: int) -> Batch:
    """Return what stands for the examples of one batch."""
    spatial = layout.sizes2 if batch else layout.sizes1
    first = partial(notes.drawn.first, edge, batch, math.prod(spatial) * channels)
    return Batch(notes, spatial, channels, first)


def _blocks(edge: int, m: Moments) -> list[Block]:
    covs = [(tangent, cov) for tangent, cov in ((False, m.nngp), (True, m.ntk)) if cov is not None]
    return [Block(edge, tangent, cov.layout, cov.data.number) for tangent, cov in covs]
