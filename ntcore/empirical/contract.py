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

from collections.abc import Sequence
from dataclasses import dataclass
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
    """

    g: Array
    lies: tuple[int, int, int] | None = None

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
        return Formed(self.g[start:stop, ...], self.lies)


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
    """

    a: tuple[Array, ...]
    d: Array
    inputs: tuple[int, ...]
    turned: tuple[bool, ...]

    @property
    def count(self) -> int:
        """Number of examples."""
        return int(self.d.shape[0])

    def part(self, start: int, stop: int) -> Factored:
        """Return those of some examples."""
        a = tuple(x[start:stop, ...] for x in self.a)
        return Factored(a, self.d[start:stop, ...], self.inputs, self.turned)

    def formed(self, at: Place) -> list[Formed]:
        """Return the gradients of each parameter, formed."""
        return [self._formed(at, k) for k in range(len(self.a))]

    def _formed(self, at: Place, k: int) -> Formed:
        xp, inputs = at.xp, self.inputs[k]
        n, rows, groups, outputs, positions = self.d.shape
        d = self.d if groups == 1 else xp.permute_dims(self.d, (0, 2, 1, 3, 4))
        g = matmul(at, xp.reshape(d, (n, groups, -1, positions)), self._dense(at, k))
        if groups > 1:
            g = xp.reshape(g, (n, groups, rows, outputs, inputs))
            g = xp.permute_dims(g, (0, 2, 1, 3, 4))
        g = xp.reshape(g, (n, rows, groups * outputs * inputs))
        return Formed(g, (groups, outputs, inputs) if self.turned[k] else None)

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


def merged(at: Place, parts: list[Gradient]) -> Gradient:
    """Return the sum of the gradients that several uses of one array of parameters give."""
    if len(parts) == 1:
        return parts[0]
    kinds = {
        (p.turned, is_one_hot(p.a[0]), tuple(p.d.shape[2:4])) if isinstance(p, Factored) else None
        for p in parts
    }
    if len(kinds) == 1 and None not in kinds:
        return _longer(at, [p for p in parts if isinstance(p, Factored)])
    return Formed(reduce(add, [p.formed(at)[0].stored(at) for p in parts]))


def _longer(at: Place, parts: list[Factored]) -> Factored:
    """Return factors over the positions of all parts."""
    a = at.xp.concat([p.a[0] for p in parts], axis=2)
    d = at.xp.concat([p.d for p in parts], axis=4)
    return Factored((a,), d, parts[0].inputs, parts[0].turned)


def together(at: Place, uses: Sequence[list[Gradient]]) -> list[Gradient]:
    """Return the gradients of all parameters, those with the same signals in one.

    ``uses`` holds, for each parameter, the gradients that its uses give.
    """
    groups: dict[Any, list[list[Gradient]]] = {}
    for k, parts in enumerate(uses):
        alike = all(isinstance(p, Factored) for p in parts)
        key = tuple(id(p.d) for p in parts if isinstance(p, Factored)) if alike else k
        groups.setdefault(key, []).append(parts)
    found: list[Gradient] = []
    for group in groups.values():
        each = [merged(at, parts) for parts in group]
        found += joined([g for g in each if isinstance(g, Factored)])
        found += [g for g in each if isinstance(g, Formed)]
    return found


def joined(each: Sequence[Factored]) -> list[Factored]:
    """Return gradients that have one array of signals as one; none of none."""
    if not each:
        return []
    a = tuple(x for g in each for x in g.a)
    inputs = tuple(n for g in each for n in g.inputs)
    return [Factored(a, each[0].d, inputs, tuple(t for g in each for t in g.turned))]


def arrays_of(g: Gradient) -> tuple[tuple[Array, ...], tuple[Any, ...]]:
    """Return the arrays of a gradient, and what else it is."""
    return ((g.g,), (g.lies,)) if isinstance(g, Formed) else ((*g.a, g.d), (g.inputs, g.turned))


def rebuilt(arrays: Sequence[Array], rest: tuple[Any, ...]) -> Gradient:
    """Return the gradient that :func:`arrays_of` took apart."""
    if len(rest) == 1:
        return Formed(arrays[0], rest[0])
    return Factored(tuple(arrays[:-1]), arrays[-1], *rest)
