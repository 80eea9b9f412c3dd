"""Blocks as the user's arrays, and back."""

from __future__ import annotations

from ntcore.backend import Array, Place
from ntcore.cov.examples import at_first, variances
from ntcore.cov.layout import Cov, Layout
from ntcore.cov.matrices import as_user_has, diagonals, from_user
from ntcore.cov.read import dense_table, gather, rows_table


def to_user(at: Place, cov: Cov) -> Array:
    """Return a block that holds every offset as ``(n1, n2, P1, Q1, P2, Q2, ...)``."""
    layout, data = cov.layout, cov.data
    if layout.dense:
        return as_user_has(at, data, layout)
    for k in range(layout.ndim):
        sizes = layout.sizes1[k], layout.sizes2[k]
        data = gather(at, data, k, dense_table(*sizes), sizes)
    return _examples_first(at, data, 2 * layout.ndim)


def diagonal_to_user(at: Place, cov: Cov) -> Array:
    """Return offset 0 of a block as ``(n1, n2, P1, P2, ...)``."""
    layout = cov.layout
    found = diagonals(at, cov.data, layout) if layout.dense else variances(cov)
    return _examples_first(at, found, layout.ndim)


def of_user(at: Place, x: Array, layout: Layout) -> Cov:
    """Return the block of an array ``(n1, n2, P1, Q1, P2, Q2, ...)``."""
    if layout.dense:
        return Cov(from_user(at, x, layout), layout)
    data = _examples_last(at, x, 2 * layout.ndim)
    for k in range(layout.ndim):
        rows = len(layout.rows[k]), layout.sizes1[k]
        data = gather(at, data, k, rows_table(layout.axis(k)), rows)
    return Cov(data, layout)


def diagonal_of_user(at: Place, x: Array, layout: Layout) -> Cov:
    """Return the block of an array ``(n1, n2, P1, P2, ...)`` that holds offset 0 alone."""
    return Cov(at_first(at, _examples_last(at, x, layout.ndim), layout), layout)


def _examples_first(at: Place, data: Array, space: int) -> Array:
    return at.xp.permute_dims(data, (*range(space, data.ndim), *range(space)))


def _examples_last(at: Place, x: Array, space: int) -> Array:
    examples = x.ndim - space
    return at.xp.permute_dims(x, (*range(examples, x.ndim), *range(examples)))
