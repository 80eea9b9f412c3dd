"""Whether the rows of an axis ever meet in a gathered sum."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ntcore.backend import host
from ntcore.chain import Step
from ntcore.ops import Table


def reads(table: Table) -> Any:
    """Return the entry that every tap of every entry reads, -1 where it reads nothing."""
    if table.valid is None:
        return table.index
    return host().namespace.where(table.valid, table.index, -1)


@lru_cache(maxsize=4096)
def are_apart(table: Table, rows: int, size: int) -> bool:
    """Whether every one of ``rows`` rows reads within the row of its own number."""
    np, index = host().namespace, reads(table)
    if index.shape[1] % rows:
        return False
    width, own = size // rows, np.arange(index.shape[1]) // (index.shape[1] // rows)
    return bool(((index < 0) | (index // width == own)).all())


def mix_rows(steps: Sequence[Step], shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether some steps let the rows of the last axis meet."""
    for step in steps:
        if step.tables and step.inputs[0] is not None:
            rows = shapes[step.inputs[0]][-2:-1]
            if rows and rows[0] > 1 and not are_apart(step.tables[-1], rows[0], step.sizes[-1]):
                return True
    return False
