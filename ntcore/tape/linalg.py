"""The linear algebra extension of the standard on the arrays of a tape."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ntcore.backend import host
from ntcore.errors import DerivativeError
from ntcore.tape import solving, spectral
from ntcore.tape.array import apply
from ntcore.tape.composed import extreme, matrix_transpose, root, tensordot, vecdot

_OPS = {**solving.OPS, **spectral.OPS}


class EighResult(NamedTuple):
    """Eigenvalues and eigenvectors."""

    eigenvalues: Any
    eigenvectors: Any


class QRResult(NamedTuple):
    """An orthogonal and a triangular factor."""

    Q: Any
    R: Any


class SlogdetResult(NamedTuple):
    """A determinant as its sign and the logarithm of its size."""

    sign: Any
    logabsdet: Any


class SVDResult(NamedTuple):
    """Left singular vectors, singular values, right singular vectors."""

    U: Any
    S: Any
    Vh: Any


def _op(xp: Any, name: str, *args: Any, **static: Any) -> Any:
    return apply(xp.tape, _OPS[name], *args, **static)


# --- square systems ------------------------------------------------------------------------------


def inv(xp: Any, x: Any, /) -> Any:
    return _op(xp, "inv", x)


def pinv(xp: Any, x: Any, /, *, rtol: Any = None) -> Any:
    return _op(xp, "pinv", x, rtol=rtol)


def solve(xp: Any, a: Any, b: Any, /) -> Any:
    if b.ndim > 1:
        return _op(xp, "solve", a, b)
    found = _op(xp, "solve", a, xp.reshape(b, (-1, 1)))
    return xp.reshape(found, found.shape[:-1])


def det(xp: Any, x: Any, /) -> Any:
    return _op(xp, "det", x)


def slogdet(xp: Any, x: Any, /) -> SlogdetResult:
    sign = xp.tape.xp.linalg.slogdet(xp.below(x))[0]
    return SlogdetResult(xp.constant(sign), _op(xp, "logabsdet", x))


def cholesky(xp: Any, x: Any, /, *, upper: bool = False) -> Any:
    low = _op(xp, "cholesky", x)
    return matrix_transpose(xp, low) if upper else low


def matrix_power(xp: Any, x: Any, n: int, /) -> Any:
    if n < 0:
        return matrix_power(xp, inv(xp, x), -n)
    if n < 2:
        return x if n else xp.zeros_like(x) + xp.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    half = matrix_power(xp, x, n // 2)
    return half @ half @ x if n % 2 else half @ half


# --- factors -------------------------------------------------------------------------------------


def eigh(xp: Any, x: Any, /) -> EighResult:
    return EighResult(_op(xp, "eigvalsh", x), _op(xp, "eigenvectors", x))


def eigvalsh(xp: Any, x: Any, /) -> Any:
    return _op(xp, "eigvalsh", x)


def qr(xp: Any, x: Any, /, *, mode: str = "reduced") -> QRResult:
    rows, columns = x.shape[-2:]
    if mode != "reduced":
        raise DerivativeError(
            f"f uses linalg.qr with mode={mode!r}, whose additional columns are any that complete "
            "a basis and have no derivative; use mode='reduced'."
        )
    front = x if rows >= columns else x[..., :rows]
    q, r = _op(xp, "qr_q", front), _op(xp, "qr_r", front)
    if rows < columns:
        r = xp.concat([r, matrix_transpose(xp, q) @ x[..., rows:]], axis=-1)
    return QRResult(q, r)


def svd(xp: Any, x: Any, /, *, full_matrices: bool = True) -> SVDResult:
    if full_matrices and x.shape[-1] != x.shape[-2]:
        raise DerivativeError(
            "f uses linalg.svd with full_matrices=True, whose additional vectors are any that "
            "complete a basis and have no derivative; use full_matrices=False."
        )
    parts = ("left_vectors", "svdvals", "right_vectors")
    return SVDResult(*(_op(xp, name, x) for name in parts))


def svdvals(xp: Any, x: Any, /) -> Any:
    return _op(xp, "svdvals", x)


# --- entries and norms ---------------------------------------------------------------------------


def diagonal(xp: Any, x: Any, /, *, offset: int = 0) -> Any:
    rows, columns = x.shape[-2:]
    count = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    start = host().namespace.arange(count)
    flat = xp.reshape(x, (*x.shape[:-2], rows * columns))
    index = (start + max(-offset, 0)) * columns + start + max(offset, 0)
    return xp.take(flat, index, axis=-1)


def trace(xp: Any, x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    return xp.sum(diagonal(xp, x, offset=offset), axis=-1, dtype=dtype)


def outer(xp: Any, a: Any, b: Any, /) -> Any:
    return xp.reshape(a, (-1, 1)) * xp.reshape(b, (1, -1))


def cross(xp: Any, a: Any, b: Any, /, *, axis: int = -1) -> Any:
    (a0, a1, a2), (b0, b1, b2) = xp.unstack(a, axis=axis), xp.unstack(b, axis=axis)
    return xp.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis=axis)


def vector_norm(
    xp: Any, x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: float = 2
) -> Any:
    if ord == 2:
        return root(xp, xp.sum(x * x, axis=axis, keepdims=keepdims))
    if ord == 1:
        return xp.sum(xp.abs(x), axis=axis, keepdims=keepdims)
    if math.isinf(ord):
        return extreme(xp, "max" if ord > 0 else "min", xp.abs(x), axis, keepdims)
    if ord == 0:
        return xp.astype(xp.sum(xp.astype(x != 0, x.dtype), axis=axis, keepdims=keepdims), x.dtype)
    return xp.sum(xp.abs(x) ** ord, axis=axis, keepdims=keepdims) ** (1 / ord)


def matrix_norm(xp: Any, x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    if ord == "fro":
        return vector_norm(xp, x, axis=(-2, -1), keepdims=keepdims)
    if ord in ("nuc", 2, -2):
        values = svdvals(xp, x)
        pick = {"nuc": xp.sum, 2: xp.max, -2: xp.min}[ord]
    elif ord in (1, -1, math.inf, -math.inf):
        values = xp.sum(xp.abs(x), axis=-2 if abs(ord) == 1 else -1)
        pick = xp.max if ord > 0 else xp.min
    else:
        raise DerivativeError(
            f"f uses linalg.matrix_norm with ord={ord!r}, which the standard does not define; use "
            "'fro', 'nuc', 1, -1, 2, -2, inf or -inf."
        )
    found = pick(values, axis=-1)
    return xp.reshape(found, (*x.shape[:-2], 1, 1)) if keepdims else found


def matmul(xp: Any, a: Any, b: Any, /) -> Any:
    return xp.matmul(a, b)


LINALG = {
    f.__name__: f
    for f in (
        cholesky, cross, det, diagonal, eigh, eigvalsh, inv, matmul, matrix_norm, matrix_power,
        matrix_transpose, outer, pinv, qr, slogdet, solve, svd, svdvals, tensordot, trace, vecdot,
        vector_norm,
    )
}  # fmt: skip
