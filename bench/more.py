"""Cases beyond the usual ones: other paddings, numbers of axes, nonlinearities and layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from case import Case

STD = {"W_std": 1.4, "b_std": 0.1}


def repeated(n: int, *layers: Callable[[Any], Any], end: str) -> Callable[[Any], Any]:
    """Return the builder of layers, ``n`` times one after the other, under a head."""

    def build(stax: Any) -> Any:
        below = [layer(stax) for _ in range(n) for layer in layers]
        return stax.serial(*below, *(getattr(stax, end)() for _ in range(bool(end))), stax.Dense(1))

    return build


def conv(window: tuple[int, ...], padding: str, strides: Any = None) -> Callable[[Any], Any]:
    return lambda stax: stax.Conv(64, window, strides, padding, **STD)


def dense(stax: Any) -> Any:
    return stax.Dense(512, **STD)


def layer(name: str, *args: Any) -> Callable[[Any], Any]:
    return lambda stax: getattr(stax, name)(*args)


def strided(stax: Any) -> Any:
    """Odd sizes under strides."""
    layers = []
    for strides in (None, (2, 2), None, (2, 2), None):
        layers += [conv((3, 3), "SAME", strides)(stax), stax.Relu()]
    return stax.serial(*layers, stax.GlobalAvgPool(), stax.Dense(1))


def pooled(stax: Any) -> Any:
    """Pools between convolutions, and positions that stay apart in the end."""
    layers = []
    for n in (2, 2, 1):
        layers += [x for _ in range(n) for x in (conv((3, 3), "SAME")(stax), stax.Relu())]
        layers.append(stax.AvgPool((2, 2), (2, 2)))
    return stax.serial(*layers, stax.Flatten(), stax.Dense(1))


def lenet(stax: Any) -> Any:
    layers = []
    for _ in range(2):
        layers += [conv((5, 5), "VALID")(stax), stax.Relu(), stax.AvgPool((2, 2), (2, 2))]
    hidden = [x for _ in range(2) for x in (dense(stax), stax.Relu())]
    return stax.serial(*layers, stax.Flatten(), *hidden, stax.Dense(1))


def encoder(stax: Any) -> Any:
    """Two blocks of a transformer."""

    def added(*branch: Any) -> list[Any]:
        both = stax.parallel(stax.Identity(), stax.serial(*branch))
        return [stax.FanOut(2), both, stax.FanInSum(), stax.LayerNorm()]

    def block() -> list[Any]:
        attention = stax.GlobalSelfAttention(512, 64, 64, 4, attention_mechanism="SOFTMAX")
        return added(attention) + added(dense(stax), stax.Relu(), dense(stax))

    return stax.serial(dense(stax), *block(), *block(), stax.GlobalAvgPool(), stax.Dense(1))


RELU, NORM = layer("Relu"), layer("LayerNorm")

MORE = (
    Case(
        "one-axis",
        "7 convolutions of width 3 on 128 positions, VALID, global pooling",
        repeated(7, conv((3,), "VALID"), RELU, end="GlobalAvgPool"),
        (128, 8),
        (8, 8),
    ),
    Case(
        "three-axes",
        "4 convolutions of 3x3x3 on 8x8x8, global pooling",
        repeated(4, conv((3, 3, 3), "SAME"), RELU, end="GlobalAvgPool"),
        (8, 8, 8, 2),
        (2, 8),
        (2, 2),
    ),
    Case("lenet", "LeNet, 5x5 VALID and 2x2 pools on 28x28", lenet, (28, 28, 1), (8, 8)),
    Case("odd", "5 convolutions, two with strides of 2, on 33x31", strided, (33, 31, 3), (4, 8)),
    Case("pooled-flat", "5 layers, 2x2 pools, flatten", pooled, (32, 32, 3), (4, 8), (1, 4)),
    Case(
        "circular-erf",
        "6 circular convolutions with Erf on 16x16, global pooling",
        repeated(6, conv((3, 3), "CIRCULAR"), layer("Erf"), end="GlobalAvgPool"),
        (16, 16, 3),
        (4, 8),
    ),
    Case(
        "normed",
        "6 convolutions with LayerNorm on 16x16, global pooling",
        repeated(6, conv((3, 3), "SAME"), NORM, RELU, end="GlobalAvgPool"),
        (16, 16, 3),
        (4, 8),
    ),
    Case("encoder", "two transformer blocks, 24 tokens", encoder, (24, 8), (16, 16), runs=7),
    Case(
        "fc-gelu",
        "4-layer fully-connected with Gelu, 1,000 x 1,000, d = 100",
        repeated(3, dense, layer("Gelu"), end=""),
        (100,),
        (1000, 1000),
        runs=7,
    ),
    Case(
        "fc-rbf",
        "3-layer fully-connected with Rbf, 1,000 x 1,000, d = 100",
        repeated(2, dense, layer("Rbf", 0.5), end=""),
        (100,),
        (1000, 1000),
        runs=7,
    ),
)
