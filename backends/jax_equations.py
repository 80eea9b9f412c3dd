"""JAX functions as lists of equations that can be evaluated one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jax
import jax.extend.core as jex

CALLS = ("jit", "pjit", "closed_call", "core_call", "remat", "checkpoint", "remat2")


@dataclass
class Equations:
    """A function as a list of equations, calls of other functions written out.

    Attributes
    ----------
    theta : list of Var
        Its parameters.
    known : dict
        Values of all other inputs and constants.
    lines : list of JaxprEqn
        In order.
    out : Var
        Its output.
    """

    theta: list[Any]
    known: dict[Any, Any]
    lines: list[Any] = field(default_factory=list)
    out: Any = None
    alias: dict[Any, Any] = field(default_factory=dict)
    constants: set[Any] = field(default_factory=set)

    def name(self, v: Any) -> Any:
        """Return the variable, or the literal, that a variable of an inner function stands for."""
        while not isinstance(v, jex.Literal) and v in self.alias:
            v = self.alias[v]
        return v

    def inputs(self, line: Any) -> list[Any]:
        """Return what an equation takes."""
        return [self.name(v) for v in line.invars]


def equations(fn: Callable[..., Any], theta: Any, rest: Sequence[Any]) -> Equations:
    """Return the equations of ``fn(theta, *rest)`` where it is."""
    closed = jax.make_jaxpr(lambda t, r: fn(t, *r))(tuple(theta), tuple(rest))
    jaxpr = closed.jaxpr
    count = len(theta)
    made = Equations(list(jaxpr.invars[:count]), {})
    made.known.update(zip(jaxpr.constvars, closed.consts, strict=True))
    made.constants.update(jaxpr.constvars)
    made.known.update(zip(jaxpr.invars[count:], jax.tree.leaves(tuple(rest)), strict=True))
    _write_out(made, jaxpr)
    made.out = made.name(jaxpr.outvars[0])
    return made


def _write_out(made: Equations, jaxpr: Any) -> None:
    for line in jaxpr.eqns:
        inner = line.params.get("jaxpr") or line.params.get("call_jaxpr")
        if line.primitive.name not in CALLS or inner is None:
            made.lines.append(line)
            continue
        if isinstance(inner, jex.ClosedJaxpr):
            made.known.update(zip(inner.jaxpr.constvars, inner.consts, strict=True))
            inner = inner.jaxpr
        fresh = _renamed(inner)
        made.constants.update(fresh.constvars)
        made.alias.update(zip(fresh.invars, [made.name(v) for v in line.invars], strict=True))
        made.known.update(
            {
                new: made.known[old]
                for new, old in zip(fresh.constvars, inner.constvars, strict=True)
            }
        )
        _write_out(made, fresh)
        made.alias.update(zip(line.outvars, [made.name(v) for v in fresh.outvars], strict=True))


def _renamed(jaxpr: Any) -> Any:
    """Return an inner function with variables of its own: it may be called twice."""
    names: dict[Any, Any] = {}

    def new(v: Any) -> Any:
        if isinstance(v, jex.Literal):
            return v
        if v not in names:
            names[v] = jex.Var(v.aval)
        return names[v]

    lines = [
        line.replace(invars=[new(v) for v in line.invars], outvars=[new(v) for v in line.outvars])
        for line in jaxpr.eqns
    ]
    return jaxpr.replace(
        constvars=[new(v) for v in jaxpr.constvars],
        invars=[new(v) for v in jaxpr.invars],
        outvars=[new(v) for v in jaxpr.outvars],
        eqns=lines,
    )


def run(eqs: Equations, values: dict[Any, Any], wanted: Sequence[int], bumps: Any = None) -> None:
    """Evaluate some equations; ``bumps`` are added to what those with an entry put out."""
    for i in wanted:
        line = eqs.lines[i]
        given = [v.val if isinstance(v, jex.Literal) else values[v] for v in eqs.inputs(line)]
        found = bind(line, given)
        if bumps is not None and i in bumps:
            found = [y if b is None else y + b for y, b in zip(found, bumps[i], strict=True)]
        values.update(zip(line.outvars, found, strict=True))


@cache
def _nothing() -> Any:
    """Return the equations of a function that does nothing."""
    return jax.make_jaxpr(lambda: ())().jaxpr


def bind(line: Any, given: list[Any]) -> list[Any]:
    """Evaluate one equation, as a function of its own."""
    pairs = {
        v: x for v, x in zip(line.invars, given, strict=True) if not isinstance(v, jex.Literal)
    }
    alone = _nothing().replace(
        invars=list(pairs), outvars=line.outvars, eqns=[line], effects=line.effects
    )
    found = jex.jaxpr_as_fun(jex.ClosedJaxpr(alone, []))(*pairs.values())
    return list(found)
