"""Which entries of a spatial covariance are asked for, as exact sets of offsets per axis.

The offset of the entry ``K[p, p']`` is ``p' - p``. Offsets of different axes are independent: a
need is the product of one set per spatial axis.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from ntcore.shape import Window

Offsets = frozenset[int]
Sizes = tuple[int, int]


@dataclass(frozen=True)
class Need:
    """The offsets asked for on each spatial axis."""

    axes: tuple[Offsets, ...]

    def __or__(self, other: Need) -> Need:
        return Need(tuple(a | b for a, b in zip(self.axes, other.axes, strict=True)))


#: Nothing but the sum of all entries, of an edge that has axes; see :class:`ntcore.plan.Edge`.
SUM = Need(())


def union(needs: Iterable[Need | None]) -> Need | None:
    """Return the union of some needs, where ``None`` asks for nothing."""
    total: Need | None = None
    for need in needs:
        if need is not None:
            total = need if total is None else total | need
    return total


def everything(spatial1: tuple[int, ...], spatial2: tuple[int, ...]) -> Need:
    """Return the need of every entry between two images."""
    pairs = zip(spatial1, spatial2, strict=True)
    return Need(tuple(frozenset(range(1 - s1, s2)) for s1, s2 in pairs))


def diagonal(ndim: int) -> Need:
    """Return the need of offset 0 alone."""
    return Need((frozenset({0}),) * ndim)


def through_windows(
    out: Need, windows1: tuple[Window, ...], windows2: tuple[Window, ...], spread: bool
) -> Need:
    """Return the need below a window, given the need above it.

    A convolution reads both positions at the same tap (``spread`` False), so output offset ``d``
    asks for ``stride * d``, shifted where the two paddings differ; a transposed one for
    ``d / stride``, and for nothing where that is not whole. A pool reads them at independent taps
    (``spread`` True) and adds every difference of two taps. An axis asks for offset 0 at least.
    """
    axes = zip(out.axes, windows1, windows2, strict=True)
    return Need(tuple(_through(s, w1, w2, spread) for s, w1, w2 in axes))


def _through(offsets: Offsets, w1: Window, w2: Window, spread: bool) -> Offsets:
    reach = range(1 - w1.width, w1.width) if spread else (0,)
    shift = w1.low - w2.low
    below = {b for d in offsets if (b := w1.below(d)) is not None}
    raw = {b + shift + e for b in below for e in reach}
    if w1.padding == "CIRCULAR":
        raw = _wrapped(raw, w1, w2)
    return frozenset(d for d in raw if -w1.size < d < w2.size) or frozenset({0})


def _wrapped(raw: set[int], w1: Window, w2: Window) -> set[int]:
    """Add the offsets that a pair of positions gets when either wraps around."""
    turns1, turns2 = _turns(w1), _turns(w2)
    return {d + a * w1.size - b * w2.size for d in raw for a in turns1 for b in turns2}


def _turns(w: Window) -> range:
    first, last = w.ends
    return range(first // w.size, last // w.size + 1)


def describe(offsets: Offsets, sizes: Sizes) -> str:
    """Return a short text for a set of offsets between two axes of the given sizes."""
    found = sorted(offsets)
    if not found:
        return "none"
    if len(found) == sizes[0] + sizes[1] - 1 and len(found) > 1:
        return f"all {len(found)}"
    if len(found) <= 3:
        return ",".join(map(str, found))
    steps = {b - a for a, b in pairwise(found)}
    if len(steps) == 1:
        step = steps.pop()
        return f"{found[0]}..{found[-1]}" + (f" step {step}" if step > 1 else "")
    return f"{len(found)} of {found[0]}..{found[-1]}"
