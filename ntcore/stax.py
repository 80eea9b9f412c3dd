"""Layers, and the networks made of them, under the names of neural_tangents' ``stax``.

Every layer and every combinator returns a :class:`~ntcore.model.Model`: a network that unpacks
into ``(init_fn, apply_fn, kernel_fn)``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ntcore import layers
from ntcore.errors import ArgumentError
from ntcore.foreign import Bool, Diagonal, layer, requires, supports_masking
from ntcore.graphs import AggregateImplementation
from ntcore.layers import AttentionMechanism, PositionalEmbedding
from ntcore.masked import MaskedArray, unmask_fn
from ntcore.model import Model
from ntcore.network import Parallel, Repeat, Serial
from ntcore.record import Record
from ntcore.shape import Padding


def serial(*layers: Model) -> Model:
    """Return the networks one after the other."""
    return Model(Serial(tuple(map(_network, layers))))


def parallel(*layers: Model) -> Model:
    """Return the networks side by side, each with an input of its own.

    Inputs and outputs are tuples; ``FanOut`` makes one input into several and ``FanInSum``
    merges the outputs.
    """
    return Model(Parallel(tuple(map(_network, layers))))


def repeat(layer: Model, n: int) -> Model:
    """Return a network repeated ``n`` times, with parameters stacked on a leading axis.

    Raises
    ------
    ArgumentError
        If ``n`` is not a positive integer.
    """
    return Model(Repeat(_network(layer), n))


def residual(*branch: Model, shortcut: Model | None = None) -> Model:
    """Return layers with a shortcut around them: their output plus their input.

    It is ``serial(FanOut(2), parallel(shortcut, serial(*branch)), FanInSum())``.

    Parameters
    ----------
    *branch : Model
        The layers, in order; they keep the shape of their input, and end in a Dense or Conv layer.
    shortcut : Model, optional
        What the input goes through on its way, such as a 1x1 ``Conv`` where sizes change; nothing
        by default.
    """
    through = layers.Identity() if shortcut is None else _network(shortcut)
    both = Parallel((through, Serial(tuple(map(_network, branch)))))
    return Model(Serial((layers.FanOut(2), both, layers.FanInSum())))


class _Slice:
    """Makes an ``Index`` of what stands between brackets, as in ``Slice[:, 1:-1, ::2]``."""

    def __getitem__(self, idx: Any) -> Model:
        return Model(layers.Index(idx))

    def __repr__(self) -> str:
        return "Slice"


Slice = _Slice()


def _network(layer: Any) -> Record:
    if isinstance(layer, Model):
        return layer.network
    if isinstance(layer, Record):
        return layer
    raise ArgumentError(
        f"a layer of ntcore.stax was expected but {type(layer).__name__} came; call the layer, as "
        "in stax.Relu()."
    )


def _constructor(cls: type[Record]) -> Callable[..., Model]:
    """Return a function that makes a :class:`Model` of one layer, with the layer's signature."""

    @functools.wraps(cls, updated=())
    def make(*args: Any, **kwargs: Any) -> Model:
        return Model(cls(*args, **kwargs))

    make.__signature__ = inspect.signature(cls).replace(return_annotation=Model)  # type: ignore[attr-defined]
    return make


_LAYERS = {n: c for n, c in vars(layers).items() if isinstance(c, type) and issubclass(c, Record)}
globals().update({name: _constructor(cls) for name, cls in _LAYERS.items()})
__all__ = [
    "AggregateImplementation",
    "AttentionMechanism",
    "Bool",
    "Diagonal",
    "MaskedArray",
    "Model",
    "Padding",
    "PositionalEmbedding",
    "layer",
    "Slice",
    "parallel",
    "repeat",
    "requires",
    "residual",
    "serial",
    "supports_masking",
    "unmask_fn",
    *sorted(_LAYERS),
]

if TYPE_CHECKING:

    def __getattr__(name: str) -> Callable[..., Model]: ...
