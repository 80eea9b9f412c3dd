"""Putting a block together from blocks that hold some of its rows each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ntcore.backend import Array, Place
from ntcore.cov.layout import Cov, Layout
from ntcore.ops import leading_sum


def joined(at: Place, found: Sequence[Cov], layout: Layout, axis: int) -> Cov:
    """Return the sum of blocks that each hold some of the rows on one axis of a layout.

    The order of the additions depends on ``found`` alone.
    """
    if not layout.ndim:
        return Cov(_added(at, [cov.data for cov in found]), layout)
    rows: dict[int, list[Array]] = defaultdict(list)
    front = (slice(None),) * (2 * axis)
    for cov in found:
        for i, row in enumerate(cov.layout.rows[axis]):
            rows[row].append(cov.data[(*front, slice(i, i + 1), ...)])
    pieces = [_added(at, rows[row]) for row in layout.rows[axis]]
    return Cov(at.xp.concat(pieces, axis=2 * axis), layout)


def _added(at: Place, arrays: list[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else leading_sum(at, at.xp.stack(arrays))
