"""The moments of an output edge as arrays of the user's."""

from __future__ import annotations

from ntcore.backend import Array, Place
from ntcore.cov import Cov, diagonal_to_user, to_user
from ntcore.moments import Moments
from ntcore.plan import Plan

#: The NNGP kernel and the NTK of an edge; None where not asked for.
Both = tuple[Array | None, Array | None]


def users_arrays(at: Place, plan: Plan, diagonal: frozenset[int], edge: int, m: Moments) -> Both:
    """Return the moments of an output edge as the user sees them; zeros for an NTK of None.

    ``diagonal`` names the edges of which offset 0 alone is shown.
    """
    options, tangent, whole = plan.options, m.ntk, edge not in diagonal
    nngp = _user(at, whole, m.nngp) if options.nngp or tangent is None else None
    if options.ntk and tangent is None:
        return nngp if options.nngp else None, at.xp.zeros_like(nngp)
    return nngp, _user(at, whole, tangent) if options.ntk and tangent is not None else None


def side_array(
    at: Place, plan: Plan, diagonal: frozenset[int], edge: int, sides: dict[int, Cov]
) -> Array | None:
    """Return the variances of an output edge as the user sees them, if they are asked for."""
    if plan.edges[edge].side1 is None or edge not in sides:
        return None
    return _user(at, edge not in diagonal, sides[edge])


def _user(at: Place, whole: bool, cov: Cov) -> Array:
    return (to_user if whole else diagonal_to_user)(at, cov)
