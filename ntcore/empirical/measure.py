"""What a function takes for one example, counted on the function itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ntcore import tape
from ntcore.empirical.view import View

VIEWS = frozenset(["reshape", "permute_dims", "broadcast_to"])


@dataclass(frozen=True)
class Measured:
    """The work of one forward pass for one example.

    Attributes
    ----------
    flops : float
        Operations of its matrix products and convolutions.
    entries : float
        Numbers in all of its intermediate arrays.
    largest : float
        Numbers in the largest of them.
    """

    flops: float
    entries: float
    largest: float


def measured(view: View) -> Measured:
    """Return the work of a function for one example."""
    key = (
        "measured",
        view.fn.key,
        view.batch.key,
        tuple(tuple(x.shape[1:]) for x in view.batch.leaves),
    )
    if key not in view.compiled:
        one = view.part(0, 1)
        count = view.backend.count or _on_tape
        view.compiled[key] = Measured(*count(one))  # type: ignore[assignment]
    return view.compiled[key]  # type: ignore[return-value]


def _on_tape(view: View) -> tuple[float, float, float]:
    on = tape.tape_of(view.backend, view.fn.theta)
    theta = [tape.Traced(t, on, on.source(t)) for t in view.fn.theta]
    view.whole(theta, view.fn.constants, view.batch.leaves)
    nodes = [n for n in on.nodes if n.op is not None and n.op.name not in VIEWS]
    sizes = [math.prod(n.out.shape) for n in nodes]
    flops = sum(
        2.0 * math.prod(n.out.shape) * n.values[0].shape[-1]
        for n in nodes
        if n.op is not None and n.op.name == "matmul"
    )
    on.nodes.clear()
    return flops, float(sum(sizes)), float(max(sizes, default=0))
