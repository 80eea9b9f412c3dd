"""What an index picks of shapes, of blocks and of arrays."""

from __future__ import annotations

from ntcore.backend import Array, Place, host
from ntcore.cov import Cov, Layout, read
from ntcore.layers.cuts import Cut, Parts, chosen
from ntcore.need import Need
from ntcore.shape import Axes

Sizes = tuple[int, ...]


def axes_left(axes: Axes, parts: Parts) -> Axes:
    """Return where the axes are that integers leave, for one part per axis of the order."""
    gone = [a for a, p in zip(axes.order, parts, strict=True) if not isinstance(p, Cut)]

    def moved(axis: int) -> int:
        return axis - sum(g < axis for g in gone)

    left = tuple(moved(a) for a in axes.spatial if a not in gone)
    return Axes(moved(axes.batch), moved(axes.channel), left)


def need_of(parts: Parts, out: Need, sizes1: Sizes, sizes2: Sizes) -> Need:
    """Return the offsets that the offsets ``out`` of what ``parts`` picks of space ask for."""
    asked, axes = iter(out.axes), []
    for part, size1, size2 in zip(parts, sizes1, sizes2, strict=True):
        one, two = chosen(part, size1), chosen(part, size2)
        offsets = next(asked) if isinstance(part, Cut) else {0}
        every = (one.step * d + two.start - one.start for d in offsets)
        axes.append(frozenset(e for e in every if -size1 < e < size2))
    return Need(tuple(axes))


def read_cuts(at: Place, cov: Cov, out: Layout, parts: Parts) -> Cov:
    """Return the block of the positions that ``parts`` picks; an integer takes its axis away."""
    both = zip(parts, cov.layout.sizes1, cov.layout.sizes2, strict=True)
    picked = [(tuple(chosen(p, m)), tuple(chosen(p, n))) for p, m, n in both]
    asked = iter(out.offsets)
    offsets = tuple(next(asked) if isinstance(p, Cut) else frozenset({0}) for p in parts)
    sizes1, sizes2 = (tuple(len(pair[i]) for pair in picked) for i in (0, 1))
    kept = read(at, cov, Layout(sizes1, sizes2, offsets, out.paired), tuple((t,) for t in picked))
    gone = tuple(2 * k + e for k, p in enumerate(parts) if not isinstance(p, Cut) for e in (0, 1))
    return Cov(at.xp.squeeze(kept.data, axis=gone) if gone else kept.data, out)


def pick(at: Place, x: Array, parts: Parts) -> Array:
    """Return ``x[parts]``, for one part for each of the first axes."""
    gone = []
    for axis, part in enumerate(parts):
        found = chosen(part, x.shape[axis])
        if found != range(x.shape[axis]):
            x = at.xp.take(x, at.index(host().namespace.asarray(found, dtype="int64")), axis=axis)
        if not isinstance(part, Cut):
            gone.append(axis)
    return at.xp.squeeze(x, axis=tuple(gone)) if gone else x


def unpick(at: Place, g: Array, shape: tuple[int, ...], parts: Parts) -> Array:
    """Return an array of a shape that holds ``g`` where ``parts`` picks, and 0 elsewhere."""
    np, xp = host().namespace, at.xp
    for axis, (part, size) in enumerate(zip(parts, shape, strict=True)):
        if not isinstance(part, Cut):
            g = xp.expand_dims(g, axis=axis)
        found = chosen(part, size)
        if found == range(size):
            continue
        source = np.full(size, len(found))
        source[list(found)] = np.arange(len(found))
        nothing = (*g.shape[:axis], 1, *g.shape[axis + 1 :])
        padded = xp.concat([g, xp.zeros(nothing, dtype=g.dtype, device=at.device)], axis=axis)
        g = xp.take(padded, at.index(source), axis=axis)
    return g
