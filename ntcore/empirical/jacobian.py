"""Jacobian contraction: per-example gradients, all of them formed."""

from __future__ import annotations

from typing import Any

from ntcore import tape
from ntcore.backend import Array
from ntcore.empirical.contract import Formed, Gradient
from ntcore.empirical.inner import Meeting
from ntcore.empirical.view import REFUSALS, View


def formed(view: View, seeds: Array, meeting: Meeting) -> list[Gradient]:
    """Return, for every array of parameters, gradients ``(n, rows, parameters)``.

    ``seeds`` holds a cotangent of the output of one example per row. Examples and rows go side by
    side where the library has ``vmap`` and it can follow the function, and one after the other
    where not.
    """
    xp = view.backend.namespace
    every = gradients_of(view, seeds)
    return [Formed(xp.reshape(g, (*g.shape[:2], -1)), None, (k,)) for k, g in enumerate(every)]


def gradients_of(view: View, seeds: Array) -> list[Array]:
    """Return gradients ``(n, rows, ...)`` in the shapes of the parameters."""
    if view.backend.vmap is not None and view.backend.vjp is not None:
        try:
            return _side_by_side(view, seeds)
        except REFUSALS:
            pass  # one at a time, where what is wrong with the function itself shows
    return _one_by_one(view, seeds)


def _side_by_side(view: View, seeds: Array) -> list[Array]:
    vjp, vmap = view.backend.vjp, view.backend.vmap
    assert vjp is not None and vmap is not None
    axes = view.vmap_axes

    def gradients(theta: Any, constants: Any, leaves: Any, seeds: Any) -> Any:
        def one(*example: Any) -> Any:
            _, pull = vjp(lambda *t: view.single(t, constants, example), *theta)
            return vmap(pull)(seeds)

        return vmap(one, in_axes=axes)(*leaves) if view.out is not None else one(*leaves)

    found = view.compile("jacobian", gradients)(*view.arrays, seeds)
    return [g if view.out is not None else g[None, ...] for g in found]


def _one_by_one(view: View, seeds: Array) -> list[Array]:
    xp = view.backend.namespace
    found = [_rows(view, example, seeds) for example in view.examples()]
    return [xp.stack(list(grads)) for grads in zip(*found, strict=True)]


def _rows(view: View, example: list[Any], seeds: Array) -> list[Array]:
    """Return the gradients ``(rows, ...)`` of one example."""
    theta, constants = view.fn.theta, view.fn.constants
    if view.backend.vjp is None:
        fn = lambda *t: [view.single(t, constants, example)]  # noqa: E731
        return tape.vjp(view.backend, fn, *theta)[1]([seeds])
    _, pull = view.backend.vjp(lambda *t: view.single(t, constants, example), *theta)
    every = [pull(seeds[i, ...]) for i in range(seeds.shape[0])]
    return [view.backend.namespace.stack(list(g)) for g in zip(*every, strict=True)]
