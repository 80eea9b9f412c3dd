"""The named operations a backend may fuse; the body of each one is its reference.

Every operation takes the :class:`~ntcore.backend.Place` first. ``Backend.fused`` maps a name to
a replacement with the same arguments; the conformance suite compares each replacement with the
body here, and :func:`recording` tells which ones ran.
"""

from __future__ import annotations

import math
from typing import Any

from ntcore.backend import Array, Place
from ntcore.fusing import REFERENCE as REFERENCE
from ntcore.fusing import count as count
from ntcore.fusing import fusable
from ntcore.fusing import recording as recording
from ntcore.table import Strips as Strips
from ntcore.table import Table as Table


@fusable
def matmul(at: Place, a: Array, b: Array) -> Array:
    """Matrix product in the full precision of the data type."""
    return at.xp.matmul(a, b)


@fusable
def gram(at: Place, a: Array, b: Array) -> Array:
    """Products of the rows of two matrices, or stacks of them, in full precision: ``a bᵀ``."""
    return matmul(at, a, at.xp.matrix_transpose(b))


@fusable
def pair_products(at: Place, a: Array, b: Array) -> Array:
    """Products of the rows of all pairs of matrices ``(n1, P, C)`` and ``(n2, Q, C)``.

    The result has the shape ``(n1, n2, P, Q)``.
    """
    xp, (n1, p, channels), (n2, q, _) = at.xp, a.shape, b.shape
    rows, columns = xp.reshape(a, (n1 * p, channels)), xp.reshape(b, (n2 * q, channels))
    found = xp.reshape(gram(at, rows, columns), (n1, p, n2, q))
    return arranged(at, found, (0, 2, 1, 3), (n1, n2, p, q))


@fusable
def inner(at: Place, a: Array, b: Array) -> Array:
    """Inner products along the last axis, in full precision; the other axes broadcast."""
    return at.xp.sum(a * b, axis=-1)


def matmul_axis(at: Place, a: Array, x: Array, axis: int) -> Array:
    """Contract one axis of an array with the last axis of a matrix, leaving it in its place."""
    moved = at.xp.moveaxis(x, axis, 0)
    product = matmul(at, a, at.xp.reshape(moved, (moved.shape[0], -1)))
    return at.xp.moveaxis(at.xp.reshape(product, (-1, *moved.shape[1:])), 0, axis)


#: Operations that are the moments of a nonlinearity, of covariances and both variances.
DUALS = ("rectifier", "arcsine", "gelu", "waves", "bell")


@fusable
def leading_sum(at: Place, x: Array) -> Array:
    """Sum over the first axis, in halves: rounding grows with the logarithm of its size.

    The order of the additions depends on that size alone, so that it is the same in every tile.
    """
    while x.shape[0] > 1:
        half, odd = divmod(x.shape[0], 2)
        summed = x[:half, ...] + x[half : 2 * half, ...]
        x = at.xp.concat([summed, x[2 * half :, ...]], axis=0) if odd else summed
    return x[0, ...]


@fusable
def total(at: Place, x: Array, axes: int) -> Array:
    """Sum over some of the first axes, one after the other, each in halves."""
    for _ in range(axes):
        x = leading_sum(at, x)
    return x


@fusable
def arranged(at: Place, x: Array, order: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """Permute the axes, and give what they hold another shape."""
    return at.xp.reshape(at.xp.permute_dims(x, order), shape)


@fusable
def gather_sum(at: Place, x: Array, table: Table) -> Array:
    r"""Sum of gathered entries, :math:`y_{a m b} = \sum_t v_{t m}\, x_{a\, I_{t m}\, b}`.

    ``x`` has the shape ``(A, M, B)``, the result ``(A, M', B)``.
    """
    xp, total = at.xp, None
    for t in range(table.index.shape[0]):
        term = xp.take(x, at.index(table.index[t]), axis=1)
        if table.valid is not None and not table.valid[t].all():
            valid = at.index(table.valid[t])[None, :, None]
            term = xp.where(valid, term, xp.zeros_like(term))
        total = term if total is None else total + term
    return total


@fusable
def gather_sums(
    at: Place,
    x: Array,
    tables: tuple[Table, ...],
    scale: Any = None,
    bias: Any = None,
    plus: Array | None = None,
) -> Array:
    r"""Return ``scale * y + bias + plus``, where :math:`y` is gathered on every axis in turn.

    ``x`` has the shape ``(M_1, M_2, ..., B)`` with an axis for each table, the result
    ``(M_1', M_2', ..., B)``; what is None is left out.
    """
    for k, table in enumerate(tables):
        outer, inner = x.shape[:k], x.shape[k + 1 :]
        flat = at.xp.reshape(x, (math.prod(outer), x.shape[k], math.prod(inner)))
        found = gather_sum(at, flat, table)
        x = at.xp.reshape(found, (*outer, found.shape[1], *inner))
    return affine(at, x, scale, bias, plus)


@fusable
def affine(at: Place, x: Array, scale: Any = None, bias: Any = None, plus: Any = None) -> Array:
    """Return ``scale * x + bias + plus``, where what is None is left out."""
    y = x if scale is None else x * scale
    y = y if bias is None else y + bias
    return y if plus is None else y + plus


@fusable
def product(at: Place, x: Array, y: Array) -> Array:
    """Product of two arrays entry by entry; they broadcast against each other."""
    return x * y


@fusable
def softmax(at: Place, scores: Array, hidden: Array | None = None) -> Array:
    r"""Return :math:`e^{G_{pj}} / \sum_k e^{G_{pk}}` along the last axis, over what is not hidden.

    What is hidden has no weight; where everything is, there are no weights.
    """
    xp = at.xp
    if hidden is None:
        risen = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
        return risen / xp.sum(risen, axis=-1, keepdims=True)
    lowest = xp.min(scores, axis=-1, keepdims=True)
    top = xp.max(xp.where(hidden, lowest, scores), axis=-1, keepdims=True)
    risen = xp.exp(xp.where(hidden, top, scores) - top)
    risen = xp.where(hidden, xp.zeros_like(risen), risen)
    total = xp.sum(risen, axis=-1, keepdims=True)
    return risen / xp.where(total > 0, total, xp.ones_like(total))


@fusable
def rectifier(at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    r"""Moments of :math:`x_+ = \max(x, 0)` and of its derivative.

    For :math:`(u, v) \sim N(0, [[q_1, k], [k, q_2]])`, with
    :math:`s = \sqrt{q_1 q_2 - k^2}` and :math:`\theta = \mathrm{atan2}(s, k)`,

    .. math:: E[u_+ v_+] = \frac{s + (\pi - \theta) k}{2 \pi}, \qquad
              E[1_{u > 0} 1_{v > 0}] = \frac{\pi - \theta}{2 \pi}

    (Cho and Saul 2009, eq. 5 to 7). The sine is formed relative to the larger variance, so that
    nothing under- or overflows with depth and coincident inputs give exactly 0.
    """
    s = residual(at, k, q1, q2)
    turned = math.pi - angle(at, s, k)
    return (s + turned * k) / (2 * math.pi), turned / (2 * math.pi)


@fusable
def arcsine(at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    r"""Moments of :math:`\mathrm{erf}(x)` and of its derivative.

    .. math:: E[\mathrm{erf}(u)\,\mathrm{erf}(v)] = \frac{2}{\pi}
              \arcsin \frac{2k}{\sqrt{(1 + 2 q_1)(1 + 2 q_2)}}, \qquad
              E[\mathrm{erf}'(u)\,\mathrm{erf}'(v)] = \frac{4}{\pi}
              \frac{1}{\sqrt{(1 + 2 q_1)(1 + 2 q_2) - 4 k^2}}

    (Williams 1997, eq. 11). The arc sine is an ``atan2`` whose second argument is a sum of
    non-negative terms.
    """
    xp = at.xp
    s = residual(at, k, q1, q2)
    root = xp.sqrt(1 + 2 * (q1 + q2) + (2 * s) ** 2)
    return 2 / math.pi * xp.atan2(2 * k, root), 4 / math.pi / root


@fusable
def gelu(at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    r"""Moments of :math:`x\, \Phi(x)`, with :math:`\Phi` of a Gaussian, and of its derivative.

    .. math:: E[\phi(u)\phi(v)] &= k A + P \left(m + k^2 R\right) \\
              E[\phi'(u)\phi'(v)] &= A + k P \left(R + 1 / D\right)

    with :math:`m = q_1 q_2 - k^2`, :math:`D = 1 + q_1 + q_2 + m`,
    :math:`A = \mathrm{atan2}(\sqrt{D}, -k) / 2 \pi`, :math:`P = 1 / (2 \pi \sqrt{D})` and
    :math:`R = 1 / (1 + q_1) + 1 / (1 + q_2)` (derived by Stein's lemma).
    """
    xp = at.xp
    found = q1 * q2 - k * k
    minor = xp.maximum(found, xp.zeros_like(found))
    det = 1 + q1 + q2 + minor
    root = xp.sqrt(det)
    both = xp.atan2(root, -k) / (2 * math.pi)
    density = 1 / (2 * math.pi * root)
    ratio = 1 / (1 + q1) + 1 / (1 + q2)
    return k * both + density * (minor + k * k * ratio), both + k * density * (ratio + 1 / det)


@fusable
def waves(at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    r""":math:`E[\cos u \cos v]` and :math:`E[\sin u \sin v]`, each the slope of the other.

    .. math:: e^{-(q_1 + q_2) / 2} \cosh k, \qquad e^{-(q_1 + q_2) / 2} \sinh k

    (derived from the characteristic function), for any size of the arguments.
    """
    xp = at.xp
    size = xp.where(k < 0, -k, k)
    near = xp.exp(size - (q1 + q2) / 2) / 2
    odd = near * -xp.expm1(-2 * size)
    return near * (1 + xp.exp(-2 * size)), xp.where(k < 0, -odd, odd)


@fusable
def bell(at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    r""":math:`E[\cos(u - v)]`, the squared exponential of a distance, twice: it is its own slope.

    .. math:: e^{k - (q_1 + q_2) / 2}

    (Rahimi and Recht 2007, section 3).
    """
    moment = at.xp.exp(k - (q1 + q2) / 2)
    return moment, moment


def residual(at: Place, k: Array, q1: Array, q2: Array) -> Array:
    r""":math:`\sqrt{q_1 q_2 - k^2}`, exactly 0 for coincident inputs, with finite gradients."""
    xp = at.xp
    larger, smaller = xp.maximum(q1, q2), xp.minimum(q1, q2)
    some = larger > 0
    scale = xp.where(some, larger, xp.ones_like(larger))
    square = smaller / scale - (k / scale) ** 2
    positive = square > 0
    root = xp.sqrt(xp.where(positive, square, xp.ones_like(square)))
    return xp.where(positive, scale * root, xp.zeros_like(root))


def angle(at: Place, s: Array, k: Array) -> Array:
    """``atan2(s, k)`` in ``[0, pi]``, a right angle where both are 0, with finite gradients."""
    xp = at.xp
    neither = (s == 0) & (k == 0)
    adjacent = xp.where(neither, xp.ones_like(k), k)
    return xp.where(neither, xp.full_like(k, math.pi / 2), xp.atan2(s, adjacent))


#: Terms of a power series that one step of a compiled loop adds.
TERMS = 8


@fusable
def power_series(at: Place, x: Array, one: Array, two: Array) -> Array:
    r""":math:`\sum_n a_n b_n x^n` for coefficients on the first axis of two arrays."""
    total, scan, xp = 0 * x, at.backend.scan, at.xp
    if scan is None:
        for n in reversed(range(one.shape[0])):
            total = total * x + one[n, ...] * two[n, ...]
        return total

    def step(total: Array, rows: tuple[Array, Array]) -> tuple[Array, None]:
        for n in reversed(range(TERMS)):
            total = total * x + rows[0][n, ...] * rows[1][n, ...]
        return total, None

    def steps(a: Array) -> Array:
        short = -a.shape[0] % TERMS
        a = xp.concat([a, xp.zeros((short, *a.shape[1:]), dtype=a.dtype)])
        return xp.flip(xp.reshape(a, (-1, TERMS, *a.shape[1:])), axis=0)

    return scan(step, total, (steps(one), steps(two)))[0]
