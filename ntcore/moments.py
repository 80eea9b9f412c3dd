"""What passes between layers: the second moments of a pair of batches, and what they are worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ntcore.backend import Array, Place
from ntcore.cov import Cov, Layout
from ntcore.record import Record, leaf, record
from ntcore.shape import Shape


@dataclass(frozen=True)
class Traits:
    """Static facts about one edge of a network.

    Attributes
    ----------
    gaussian : bool
        Channels are independent, identically distributed Gaussians given the inputs, which is
        what an elementwise nonlinearity needs below it.
    is_input : bool
        The edge is an input of the network.
    trained : bool
        A layer below has parameters, so that the NTK is not zero.
    masked : bool
        Examples come with masks; the plan says so of whatever is above a masked input.
    roots : frozenset of int or None
        Which weights, or inputs, the edge is linear in; two edges that share a root are
        correlated. A layer with weights of its own returns None and the plan numbers it.
    alike : bool
        Channels are independent and identically distributed, Gaussian or not. The plan says so
        of whatever is Gaussian, and layers keep it or take it away.
    """

    gaussian: bool = False
    is_input: bool = False
    trained: bool = False
    masked: bool = False
    roots: frozenset[int] | None = None
    alike: bool = False


FRESH = Traits(gaussian=True, trained=True)


@record
class Moments(Record):
    """The moments of one edge between two batches.

    Attributes
    ----------
    nngp, ntk : Cov
        The covariance and the neural tangent kernel. ``ntk`` is None where it is zero or was not
        asked for.
    side1, side2 : Cov or None
        Paired blocks: the covariance of every example with itself, for each batch, at the
        offsets the plan asks for.
    same : array or None
        ``(n1, n2)``, true where both examples are one and the same; None where none are.
    mask1, mask2 : array or None
        ``(P1, P2, ..., n)`` for each batch, true at positions that hold nothing, where both blocks
        are 0; None where there are no masks.
    aside1, aside2 : array or None
        What the layer that reads these moments made of the caller's ``pattern``, for each batch:
        an entry for each example on the first axis, or one for all.
    """

    nngp: Cov = leaf()
    ntk: Cov | None = leaf(default=None)
    side1: Cov | None = leaf(default=None)
    side2: Cov | None = leaf(default=None)
    same: Array | None = leaf(default=None)
    mask1: Array | None = leaf(default=None)
    mask2: Array | None = leaf(default=None)
    aside1: Any = leaf(default=None)
    aside2: Any = leaf(default=None)


@dataclass(frozen=True)
class Context:
    """The static circumstances of one layer's ``push``.

    Attributes
    ----------
    at : Place
        Backend, data type and device.
    inputs : tuple of Shape
        The shape of each input edge (of the first batch).
    layout : Layout
        The layout that the output block must have.
    ntk : bool
        Whether the NTK is asked for.
    partial : bool
        Whether the input holds but a part of what the layer, an additive one, reads.
    """

    at: Place
    inputs: tuple[Shape, ...]
    layout: Layout
    ntk: bool
    partial: bool = False
