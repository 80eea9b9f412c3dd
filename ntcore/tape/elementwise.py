"""Primitives that act on each entry alone: their derivatives, in the namespace ``xp``."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from ntcore.backend import Array
from ntcore.tape.shapes import spread, unbroadcast
from ntcore.tape.trace import Node, Op, Tape

LN2, LN10 = math.log(2), math.log(10)

#: dy/dx as a function of the namespace, x and y.
UNARY: dict[str, Callable[[Any, Array, Array], Any]] = {
    "abs": lambda xp, x, y: xp.sign(x),
    "acos": lambda xp, x, y: -1 / xp.sqrt((1 - x) * (1 + x)),
    "acosh": lambda xp, x, y: 1 / xp.sqrt((x - 1) * (x + 1)),
    "asin": lambda xp, x, y: 1 / xp.sqrt((1 - x) * (1 + x)),
    "asinh": lambda xp, x, y: 1 / xp.sqrt(x * x + 1),
    "atan": lambda xp, x, y: 1 / (x * x + 1),
    "atanh": lambda xp, x, y: 1 / ((1 - x) * (1 + x)),
    "cos": lambda xp, x, y: -xp.sin(x),
    "cosh": lambda xp, x, y: xp.sinh(x),
    "exp": lambda xp, x, y: y,
    "expm1": lambda xp, x, y: y + 1,
    "log": lambda xp, x, y: 1 / x,
    "log10": lambda xp, x, y: 1 / (LN10 * x),
    "log1p": lambda xp, x, y: 1 / (x + 1),
    "log2": lambda xp, x, y: 1 / (LN2 * x),
    "negative": lambda xp, x, y: -1.0,
    "reciprocal": lambda xp, x, y: -y * y,
    "sign": lambda xp, x, y: 0.0,
    "sin": lambda xp, x, y: xp.cos(x),
    "sinh": lambda xp, x, y: xp.cosh(x),
    "sqrt": lambda xp, x, y: 0.5 / y,
    "square": lambda xp, x, y: 2.0 * x,
    "tan": lambda xp, x, y: 1 + y * y,
    "tanh": lambda xp, x, y: 1 - y * y,
}


def _pow_base(xp: Any, a: Array, b: Any, y: Array) -> Any:
    if isinstance(b, (int, float)):
        return float(b) * a ** (b - 1) if b else 0.0
    one = xp.ones_like(b)
    return xp.where(b == 0, xp.zeros_like(y), b * a ** xp.where(b == 0, one, b - 1))


def _pow_exponent(xp: Any, a: Any, b: Array, y: Array) -> Any:
    if isinstance(a, (int, float)):
        return math.log(a) * y if a > 0 else 0.0
    one = xp.ones_like(a)
    return xp.where(a > 0, xp.log(xp.where(a > 0, a, one)) * y, xp.zeros_like(y))


def _larger(xp: Any, a: Array, b: Array, y: Array) -> Any:
    one = xp.ones_like(y)
    return xp.where(a > b, one, xp.where(a == b, 0.5 * one, xp.zeros_like(y)))


def _share(xp: Any, a: Array, y: Array) -> Any:
    """``a / y``; 0 where both are."""
    return xp.where(y == 0, xp.zeros_like(y), a / xp.where(y == 0, xp.ones_like(y), y))


#: (dy/da, dy/db) as functions of the namespace, a, b and y.
BINARY: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "add": (lambda xp, a, b, y: 1.0, lambda xp, a, b, y: 1.0),
    "subtract": (lambda xp, a, b, y: 1.0, lambda xp, a, b, y: -1.0),
    "multiply": (lambda xp, a, b, y: b, lambda xp, a, b, y: a),
    "divide": (lambda xp, a, b, y: 1.0 / b, lambda xp, a, b, y: -y / b),
    "pow": (_pow_base, _pow_exponent),
    "atan2": (
        lambda xp, a, b, y: b / (a * a + b * b),
        lambda xp, a, b, y: -a / (a * a + b * b),
    ),
    "maximum": (_larger, lambda xp, a, b, y: _larger(xp, b, a, y)),
    "minimum": (lambda xp, a, b, y: _larger(xp, b, a, y), _larger),
    "hypot": (lambda xp, a, b, y: _share(xp, a, y), lambda xp, a, b, y: _share(xp, b, y)),
    "logaddexp": (
        lambda xp, a, b, y: xp.exp(a - y),
        lambda xp, a, b, y: xp.exp(b - y),
    ),
    "remainder": (
        lambda xp, a, b, y: 1.0,
        lambda xp, a, b, y: (y - a) / b,
    ),
    "copysign": (lambda xp, a, b, y: xp.sign(a) * xp.sign(y), lambda xp, a, b, y: 0.0),
}

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
    "divide": operator.truediv, "pow": operator.pow, "remainder": operator.mod,
}  # fmt: skip


def _unary(name: str, slope: Callable[[Any, Array, Array], Any]) -> Op:
    def value(tape: Tape, x: Array) -> Array:
        return getattr(tape.xp, name)(x)

    def along(node: Node, i: int, t: Array) -> Array:
        return t * slope(node.xp, node.values[0], node.out)

    return Op(name, value, along, along)


def _binary(name: str, slopes: tuple[Callable[..., Any], Callable[..., Any]]) -> Op:
    def value(tape: Tape, a: Any, b: Any) -> Array:
        return binary_value(tape, name, a, b)

    def slope(node: Node, i: int) -> Any:
        return slopes[i](node.xp, *_arrays(node), node.out)

    def push(node: Node, i: int, t: Array) -> Array:
        return spread(node.xp, _scaled(t, slope(node, i)), tuple(node.out.shape))

    def pull(node: Node, i: int, g: Array) -> Array:
        shape = tuple(node.values[i].shape)
        return unbroadcast(node.xp, _scaled(g, slope(node, i)), shape, node.lead(g))

    def _arrays(node: Node) -> tuple[Any, Any]:
        return node.values[0], node.values[1]

    return Op(name, value, push, pull)


def _scaled(t: Array, slope: Any) -> Array:
    return t if isinstance(slope, float) and slope == 1 else t * slope


def binary_value(tape: Tape, name: str, a: Any, b: Any) -> Array:
    """Return a function of two arrays, or of an array and a Python number."""
    if name in _OPERATORS:
        return _OPERATORS[name](a, b)
    return getattr(tape.xp, name)(*both_arrays(tape, a, b))


def both_arrays(tape: Tape, a: Any, b: Any) -> tuple[Array, Array]:
    """Return two arrays for an array and a Python number."""
    one = a if hasattr(a, "dtype") else b
    fill = tape.backend.asarray
    device = tape.backend.device(one)
    return tuple(x if hasattr(x, "dtype") else fill(x, one.dtype, device) for x in (a, b))


def _where_value(tape: Tape, condition: Array, a: Any, b: Any) -> Array:
    return tape.xp.where(condition, *both_arrays(tape, a, b))


def _chosen(node: Node, i: int, t: Array) -> Array:
    xp = node.xp
    zero = xp.zeros_like(t)
    return xp.where(node.values[0], t, zero) if i == 1 else xp.where(node.values[0], zero, t)


def _where_pull(node: Node, i: int, g: Array) -> Array:
    shape = tuple(node.values[i].shape)
    return unbroadcast(node.xp, _chosen(node, i, g), shape, node.lead(g))


def _where_push(node: Node, i: int, t: Array) -> Array:
    return _chosen(node, i, spread(node.xp, t, tuple(node.out.shape)))


ERF_SLOPE = 2 / math.sqrt(math.pi)


def _erf_along(node: Node, i: int, t: Array) -> Array:
    x = node.values[0]
    return t * (ERF_SLOPE * node.xp.exp(-x * x))


OPS: dict[str, Op] = {
    **{name: _unary(name, slope) for name, slope in UNARY.items()},
    **{name: _binary(name, slopes) for name, slopes in BINARY.items()},
    "where": Op("where", _where_value, _where_push, _where_pull),
    "erf": Op("erf", lambda tape, x: tape.backend.erf(x), _erf_along, _erf_along),
}
