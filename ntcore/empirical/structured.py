"""Structured derivatives: gradients in factors wherever parameters multiply data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ntcore.backend import Array
from ntcore.empirical.contract import (
    Factored,
    Formed,
    Gradient,
    arrays_of,
    joined,
    rebuilt,
    together,
)
from ntcore.empirical.inner import Meeting, settled
from ntcore.empirical.jacobian import gradients_of
from ntcore.empirical.on_tape import structured_on_tape
from ntcore.empirical.view import View


def factored(view: View, seeds: Array, meeting: Meeting) -> list[Gradient]:
    """Return the gradients of all parameters, in the form in which they are multiplied.

    ``seeds`` holds a cotangent of the output of one example per row. Parameters that are used in a
    way that has no factors are left to the Jacobian. In one piece, where the library compiles.
    """
    shapes = (*(tuple(x.shape) for x in view.batch.leaves), tuple(seeds.shape), meeting)
    kinds: list[Any] = view.noted("structured", list, *shapes)

    def run(theta: Any, constants: Any, leaves: Any, seeds: Any) -> Any:
        at = view.at(theta, constants, leaves)
        found = settled(view.place, together(view.place, _uses(at, seeds)), meeting)
        kinds[:] = [arrays_of(g)[1] for g in found]
        return [arrays_of(g)[0] for g in found]

    arrays = view.compile("structured", run, *shapes)(*view.arrays, seeds)
    return [rebuilt(a, kind) for a, kind in zip(arrays, kinds, strict=True)]


def _uses(view: View, seeds: Array) -> list[list[Gradient]]:
    """Return, for each parameter, the gradients that its uses give."""
    parts = (view.backend.structured or structured_on_tape)(view, seeds)
    rest = [k for k, p in enumerate(parts) if p is None]
    left = dict(zip(rest, gradients_of(only(view, rest), seeds) if rest else [], strict=True))
    return [
        [_gradient(view, one) for one in ([(left[k],)] if p is None else p)]
        for k, p in enumerate(parts)
    ]


def outlined(view: View, shape: tuple[int, ...]) -> list[Factored | int]:
    """Return the shapes of what :func:`factored` finds, for one or two examples and one row.

    A number stands for as many parameters whose gradients are formed.
    """
    shapes = tuple(tuple(x.shape[1:]) for x in view.batch.leaves)
    found: list[Factored | int] = view.noted("outlined", list, *shapes)
    if not found:
        one = view.part(0, min(view.count, 2))
        outline = view.backend.outline or view.backend.structured or structured_on_tape
        groups: dict[Any, list[Gradient]] = {}
        for theta, parts in zip(view.fn.theta, outline(one, one.seeds(shape, [0])), strict=True):
            if parts is None or any(len(p) == 1 for p in parts):
                found.append(math.prod(theta.shape))
            else:
                groups.setdefault(tuple(id(p[1]) for p in parts), []).append(_joint(parts))
        every = (g for group in groups.values() for g in joined(group))
        found += [g for g in every if isinstance(g, Factored)]
    return found


@dataclass(frozen=True)
class _Sized:
    """Stands for an array of which only the shape matters."""

    shape: tuple[int, ...]

    @property
    def ndim(self) -> int:
        return len(self.shape)


def _joint(parts: Any) -> Factored:
    """Return the shapes of the factors that several uses make together."""
    a, d, inputs, *_ = parts[0]
    positions = sum(p[1].shape[4] for p in parts)
    front = tuple(a.shape[:2])
    sized = (*front, positions, inputs) if len(a.shape) == 4 else (*front, positions)
    return Factored((_Sized(sized),), _Sized((*d.shape[:4], positions)), (inputs,), (False,))


def only(view: View, which: Sequence[int]) -> View:
    """Return the view with some of its parameters; the others are constants."""
    fn = view.fn
    others = [k for k in range(len(fn.theta)) if k not in set(which)]
    count = len(others)

    def call(theta: Any, constants: Any, x: Any, kwargs: Any) -> Any:
        both = {
            **dict(zip(which, theta, strict=True)),
            **dict(zip(others, constants, strict=False)),
        }
        every = [both[k] for k in range(len(fn.theta))]
        return fn.call(every, constants[count:], x, kwargs)

    part = replace(
        fn,
        theta=[fn.theta[k] for k in which],
        constants=[*(fn.theta[k] for k in others), *fn.constants],
        call=call,
        key=(*fn.key, tuple(which)),
    )
    return replace(view, fn=part)


def _gradient(view: View, part: tuple[Any, ...]) -> Gradient:
    if len(part) > 1:
        a, d, inputs, turned, outputs_last = part
        return Factored((a,), d, (inputs,), (turned,), outputs_last)
    (g,) = part
    return Formed(view.backend.namespace.reshape(g, (*g.shape[:2], -1)))
