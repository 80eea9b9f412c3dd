"""Pairs of examples in groups that a chain takes one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ntcore.backends.numba_loops import LANES

#: Filling vectors up may cost so many times the pairs that there are; beyond, pairs of any examples
#: lie side by side, and their variances are brought there one by one.
MOST = 1.75
#: What vectors along the first batch have to spare: their pairs are not neighbours in memory.
GAIN = 1.3


@dataclass(frozen=True)
class Groups:
    """Pairs side by side, a group in each row.

    Attributes
    ----------
    ones, twos : array
        The examples of each pair.
    pairs : array
        The number of each pair, -1 where a lane only fills a vector up.
    whole : array of bool
        For each vector of a group, whether its pairs are neighbours in memory.
    along : int
        The batch whose neighbours vectors hold, against one example of the other: 0 or 1, and 2
        where they hold any pairs.
    beyond : bool
        Whether vectors reach beyond the last example.
    """

    ones: np.ndarray
    twos: np.ndarray
    pairs: np.ndarray
    whole: np.ndarray
    along: int
    beyond: bool


@lru_cache(maxsize=64)
def make_groups(n1: int, n2: int, most: int) -> Groups:
    """Return the pairs of two batches in groups of at most about ``most``."""
    along = 0 if GAIN * _waste(n1) < _waste(n2) else 1
    inner = (n1, n2)[along]
    if _waste(inner) <= MOST:
        fixed, moving, there = _vectors((n2, n1)[along], inner)
    else:
        fixed, moving, there = _filled(np.arange(n1 * n2), n2)
        along = 1
    ones, twos = (moving, fixed) if along == 0 else (fixed, moving)
    pairs = np.where(there, ones * n2 + twos, -1)
    ones, twos, pairs = (_in_rows(x, most, fill) for x, fill in ((ones, 0), (twos, 0), (pairs, -1)))
    each = pairs.reshape(len(pairs), -1, LANES)
    whole = (each[..., 0] >= 0) & (np.diff(each, axis=-1) == 1).all(axis=-1)
    ragged = _waste(inner) > MOST
    return Groups(ones, twos, pairs, whole, 2 if ragged else along, inner < LANES and not ragged)


def _waste(n: int) -> float:
    return -(-n // LANES) * LANES / max(n, 1)


def _vectors(outer: int, inner: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vectors of neighbours, each with one example; the last overlaps the one before."""
    starts = np.arange(0, inner, LANES)
    moving = np.minimum(starts, max(inner - LANES, 0))[:, None] + np.arange(LANES)
    there = (moving >= starts[:, None]) & (moving < inner)
    shape = (outer, *moving.shape)
    fixed = np.broadcast_to(np.arange(outer)[:, None, None], shape)
    every = (fixed, np.broadcast_to(moving, shape), np.broadcast_to(there, shape))
    one, two, three = (x.reshape(-1, LANES) for x in every)
    return one, two, three


def _filled(pairs: np.ndarray, n2: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vectors of any pairs, the last filled up."""
    there = np.arange(-(-pairs.size // LANES) * LANES) < pairs.size
    every = np.resize(pairs, there.size)
    one, two, three = (x.reshape(-1, LANES) for x in (every // n2, every % n2, there))
    return one, two, three


def _in_rows(vectors: np.ndarray, most: int, fill: int) -> np.ndarray:
    """Return vectors in groups of equal size, the last filled up."""
    groups = -(-len(vectors) // max(most // LANES, 1))
    each = -(-len(vectors) // groups)
    missing = np.full((groups * each - len(vectors), LANES), fill)
    return np.ascontiguousarray(np.concatenate([vectors, missing]).reshape(groups, -1))
