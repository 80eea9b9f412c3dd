"""Who attends to whom, and how scores become the weights of attention."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ntcore.backend import Array, Place, host, loaded
from ntcore.errors import ArgumentError
from ntcore.ops import softmax

#: Positions of the largest pattern that is written out.
SHOWN = 8


class AttentionMechanism(enum.Enum):
    r"""What turns the scores :math:`G` of a query into its weights :math:`\zeta(G)`.

    ``SOFTMAX`` is :math:`e^{G_{pj}} / \sum_k e^{G_{pk}}` over the keys that there are;
    ``IDENTITY``, ``ABS`` and ``RELU`` act entry by entry.
    """

    SOFTMAX = "SOFTMAX"
    IDENTITY = "IDENTITY"
    ABS = "ABS"
    RELU = "RELU"


@dataclass(frozen=True)
class Pattern:
    """A static square table of booleans: whether a query (row) attends to a key (column).

    Attributes
    ----------
    size : int
        Number of positions.
    table : bytes
        The rows one after the other, a byte for each entry, so that a layer is hashed fast.
    """

    size: int
    table: bytes

    def __repr__(self) -> str:
        if self.size > SHOWN:
            return f"<{self.size} by {self.size} booleans>"
        return repr(self.rows.tolist())

    @property
    def rows(self) -> Any:
        """The table as a host array."""
        np = host().namespace
        return np.frombuffer(self.table, dtype=bool).reshape(self.size, self.size)


def as_pattern(values: Any, name: str) -> Pattern | None:
    """Return a table of booleans as a :class:`Pattern`, or raise :class:`ArgumentError`."""
    if values is None or isinstance(values, Pattern):
        return values
    np = host().namespace
    owner = next((b for b in loaded() if b.owns(values)), host())
    table = np.asarray(values if owner is host() else owner.to_numpy(values))
    if table.ndim != 2 or table.shape[0] != table.shape[1] or table.dtype != np.bool_:
        raise ArgumentError(
            f"{name} got an attention_pattern of shape {tuple(table.shape)} and type "
            f"{table.dtype}; give a square table of booleans, queries by keys."
        )
    return Pattern(table.shape[0], table.tobytes())


@lru_cache(maxsize=256)
def barred(pattern: Pattern | None, causal: bool, sizes: tuple[int, ...]) -> Any:
    """Return the host table of the keys that no query may attend to, or None if it may to all."""
    if pattern is None and not causal:
        return None
    np, size = host().namespace, math.prod(sizes)
    table = np.zeros((size, size), dtype=bool)
    if pattern is not None:
        table |= ~pattern.rows
    return table | ~np.tri(size, dtype=bool) if causal else table


def attend(at: Place, mechanism: str, scores: Array, hidden: Array | None) -> Array:
    """Return the weights of scores ``(..., queries, keys)``, 0 for keys that are ``hidden``.

    A query all of whose keys are hidden has no weights.
    """
    xp = at.xp
    if mechanism == "SOFTMAX":
        return softmax(at, scores, hidden)
    zero = xp.zeros_like(scores)
    if mechanism == "ABS":
        scores = xp.abs(scores)
    elif mechanism == "RELU":
        scores = xp.where(scores > 0, scores, zero)
    return scores if hidden is None else xp.where(hidden, zero, scores)


def attend_vjp(
    at: Place, mechanism: str, scores: Array, hidden: Array | None, weights: Array, grad: Array
) -> Array:
    """Return the gradient of :func:`attend` in the scores; ``weights`` is what it returned."""
    xp = at.xp
    if mechanism == "SOFTMAX":
        return weights * (grad - xp.sum(grad * weights, axis=-1, keepdims=True))
    if mechanism == "ABS":
        grad = grad * xp.sign(scores)
    elif mechanism == "RELU":
        grad = xp.where(scores > 0, grad, xp.zeros_like(grad))
    return grad if hidden is None else xp.where(hidden, xp.zeros_like(grad), grad)
