"""What covariances of two variables say, with values and gradients where a variance is 0."""

from __future__ import annotations

from ntcore.backend import Array, Place


def correlation(at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    r"""Return :math:`k / \sqrt{q_1 q_2}`, 0 where a variance is 0, and :math:`\sqrt{q_1 q_2}`.

    Coincident inputs have a correlation of exactly 1; gradients are finite everywhere.
    """
    xp = at.xp
    larger, smaller = xp.maximum(q1, q2), xp.minimum(q1, q2)
    some = smaller > 0
    one = xp.ones_like(larger)
    scale = xp.where(some, larger, one)
    ratio = xp.sqrt(xp.where(some, smaller / scale, one))
    rho = k / scale / ratio
    return xp.where(some, rho, xp.zeros_like(rho)), xp.where(some, scale * ratio, 0 * one)


def determinant(at: Place, k: Array, q1: Array, q2: Array) -> Array:
    r"""Return :math:`q_1 q_2 - k^2`, not negative where rounding would have it so."""
    found = q1 * q2 - k * k
    return at.xp.maximum(found, at.xp.zeros_like(found))


def deviation(at: Place, q: Array) -> Array:
    """Return the root of a variance, with a finite gradient at 0."""
    some = q > 0
    root = at.xp.sqrt(at.xp.where(some, q, at.xp.ones_like(q)))
    return at.xp.where(some, root, at.xp.zeros_like(root))
