r"""Per-example gradients, formed or in factors.

The gradient of output entry :math:`o` of example :math:`n` in one array of parameters is either
*formed*, :math:`G_{n o k}`, or *factored* over the positions :math:`p` at which the parameters
meet the data,

.. math:: G_{n o (j i)} = \sum_p \delta_{n o j p}\, a_{n p i},

where :math:`a` are the activations below a matrix of weights and :math:`\delta` the signals
propagated back to what it puts out. Its products are then

.. math:: \langle G_{n o}, G_{n' o'} \rangle = \sum_{p, p'} (a_n a_{n'}^T)_{p p'}
          \,(\delta_{n o}^T \delta_{n' o'})_{p p'}

and no gradient need be formed (Novak et al. 2022, section 3.3). Parameters that meet the same
signals, a matrix and its bias, share the second factor: their first factors are added up. Rows
:math:`o` are counted in the order diagonal, free, traced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

from ntcore.backend import Array, Place
from ntcore.ops import matmul


@dataclass(frozen=True)
class Formed:
    """Gradients, formed.

    Attributes
    ----------
    g : array
        ``(n, rows, parameters)``.
    lies : tuple of int or None
        ``(groups, outputs, inputs)`` where the parameters lie in that order in ``g`` but are
        stored as ``(groups, inputs, outputs)``.
    of : tuple of int
        Which array of parameters, alone.
    """

    g: Array
    lies: tuple[int, int, int] | None = None
    of: tuple[int, ...] = (0,)

    @property
    def count(self) -> int:
        """Number of examples."""
        return int(self.g.shape[0])

    def formed(self, at: Place) -> list[Formed]:
        """Return the gradients."""
        return [self]

    def stored(self, at: Place) -> Array:
        """Return the gradients in the order in which the parameters are stored."""
        if self.lies is None:
            return self.g
        g = at.xp.reshape(self.g, (*self.g.shape[:2], *self.lies))
        return at.xp.reshape(at.xp.permute_dims(g, (0, 1, 2, 4, 3)), self.g.shape)

    def part(self, start: int, stop: int) -> Formed:
        """Return those of some examples."""
        return Formed(self.g[start:stop, ...], self.lies, self.of)


@dataclass(frozen=True)
class Factored:
    """Gradients in factors, of all parameters that meet data where the same signals arrive.

    A matrix of weights and a bias do: the bias is a matrix whose one input is always 1.

    Attributes
    ----------
    a : tuple of array
        For each parameter ``(n, groups, positions, inputs)``, or integers ``(n, 1, positions)``
        that stand for one-hot vectors.
    d : array
        ``(n, rows, groups, outputs, positions)``.
    inputs : tuple of int
        Number of inputs of each.
    turned : tuple of bool
        Whether each is stored as ``(groups, inputs, outputs)``.
    outputs_last : bool
        Whether it is the outputs of one position that lie side by side in memory, and not the
        positions of one output.
    of : tuple of int
        Which arrays of parameters.
    """

    a: tuple[Array, ...]
    d: Array
    inputs: tuple[int, ...]
    turned: tuple[bool, ...]
    outputs_last: bool = False
    of: tuple[int, ...] = (0,)

    @property
    def count(self) -> int:
        """Number of examples."""
        return int(self.d.shape[0])

    def part(self, start: int, stop: int) -> Factored:
        """Return those of some examples."""
        a = tuple(x[start:stop, ...] for x in self.a)
        return replace(self, a=a, d=self.d[start:stop, ...])

    def formed(self, at: Place) -> list[Formed]:
        """Return the gradients of each parameter, formed."""
        return [self._formed(at, k) for k in range(len(self.a))]

    def _formed(self, at: Place, k: int) -> Formed:
        xp, inputs = at.xp, self.inputs[k]
        n, rows, groups, outputs, positions = self.d.shape
        if self.outputs_last:  # a copy in runs, and a product that reads its left side transposed
            d = xp.permute_dims(self.d, (0, 2, 4, 1, 3))
            d = xp.matrix_transpose(xp.reshape(d, (n, groups, positions, rows * outputs)))
        else:
            d = self.d if groups == 1 else xp.permute_dims(self.d, (0, 2, 1, 3, 4))
            d = xp.reshape(d, (n, groups, rows * outputs, positions))
        g = matmul(at, d, self._dense(at, k))
        if groups > 1:
            g = xp.reshape(g, (n, groups, rows, outputs, inputs))
            g = xp.permute_dims(g, (0, 2, 1, 3, 4))
        g = xp.reshape(g, (n, rows, groups * outputs * inputs))
        lies = (groups, outputs, inputs) if self.turned[k] else None
        return Formed(g, lies, self.of[k : k + 1])

    def _dense(self, at: Place, k: int) -> Array:
        a = self.a[k]
        if not is_one_hot(a):
            return a
        xp = at.xp
        every = xp.arange(self.inputs[k], device=at.device)
        return xp.astype(a[..., None] == every, self.d.dtype)


def is_one_hot(a: Array) -> bool:
    """Whether activations are integers."""
    return bool(a.ndim == 3)


Gradient = Formed | Factored


def merged(at: Place, parts: Sequence[Gradient]) -> Gradient:
    """Return the sum of the gradients that several uses of one array of parameters give."""
    if len(parts) == 1:
        return parts[0]
    factored = [p for p in parts if isinstance(p, Factored)]
    kinds = {(p.turned, is_one_hot(p.a[0]), tuple(p.d.shape[2:4])) for p in factored}
    if len(factored) == len(parts) and len(kinds) == 1:
        a = at.xp.concat([p.a[0] for p in factored], axis=2)
        d = at.xp.concat([p.d for p in factored], axis=4)
        return replace(factored[0], a=(a,), d=d)
    return Formed(reduce(add, [p.formed(at)[0].stored(at) for p in parts]), None, parts[0].of)


def together(at: Place, uses: Sequence[list[Gradient]]) -> list[Gradient]:
    """Return the gradients of all parameters, those with the same signals in one.

    ``uses`` holds, for each parameter, the gradients that its uses give.
    """
    groups: dict[Any, list[Gradient]] = {}
    for k, parts in enumerate(uses):
        factored = [p for p in parts if isinstance(p, Factored)]
        key = tuple(id(p.d) for p in factored) if len(factored) == len(parts) else k
        groups.setdefault(key, []).append(replace(merged(at, parts), of=(k,)))
    return [g for group in groups.values() for g in joined(group)]


def joined(group: Sequence[Gradient]) -> list[Gradient]:
    """Return gradients with one array of signals as one, and those that are formed as they are."""
    each = [g for g in group if isinstance(g, Factored)]
    formed: list[Gradient] = [g for g in group if isinstance(g, Formed)]
    if not each:
        return formed
    one = replace(
        each[0],
        a=tuple(x for g in each for x in g.a),
        inputs=tuple(n for g in each for n in g.inputs),
        turned=tuple(t for g in each for t in g.turned),
        of=tuple(k for g in each for k in g.of),
    )
    return [one, *formed]


def one_after_other(at: Place, runs: Iterator[list[Gradient]], count: int) -> list[Gradient]:
    """Return the gradients of runs of examples as those of one, written down as they are made."""
    first = next(runs)
    values = [x for g in first for x in arrays_of(g)[0]]
    put = at.backend.put
    if first[0].count == count or put is None or any(map(at.backend.is_traced, values)):
        return _concatenated(at, [first, *runs])
    kinds = [arrays_of(g)[1] for g in first]
    wholes = [[_room_for(at, x, count) for x in arrays_of(g)[0]] for g in first]
    done, queue = 0, _and_then([first], runs)
    del first, values
    for part in queue:
        if [arrays_of(g)[1] for g in part] != kinds:  # found in other ways
            before = [rebuilt(w, k).part(0, done) for w, k in zip(wholes, kinds, strict=True)]
            return _concatenated(at, [before, part, *queue])
        for whole, g in zip(wholes, part, strict=True):
            whole[:] = [put(w, x, done) for w, x in zip(whole, arrays_of(g)[0], strict=True)]
        done += part[0].count
        del part, g  # before the next are made, for the sake of memory
    return [rebuilt(w, k) for w, k in zip(wholes, kinds, strict=True)]


def _and_then(first: list[Any], rest: Iterator[Any]) -> Iterator[Any]:
    """Yield one thing, without keeping it, and then others."""
    yield first.pop()
    yield from rest


def _room_for(at: Place, x: Array, count: int) -> Array:
    return at.xp.empty((count, *x.shape[1:]), dtype=x.dtype, device=at.device)


def _concatenated(at: Place, parts: list[list[Gradient]]) -> list[Gradient]:
    """Return the gradients of several runs of examples as those of one; ``parts`` is used up."""
    if len(parts) == 1:
        return parts[0]
    if len({tuple(arrays_of(g)[1] for g in part) for part in parts}) > 1:
        parts = [alone(at, part) for part in parts]
    found: list[Gradient] = []
    while parts[0]:
        each = [part.pop(0) for part in parts]
        columns = zip(*(arrays_of(g)[0] for g in each), strict=True)
        found.append(rebuilt([at.xp.concat(c, axis=0) for c in columns], arrays_of(each[0])[1]))
    return found


def alone(at: Place, gradients: Sequence[Gradient]) -> list[Gradient]:
    """Return the gradients of every parameter by itself, in one order, as they are stored."""
    formed = {one.of: one.stored(at) for g in gradients for one in g.formed(at)}
    return [Formed(formed[k], None, k) for k in sorted(formed)]


def arrays_of(g: Gradient) -> tuple[tuple[Array, ...], tuple[Any, ...]]:
    """Return the arrays of a gradient, and what else it is."""
    if isinstance(g, Formed):
        return (g.g,), (g.lies, g.of)
    return (*g.a, g.d), (g.inputs, g.turned, g.outputs_last, g.of)


def rebuilt(arrays: Sequence[Array], rest: tuple[Any, ...]) -> Gradient:
    """Return the gradient that :func:`arrays_of` took apart."""
    if len(rest) == 2:
        return Formed(arrays[0], *rest)
    return Factored(tuple(arrays[:-1]), arrays[-1], *rest)
