"""Primitives of orthogonal factors: QR, eigenvalues and singular values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ntcore.backend import Array
from ntcore.errors import DerivativeError
from ntcore.tape.solving import identity, turned
from ntcore.tape.trace import Node, Op, Tape


def _coincident(what: str) -> DerivativeError:
    return DerivativeError(
        f"f takes {what}, which have no derivative there; use a function of the matrix that does "
        "not depend on their choice."
    )


def _gaps(xp: Any, s: Array, what: str) -> Array:
    """``1 / (s_j - s_i)`` off the diagonal, and 0 on it."""
    one = identity(xp, s, -1)
    apart = s[..., None, :] - s[..., :, None] + one
    if bool(xp.any(apart == 0)):
        raise _coincident(what)
    return (1 - one) / apart


def _diagonals(xp: Any, a: Array, left: Array, right: Array) -> Array:
    """Return the diagonals of ``leftᵀ a right``."""
    return xp.sum(left * (a @ right), axis=-2)


# --- symmetric matrices --------------------------------------------------------------------------


def _symmetric(xp: Any, a: Array) -> Array:
    return (a + turned(xp, a)) / 2


def _eigenvalues(tape: Tape, a: Array) -> Array:
    return tape.xp.linalg.eigvalsh(a)


def _eigenvalues_push(node: Node, i: int, t: Array) -> Array:
    vectors = node.xp.linalg.eigh(node.values[0])[1]
    return _diagonals(node.xp, _symmetric(node.xp, t), vectors, vectors)


def _eigenvalues_pull(node: Node, i: int, g: Array) -> Array:
    vectors = node.xp.linalg.eigh(node.values[0])[1]
    return (vectors * g[..., None, :]) @ turned(node.xp, vectors)


def _eigenvectors(tape: Tape, a: Array) -> Array:
    return tape.xp.linalg.eigh(a)[1]


def _turns(node: Node) -> Array:
    values = node.xp.linalg.eigvalsh(node.values[0])
    return _gaps(node.xp, values, "eigenvectors of a matrix with equal eigenvalues")


def _eigenvectors_push(node: Node, i: int, t: Array) -> Array:
    xp, v = node.xp, node.out
    return v @ (_turns(node) * (turned(xp, v) @ _symmetric(xp, t) @ v))


def _eigenvectors_pull(node: Node, i: int, g: Array) -> Array:
    xp, v = node.xp, node.out
    return _symmetric(xp, v @ (_turns(node) * (turned(xp, v) @ g)) @ turned(xp, v))


# --- singular values -----------------------------------------------------------------------------


def _svd(xp: Any, a: Array) -> tuple[Array, Array, Array]:
    """Return ``u``, ``s`` and ``v``, as many columns as there are singular values."""
    u, s, vh = xp.linalg.svd(a, full_matrices=False)
    return u, s, turned(xp, vh)


def _singular_values(tape: Tape, a: Array) -> Array:
    return tape.xp.linalg.svd(a, full_matrices=False)[1]


def _singular_values_push(node: Node, i: int, t: Array) -> Array:
    u, _, v = _svd(node.xp, node.values[0])
    return _diagonals(node.xp, t, u, v)


def _singular_values_pull(node: Node, i: int, g: Array) -> Array:
    u, _, v = _svd(node.xp, node.values[0])
    return (u * g[..., None, :]) @ turned(node.xp, v)


def _sides(node: Node, right: bool) -> tuple[Array, Array, Array]:
    u, s, v = _svd(node.xp, node.values[0])
    what = "singular vectors of a matrix with equal or no singular values"
    if bool(node.xp.any(s == 0)):
        raise _coincident(what)
    return (v, s, u) if right else (u, s, v)


def _rest(xp: Any, u: Array, x: Array) -> Array:
    """Return what of ``x`` is not in the span of the columns of ``u``."""
    return x - u @ (turned(xp, u) @ x)


def _vectors_push(xp: Any, t: Array, u: Array, s: Array, v: Array) -> Array:
    """The derivative of the left vectors; of the right ones for a transposed tangent."""
    s = s[..., None, :]
    gaps = _gaps(xp, s[..., 0, :] ** 2, "singular vectors of a matrix with equal singular values")
    inner = turned(xp, u) @ t @ v * s
    return u @ (gaps * (inner + turned(xp, inner))) + _rest(xp, u, t @ v) / s


def _vectors_pull(xp: Any, g: Array, u: Array, s: Array, v: Array) -> Array:
    s = s[..., None, :]
    gaps = _gaps(xp, s[..., 0, :] ** 2, "singular vectors of a matrix with equal singular values")
    inner = gaps * (turned(xp, u) @ g)
    inner = (inner + turned(xp, inner)) * s
    return (u @ inner + _rest(xp, u, g) / s) @ turned(xp, v)


def _singular_vectors(name: str, which: int) -> Op:
    right = which == 2

    def flip(xp: Any, x: Array) -> Array:
        return turned(xp, x) if right else x

    def value(tape: Tape, a: Array) -> Array:
        return tape.xp.linalg.svd(a, full_matrices=False)[which]

    def swept(rule: Callable[..., Array]) -> Callable[[Node, int, Array], Array]:
        def sweep(node: Node, i: int, x: Array) -> Array:
            xp = node.xp
            return flip(xp, rule(xp, flip(xp, x), *_sides(node, right)))

        return sweep

    return Op(name, value, swept(_vectors_push), swept(_vectors_pull))


# --- QR ------------------------------------------------------------------------------------------


def _qr(node: Node) -> tuple[Array, Array]:
    q, r = node.xp.linalg.qr(node.values[0])
    return q, r


def _over(xp: Any, x: Array, r: Array) -> Array:
    """``x r⁻¹``."""
    return turned(xp, xp.linalg.solve(turned(xp, r), turned(xp, x)))


def _below(xp: Any, a: Array) -> Array:
    """The part under the diagonal, less its transpose."""
    low = xp.tril(a, k=-1)
    return low - turned(xp, low)


def _below_back(xp: Any, a: Array) -> Array:
    return xp.tril(a - turned(xp, a), k=-1)


def _q_push(node: Node, i: int, t: Array) -> Array:
    xp, (q, r) = node.xp, _qr(node)
    x = _over(xp, t, r)
    inner = turned(xp, q) @ x
    return q @ (_below(xp, inner) - inner) + x


def _q_pull(node: Node, i: int, g: Array) -> Array:
    xp, (q, r) = node.xp, _qr(node)
    inner = turned(xp, q) @ g
    return _over(xp, q @ (_below_back(xp, inner) - inner) + g, turned(xp, r))


def _r_push(node: Node, i: int, t: Array) -> Array:
    xp, (q, r) = node.xp, _qr(node)
    inner = turned(xp, q) @ _over(xp, t, r)
    return (inner - _below(xp, inner)) @ r


def _r_pull(node: Node, i: int, g: Array) -> Array:
    xp, (q, r) = node.xp, _qr(node)
    inner = g @ turned(xp, r)
    return _over(xp, q @ (inner - _below_back(xp, inner)), turned(xp, r))


OPS: dict[str, Op] = {
    op.name: op
    for op in (
        Op("eigvalsh", _eigenvalues, _eigenvalues_push, _eigenvalues_pull),
        Op("eigenvectors", _eigenvectors, _eigenvectors_push, _eigenvectors_pull),
        Op("svdvals", _singular_values, _singular_values_push, _singular_values_pull),
        _singular_vectors("left_vectors", 0),
        _singular_vectors("right_vectors", 2),
        Op("qr_q", lambda tape, a: tape.xp.linalg.qr(a)[0], _q_push, _q_pull),
        Op("qr_r", lambda tape, a: tape.xp.linalg.qr(a)[1], _r_push, _r_pull),
    )
}
