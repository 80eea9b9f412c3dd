"""One layer at work on one block, and what it is told of the examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ntcore.backend import Array
from ntcore.cov import Layout
from ntcore.layers.base import Layer
from ntcore.moments import Context, Moments
from ntcore.source import Span
from ntcore.staging import staged


@dataclass(frozen=True)
class Move:
    """One layer at work in a program, and the edges that nothing reads after it."""

    ctx: Context
    layer: Layer
    inputs: tuple[int, ...]
    output: int
    done_with: tuple[int, ...]


class Company(Protocol):
    """What goes with the moments of one tile; see :class:`ntcore.company.Company`."""

    @property
    def spans(self) -> tuple[Span, Span]:
        """The examples of either batch."""

    @property
    def same(self) -> Array | None:
        """Which pairs are one example twice; None where none are."""

    @property
    def alone(self) -> dict[int, Layout] | None:
        """What is kept of every edge where a batch passes by itself, and None otherwise."""

    @property
    def plain(self) -> bool:
        """Whether there are neither masks nor patterns."""

    def side(self, edge: int) -> tuple[Layout | None, Layout | None]:
        """Return the layout of what is kept of an edge's examples, for each batch."""

    def rows(self, edges: tuple[int, ...]) -> tuple[Array, Array]:
        """Return what is kept of some edges, one below the other, ``(rows, n)`` for each batch."""

    def drawn(self, edges: tuple[int, ...]) -> tuple[Array, Array] | None:
        """Return the examples of some input edges as rows, the same way; None without edges."""

    def edge(self, edge: int, m: Moments) -> Moments:
        """Return the moments of an edge with what belongs to their examples."""

    def layer(self, output: int, inputs: list[Moments]) -> list[Moments]:
        """Return the inputs of the layer that writes an edge with what it reads of a pattern."""

    def cut(self) -> Company:
        """Return the same company with the arrays of these examples and of no others."""


def push(move: Move, *inputs: Moments) -> Moments:
    """Return the moments of a layer's output."""
    moments: Moments = staged(move.ctx.at, _push, (0,))(move.ctx, move.layer, *inputs)
    return moments


def _push(ctx: Context, layer: Layer, *inputs: Moments) -> Moments:
    return layer.push(ctx, *inputs)
