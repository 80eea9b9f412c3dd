"""Pairs of examples in groups that a chain takes one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ntcore.backends.numba_loops import LANES

#: Filling vectors up may cost so many times the pairs that there are; beyond, pairs of any examples
#: lie side by side, and so do copies of their variances.
MOST = 1.75
#: What vectors along the first batch have to spare: their pairs are not neighbours in memory.
GAIN = 1.3
#: What a group costs beside its vectors, in vectors.
SHARED = 0.25


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
        where they hold any pairs, whose variances are brought side by side first.
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
def paired_groups(n: int, most: int) -> Groups:
    """Return every example of a batch with itself, in groups of at most about ``most``."""
    _, each, there = _filled(np.arange(n), n)
    ones = _in_rows(each, most, 0)
    pairs = _in_rows(np.where(there, each, -1), most, -1)
    return Groups(ones, ones, pairs, _are_neighbours(pairs), 2, False)


@lru_cache(maxsize=64)
def make_groups(n1: int, n2: int, most: int, half: bool = False) -> Groups:
    """Return the pairs of two batches in groups of at most about ``most``.

    ``half`` leaves those out whose second example comes before the first.
    """
    along = 0 if GAIN * _waste(n1) < _waste(n2) else 1
    inner = (n1, n2)[along]
    ragged = half or _waste(inner) > MOST
    if ragged:
        pairs = np.arange(n1 * n2)
        fixed, moving, there = _filled(pairs[pairs // n2 <= pairs % n2] if half else pairs, n2)
        along = 1
    else:
        fixed, moving, there = _vectors((n2, n1)[along], inner)
    ones, twos = (moving, fixed) if along == 0 else (fixed, moving)
    pairs = np.where(there, ones * n2 + twos, -1)
    ones, twos, pairs = (_in_rows(x, most, fill) for x, fill in ((ones, 0), (twos, 0), (pairs, -1)))
    whole = _are_neighbours(pairs)
    return Groups(ones, twos, pairs, whole, 2 if ragged else along, inner < LANES and not ragged)


def _are_neighbours(pairs: np.ndarray) -> np.ndarray:
    """Whether the pairs of each vector of a group are neighbours in memory."""
    each = pairs.reshape(len(pairs), -1, LANES)
    return (each[..., 0] >= 0) & (np.diff(each, axis=-1) == 1).all(axis=-1)


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
    each = _each(len(vectors), max(most // LANES, 1))
    missing = np.full((-len(vectors) % each, LANES), fill)
    return np.ascontiguousarray(np.concatenate([vectors, missing]).reshape(-1, each * LANES))


def _each(vectors: int, most: int) -> int:
    """Return how many vectors a group takes so that few are missing from the last."""
    return min(range(most, 0, -1), key=lambda each: -(-vectors // each) * (each + SHARED))
