"""What a case is; this file imports nothing but the standard library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """One network, the inputs it is timed on, and how many of them.

    Attributes
    ----------
    name, title : str
        For the command line, and for the table.
    build : callable
        From a ``stax`` module to the triple ``(init_fn, apply_fn, kernel_fn)``.
    shape : tuple of int
        One example, channels last.
    counts : tuple of int
        ``n1`` and ``n2``; ``n2`` of 0 stands for ``x2=None``.
    peer_counts : tuple of int, optional
        Fewer examples for the peer, and for what is as slow, where an entry takes seconds; same as
        ``counts`` by default. Times are given per entry.
    get : str or tuple of str
        The fields of the kernel that are asked for.
    quick : bool
        Whether the case belongs to the quick set.
    runs : int
        Alternations that the median is taken of.
    """

    name: str
    title: str
    build: Callable[[Any], Any]
    shape: tuple[int, ...]
    counts: tuple[int, int]
    peer_counts: tuple[int, int] | None = None
    get: str | tuple[str, ...] = "ntk"
    quick: bool = False
    runs: int = 3


def entries(counts: tuple[int, int]) -> int:
    """Entries of a kernel: all pairs, also where half of them are a mirror image."""
    n1, n2 = counts
    return n1 * (n2 or n1)
