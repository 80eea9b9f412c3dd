"""Cutting a kernel into tiles of pairs, and putting the tiles together."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from ntcore.backend import Array, Place
from ntcore.staging import staged


@dataclass(frozen=True)
class Tile:
    """Pairs of examples ``start1 <= i < stop1`` and ``start2 <= j < stop2``."""

    start1: int
    stop1: int
    start2: int
    stop2: int

    @property
    def on_diagonal(self) -> bool:
        """Whether the tile compares a range of examples with itself."""
        return (self.start1, self.stop1) == (self.start2, self.stop2)


@dataclass(frozen=True)
class Grid:
    """A kernel of ``n1`` times ``n2`` pairs cut into blocks of ``step1`` times ``step2``.

    A symmetric grid holds only tiles on and above the diagonal.
    """

    n1: int
    n2: int
    step1: int
    step2: int
    symmetric: bool

    def __iter__(self) -> Iterator[Tile]:
        for a in range(0, self.n1, self.step1):
            for b in range(a if self.symmetric else 0, self.n2, self.step2):
                yield Tile(a, min(a + self.step1, self.n1), b, min(b + self.step2, self.n2))

    def __len__(self) -> int:
        return sum(1 for _ in self)


#: Into how many sizes, and examples apart at least, steps that are not even are rounded.
SIZES, COARSE = 8, 128
#: Pairs with one example of the first batch lie side by side in memory; these fill a vector.
LANES = 16


def make_grid(n1: int, n2: int, pairs: int, symmetric: bool, even: bool = False) -> Grid:
    """Return a grid whose tiles hold at least one pair, and no more than ``pairs`` beyond it.

    ``even`` tiles are about the same size. The others are nearly as large as can be, so that their
    size depends on the number of examples no more than it must, and what is left over is ragged.
    """
    pairs = max(pairs, 1)
    side = math.isqrt(pairs)
    if symmetric:
        most = _whole_vectors(min(n1, side), n1)
        step = _evened(n1, most, LANES if even else _grain(most))
        return Grid(n1, n2, step, step, True)
    if even:
        width = _width(n1, n2, pairs)
        return Grid(n1, n2, _evened(n1, pairs // width, 1), width, False)
    step2 = _whole_vectors(min(n2, max(side, min(pairs, LANES))), n2)
    step1 = max(1, min(n1, pairs // step2))
    step2 = _whole_vectors(min(n2, pairs // step1), n2)
    step1 = max(1, min(n1, pairs // step2))
    step1, step2 = _evened(n1, step1, _grain(step1)), _evened(n2, step2, _grain(step2))
    return Grid(n1, n2, step1, step2, False)


def _grain(step: int) -> int:
    """Return what the size of tiles is a multiple of, where there are to be few sizes."""
    return max(step // SIZES, COARSE)


def _whole_vectors(step: int, n: int) -> int:
    """Return a step that leaves no vector partly empty, unless it takes all there is."""
    return max(step, 1) if step >= n or step < LANES else step - step % LANES


def _evened(n: int, most: int, lanes: int = LANES) -> int:
    """Return the step that cuts ``n`` into as many parts as the largest step does, as evenly."""
    most = max(1, min(n, most))
    each = math.ceil(n / math.ceil(n / most)) if n else 1
    return min(most, math.ceil(each / lanes) * lanes)


def _width(n1: int, n2: int, pairs: int) -> int:
    """Return the width of the fewest tiles of ``pairs``, nearly squares that fill vectors."""
    tiles = max(1, math.ceil(n1 * n2 / pairs))
    across = min(tiles, max(1, round(math.sqrt(tiles * n2 / max(n1, 1)))))
    most = max(math.ceil(n2 / across), min(pairs, LANES))
    return max(1, min(n2, pairs, math.ceil(most / LANES) * LANES))


class Assembly:
    """The tiles of one array ``(n1, n2, ...)``, filled in where arrays can be written to.

    ``diagonal_spatial`` says that the array has one axis for each spatial axis, and not two.
    """

    def __init__(self, at: Place, grid: Grid, diagonal_spatial: bool = False) -> None:
        self._at, self._grid, self._diagonal_spatial = at, grid, diagonal_spatial
        self._whole: Array = None
        self._making = threading.Lock()
        self._parts: dict[tuple[int, int], Array] = {}

    def put(self, tile: Tile, x: Array) -> None:
        """Add a tile; in a symmetric grid its mirror image is added too."""
        if self._grid.symmetric and tile.on_diagonal:
            x = self._completed(x)
        self._put(tile.start1, tile.start2, x)
        if self._grid.symmetric and not tile.on_diagonal:
            self._put(tile.start2, tile.start1, self._mirrored(x))

    def _completed(self, x: Array) -> Array:
        """Return a square of pairs of which only the upper half is known."""
        xp = self._at.xp
        # On its own: XLA takes minutes to compile a large transpose together with a selection.
        other = staged(self._at, mirrored, (0, 2))(self._at, x, self._diagonal_spatial)
        i = xp.arange(x.shape[0], device=self._at.device)
        i = xp.reshape(i, (-1, *(1 for _ in x.shape[1:])))
        j = xp.reshape(i, (1, -1, *(1 for _ in x.shape[2:])))
        if x.ndim == 2:
            return xp.where(i > j, other, x)
        return xp.where(i < j, x, xp.where(i > j, other, (x + other) / 2))

    def _mirrored(self, x: Array) -> Array:
        return mirrored(self._at, x, self._diagonal_spatial)

    def _put(self, i: int, j: int, x: Array) -> None:
        backend = self._at.backend
        if not backend.mutable and (backend.write is None or backend.is_traced(x)):
            self._parts[i, j] = x
            return
        shape = (self._grid.n1, self._grid.n2, *x.shape[2:])
        if shape == x.shape:
            self._whole = x
            return
        with self._making:
            if self._whole is None:
                self._whole = self._at.empty(shape, x.dtype)
        if backend.write is not None:
            self._whole = backend.write(self._whole, x, i, j)
            return
        self._whole[i : i + x.shape[0], j : j + x.shape[1], ...] = x

    def result(self) -> Array | None:
        """Return the whole array, or None where no tile came."""
        if self._whole is not None or not self._parts:
            return self._whole
        starts1 = sorted({i for i, _ in self._parts})
        starts2 = sorted({j for _, j in self._parts})
        concat = self._at.xp.concat
        rows = [
            concat([self._parts[i, j] for j in starts2], axis=1)
            if len(starts2) > 1
            else self._parts[i, starts2[0]]
            for i in starts1
        ]
        return concat(rows, axis=0) if len(rows) > 1 else rows[0]


def mirrored(at: Place, x: Array, diagonal_spatial: bool) -> Array:
    """Exchange the two examples, and the two positions on every spatial axis that has two."""
    both = [i for k in range(2, x.ndim, 2) for i in (k + 1, k)]
    space = range(2, x.ndim) if diagonal_spatial else both
    return at.xp.permute_dims(x, (1, 0, *space))
