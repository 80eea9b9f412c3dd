"""The networks of the demo, by name."""

from __future__ import annotations

from collections.abc import Callable

from ntcore import stax
from ntcore.cli.refusal import Refusal
from ntcore.stax import Model

HIDDEN = {"W_std": 2**0.5, "b_std": 0.1}
WIDTH = 512
"""Width of a drawn network; kernels do not depend on it."""


def _fully_connected(depth: int) -> Model:
    hidden = [layer for _ in range(depth) for layer in (stax.Dense(WIDTH, **HIDDEN), stax.Relu())]
    return stax.serial(stax.Flatten(), *hidden, stax.Dense(1))


def _conv(stride: int) -> Model:
    return stax.Conv(WIDTH, (3, 3), (stride, stride), "SAME", **HIDDEN)


def _convolutional(readout: Model) -> Model:
    """Three 3x3 convolutions, the last two with stride 2, and a readout."""
    body = [layer for stride in (1, 2, 2) for layer in (_conv(stride), stax.Relu())]
    return stax.serial(*body, readout, stax.Dense(1))


def _block(stride: int) -> Model:
    """A pre-activation residual block whose shortcut is a convolution."""
    main = stax.serial(stax.Relu(), _conv(stride), stax.Relu(), _conv(1))
    return stax.serial(stax.FanOut(2), stax.parallel(main, _conv(stride)), stax.FanInSum())


def _wide_resnet() -> Model:
    """A wide ResNet of 10 layers: three groups of one block, two of them with stride 2."""
    groups = [_block(stride) for stride in (1, 2, 2)]
    return stax.serial(_conv(1), *groups, stax.Relu(), stax.GlobalAvgPool(), stax.Dense(1))


VECTORS: dict[str, Callable[[], Model]] = {
    "fc-1": lambda: _fully_connected(1),
    "fc-3": lambda: _fully_connected(3),
    "fc-5": lambda: _fully_connected(5),
}
IMAGES: dict[str, Callable[[], Model]] = {
    "conv-flatten": lambda: _convolutional(stax.Flatten()),
    "conv-pool": lambda: _convolutional(stax.GlobalAvgPool()),
    "resnet": _wide_resnet,
}
EVERY = {**VECTORS, **IMAGES}
WHAT = {
    "fc-1": "1 hidden layer",
    "fc-3": "3 hidden layers",
    "fc-5": "5 hidden layers",
    "conv-flatten": "3 convolutions, flatten",
    "conv-pool": "3 convolutions, global average pool",
    "resnet": "wide ResNet of 10 layers, global average pool",
}


def chosen(names: str | None, images: bool) -> dict[str, Model]:
    """Return the networks asked for, by default those that suit the data.

    Raises
    ------
    Refusal
        If there is no such network, or it needs images and the data are vectors.
    """
    if names is None:
        picked = ["fc-3", *IMAGES] if images else list(VECTORS)
    else:
        picked = list(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in picked:
        if name not in EVERY:
            raise Refusal(f"no network is called {name!r}; there are {', '.join(EVERY)}")
        if name in IMAGES and not images:
            raise Refusal(f"{name} needs images, and these data are vectors; use {_vectors()}")
    return {name: EVERY[name]() for name in picked}


def _vectors() -> str:
    return ", ".join(VECTORS)
