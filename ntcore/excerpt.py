"""What a tile reads of the arrays of a job, and gradients of the one as gradients of the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ntcore.backend import Array, Place
from ntcore.company import Beside, Company
from ntcore.layers.base import Layer
from ntcore.program import Job
from ntcore.record import Record, join, split
from ntcore.source import Examples, Given, Mapped, Source

Index = tuple[Any, ...]
#: The layers, the source of each input edge, and what goes with the examples.
State = tuple[tuple[Layer, ...], dict[int, Source], Company]

#: Sources of whole batches.
WHOLE = (Examples, Mapped, Given)

# --- trees of arrays ----------------------------------------------------------------------------


def with_each(tree: Any, fn: Callable[[Any], Any]) -> Any:
    """Apply ``fn`` to what records, sources, tuples, lists and dictionaries hold; None stays."""
    if isinstance(tree, dict):
        found = {key: with_each(x, fn) for key, x in tree.items()}
        return tree if all(found[key] is x for key, x in tree.items()) else found
    if type(tree) in (tuple, list):
        made = [with_each(x, fn) for x in tree]
        return tree if all(x is y for x, y in zip(tree, made, strict=True)) else type(tree)(made)
    if isinstance(tree, WHOLE):
        return tree.holding([with_each(x, fn) for x, _ in tree.held])
    if isinstance(tree, Record):
        leaves, static = split(tree)
        new = [with_each(x, fn) for x in leaves]
        if all(a is b for a, b in zip(leaves, new, strict=True)):
            return tree  # so that a layer which holds no array stays the one it is
        return join(type(tree), type(leaves)(new), static)
    return None if tree is None else fn(tree)


def arrays_in(tree: Any, at: Place) -> list[Array]:
    """Return the arrays of real numbers of a library that a tree holds, each once."""
    found: dict[int, Array] = {}

    def see(x: Any) -> Any:
        if at.backend.owns(x) and at.xp.isdtype(x.dtype, "real floating"):
            found[id(x)] = x
        return x

    with_each(tree, see)
    return list(found.values())


def put_in(tree: Any, old: Sequence[Array], new: Sequence[Any]) -> Any:
    """Return a tree with other arrays in place of some of its own."""
    known = {id(x): y for x, y in zip(old, new, strict=True)}
    return with_each(tree, lambda x: known.get(id(x), x))


# --- excerpts -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """Some entries of an array."""

    of: Array
    index: Index


@dataclass
class Excerpt:
    """What some examples of both batches read, cut out.

    Attributes
    ----------
    sought : dict
        By identity, the arrays of a job whose gradients are asked for.
    state : tuple
        What was cut out.
    arrays, windows : list
        The arrays of the state that were cut from sought ones, and where from.
    """

    sought: dict[int, Array]
    state: State = None  # type: ignore[assignment]
    arrays: list[Array] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)

    def note(self, part: Array, whole: Array, index: Index) -> Array:
        """Say what an array was cut from, and return it."""
        new = id(whole) in self.sought and all(part is not x for x in self.arrays)
        if new:
            self.arrays.append(part)
            self.windows.append(Window(whole, index))
        return part


def excerpt_of(
    job: Job, besides: tuple[Beside, Beside], company: Company, sought: dict[int, Array]
) -> Excerpt:
    """Return what the examples of a company read of a job and of what is beside its batches."""
    found, spans = Excerpt(sought), [slice(s.start, s.stop) for s in company.spans]

    def cut(x: Array | None, batches: tuple[int, ...]) -> Array | None:
        index = (*(spans[b] for b in batches), ...)
        return None if x is None else found.note(x[index], x, index)

    layers = with_each(job.layers, lambda x: found.note(x, x, (...,)))
    sources: dict[int, Source] = {}
    for edge, source in job.sources.items():
        assert isinstance(source, WHOLE)
        sources[edge] = source.holding([cut(*each) for each in source.held])
    own = company.cut()
    for span, part, whole in zip(spans, own.besides, besides, strict=True):
        for edge, side in part.sides.items():
            if edge in whole.sides:
                found.note(side.data, whole.sides[edge].data, (..., span))
        for edge, aside in part.asides.items():
            every = whole.asides[edge]
            found.note(aside, every, (...,) if every.shape[0] == 1 else (span, ...))
    found.state = layers, sources, own
    return found


class Sums:
    """Gradients of whole arrays, of what was added to them window by window."""

    def __init__(self, at: Place) -> None:
        self._at = at
        self._found: dict[int, Array] = {}

    def add(self, windows: Iterable[Window], grads: Iterable[Array | None]) -> None:
        """Add the gradients of some windows, where there are any."""
        for window, grad in zip(windows, grads, strict=True):
            if grad is not None:
                if id(window.of) not in self._found:
                    self._found[id(window.of)] = self._at.xp.zeros_like(window.of)
                self._found[id(window.of)][window.index] += grad

    def of(self, x: Array) -> Array | None:
        """Return the gradient of an array, None where nothing was added."""
        return self._found.get(id(x))
