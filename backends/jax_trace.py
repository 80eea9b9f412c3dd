"""One backward pass through the equations of a JAX function: signals where parameters meet data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp

from ntcore.backends.jax_chains import carried
from ntcore.backends.jax_equations import Equations, equations, run

OUTPUT = -1  # stands for the output among the equations, where it is made of parameters alone


@dataclass
class Meeting:
    """What depends on parameters alone, and the equations where that meets data."""

    pure: set[Any]
    constant: set[Any]
    pure_lines: list[int]
    data_lines: list[int]
    lines: list[int]


def meetings(eqs: Equations) -> Meeting:
    """Find the equations that take arrays made of parameters alone, and data."""
    pure: set[Any] = set(eqs.theta)
    constant: set[Any] = set(eqs.constants)
    lines, alone, rest = [], [], []
    for i, line in enumerate(eqs.lines):
        given = eqs.inputs(line)
        arrays = [v for v in given if not isinstance(v, jex.Literal) and v not in constant]
        if all(v in pure for v in arrays):
            alone.append(i)
            (pure if arrays else constant).update(line.outvars)
            continue
        rest.append(i)
        if any(v in pure for v in arrays):
            lines.append(i)
    return Meeting(pure, constant, alone, rest, lines)


@dataclass
class Trace:
    """A function at its parameters and one example, with the signals of all rows.

    Attributes
    ----------
    eqs : Equations
        What it does.
    meeting : Meeting
        Where parameters meet data.
    values : dict
        Values of variables: parameters and what is made of them, and data where they meet.
    ends : dict
        For every meeting, the equation where its signal is read, and what it is multiplied with.
    signals : dict
        For every such equation, the signals of all rows in each of its outputs.
    rows : int
        Number of rows.
    """

    eqs: Equations
    meeting: Meeting
    values: dict[Any, Any]
    ends: dict[int, tuple[int, Any]]
    signals: dict[int, list[Any]]
    rows: int


def traced(fn: Callable[..., Any], theta: Sequence[Any], rest: Sequence[Any], seeds: Any) -> Trace:
    """Evaluate ``fn(theta, *rest)``, and pull the cotangents ``seeds`` back to every meeting."""
    eqs = equations(fn, theta, rest)
    meeting = meetings(eqs)
    values = {**eqs.known, **dict(zip(eqs.theta, theta, strict=True))}
    run(eqs, values, meeting.pure_lines)
    numbers = {v: x for v, x in values.items() if v in eqs.known or v in meeting.constant}
    users = _users(eqs, meeting)
    ends = {i: carried(eqs, i, users, numbers) for i in meeting.lines}
    bumps = {i: [_zero(v.aval) for v in eqs.lines[i].outvars] for i, _ in ends.values()}
    data = list(dict.fromkeys(v for i in meeting.lines for v in _data(eqs, meeting, i)))

    def forward(bumps: Any) -> Any:
        inside = dict(values)
        run(eqs, inside, meeting.data_lines, bumps)
        out = eqs.out.val if isinstance(eqs.out, jex.Literal) else inside[eqs.out]
        return out, [inside[v] for v in data]

    _, pull, inside = jax.vjp(forward, bumps, has_aux=True)
    signals = jax.vmap(pull)(seeds)[0]
    if eqs.out in meeting.pure:
        signals = {**signals, OUTPUT: [seeds]}
    values.update(zip(data, inside, strict=True))
    return Trace(eqs, meeting, values, ends, signals, seeds.shape[0])


def _users(eqs: Equations, meeting: Meeting) -> dict[Any, list[int]]:
    """Return, for every variable, the equations that take it, as often as they do."""
    users: dict[Any, list[int]] = {}
    for i in meeting.data_lines:
        for v in eqs.inputs(eqs.lines[i]):
            if not isinstance(v, jex.Literal):
                users.setdefault(v, []).append(i)
    return users


def _data(eqs: Equations, meeting: Meeting, i: int) -> list[Any]:
    """Return what an equation takes that is not made of parameters alone."""
    given = eqs.inputs(eqs.lines[i])
    return [v for v in given if not isinstance(v, jex.Literal) and v not in meeting.pure]


def _zero(aval: Any) -> Any:
    inexact = jnp.issubdtype(aval.dtype, jnp.inexact)
    return jnp.zeros(aval.shape, aval.dtype) if inexact else None
