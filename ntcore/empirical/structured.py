"""Structured derivatives: gradients in factors wherever parameters multiply data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ntcore.backend import Array
from ntcore.empirical.contract import Factored, Formed, Gradient, merged
from ntcore.empirical.jacobian import formed
from ntcore.empirical.on_tape import structured_on_tape
from ntcore.empirical.view import View


def factored(view: View, seeds: Array) -> list[Gradient]:
    """Return, for every array of parameters, gradients in the form that is at hand.

    ``seeds`` holds a cotangent of the output of one example per row. Parameters that are used in a
    way that has no factors are left to the Jacobian.
    """
    structured = view.backend.structured or structured_on_tape
    parts = structured(view, seeds)
    rest = [k for k, p in enumerate(parts) if p is None]
    left = dict(zip(rest, formed(only(view, rest), seeds) if rest else [], strict=True))
    return [
        left[k] if p is None else merged(view.place, [_gradient(view, one) for one in p])
        for k, p in enumerate(parts)
    ]


def outlined(view: View, shape: tuple[int, ...]) -> list[Any]:
    """Return what :func:`factored` returns for one example and one row, or its shapes; None for
    parameters that are left to the Jacobian.
    """
    key = ("outlined", view.fn.key, view.batch.key, view.which, view.out)
    shapes = tuple(tuple(x.shape[1:]) for x in view.batch.leaves)
    if (*key, shapes) not in view.compiled:
        one = view.part(0, min(view.count, 2))
        seeds = one.seeds(shape, [0])
        outline = view.backend.outline or view.backend.structured or structured_on_tape
        parts = outline(one, seeds)
        view.compiled[(*key, shapes)] = [_joint(p) for p in parts]  # type: ignore[assignment]
    return view.compiled[(*key, shapes)]  # type: ignore[return-value]


@dataclass(frozen=True)
class _Sized:
    """Stands for an array of which only the shape matters."""

    shape: tuple[int, ...]

    @property
    def ndim(self) -> int:
        return len(self.shape)


def _joint(parts: Any) -> Factored | None:
    """Return the shapes of the factors that several uses make together, or None."""
    if parts is None or any(len(p) == 1 for p in parts):
        return None
    a, d, inputs, *_ = parts[0]
    positions = sum(p[1].shape[4] for p in parts)
    front = tuple(a.shape[:2])
    sized = (*front, positions, inputs) if a.ndim == 4 else (*front, positions)
    return Factored(_Sized(sized), _Sized((*d.shape[:4], positions)), inputs)


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
        return Factored(*part)
    (g,) = part
    return Formed(view.backend.namespace.reshape(g, (*g.shape[:2], -1)))
