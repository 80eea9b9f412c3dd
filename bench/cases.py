"""The networks that are timed, written once for every library that has ``stax``'s names.

A case is a function of a ``stax`` module, so that neural_tangents, in its own environment, builds
the same network as ntcore does. ``more.py`` has those beyond the usual ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from case import Case
from more import MORE

IMAGE = (32, 32, 3)


# --- networks -----------------------------------------------------------------------------------


def conv(stax: Any, strides: tuple[int, int] | None = None, padding: str = "SAME") -> Any:
    return stax.Conv(64, (3, 3), strides, padding, W_std=1.4, b_std=0.1)


def chain(stax: Any, depth: int) -> list[Any]:
    """Return ``depth`` convolutions, each but the last followed by a ReLU."""
    return [layer for _ in range(depth) for layer in (conv(stax), stax.Relu())][:-1]


def plain(depth: int, end: str) -> Callable[[Any], Any]:
    """Return the builder of a plain network of ``depth`` convolutions and a head."""
    return lambda stax: stax.serial(*chain(stax, depth), getattr(stax, end)(), stax.Dense(1))


def windowed(depth: int, window: int) -> Callable[[Any], Any]:
    """Return a plain network under one pool, which asks for offsets smaller than its window."""

    def build(stax: Any) -> Any:
        pool = stax.AvgPool((window, window), (window, window))
        return stax.serial(*chain(stax, depth), pool, stax.Flatten(), stax.Dense(1))

    return build


def myrtle(convolutions: tuple[int, ...]) -> Callable[[Any], Any]:
    """Return the builder of stages of convolutions, each followed by a pool of 2x2."""

    def build(stax: Any) -> Any:
        layers = []
        for n in convolutions:
            layers += [layer for _ in range(n) for layer in (conv(stax), stax.Relu())]
            layers.append(stax.AvgPool((2, 2), (2, 2)))
        return stax.serial(*layers, stax.GlobalAvgPool(), stax.Dense(1))

    return build


def wide_resnet(block_size: int, widths: tuple[int, int, int]) -> Callable[[Any], Any]:
    """Return the builder of neural_tangents' README network."""

    def build(stax: Any) -> Any:
        def block(channels: int, strides: tuple[int, int], mismatch: bool) -> Any:
            main = stax.serial(
                stax.Relu(),
                stax.Conv(channels, (3, 3), strides, padding="SAME"),
                stax.Relu(),
                stax.Conv(channels, (3, 3), padding="SAME"),
            )
            side = stax.Identity()
            if mismatch:
                side = stax.Conv(channels, (3, 3), strides, padding="SAME")
            return stax.serial(stax.FanOut(2), stax.parallel(main, side), stax.FanInSum())

        def group(channels: int, strides: tuple[int, int]) -> list[Any]:
            first = block(channels, strides, True)
            return [first, *(block(channels, (1, 1), False) for _ in range(block_size - 1))]

        stages = zip(widths, ((1, 1), (2, 2), (2, 2)), strict=True)
        blocks = [each for width, strides in stages for each in group(width, strides)]
        return stax.serial(
            stax.Conv(16, (3, 3), padding="SAME"),
            *blocks,
            stax.AvgPool((8, 8)),
            stax.Flatten(),
            stax.Dense(10, 1.0, 0.0),
        )

    return build


def dense(depth: int) -> Callable[[Any], Any]:
    """Return the builder of a fully-connected network."""

    def build(stax: Any) -> Any:
        hidden = [f for _ in range(depth - 1) for f in (stax.Dense(512, 1.5, 0.05), stax.Relu())]
        return stax.serial(*hidden, stax.Dense(1, 1.5, 0.05))

    return build


def attention(mechanism: str) -> Callable[[Any], Any]:
    """Return the builder of two layers of global self-attention with a ReLU between them."""

    def build(stax: Any) -> Any:
        def layer() -> Any:
            return stax.GlobalSelfAttention(64, 32, 32, 4, attention_mechanism=mechanism)

        return stax.serial(layer(), stax.Relu(), layer(), stax.GlobalAvgPool(), stax.Dense(1))

    return build


HEADLINE = (
    Case(
        "cnn21-gap",
        "21-layer 3x3 CNN, global pooling",
        plain(21, "GlobalAvgPool"),
        IMAGE,
        (1, 64),
        (1, 1),
        quick=True,
    ),
    Case(
        "cnn21-gap-sym",
        "same, x2=None",
        plain(21, "GlobalAvgPool"),
        IMAGE,
        (8, 0),
        (1, 0),
    ),
    Case(
        "cnn21-flat-32",
        "21-layer 3x3 CNN, flatten, batches of 32",
        plain(21, "Flatten"),
        IMAGE,
        (32, 32),
        quick=True,
        runs=7,
    ),
    Case(
        "cnn21-flat-128",
        "21-layer 3x3 CNN, flatten, batches of 128",
        plain(21, "Flatten"),
        IMAGE,
        (128, 128),
    ),
    Case(
        "wrn-28-1",
        "WRN-28-1 (16, 32, 64 channels, 4 blocks a stage)",
        wide_resnet(4, (16, 32, 64)),
        IMAGE,
        (16, 32),
        (1, 1),
        quick=True,
    ),
    Case("myrtle5", "Myrtle-style, 5 layers", myrtle((2, 1, 1)), IMAGE, (1, 64), (1, 1)),
    Case("myrtle10", "Myrtle-style, 10 layers", myrtle((3, 3, 3)), IMAGE, (1, 64), (1, 1)),
    Case(
        "fc5",
        "5-layer fully-connected, 4,000 x 4,000, d = 784",
        dense(5),
        (784,),
        (4000, 4000),
        quick=True,
        runs=5,
    ),
    Case(
        "fc5-both",
        "same, NNGP and NTK",
        dense(5),
        (784,),
        (4000, 4000),
        get=("nngp", "ntk"),
        runs=5,
    ),
    Case("fc5-sym", "same, NTK, x2=None", dense(5), (784,), (4000, 0), runs=5),
    Case("attention", "self-attention, 64 tokens", attention("IDENTITY"), (64, 32), (16, 16)),
    Case("softmax", "same, softmax", attention("SOFTMAX"), (64, 32), (16, 16)),
    Case("softmax-64", "same, batches of 64", attention("SOFTMAX"), (64, 32), (64, 64), runs=5),
)

CASES = (*HEADLINE, *MORE)
BY_NAME = {case.name: case for case in CASES}


def lookup(name: str) -> Case:
    """Return a case by name; ``plain:D``, ``sym:D`` and ``window:W`` are those of the plots."""
    if name in BY_NAME:
        return BY_NAME[name]
    kind, _, value = name.partition(":")
    n = int(value)
    if kind == "plain":
        return Case(name, f"{n} layers", plain(n, "GlobalAvgPool"), IMAGE, (1, 32))
    return Case(name, f"window {n}", windowed(8, n), IMAGE, (1, 64))
