"""The record of a computation, and its two sweeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import add
from typing import Any

from ntcore.backend import Array, Backend

Value = Any  # an array of the library below, or a Python number


@dataclass(frozen=True)
class Op:
    r"""One differentiable primitive :math:`y = p(x_1, \ldots, x_k)`.

    Attributes
    ----------
    name : str
        Its name in the standard.
    value : callable
        ``(tape, *values, **static) -> y``.
    push : callable
        ``(node, i, t) -> tangent``: what a tangent of argument ``i`` adds to that of ``y``.
    pull : callable
        ``(node, i, g) -> cotangent`` of argument ``i``. ``g`` has the shape of ``y``, or one more
        axis in front of it, along which cotangents are independent.
    """

    name: str
    value: Callable[..., Array]
    push: Callable[[Node, int, Array], Array]
    pull: Callable[[Node, int, Array], Array]


@dataclass(frozen=True, eq=False)
class Node:
    """One recorded application of a primitive; ``parents`` are positions on the tape, or None."""

    tape: Tape
    op: Op | None
    values: tuple[Value, ...]
    parents: tuple[int | None, ...]
    static: dict[str, Any]
    out: Array

    @property
    def xp(self) -> Any:
        """The namespace in which the sweeps compute."""
        return self.tape.xp

    def lead(self, g: Array) -> int:
        """Return the number of axes that a cotangent has in front of those of the output."""
        return int(g.ndim - self.out.ndim)


@dataclass(eq=False)
class Tape:
    """What was done to the arrays of one library, in order.

    Attributes
    ----------
    backend : Backend
        Whose namespace the values belong to; that of another tape's arrays when nested.
    nodes : list of Node
        Parents come before children.
        They refer to the tape, and are cleared once nobody will sweep again.
    above : Backend or None
        The backend of the arrays on this tape, once there are any.
    lower : Tape or None
        The tape that the values are on, when nested.
    """

    backend: Backend
    nodes: list[Node] = field(default_factory=list)
    above: Backend | None = None
    lower: Tape | None = None

    @property
    def xp(self) -> Any:
        """The namespace of the values."""
        return self.backend.namespace

    def source(self, value: Array) -> int:
        """Record an array that derivatives are taken with respect to."""
        self.nodes.append(Node(self, None, (), (), {}, value))
        return len(self.nodes) - 1

    def pull(
        self, seeds: dict[int, Array], wanted: Sequence[int], skip: frozenset[int] = frozenset()
    ) -> list[Array | None]:
        """Sweep backwards from cotangents of some nodes to those of the ``wanted`` ones.

        Nodes in ``skip`` receive none.
        """
        grads: dict[int, Array] = dict(seeds)
        keep = set(wanted)
        for at in range(max(grads, default=-1), -1, -1):
            g = grads.get(at)
            node = self.nodes[at]
            if g is None or node.op is None:
                continue
            for i, parent in enumerate(node.parents):
                if parent is not None and parent not in skip:
                    term = node.op.pull(node, i, g)
                    grads[parent] = add(grads[parent], term) if parent in grads else term
            if at not in keep:
                del grads[at]
        return [grads.get(at) for at in wanted]

    def push(self, seeds: dict[int, Array], wanted: Sequence[int]) -> list[Array | None]:
        """Sweep forwards from tangents of some nodes to those of the ``wanted`` ones."""
        tangents: dict[int, Array] = dict(seeds)
        for at, node in enumerate(self.nodes):
            if node.op is None:
                continue
            for i, parent in enumerate(node.parents):
                if parent is not None and parent in tangents:
                    term = node.op.push(node, i, tangents[parent])
                    tangents[at] = add(tangents[at], term) if at in tangents else term
        return [tangents.get(at) for at in wanted]
