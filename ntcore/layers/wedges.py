r"""Functions with kinks: quadrature in polar coordinates, in sectors that end where they are.

Two standard Gaussians of correlation :math:`\cos\theta`, in polar coordinates, are
:math:`r \cos(\psi - \theta / 2)` and :math:`r \cos(\psi + \theta / 2)`. Where they change sign
the plane falls into four wedges, two of the opening :math:`\omega = \pi - \theta` with equal
signs and two of :math:`\omega = \theta` with opposite ones, and

.. math:: E[\phi(u)\phi(v)] = \frac{1}{2 \pi} \sum_{\text{wedges}} \int_0^\omega \int_0^\infty
          r e^{-r^2 / 2}\, \phi(\pm\sqrt{q_1}\, r \sin x)\, \phi(\pm\sqrt{q_2}\, r \sin(\omega - x))
          \, dr\, dx

(derived). The integrand is as smooth as the function, but for its kinks: one at 0 is at the edge
of the wedges; others are at some radius on every ray, where the inner integral is split. The
outer one is split at rays on which two kinks meet, and where a kink recedes behind most of the
Gaussian. Nothing becomes narrow as inputs coincide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from ntcore.backend import Array, Place
from ntcore.layers.correlation import deviation
from ntcore.layers.custom import differentiated
from ntcore.layers.rays import Functions, Side, Two, along, nodes_of, panels, side_of
from ntcore.layers.series import Pair
from ntcore.ops import angle, residual

#: Where the plane is cut off.
REACH = 10.0

#: The wedges, by the signs of both arguments; those of equal signs first.
SIGNS = ((1.0, 1.0), (-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0))

Signs = tuple[tuple[float, ...], ...]

#: Points that are held at once where operations run one by one.
POINTS = 1 << 20

#: What the library differentiates for.
PURPOSE = "the NTK of a function with kinks and without df"


@dataclass(frozen=True)
class Wedges:
    """The rule of a degree.

    Attributes
    ----------
    degree : int
        Number of nodes in the angle and along the radius, for each piece.
    kinks : tuple of float
        Where the function or its derivative is not smooth.
    reach : float
        Radius at which the plane is cut off.
    """

    derives: ClassVar[bool] = False

    degree: int
    kinks: tuple[float, ...] = ()
    reach: float = REACH

    def lower(self) -> Wedges:
        """Return a rule of fewer nodes and a shorter reach."""
        return replace(self, degree=max(self.degree * 5 // 6, 1), reach=self.reach - 1)

    def square(self, at: Place, pair: Pair, q: Array) -> Two:
        root = deviation(at, q)
        return self._sum(at, pair, (root, root), 0 * q, SIGNS[:2])

    def dual(self, at: Place, pair: Pair, k: Array, q1: Array, q2: Array) -> Two:
        zero = 0 * (k + q1 + q2)
        theta = angle(at, residual(at, k, q1, q2), k)
        # Larger variance first, so that the moments are symmetric bit for bit.
        ordered = at.xp.maximum(q1, q2) + zero, at.xp.minimum(q1, q2) + zero
        roots = deviation(at, ordered[0]), deviation(at, ordered[1])
        return self._sum(at, pair, roots, theta, SIGNS)

    def radial(self, at: Place, functions: Functions, one: Side, two: Side) -> Two:
        """Return the integrals over the radius on rays."""
        return along(at, functions, one, two, self.degree, self.reach)

    @property
    def radii(self) -> int:
        """How many points are held at once for each ray."""
        return self.degree

    def _sum(self, at: Place, pair: Pair, roots: Two, theta: Array, signs: Signs) -> Two:
        """Add wedges up: in a compiled loop over rays, or all at once for a few entries."""
        xp, slope = at.xp, pair[1] or (lambda x: differentiated(at, pair[0], x, PURPOSE))
        functions, given = (pair[0], slope), (*roots, theta)
        if at.backend.scan is not None:
            return self._wedges(at, functions, given, signs)
        flat = [xp.reshape(x, (-1,)) for x in given]
        most = 1 + 5 * len(self.kinks)
        count = flat[0].shape[0]
        few = max(POINTS // (most * len(signs) * self.degree * self.radii), 1)
        blocks = [
            self._wedges(at, functions, tuple(x[i : min(i + few, count)] for x in flat), signs)
            for i in range(0, max(count, 1), few)
        ]
        moment, below = (xp.reshape(xp.concat(x), theta.shape) for x in zip(*blocks, strict=True))
        return moment, below

    def _wedges(
        self, at: Place, functions: Functions, given: tuple[Array, ...], signs: Signs
    ) -> Two:
        """Return the integrals over the wedges, in all panels at once."""
        xp, (*roots, theta) = at.xp, given
        columns = zip(zip(*signs, strict=True), roots, strict=True)
        one, two = (side_of(at, column, root, self.kinks) for column, root in columns)
        opening = xp.where(one.sign * two.sign > 0, math.pi - theta, theta)
        start, stop = panels(at, one, two, opening)

        def step(total: Two, rows: Two) -> Two:
            node, share = (xp.reshape(x, (-1, *(1,) * start.ndim)) for x in rows)
            rays = (-1, *start.shape[1:])
            x = xp.reshape(start + (stop - start) * node, rays)
            weight = xp.reshape((stop - start) * share, rays)
            sides = one.times(xp.sin(x)), two.times(xp.sin(opening - x))
            found = self.radial(at, functions, *sides)
            moment, slope = (xp.sum(weight * new, axis=0) for new in found)
            return total[0] + moment, total[1] + slope

        total, rows = (0 * opening, 0 * opening), nodes_of(at, self.degree)
        if at.backend.scan is None:
            total = step(total, rows)
        else:
            total = at.backend.scan(lambda t, row: (step(t, row), None), total, rows)[0]
        moment, slope = (xp.sum(x, axis=0) / (2 * math.pi) for x in total)
        return moment, slope
