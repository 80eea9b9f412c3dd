"""Every layer, found by itself, in a few small networks of which each asks for other entries.

A layer says nothing about its tests but ``examples()``: layers of its class, or pairs of a layer
and an *input kind*, the shape of one example without the batch, spatial sizes first and channels
last. Without a kind, the suite tries 2, 1, 3 and 0 spatial axes and keeps what plans. It also
finds out by planning whether the layer takes the raw input or wants a Dense or Conv right below
it, and where it keeps the batch and the channels.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from ntcore import layers
from ntcore.conformance.networks import around, fits, heads, serial
from ntcore.errors import NtcoreError
from ntcore.layers.base import Elementwise, Layer
from ntcore.network import Serial
from ntcore.shape import Axes, Shape, default_axes

Sizes = tuple[int, ...]

#: Input kinds tried, in order of preference: uneven, odd and even, with few and many channels.
KINDS: tuple[Sizes, ...] = ((5, 4, 3), (6, 5, 3), (7, 3), (3, 4, 2, 2), (40,))

#: Batch and channel axes tried for a layer that does not say where it wants them.
LAYOUTS = ((0, -1), (0, 1), (1, -1))


@dataclass(frozen=True)
class Case:
    """A network around one example of a layer, and the shapes of its two inputs.

    Attributes
    ----------
    setting : str
        ``'alone'``, ``'flat'`` and ``'pooled'`` ask for every offset, offset 0 and every second
        offset above the layer, ``'deep'`` has no space above it; ``'uneven'`` compares inputs of
        two sizes.
    layer : Layer
        The example.
    network : Serial
        The network that holds it.
    shape1, shape2 : Shape
        The two inputs.
    """

    setting: str
    layer: Layer
    network: Serial
    shape1: Shape
    shape2: Shape

    def __str__(self) -> str:
        sizes = "x".join(map(str, self.shape1.spatial)) or "vectors"
        return f"{self.layer!r} {self.setting} on {sizes}"


def layer_classes() -> dict[str, type[Layer]]:
    """Return every layer that ntcore exports, by name."""
    found = {n: c for n, c in vars(layers).items() if inspect.isclass(c) and issubclass(c, Layer)}
    return dict(sorted(found.items()))


def examples(cls: type[Layer]) -> list[tuple[Layer, Sizes | None]]:
    """Return the examples of a layer, each with its input kind, or None where it has none.

    A layer without examples stands for itself.
    """
    found = cls.examples() or [cls()]
    return [x if isinstance(x, tuple) else (x, None) for x in found]


# --- choices of cases ---------------------------------------------------------------------------


def every_case(cls: type[Layer]) -> list[Case]:
    """Return each example in every setting, at every number of spatial axes that it takes."""
    return [case for group in _groups(cls) for case in group]


def core_cases(cls: type[Layer]) -> list[Case]:
    """Return each example at its first input kind, in the settings that ask for less and more."""
    return [
        case
        for group in _groups(cls)
        for case in group
        if case.setting != "uneven" and case.shape1 == group[0].shape1
    ]


def alone(cls: type[Layer]) -> list[Case]:
    """Return each example once, with as little around it as it takes."""
    return [group[0] for group in _groups(cls)]


def first(cls: type[Layer]) -> list[Case]:
    """Return the first example, with as little around it as it takes."""
    return alone(cls)[:1]


def deepest(cls: type[Layer]) -> list[Case]:
    """Return each example once, in its deepest network."""
    return [max(group, key=lambda c: len(c.network.layers)) for group in _groups(cls)]


def structural(cls: type[Layer]) -> list[Case]:
    """Return the core cases of a layer, of a nonlinearity those of its first example.

    Nonlinearities differ by their closed form, and are all one in where they are applied.
    """
    found = core_cases(cls)
    return [c for c in found if c.layer is found[0].layer] if _pointwise(cls) else found


def placed(cls: type[Layer]) -> list[Case]:
    """Return each example in its deepest network, of a nonlinearity the first one alone."""
    return first(cls) if _pointwise(cls) else deepest(cls)


def moving(cls: type[Layer]) -> list[Case]:
    """Return the first example in its deepest network, and nothing for a nonlinearity."""
    return [] if _pointwise(cls) else deepest(cls)[:1]


def broad(cls: type[Layer]) -> list[Case]:
    """Return each example alone, and the first one of what is no nonlinearity also deep."""
    return [*alone(cls), *moving(cls)]


def vectors(cls: type[Layer]) -> list[Case]:
    """Return the first case without space, which has many channels."""
    return [case for case in every_case(cls) if not case.shape1.ndim][:1]


def _pointwise(cls: type[Layer]) -> bool:
    return issubclass(cls, Elementwise)


# --- building them ------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _groups(cls: type[Layer]) -> tuple[tuple[Case, ...], ...]:
    """Return the cases of each example."""
    return tuple(tuple(_cases(layer, kind)) for layer, kind in examples(cls))


def _cases(layer: Layer, kind: Sizes | None) -> Iterator[Case]:
    found = list(_bare(layer, kind))
    if not found:
        raise LookupError(
            f"{layer!r} plans at none of the inputs that the suite tries; give the example an "
            "input kind, the shape of one example: (layer, (height, width, channels))."
        )
    headed = list(_headed(found[0]))
    yield from (*found, *headed)
    yield from _uneven(found[0], headed)


def _bare(layer: Layer, kind: Sizes | None) -> Iterator[Case]:
    for *sizes, channels in KINDS if kind is None else (kind,):
        for axes in _axes(layer, len(sizes) + 2):
            shape = Shape(tuple(sizes), channels, axes)
            network = around(layer, shape)
            if network is not None:
                yield Case("alone", layer, network, shape, shape)
                break


def _headed(main: Case) -> Iterator[Case]:
    """Put the example between layers, so that fewer entries are asked for than there are."""
    layer, shape = main.layer, main.shape1
    stem = around(layer, shape, deep=True)
    if stem is not None:
        for setting, head in heads(stem, shape).items():
            yield Case(setting, layer, serial(*stem.layers, *head), shape, shape)


def _uneven(main: Case, headed: list[Case]) -> Iterator[Case]:
    """Compare inputs of two sizes, in the largest network that can."""
    one = main.shape1
    two = one.with_sizes(tuple(n + 1 for n in one.spatial))
    for case in (*reversed(headed), main):
        if one != two and fits(case.network, one, two):
            yield Case("uneven", main.layer, case.network, one, two)
            return


def _axes(layer: Layer, ndim: int) -> list[Axes]:
    try:
        declared = layer.axes_in(ndim)
    except NtcoreError:
        return []
    if declared is not None:
        return [declared]
    fitting = [(batch, channel) for batch, channel in LAYOUTS if batch % ndim != channel % ndim]
    return list(dict.fromkeys(default_axes(ndim, *layout) for layout in fitting))
