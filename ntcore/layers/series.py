r"""Smooth functions: Gauss-Hermite quadrature for each example, a power series for each pair.

With :math:`h_n` the Hermite polynomials of norm 1 and :math:`\rho = k / \sqrt{q_1 q_2}`,

.. math:: E[\phi(u)\phi(v)] = \sum_n a_n(q_1)\, a_n(q_2)\, \rho^n, \qquad
          a_n(q) = E[\phi(\sqrt{q} z)\, h_n(z)]

(Mehler's formula), and Stein's lemma gives the coefficients of :math:`\phi'`,

.. math:: a'_n(q) = \sqrt{(n + 1) / q}\; a_{n+1}(q).

The rule of degree :math:`N` takes :math:`N` nodes for the coefficients and as many terms. For
coincident and antipodal inputs that is the sum over the nodes itself, since the polynomials are
orthogonal on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ntcore.backend import Array, Place, host
from ntcore.layers.correlation import correlation, deviation
from ntcore.layers.nodes import hermite_rule
from ntcore.ops import inner, matmul, power_series

#: Coefficients that make up most of a function.
FIRST = 8

Function = Callable[[Array], Array]

#: A function and its derivative, None where that is not known.
Pair = tuple[Function, Function | None]


@dataclass(frozen=True)
class Series:
    """The rule of a degree.

    Attributes
    ----------
    degree : int
        Number of nodes, and of terms.
    derives : bool
        Whether the derivative is derived, even where it is known.
    """

    degree: int
    derives: bool = False

    def lower(self) -> Series:
        """Return a rule of fewer nodes that derives: no two of them miss a step alike."""
        return Series(max(self.degree * 7 // 8, 1), derives=True)

    def dual(self, at: Place, pair: Pair, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        f, df = pair
        rho, _ = correlation(at, k, q1, q2)
        moment = power_series(at, rho, *(self._coefficients(at, f, q) for q in (q1, q2)))
        below = self._derived if df is None or self.derives else self._coefficients
        slope = power_series(at, rho, *(below(at, df or f, q) for q in (q1, q2)))
        return moment, slope

    def square(self, at: Place, pair: Pair, q: Array) -> tuple[Array, Array]:
        f, df = pair
        moment = self._mean_square(at, f, q)
        if df is not None and not self.derives:
            return moment, self._mean_square(at, df, q)
        return moment, at.xp.sum(self._derived(at, f, q) ** 2, axis=0)

    def _values(self, at: Place, f: Function, q: Array) -> Array:
        """Return the function at the nodes, on a last axis."""
        nodes, _ = hermite_rule(self.degree)
        return f(deviation(at, q)[..., None] * at.asarray(nodes))

    def _mean_square(self, at: Place, f: Function, q: Array) -> Array:
        _, table = hermite_rule(self.degree)
        return inner(at, self._values(at, f, q) ** 2, at.asarray(table[:, 0]))

    def _coefficients(self, at: Place, f: Function, q: Array) -> Array:
        """Return the coefficients of a function, on a first axis.

        The first few, which make up most of the function, are taken out and found again from
        what is left: a library may add up products in another order for other batches.
        """
        xp, values = at.xp, self._values(at, f, q)
        _, table = hermite_rule(self.degree)
        flat = xp.reshape(values, (-1, values.shape[-1]))
        first = matmul(at, flat, at.asarray(table[:, :FIRST]))
        left = flat - matmul(at, first, at.asarray((table[:, :FIRST] / table[:, :1]).T))
        found = matmul(at, left, at.asarray(table))
        found = xp.concat([found[:, : first.shape[1]] + first, found[:, first.shape[1] :]], axis=1)
        return xp.reshape(xp.matrix_transpose(found), (-1, *q.shape))

    def _derived(self, at: Place, f: Function, q: Array) -> Array:
        """Return the coefficients of the derivative; at variance 0, of one next to it."""
        floor = float(at.xp.finfo(at.dtype).eps) ** (2 / 3)
        q = at.xp.maximum(q, floor * at.xp.ones_like(q))
        found = self._coefficients(at, f, q)[1:, ...]
        roots = host().namespace.sqrt(host().namespace.arange(1.0, found.shape[0] + 1))
        shape = (-1, *(1,) * q.ndim)
        return found * at.xp.reshape(at.asarray(roots), shape) / at.xp.sqrt(q)
