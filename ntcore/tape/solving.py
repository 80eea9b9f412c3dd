"""Primitives of square systems: inverses, solutions, determinants and triangular factors."""

from __future__ import annotations

from typing import Any

from ntcore.backend import Array
from ntcore.tape.array import Traced, apply
from ntcore.tape.shapes import unbroadcast
from ntcore.tape.trace import Node, Op, Tape


def turned(xp: Any, a: Array) -> Array:
    """Return the transposes of a stack of matrices."""
    return xp.matrix_transpose(a)


def identity(xp: Any, like: Array, axis: int) -> Array:
    """Return the identity matrix of the size of an axis."""
    return xp.eye(like.shape[axis], dtype=like.dtype, device=like.device)


def column(xp: Any, g: Array) -> Array:
    """Return numbers as matrices of one entry."""
    return xp.reshape(g, (*g.shape, 1, 1))


def traces(xp: Any, a: Array, b: Array) -> Array:
    """``tr(aᵀ b)`` of two stacks of matrices."""
    return xp.sum(a * b, axis=(-2, -1))


def _transposed(node: Node, i: int, g: Array) -> Array:
    return turned(node.xp, g)


# --- inverses ------------------------------------------------------------------------------------


def _inv_value(tape: Tape, a: Array) -> Array:
    return tape.xp.linalg.inv(a)


def _inv_push(node: Node, i: int, t: Array) -> Array:
    return -(node.out @ t @ node.out)


def _inv_pull(node: Node, i: int, g: Array) -> Array:
    back = turned(node.xp, node.out)
    return -(back @ g @ back)


def _pinv_value(tape: Tape, a: Array, rtol: Any) -> Array:
    return tape.xp.linalg.pinv(a, **({} if rtol is None else {"rtol": rtol}))


def _beside(node: Node) -> tuple[Array, Array]:
    """``1 - P A`` and ``1 - A P``, the projections off the row and the column space of ``A``."""
    a, p, xp = node.values[0], node.out, node.xp
    return identity(xp, a, -1) - p @ a, identity(xp, a, -2) - a @ p


def _pinv_push(node: Node, i: int, t: Array) -> Array:
    """At constant rank (Golub & Pereyra 1973, eq. 4.12)."""
    p, back = node.out, turned(node.xp, t)
    off_rows, off_columns = _beside(node)
    flipped = turned(node.xp, p)
    return -(p @ t @ p) + p @ flipped @ back @ off_columns + off_rows @ back @ flipped @ p


def _pinv_pull(node: Node, i: int, g: Array) -> Array:
    p, back = node.out, turned(node.xp, g)
    off_rows, off_columns = _beside(node)
    flipped = turned(node.xp, p)
    first = flipped @ g @ flipped
    return off_columns @ back @ p @ flipped + flipped @ p @ back @ off_rows - first


# --- solutions -----------------------------------------------------------------------------------


def _solve_value(tape: Tape, a: Array, b: Array) -> Array:
    return tape.xp.linalg.solve(a, b)


def _solve_push(node: Node, i: int, t: Array) -> Array:
    solved = node.xp.linalg.solve
    a, _ = node.values
    return solved(a, t) if i == 1 else -solved(a, t @ node.out)


def _solve_pull(node: Node, i: int, g: Array) -> Array:
    xp, (a, b) = node.xp, node.values
    back = xp.linalg.solve(turned(xp, a), g)
    if i == 0:
        return unbroadcast(xp, -(back @ turned(xp, node.out)), tuple(a.shape), node.lead(g))
    return unbroadcast(xp, back, tuple(b.shape), node.lead(g))


# --- determinants --------------------------------------------------------------------------------


def _det_value(tape: Tape, a: Array) -> Array:
    return tape.xp.linalg.det(a)


def _det_push(node: Node, i: int, t: Array) -> Array:
    return traces(node.xp, cofactors(node.xp, node.values[0]), t)


def _det_pull(node: Node, i: int, g: Array) -> Array:
    return column(node.xp, g) * cofactors(node.xp, node.values[0])


def cofactors(xp: Any, a: Array) -> Array:
    """Return the derivative of the determinant, which singular matrices have as well."""
    if isinstance(a, Traced):
        return apply(a.tape, OPS["cofactors"], a)
    u, s, vh = xp.linalg.svd(a)
    sign = xp.linalg.det(u) * xp.linalg.det(vh)
    count = s.shape[-1]
    others = xp.broadcast_to(s[..., None, :], (*s.shape, count))
    products = xp.prod(xp.where(identity(xp, s, -1) == 1, xp.ones_like(others), others), axis=-1)
    return column(xp, sign) * ((u * products[..., None, :]) @ vh)


def _cofactors_value(tape: Tape, a: Array) -> Array:
    return cofactors(tape.xp, a)


def _cofactors_push(node: Node, i: int, t: Array) -> Array:
    xp, c = node.xp, node.out
    inverse = turned(xp, xp.linalg.inv(node.values[0]))
    return column(xp, traces(xp, inverse, t)) * c - inverse @ turned(xp, t) @ c


def _cofactors_pull(node: Node, i: int, g: Array) -> Array:
    xp, c = node.xp, node.out
    inverse = turned(xp, xp.linalg.inv(node.values[0]))
    return column(xp, traces(xp, c, g)) * inverse - c @ turned(xp, g) @ inverse


def _logabsdet_value(tape: Tape, a: Array) -> Array:
    return tape.xp.linalg.slogdet(a)[1]


def _logabsdet_push(node: Node, i: int, t: Array) -> Array:
    xp = node.xp
    return traces(xp, turned(xp, xp.linalg.inv(node.values[0])), t)


def _logabsdet_pull(node: Node, i: int, g: Array) -> Array:
    xp = node.xp
    return column(xp, g) * turned(xp, xp.linalg.inv(node.values[0]))


# --- Cholesky ------------------------------------------------------------------------------------


def _cholesky_value(tape: Tape, a: Array) -> Array:
    return tape.xp.linalg.cholesky(a)


def _half(xp: Any, a: Array) -> Array:
    """Return the lower triangle, with half of the diagonal."""
    return (xp.tril(a) + xp.tril(a, k=-1)) / 2


def _symmetric(xp: Any, a: Array) -> Array:
    return (a + turned(xp, a)) / 2


def _cholesky_push(node: Node, i: int, t: Array) -> Array:
    xp, low = node.xp, node.out
    solved = xp.linalg.solve
    inner = solved(low, turned(xp, solved(low, _symmetric(xp, t))))
    return low @ _half(xp, inner)


def _cholesky_pull(node: Node, i: int, g: Array) -> Array:
    xp = node.xp
    up, solved = turned(xp, node.out), xp.linalg.solve
    inner = _half(xp, up @ g)
    return _symmetric(xp, turned(xp, solved(up, turned(xp, solved(up, inner)))))


OPS: dict[str, Op] = {
    op.name: op
    for op in (
        Op("inv", _inv_value, _inv_push, _inv_pull),
        Op("pinv", _pinv_value, _pinv_push, _pinv_pull),
        Op("solve", _solve_value, _solve_push, _solve_pull),
        Op("det", _det_value, _det_push, _det_pull),
        Op("cofactors", _cofactors_value, _cofactors_push, _cofactors_pull),
        Op("logabsdet", _logabsdet_value, _logabsdet_push, _logabsdet_pull),
        Op("cholesky", _cholesky_value, _cholesky_push, _cholesky_pull),
    )
}
