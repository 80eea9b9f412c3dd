"""What happens to a parameter before it meets data, and to what it gives before a signal is read.

A parameter may be rearranged and multiplied with numbers, and what it gives may be multiplied with
numbers and added to other things. The numbers all go to the activations, so that a matrix and its
bias share one array of signals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.extend.core as jex

from ntcore.backends.jax_equations import Equations

VIEWS = ("transpose", "reshape", "squeeze", "expand_dims", "broadcast_in_dim", "copy", "copy_p")


@dataclass(frozen=True)
class Chain:
    """How a parameter is rearranged and scaled.

    Attributes
    ----------
    steps : tuple
        Rearrangements, hashable.
    factor : float or array
        What it is multiplied with.
    axis : int or None
        Where its only axis with several entries is in the end.
    spread : bool
        Whether it is repeated along other axes.
    """

    steps: tuple[Any, ...]
    factor: Any
    axis: int | None
    spread: bool


def chain_of(eqs: Equations, v: Any, root: Any, made_by: Any, values: Any) -> Chain | None:
    """Return how ``v`` is a rearrangement of a parameter, or None if it is something else."""
    lines: list[Any] = []
    while v is not root:
        line = made_by[v]
        step = _scaling(eqs, line, values)
        if step is not None:
            above = step[0]
        elif line.primitive.name in VIEWS and len(eqs.inputs(line)) == 1:
            above = eqs.inputs(line)[0]
        else:
            return None
        lines.append((line, None if step is None else step[1]))
        v = above
    return _followed(root, lines[::-1])


def _followed(root: Any, lines: Sequence[tuple[Any, Any]]) -> Chain:
    steps, factor, spread = [], 1.0, False
    axis = _only_axis(root.aval.shape)
    for line, scale in lines:
        if scale is not None:
            factor = factor * scale
            continue
        shape = line.outvars[0].aval.shape
        steps.append((line.primitive.name, str(sorted(line.params.items(), key=str))))
        if math.prod(shape) != math.prod(line.invars[0].aval.shape):
            spread, axis = True, _spread_axis(line, axis)
        elif spread:
            axis = None
        else:
            axis = _only_axis(shape)
    return Chain(tuple(steps), factor, axis, spread)


def _only_axis(shape: Sequence[int]) -> int | None:
    several = [k for k, size in enumerate(shape) if size > 1]
    return several[0] if len(several) == 1 else None


def _spread_axis(line: Any, axis: int | None) -> int | None:
    if axis is None or line.primitive.name != "broadcast_in_dim":
        return None
    return int(line.params["broadcast_dimensions"][axis])


def _scaling(eqs: Equations, line: Any, values: Any) -> tuple[Any, Any] | None:
    """Return ``(array, number)`` for an equation that multiplies an array with a number."""
    given, name = eqs.inputs(line), line.primitive.name
    if name == "neg":
        return given[0], -1.0
    if name not in ("mul", "div"):
        return None
    numbers = [_number(v, values) for v in given]
    if numbers[1] is not None and given[0].aval.shape:
        return given[0], numbers[1] if name == "mul" else 1.0 / numbers[1]
    if name == "mul" and numbers[0] is not None and given[1].aval.shape:
        return given[1], numbers[0]
    return None


def _number(v: Any, values: Any) -> Any:
    if v.aval.shape:
        return None
    return v.val if isinstance(v, jex.Literal) else values.get(v)


# --- from where it is used to where the signal is read -------------------------------------------


def carried(eqs: Equations, i: int, users: Any, values: Any) -> tuple[int, Any]:
    """Return the last equation with the signal of equation ``i`` times a number, and the number.

    ``values`` holds the numbers that depend on nothing.
    """
    factor: Any = 1.0
    if len(eqs.lines[i].outvars) != 1:
        return i, factor
    while True:
        v = eqs.lines[i].outvars[0]
        following = users.get(v, ())
        if v is eqs.out or len(following) != 1:
            return i, factor
        line = eqs.lines[following[0]]
        scale = _passed(eqs, line, v, values)
        if scale is None:
            return i, factor
        i, factor = following[0], factor * scale


def _passed(eqs: Equations, line: Any, v: Any, values: Any) -> Any:
    """Return what an equation multiplies ``v`` with on its way to the output, or None."""
    given, out, name = eqs.inputs(line), line.outvars[0].aval, line.primitive.name
    if out.shape != v.aval.shape or out.dtype != v.aval.dtype:
        return None
    if name in ("add", "add_any"):
        return 1.0
    if name == "sub":
        return 1.0 if given[0] is v else -1.0
    scaling = _scaling(eqs, line, values)
    return scaling[1] if scaling is not None and scaling[0] is v else None
