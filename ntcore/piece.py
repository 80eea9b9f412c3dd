"""Networks in which examples are picked or joined, cut into pieces that keep their examples.

Where a layer picks or joins examples, pairs of examples below it are not those above it, so that
no tile of pairs can pass through. The whole kernel of what is below is held there, and what is
above goes on from it. A piece is all that lies between such layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ntcore.inputs import leaves_of
from ntcore.plan import Plan, Step


@dataclass(frozen=True)
class Piece:
    """Some steps of a plan, by number, that go through the network together.

    Attributes
    ----------
    first : int or None
        The step that made these examples; None where they are those of the inputs.
    steps : tuple of int
        The steps above it.
    inputs, outputs : tuple of int
        The edges that they read from elsewhere, and those that are read elsewhere.
    """

    first: int | None
    steps: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def makers(steps: Sequence[Step]) -> dict[int, int]:
    """Return, for each edge that has one, the last step below it that regroups examples.

    Edges of one maker have the same examples: no such step lies between it and them.
    """
    found: dict[int, int] = {}
    for n, step in enumerate(steps):
        below = [found[i] for i in step.inputs if i in found]
        if step.regroups or below:
            found[step.output] = n if step.regroups else max(below)
    return found


def held_edges(steps: Sequence[Step]) -> frozenset[int]:
    """Return the edges of which the whole kernel is held, for another piece to read."""
    maker, written = makers(steps), {s.output for s in steps}
    return frozenset(
        i
        for step in steps
        for i in step.inputs
        if step.regroups or (i in written and maker.get(i) != maker.get(step.output))
    )


def pieces_of(plan: Plan) -> tuple[Piece, ...]:
    """Return the pieces of a plan in the order in which they are computed."""
    steps, maker, held = plan.steps, makers(plan.steps), held_edges(plan.steps)
    firsts = [None, *(n for n, s in enumerate(steps) if s.regroups)]
    wanted = held | set(plan.output_edges)
    pieces = []
    for first in firsts:
        own = [n for n, s in enumerate(steps) if not s.regroups and maker.get(s.output) == first]
        written = {steps[n].output for n in own}
        outputs = [i for i in sorted(wanted) if i in written]
        if first is None:
            outputs = [i for i in leaves_of(plan.inputs) if i in wanted] + outputs
        read = {i for n in own for i in steps[n].inputs} | set(outputs)
        pieces.append(Piece(first, tuple(own), tuple(sorted(read - written)), tuple(outputs)))
    return tuple(pieces)
