"""Where each of several parts lies that are put side by side."""

from __future__ import annotations

from itertools import accumulate

from ntcore.backend import Array, Place
from ntcore.cov import Tap
from ntcore.need import Offsets


def starts(sizes: list[int]) -> list[int]:
    """Return where each part begins."""
    return list(accumulate(sizes, initial=0))[:-1]


def same(size1: int, size2: int) -> Tap:
    """Every position of the output is the same one of the branch."""
    return tuple(range(size1)), tuple(range(size2))


def within(sizes: list[int], branch: int) -> tuple[int, ...]:
    """Return which position of a branch each position of the output is, -1 outside it."""
    return (
        *(-1,) * sum(sizes[:branch]),
        *range(sizes[branch]),
        *(-1,) * sum(sizes[branch + 1 :]),
    )


def offsets_within(offsets: Offsets, sizes1: list[int], sizes2: list[int]) -> list[Offsets]:
    """Return the offsets that some offsets of the whole are between two positions of each part.

    Offset 0 stands for none, which parts of uneven sizes may have.
    """
    found = []
    for start1, start2, n1, n2 in zip(starts(sizes1), starts(sizes2), sizes1, sizes2, strict=True):
        moved = (d + start1 - start2 for d in offsets)
        found.append(frozenset(e for e in moved if -n1 < e < n2) or frozenset({0}))
    return found


def block_diagonal(at: Place, blocks: tuple[Array, ...]) -> Array:
    """Return one array of blocks ``(n1, n2, ...)``, with zeros between examples of two."""
    rows = []
    for number, x in enumerate(blocks):
        row = [_nothing(at, x, b.shape[1]) for b in blocks]
        row[number] = x
        rows.append(at.xp.concat(row, axis=1))
    return at.xp.concat(rows, axis=0)


def _nothing(at: Place, x: Array, count: int) -> Array:
    shape = (x.shape[0], count, *x.shape[2:])
    return at.xp.zeros(shape, dtype=x.dtype, device=at.device)
