"""The entries of a block that a layout asks for."""

from __future__ import annotations

from ntcore.backend import Place, host
from ntcore.cov.examples import at_first
from ntcore.cov.layout import Cov, Layout
from ntcore.cov.matrices import diagonals
from ntcore.cov.read import total
from ntcore.cov.user import of_user, to_user


def select(at: Place, cov: Cov, out: Layout) -> Cov:
    """Return the rows of a block that a layout asks for, or their sum where it asks for that."""
    if cov.layout is out:
        return cov
    if out.summed and not cov.layout.summed:
        return Cov(total(at, cov).data, out)
    if cov.layout.dense or out.dense:
        return _relaid(at, cov, out)
    if any(not want <= have for have, want in zip(cov.layout.offsets, out.offsets, strict=True)):
        raise AssertionError("the plan holds too few offsets for this layer")
    data = cov.data
    for k, (have, want) in enumerate(zip(cov.layout.rows, out.rows, strict=True)):
        if have != want:
            rows = host().namespace.asarray([have.index(r) for r in want])
            data = at.xp.take(data, at.index(rows), axis=2 * k)
    return Cov(data, out)


def _relaid(at: Place, cov: Cov, out: Layout) -> Cov:
    """Return rows of matrices, or matrices of rows."""
    only_zero = out.sizes1 == out.sizes2 and all(offsets == {0} for offsets in out.offsets)
    if cov.layout.dense and only_zero:
        return Cov(at_first(at, diagonals(at, cov.data, cov.layout), out), out)
    return of_user(at, to_user(at, cov), out)
