"""NTK-vector products: derivatives of the first batch along gradients of the second."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

from ntcore.backend import Array, host
from ntcore.empirical.axes import Outputs
from ntcore.empirical.derivatives import jvp
from ntcore.empirical.jacobian import gradients_of
from ntcore.empirical.kernel import Chunks, spans
from ntcore.empirical.view import REFUSALS, View


def by_products(views: tuple[View, View], outs: tuple[Outputs, Outputs], chunks: Chunks) -> Array:
    """Return sums of products, as :meth:`~ntcore.empirical.kernel.Blocks.kernel` does.

    Each gradient of an output of the second batch is a direction; the derivative of the whole
    first batch along it is a column of the kernel.
    """
    one, two = views
    xp = one.backend.namespace
    if outs[0].paired:
        every = [
            _columns((one.part(i, i + 1), two.part(i, i + 1)), outs, chunks)[:, 0, ...]
            for i in range(one.count)
        ]
        return xp.concat(every, axis=0)
    blocks = [
        _columns((one, two.part(s.start, s.stop)), outs, chunks)
        for s in spans(two.count, chunks.examples)
    ]
    return blocks[0] if len(blocks) == 1 else xp.concat(blocks, axis=1)


def _columns(views: tuple[View, View], outs: tuple[Outputs, Outputs], chunks: Chunks) -> Array:
    """Return ``(n1, n2, diagonal, free1, free2)`` from all entries of all columns."""
    one, two = views
    xp, np = one.backend.namespace, host().namespace
    rows = [np.reshape(out.positions(np), (-1,)) for out in outs]
    count = chunks.diagonal * chunks.free * chunks.traced
    parts = []
    for span in spans(len(rows[1]), count):
        seeds = two.seeds(outs[1].shape, rows[1][span.start : span.stop])
        found = _along(one, gradients_of(two, seeds))
        parts.append(found)
    every = parts[0] if len(parts) == 1 else xp.concat(parts, axis=1)
    flat = xp.reshape(every, (two.count, len(rows[1]), one.count, -1))
    flat = xp.take(flat, one.place.index(rows[0]), axis=3)
    (d, f1, t), (_, f2, _) = outs[0].counts, outs[1].counts
    split = xp.reshape(flat, (two.count, d, f2, t, one.count, d, f1, t))
    diagonal = [reduce(add, (split[:, i, :, j, :, i, :, j] for j in range(t))) for i in range(d)]
    return xp.permute_dims(xp.stack(diagonal), (3, 1, 0, 4, 2))


def _along(view: View, directions: list[Array]) -> Array:
    """Return the outputs' derivatives ``(n2, rows, n1, ...)`` along directions ``(n2, rows)``."""
    front = tuple(directions[0].shape[:2])
    xp = view.backend.namespace
    flat = [xp.reshape(g, (front[0] * front[1], *g.shape[2:])) for g in directions]
    found = None
    if view.backend.vmap is not None and view.backend.jvp is not None:
        try:
            found = _side_by_side(view, flat)
        except REFUSALS:
            found = None
    if found is None:
        found = xp.stack(
            [_derivative(view, [g[i, ...] for g in flat]) for i in range(flat[0].shape[0])]
        )
    return xp.reshape(found, (*front, view.count, -1))


def _side_by_side(view: View, directions: list[Array]) -> Array:
    forward, vmap = view.backend.jvp, view.backend.vmap
    assert forward is not None and vmap is not None

    def derivatives(theta: Any, constants: Any, leaves: Any, directions: Any) -> Any:
        def along(*direction: Any) -> Any:
            return forward(lambda *t: view.whole(t, constants, leaves), theta, direction)[1]

        return vmap(along)(*directions)

    return view.compile("derivatives", derivatives)(*view.arrays, tuple(directions))


def _derivative(view: View, direction: list[Array]) -> Array:
    theta, constants, leaves = view.arrays
    fn = lambda *t: [view.whole(t, constants, leaves)]  # noqa: E731
    return jvp(view.backend, fn, theta, direction)[1][0]
