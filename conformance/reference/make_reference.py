"""Write the tables of kernels, predictions and names of neural_tangents, the peer of ntcore.

Run by hand, in an environment of its own, never by the tests::

    python3.11 -m venv PEER
    PEER/bin/pip install neural-tangents==0.6.5 jax==0.4.23 jaxlib==0.4.23 'numpy<2' 'scipy<1.13'
    PEER/bin/python conformance/reference/make_reference.py

It takes about six minutes on two cores, works in float64, and writes

* ``neural_tangents.json``, beside this file: the cases, as data. A kernel case holds the
  expression of the network (``net``, in the names of ``stax`` alone), the names of its inputs,
  ``get``, and ``noise``. A predict case holds the call. ``left_out`` says what is absent and why;
* ``neural_tangents.npz``, beside it: the inputs (``input/<name>``) and the values
  (``<case>/<field>``; ``<case>/<i>/<field>`` for the i-th output of a ``parallel``);
* ``tests/data/neural_tangents_names.json``: the public names and their signatures.

``noise`` is the rounding error of the peer itself, relative to the largest entry of each field: the
kernels are invariant under a rotation of the channels of the inputs, so the spread over a few
rotations measures it. It is near 1e-16 everywhere but in the NTK of piecewise linear activations
where an input meets itself (``x2=None``): the angle there is the root of a rounding error, and the
NTK is off by about 1e-8 per layer. A comparison cannot be sharper than a few times ``noise``.

Kernels over space are stored in the order of the axes of the activations; the peer alternates it
from one convolution to the next (``is_reversed``).
"""

import enum
import inspect
import itertools
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ["JAX_ENABLE_X64"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import neural_tangents as nt
import numpy as np
from neural_tangents import predict, stax

Array = Any
Case = dict[str, Any]
Expression = str

HERE = Path(__file__).parent
NAMES = HERE.parents[1] / "tests" / "data" / "neural_tangents_names.json"
BOTH = ("nngp", "ntk")
ROTATIONS = 4
EVERY_PADDING = ("VALID", "SAME", "CIRCULAR")

INPUT_SHAPES = {
    "vec4": (4, 7), "vec3": (3, 7), "vec1": (1, 7), "vec6": (6, 7), "other3": (3, 5),
    "other4": (4, 5), "columns4": (7, 4), "columns3": (7, 3),
    "line7": (1, 7, 2), "line7b": (2, 7, 2), "line8": (1, 8, 2), "line8b": (2, 8, 2),
    "im5x4": (1, 5, 4, 2), "im5x4b": (1, 5, 4, 2), "ims5x4": (3, 5, 4, 2), "ims5x4b": (2, 5, 4, 2),
    "im6x7": (1, 6, 7, 2), "im6x7b": (1, 6, 7, 2), "ims6x7": (2, 6, 7, 2),
    "im3x2": (1, 3, 2, 2), "im3x2b": (2, 3, 2, 2),
    "ims8x8": (3, 8, 8, 3), "ims8x8b": (2, 8, 8, 3), "ims9x7": (2, 9, 7, 3),
    "first5x4": (2, 2, 5, 4), "first5x4b": (3, 2, 5, 4),
    "last5x4": (2, 5, 4, 2), "last5x4b": (2, 5, 4, 3),
    "vol": (2, 3, 4, 3, 2), "volb": (1, 3, 4, 3, 2), "vol1": (1, 3, 4, 3, 2),
    "y6": (6, 1), "y6x10": (6, 10), "f6x10": (6, 10), "f3x10": (3, 10),
}  # fmt: skip

OUTPUTS = ("y6", "y6x10", "f6x10", "f3x10")
CHANNEL_AXES = {
    "columns4": 0, "columns3": 0, "first5x4": 1, "first5x4b": 1, "last5x4": 0, "last5x4b": 0,
}  # fmt: skip

LEFT_OUT = [
    {
        "what": "FanInSum of branches that share their last weights, as Identity beside Identity",
        "why": "the peer adds the kernels as if the branches were independent: 2 K for x + x, "
        "which has 4 K",
    },
    {
        "what": "an example of x1 repeated, or repeated with the opposite sign, in x2",
        "why": "the NTK of the peer is off by the square root of a rounding error there; "
        "mpmath references cover these inputs",
    },
    {
        "what": "repeat of an odd number of convolutions without a Flatten behind it",
        "why": "raises TypeError: the reversed order of the axes changes the carry of its loop",
    },
    {
        "what": "the NTK of networks without weights (pools, Flatten, Identity on the input)",
        "why": "the peer returns a zero without axes instead of an array of zeros",
    },
    {
        "what": "VALID filters and windows larger than the image",
        "why": "the result has no entries",
    },
    {
        "what": "x1 and x2 of different spatial sizes before a Flatten",
        "why": "raises TypeError, as it should",
    },
    {
        "what": "the covariance on the training set itself after infinite time",
        "why": "it is zero, so a comparison relative to its largest entry means nothing",
    },
    {
        "what": "Dropout on the input, masks in LayerNorm, and the layers ntcore does not have yet",
        "why": "the first two are wrong in the peer; the others have nothing to be compared with",
    },
]


def case(
    name: str,
    net: Expression,
    x1: str | list[str],
    x2: str | list[str] | None = None,
    get: Sequence[str] = BOTH,
    **kwargs: bool,
) -> Case:
    """One kernel case: ``kernel_fn(x1, x2, get, **kwargs)`` of the network ``net``."""
    return {"name": name, "net": net, "x1": x1, "x2": x2, "get": list(get), "kwargs": kwargs}


def written(value: object) -> str:
    """``value`` as it stands in the name of a case: ``(3, 2)`` as ``3x2``, None as ``none``."""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return str(value).lower()


def slug(layer: Expression) -> str:
    """The expression of a layer as it stands in the name of a case: ``ABRelu-0.3-0.7``."""
    return layer.replace("()", "").replace("(", "-").replace(", ", "-").replace(")", "")


def behind_relu(*layers: Expression, axes: int = 2) -> Expression:
    """A convolution and a Relu, so that the NTK is not the NNGP kernel, then ``layers``."""
    first = f"Conv(5, {(3,) * axes}, padding='SAME', W_std=1.4, b_std=0.2)"
    return f"serial({', '.join((first, 'Relu()', *layers))})"


def serial(layers: Iterable[Expression]) -> Expression:
    """The expression of ``serial(*layers)``."""
    return f"serial({', '.join(layers)})"


def dense_cases() -> Iterator[Case]:
    """Dense: biases, both parameterizations, width scalings, axes, and images as inputs."""
    for b, form in itertools.product((None, 0.0, 0.4), ("ntk", "standard")):
        for s in ((1, 1), (1, 2), (2, 1), (2, 3)):
            options = f"b_std={b}, parameterization='{form}'"
            net = serial(
                (
                    f"Dense(6, W_std=1.7, {options}, s={s})",
                    "Relu()",
                    f"Dense(4, W_std=1.3, {options}, s=({s[1]}, 1))",
                )
            )
            yield case(f"dense-{form}-b{written(b)}-s{written(s)}", net, "vec4", "vec3")
    yield case("dense-defaults", "Dense(3)", "vec4", "vec3")
    yield case("dense-dense", "serial(Dense(3, 1.2, 0.1), Dense(2, 0.7, 0.3))", "vec4", "vec3")
    yield case("dense-on-images", "Dense(3, 1.2, 0.1)", "im5x4", "im5x4b")
    net = "serial(Dense(3, 1.2, 0.1), Erf(), Flatten(), Dense(1, 1.1, 0.2))"
    yield case("dense-on-images-flatten", net, "ims5x4", "ims5x4b")
    layer = "Dense(3, 1.2, 0.1, batch_axis=1, channel_axis=0)"
    yield case("dense-batch-last", f"serial({layer}, Relu(), {layer})", "columns4", "columns3")
    layer = "Dense(3, 1.2, 0.1, channel_axis=1)"
    yield case("dense-channels-first", f"serial({layer}, Relu(), {layer})", "first5x4", "first5x4b")


def conv1d_cases() -> Iterator[Case]:
    """Every padding, stride and filter on a line of odd and of even length."""
    for size, padding, stride, width in itertools.product(
        (7, 8), EVERY_PADDING, (1, 2, 3), (2, 3, 4)
    ):
        layer = (
            f"Conv(3, ({width},), strides=({stride},), padding='{padding}', W_std=1.3, b_std=0.1)"
        )
        name = f"conv1d-{padding}-stride{stride}-filter{width}-on{size}"
        yield case(name, behind_relu(layer, axes=1), f"line{size}", f"line{size}b")


def conv2d_cases() -> Iterator[Case]:
    """Every padding, with strides, filters and image sizes that do not divide one another."""
    sweep = [
        *itertools.product(
            ("5x4",),
            ((1, 1), (2, 2), (2, 3), (3, 1)),
            ((3, 3), (2, 2), (3, 2), (1, 4), (1, 1)),
        ),
        *itertools.product(("6x7",), ((2, 2), (3, 2)), ((3, 3), (2, 2), (4, 3))),
    ]
    for padding, (size, strides, window) in itertools.product(EVERY_PADDING, sweep):
        layer = f"Conv(3, {window}, {strides}, '{padding}', W_std=1.3, b_std=0.1)"
        name = f"conv2d-{padding}-stride{written(strides)}-filter{written(window)}-on{size}"
        yield case(name, behind_relu(layer), f"im{size}", f"im{size}b")
    for padding, window in itertools.product(("SAME", "CIRCULAR"), ((5, 5), (7, 7), (4, 8))):
        layer = f"Conv(3, {window}, padding='{padding}', W_std=1.3, b_std=0.1)"
        name = f"conv2d-{padding}-filter{written(window)}-on3x2"
        yield case(name, behind_relu(layer), "im3x2", "im3x2b")


def conv3d_cases() -> Iterator[Case]:
    """Three spatial axes of three sizes."""
    for padding, strides in itertools.product(EVERY_PADDING, ((1, 1, 1), (2, 1, 2))):
        layer = f"Conv(3, (3, 2, 1), {strides}, '{padding}', W_std=1.3, b_std=0.1)"
        name = f"conv3d-{padding}-stride{written(strides)}"
        yield case(f"{name}-flatten", behind_relu(layer, "Flatten()", axes=3), "vol", "volb")
        yield case(f"{name}-pool", behind_relu(layer, "GlobalAvgPool()", axes=3), "vol", "volb")
    layer = "Conv(3, (3, 2, 1), (2, 2, 1), 'VALID')"
    yield case("conv3d-VALID-space", layer, "vol1", "volb")


def conv_option_cases() -> Iterator[Case]:
    """Biases, parameterizations and the order of the axes of a convolution."""
    for b, form in itertools.product((None, 0.0, 0.4), ("ntk", "standard")):
        for s in ((1, 1), (2, 3)):
            options = f"padding='SAME', b_std={b}, parameterization='{form}'"
            net = serial(
                (
                    f"Conv(6, (3, 2), W_std=1.7, {options}, s={s})",
                    "Relu()",
                    f"Conv(4, (2, 2), W_std=1.3, {options}, s=({s[1]}, 1))",
                    "Flatten()",
                )
            )
            yield case(f"conv-{form}-b{written(b)}-s{written(s)}", net, "ims5x4", "ims5x4b")
    for spec, inputs in (
        (("NCHW", "OIHW", "NCHW"), ("first5x4", "first5x4b")),
        (("NHWC", "OIHW", "NHWC"), ("ims5x4", "ims5x4b")),
        (("NWHC", "HWIO", "NWHC"), ("ims5x4", "ims5x4b")),
        (("NWHC", "WHIO", "NWHC"), ("ims5x4", "ims5x4b")),
        (("NHWC", "HWIO", "NCHW"), ("ims5x4", "ims5x4b")),
        (("NWHC", "HWIO", "NHWC"), ("ims5x4", "ims5x4b")),
        (("CHWN", "HWIO", "CHWN"), ("last5x4", "last5x4b")),
    ):
        layer = f"Conv(4, (3, 2), (2, 1), 'SAME', 1.3, 0.1, {spec})"
        name = f"conv-{'-'.join(spec)}"
        yield case(f"{name}-space", layer, *inputs, get=("nngp",))
        flatten = f"Flatten(batch_axis={spec[2].index('N')})"
        yield case(f"{name}-flatten", f"serial({layer}, Relu(), {flatten})", *inputs)


def pool_cases() -> Iterator[Case]:
    """Local pools: every padding, window and stride, edges normalized or not."""
    pools = ("AvgPool({})", "AvgPool({}, normalize_edges=True)", "SumPool({})")
    sizes = (
        ((2, 2), None),
        ((2, 2), (2, 2)),
        ((3, 3), (2, 2)),
        ((3, 2), (1, 3)),
        ((1, 4), (2, 1)),
        ((5, 6), (1, 1)),
    )
    for pool, padding, (window, strides) in itertools.product(pools, EVERY_PADDING, sizes):
        if padding == "VALID" and window == (5, 6):
            continue
        layer = pool.format(f"{window}, {strides}, '{padding}'")
        kind = layer.partition("(")[0] + ("-edges" if "normalize" in layer else "")
        name = f"{kind}-{padding}-stride{written(strides)}-window{written(window)}"
        yield case(name, behind_relu(layer), "im5x4", "im5x4b")
    for kind in ("AvgPool", "SumPool"):
        net = behind_relu(f"{kind}((3,), (2,), 'SAME')", axes=1)
        yield case(f"{kind}-line", net, "line7", "line7b")
        net = behind_relu(f"{kind}((2, 3, 1), (1, 2, 2), 'CIRCULAR')", "Flatten()", axes=3)
        yield case(f"{kind}-volume", net, "vol", "volb")
        net = f"serial(Conv(3, (2, 2), b_std=0.1), {kind}((2, 2)), Relu(), Flatten())"
        yield case(f"{kind}-before-relu", net, "ims5x4", "ims5x4b")
        conv = "Conv(4, (3, 3), padding='SAME', dimension_numbers=('NCHW', 'OIHW', 'NCHW'))"
        net = f"serial({conv}, Relu(), {kind}((2, 1), (1, 2), channel_axis=1))"
        yield case(f"{kind}-channels-first", net, "first5x4", "first5x4b")


def collapse_cases() -> Iterator[Case]:
    """Flatten and the global pools, on every number of axes, x2 given or not."""
    kinds = ("Flatten()", "GlobalAvgPool()", "GlobalSumPool()")
    inputs = {1: ("line7b", "line7"), 2: ("ims5x4", "ims5x4b"), 3: ("vol", "volb")}
    for collapse, (axes, (x1, x2)) in itertools.product(kinds, inputs.items()):
        net = behind_relu(collapse, "Dense(2, 1.1, 0.3)", axes=axes)
        name = f"{collapse[:-2]}-{axes}d"
        yield case(name, net, x1, x2)
        yield case(f"{name}-x2none", net, x1)
    for collapse in (*kinds, "Identity()"):
        name = f"{collapse[:-2]}-on-input"
        yield case(name, collapse, "ims5x4", "ims5x4b", get=("nngp",))
        yield case(f"{name}-vectors", collapse, "vec4", "vec3", get=("nngp",))
    for pool in ("AvgPool((2, 2), (2, 1))", "SumPool((3, 2), padding='SAME')"):
        yield case(f"{pool[:7]}-on-input", pool, "im5x4", "im5x4b", get=("nngp",))
    net = "serial(Conv(3, (2, 2), b_std=0.1), GlobalAvgPool(), Relu(), Dense(1))"
    yield case("GlobalAvgPool-before-relu", net, "ims5x4", "ims5x4b")
    net = "serial(Conv(3, (2, 2), b_std=0.1), Flatten(), Dense(2), Relu(), Dense(1))"
    yield case("Flatten-before-dense", net, "ims5x4", "ims5x4b")


def activation_cases() -> Iterator[Case]:
    """Every activation with every argument, in three networks."""
    activations = (
        "Relu()", "Relu(do_stabilize=True)", "LeakyRelu(0.3)", "LeakyRelu(-0.4)",
        "LeakyRelu(0.1, do_stabilize=True)", "ABRelu(0.3, 0.7)", "ABRelu(-0.5, 1.2)",
        "ABRelu(1.1, 0.0)", "ABRelu(0.6, 0.6)", "ABRelu(-1.0, 2.0, do_stabilize=True)",
        "Abs()", "Abs(do_stabilize=True)", "Erf()", "Erf(1.5, 0.7)", "Erf(a=0.8, b=1.3, c=0.4)",
    )  # fmt: skip
    for act in activations:
        dense = "Dense(3, 1.4, 0.2)"
        net = serial((dense, act, dense, act, "Dense(1, 1.1, 0.1)"))
        yield case(f"{slug(act)}-dense", net, "vec4", "vec3")
        conv = "Conv(3, (3, 2), padding='SAME', W_std=1.4, b_std=0.2)"
        net = serial((conv, act, conv, act, "Flatten()"))
        yield case(f"{slug(act)}-conv-flatten", net, "ims5x4", "ims5x4b")
        net = serial((conv, act, conv, act, "GlobalAvgPool()"))
        yield case(f"{slug(act)}-conv-pool", net, "ims5x4", "ims5x4b")
    for act in ("Relu()", "LeakyRelu(0.3)", "Abs()", "Erf()"):
        net = f"serial(Dense(3, 1.4, 0.2), {act}, Dense(2, 1.2), {act})"
        yield case(f"{slug(act)}-x2none", net, "vec6")
        net = f"serial(Dense(2), {act}, Dense(2), {act})"
        yield case(f"{slug(act)}-no-bias", net, "vec4", "vec1")


def combinator_cases() -> Iterator[Case]:
    """serial, parallel, repeat, FanOut, FanInSum and Identity."""
    vectors = ("vec4", "vec3")
    block = "serial(Relu(), Dense(3, 1.3, 0.2))"
    skip = f"FanOut(2), parallel({block}, Identity()), FanInSum()"
    yield case("residual-dense", f"serial(Dense(3, 1.2, 0.1), {skip}, {skip}, Relu())", *vectors)
    yield case("residual-dense-x2none", f"serial(Dense(3, 1.2, 0.1), {skip}, Relu())", "vec6")
    three = f"FanOut(3), parallel({block}, Identity(), serial(Erf(), Dense(3))), FanInSum()"
    yield case("three-branches", f"serial(Dense(3), {three}, Relu(), Dense(1))", *vectors)
    yield case("one-branch", "serial(Dense(3), FanOut(1), FanInSum(), Relu())", *vectors)
    raw = "serial(FanOut(2), parallel(Dense(3, 1.1), Dense(3, 0.6, 0.2)), FanInSum(), Relu())"
    yield case("branches-on-input", raw, *vectors)
    inner = f"serial({skip})"
    nest = f"FanOut(2), parallel({inner}, {block}), FanInSum()"
    yield case("nested-residual", f"serial(Dense(3, 1.2, 0.1), {nest}, Relu())", *vectors)
    yield case("serial-of-one", "serial(Dense(3, 1.3))", *vectors)
    nested = "serial(Dense(3), serial(Relu(), serial(Dense(2, 1.3, 0.1), Identity())), Erf())"
    yield case("serial-nested", nested, *vectors)
    yield case("fan-out-at-the-end", "serial(Dense(3, 1.2), FanOut(2))", *vectors)
    two = "serial(Dense(3, 1.2), FanOut(2), parallel(Relu(), Erf()))"
    yield case("parallel-at-the-end", two, *vectors)
    pair = "parallel(serial(Dense(3, 1.2), Relu()), serial(Dense(2, 0.9, 0.1), Erf()))"
    yield case("parallel-inputs", pair, ["vec4", "other4"], ["vec3", "other3"])
    joined = f"serial({pair}, parallel(Dense(2), Dense(2)), FanInSum(), Relu())"
    yield case("parallel-inputs-summed", joined, ["vec4", "other4"], ["vec3", "other3"])
    yield case("parallel-inputs-x2none", joined, ["vec4", "other4"])
    for n in (1, 2, 3, 5):
        net = f"serial(Dense(3, 1.2), repeat(serial(Relu(), Dense(3, 1.3, 0.2)), {n}), Erf())"
        yield case(f"repeat-{n}", net, *vectors)
    conv = "Conv(3, (3, 2), padding='SAME', W_std=1.3, b_std=0.2)"
    for n in (1, 2, 3):
        net = f"serial({conv}, Relu(), repeat(serial({conv}, Relu(), {conv}, Relu()), {n}))"
        yield case(f"repeat-two-convs-{n}", f"serial({net}, GlobalAvgPool())", "ims5x4", "ims5x4b")
        net = f"serial({conv}, Relu(), repeat(serial({conv}, Relu()), {n}), Flatten())"
        yield case(f"repeat-one-conv-{n}", net, "ims5x4", "ims5x4b")
    net = "serial(Dense(2, 1.2), repeat(repeat(serial(Relu(), Dense(2, 1.3, 0.2)), 2), 2))"
    yield case("repeat-repeat", net, *vectors)


def resnet(collapse: Expression) -> Expression:
    """A small wide ResNet: one block of stride 1, one of stride 2, and a plain one."""
    conv = "Conv(4, (3, 3), {}, 'SAME', 1.4, 0.1)".format
    group = [conv((2, 2))]
    blocks = (((1, 1), conv((1, 1))), ((2, 2), conv((2, 2))), ((1, 1), "Identity()"))
    for stride, shortcut in blocks:
        main = f"serial(Relu(), {conv(stride)}, Relu(), {conv((1, 1))})"
        group += ["FanOut(2)", f"parallel({main}, {shortcut})", "FanInSum()"]
    return serial((*group, "Relu()", collapse, "Dense(2, 1.1, 0.2)"))


def myrtle(collapse: Expression, padding: str) -> Expression:
    """A Myrtle-style network: convolutions, with a 2x2 average pool after each Relu."""
    layers = []
    for _ in range(2):
        layers += [f"Conv(4, (3, 3), (1, 1), '{padding}', 1.4, 0.1)", "Relu()"]
        layers += ["AvgPool((2, 2), (2, 2))"]
    return serial((*layers, f"Conv(4, (3, 3), (1, 1), '{padding}', 1.4)", "Relu()", collapse))


def network_cases() -> Iterator[Case]:
    """Deep and realistic networks."""
    images = ("ims8x8", "ims8x8b")
    for collapse in ("Flatten()", "GlobalAvgPool()", "GlobalSumPool()"):
        kind = collapse[:-2]
        yield case(f"resnet-{kind}", resnet(collapse), *images)
        yield case(f"resnet-{kind}-odd-image", resnet(collapse), "ims9x7")
        for padding in ("SAME", "CIRCULAR"):
            yield case(f"myrtle-{padding}-{kind}", myrtle(collapse, padding), *images)
        deep = ["Conv(3, (3, 3), padding='SAME', W_std=1.4, b_std=0.1)", "Relu()"] * 10
        net = serial((*deep, collapse, "Dense(1)"))
        yield case(f"conv-10-layers-{kind}", net, "ims5x4", "ims5x4b")
    yield case("resnet-x2none", resnet("GlobalAvgPool()"), "ims8x8b")
    yield case("myrtle-x2none", myrtle("Flatten()", "SAME"), "ims8x8b")
    for act in ("Relu()", "Erf()", "Abs()", "LeakyRelu(0.2)", "Relu(do_stabilize=True)"):
        net = serial((*["Dense(3, 1.4, 0.1)", act] * 20, "Dense(1, 1.2)"))
        yield case(f"dense-20-layers-{slug(act)}", net, "vec4", "vec3")
    yield case("dense-20-layers-x2none", serial(["Dense(3, 1.5, 0.3)", "Erf()"] * 20), "vec6")
    skip = "FanOut(2), parallel(serial(Relu(), Dense(3, 0.7, 0.1)), Identity()), FanInSum()"
    yield case("residual-20-blocks", serial(("Dense(3)", *[skip] * 20)), "vec4", "vec3")
    deep = ["Conv(3, (3, 3), padding='SAME', W_std=1.4, b_std=0.1)", "Relu()"] * 20
    yield case("conv-20-layers-Flatten", serial((*deep, "Flatten()")), "ims6x7", "im6x7")
    deep = ["Conv(3, (3, 3), padding='CIRCULAR', W_std=1.2)", "Erf()"] * 20
    yield case("conv-20-layers-circular", serial((*deep, "GlobalAvgPool()")), "ims5x4", "ims5x4b")
    form = "parameterization='standard', W_std=1.4, b_std=0.1"
    net = f"Conv(5, (3, 3), {form}), Relu(), Conv(7, (3, 2), {form}), Relu()"
    net = f"serial({net}, Flatten(), Dense(11, {form}), Relu(), Dense(1, {form}))"
    yield case("standard-conv-dense", net, *images)


def batch_cases() -> Iterator[Case]:
    """Batches of one, x2 left out, images of two sizes, and the other fields of the kernel."""
    net = "serial(Dense(3, 1.3, 0.2), Relu(), Dense(2, 1.1))"
    yield case("batch-1-1", net, "vec1", "vec3")
    yield case("batch-1-x2none", net, "vec1")
    yield case("batch-6-1", net, "vec6", "vec1")
    yield case("dense-x2none", net, "vec6")
    conv = "Conv(3, (3, 2), (2, 1), 'SAME', 1.4, 0.2)"
    for padding, collapse in itertools.product(EVERY_PADDING, ("GlobalAvgPool()", "Identity()")):
        layer = f"Conv(3, (3, 2), (2, 3), '{padding}', 1.4, 0.2)"
        name = f"two-sizes-{padding}-{collapse[:-2]}"
        net = f"serial({layer}, Relu(), {collapse})"
        yield case(name, net, "im5x4" if collapse == "Identity()" else "ims5x4", "im6x7")
    for kind in ("AvgPool", "SumPool"):
        net = f"serial({conv}, Relu(), {kind}((2, 2), (2, 2), 'SAME'), GlobalSumPool())"
        yield case(f"two-sizes-{kind}", net, "ims5x4", "ims6x7")
    space = f"serial({conv}, Relu(), {conv})"
    yield case("conv-conv-space", space, "ims5x4", "im5x4b")
    yield case("conv-conv-space-x2none", space, "ims5x4b")
    yield case("conv-conv-relu-space", f"serial({space}, Relu())", "ims5x4", "im5x4b")
    fields = ("nngp", "ntk", "cov1", "cov2")
    dense = "serial(Dense(3, 1.3, 0.2), Erf(), Dense(2))"
    yield case("fields-dense", dense, "vec4", "vec3", fields)
    yield case("fields-space", space, "im5x4", "im5x4b", fields)
    yield case("fields-flatten", f"serial({space}, Flatten())", "ims5x4", "ims5x4b", fields)
    yield case("fields-pool", f"serial({space}, GlobalAvgPool())", "ims5x4", "ims5x4b", fields)
    yield case("fields-x2none", f"serial({space}, Erf())", "ims5x4b", None, ("nngp", "ntk", "cov1"))
    both = ("ims5x4", "ims5x4b", fields)
    yield case("fields-full-batch", f"serial({space}, Flatten())", *both, diagonal_batch=False)
    yield case("fields-diagonal-space", space, *both, diagonal_spatial=True)


def kernel_cases() -> list[Case]:
    """All kernel cases, each name once."""
    families: tuple[Callable[[], Iterator[Case]], ...] = (
        dense_cases, conv1d_cases, conv2d_cases, conv3d_cases, conv_option_cases, pool_cases,
        collapse_cases, activation_cases, combinator_cases, network_cases, batch_cases,
    )  # fmt: skip
    cases = [c for family in families for c in family()]
    repeated = {c["name"] for c in cases if sum(c["name"] == d["name"] for d in cases) > 1}
    assert not repeated, repeated
    return cases


def predict_cases() -> list[Case]:
    """Calls of the functions of ``predict``."""
    absolute = {"diag_reg": 0.1, "diag_reg_absolute_scale": True}
    relu = "serial(Dense(3, 1.4, 0.2), Relu(), Dense(1, 1.2, 0.1))"
    families: dict[str, list[Case]] = {
        "gp_inference": [
            {"y": "y6", "get": None},
            {"y": "y6", "get": "nngp", "cov": True, "diag_reg": 1e-3},
            {"y": "y6", "get": "ntk", "cov": True, "diag_reg": 1e-3},
            {"y": "y6", "get": "ntkgp", "cov": True, "diag_reg": 1e-3},
            {"y": "y6x10", "get": ["ntk", "nngp"], "cov": True, "diag_reg": 1e-2},
            {"y": "y6x10", "get": ["ntkgp", "nngp", "ntk"], "cov": True, "diag_reg": 1e-2},
            {"y": "y6x10", "get": "ntk"} | absolute,
            {"y": "y6", "get": ["nngp"], "cov": True} | absolute,
            {"y": "y6x10", "get": None, "diag_reg": 1e-2, "test": False},
        ],
        "gradient_descent_mse_ensemble": [
            {"y": "y6", "get": None, "t": None},
            {"y": "y6", "get": "ntk", "t": None, "cov": True},
            {"y": "y6x10", "get": ["nngp", "ntk"], "t": None, "cov": True, "diag_reg": 1e-2},
            {"y": "y6", "get": "nngp", "t": 0.7, "cov": True},
            {"y": "y6", "get": "ntk", "t": 0.7, "cov": True},
            {"y": "y6x10", "get": "ntk", "t": 3.0, "cov": True, "learning_rate": 0.5},
            {"y": "y6x10", "get": None, "t": [0.5, 2.0, 40.0], "cov": True, "diag_reg": 1e-3},
            {"y": "y6", "get": "ntk", "t": [[0.5, 2.0, 5.0], [1.0, 3.0, 9.0]]},
            {"y": "y6", "get": ["ntk"], "t": 0.0, "cov": True},
            {"y": "y6", "get": None, "t": 2.0, "cov": True, "test": False},
            {"y": "y6x10", "get": None, "t": 2.0, "cov": True, "diag_reg": 1e-2, "test": False},
            {"y": "y6", "get": "ntk", "t": 25.0, "cov": True, "learning_rate": 2.0} | absolute,
            {"y": "y6", "get": None, "t": None, "test": False},
            {"y": "y6", "get": "ntk", "t": 0.7, "cov": True, "net": relu},
        ],
        "gradient_descent_mse": [
            {"y": "y6x10", "t": None},
            {"y": "y6x10", "t": 1.5, "fx": True, "learning_rate": 0.5},
            {"y": "y6x10", "t": [0.0, 1.5, 30.0], "fx": True, "diag_reg": 1e-2},
            {"y": "y6x10", "t": None, "fx": True, "diag_reg": 1e-2},
            {"y": "y6x10", "t": 1.5, "test": False} | absolute,
            {"y": "y6x10", "t": None, "fx": True, "test": False},
        ],
        "max_learning_rate": [{}, {"momentum": 0.9}, {"y_train_size": 60, "momentum": 0.5}],
    }
    net = "serial(Dense(3, 1.4, 0.2), Erf(), Dense(1, 1.2, 0.1))"
    shared = {"x_train": "vec6", "x_test": "vec3", "net": net}
    return [
        {"name": f"{function}-{i}", "function": function} | shared | c
        for function, cases in families.items()
        for i, c in enumerate(cases)
    ]


def make_inputs() -> dict[str, Array]:
    """The arrays of all cases: independent standard normal entries."""
    rng = np.random.default_rng(20261122)
    return {name: rng.standard_normal(shape) for name, shape in INPUT_SHAPES.items()}


def rotated(inputs: dict[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    """The inputs, all those with the same number of channels rotated by one random rotation."""
    turns: dict[int, Array] = {}
    out = {}
    for name, x in inputs.items():
        axis = CHANNEL_AXES.get(name, -1)
        n = x.shape[axis]
        turn = turns.setdefault(n, np.linalg.qr(rng.standard_normal((n, n)))[0])
        if name not in OUTPUTS:
            out[name] = np.moveaxis(np.moveaxis(x, axis, -1) @ turn, -1, axis)
    return inputs | out


def pick(inputs: dict[str, Array], name: str | list[str] | None) -> Any:
    """The array called ``name``, or the tuple of those called so, or None."""
    if name is None or isinstance(name, str):
        return inputs.get(name) if name else None
    return tuple(inputs[n] for n in name)


def fields_of(kernel: Any, get: Sequence[str]) -> dict[str, Array]:
    """The fields of a Kernel in the order of the axes of the activations; lists get a number."""
    if isinstance(kernel, list | tuple):
        parts = {str(i): fields_of(k, get) for i, k in enumerate(kernel)}
        return {f"{i}/{field}": v for i, part in parts.items() for field, v in part.items()}
    if kernel.is_reversed and not kernel.diagonal_spatial:
        kernel = kernel.reverse()
    return {field: np.asarray(getattr(kernel, field)) for field in get}


def kernel_values(c: Case, inputs: dict[str, Array]) -> dict[str, Array]:
    """What the peer answers to a kernel case."""
    kernel_fn = eval(c["net"], vars(stax))[2]
    kernel = kernel_fn(pick(inputs, c["x1"]), pick(inputs, c["x2"]), None, **c["kwargs"])
    return fields_of(kernel, c["get"])


def named(answer: Any, prefix: str = "") -> dict[str, Array]:
    """A nest of (named) tuples of arrays as one dictionary, keys joined by ``/``."""
    if not isinstance(answer, tuple):
        return {prefix or "mean": np.asarray(answer)}
    start = f"{prefix}/" if prefix else ""
    names = getattr(answer, "_fields", range(len(answer)))
    parts = [named(part, f"{start}{name}") for name, part in zip(names, answer, strict=True)]
    return {key: value for part in parts for key, value in part.items()}


def predict_values(c: Case, inputs: dict[str, Array]) -> dict[str, Array]:
    """What the peer answers to a predict case, and the kernels that the call is given."""
    kernel_fn = eval(c["net"], vars(stax))[2]
    x, x_test = inputs[c["x_train"]], inputs[c["x_test"]]
    if c["function"] == "gradient_descent_mse_ensemble":
        return named(ensemble_answer(c, kernel_fn, inputs))
    k = {
        "train_train": kernel_fn(x, None, BOTH),
        "test_train": kernel_fn(x_test, x, BOTH) if c.get("test", True) else None,
        "test_test": kernel_fn(x_test, None, BOTH) if c.get("cov") else None,
    }
    answers = {"gp_inference": gp_answer, "gradient_descent_mse": descent_answer}
    answer = answers.get(c["function"], rate_answer)(c, k, inputs)
    blocks = [named(block, f"kernel/{n}") for n, block in k.items() if block is not None]
    return named(answer) | {key: v for block in blocks for key, v in block.items()}


def options_of(c: Case) -> dict[str, Any]:
    """The keyword arguments that a predict case gives."""
    names = ("learning_rate", "diag_reg", "diag_reg_absolute_scale", "momentum", "y_train_size")
    return {name: c[name] for name in names if name in c}


def get_of(c: Case) -> str | tuple[str, ...] | None:
    """``get`` as the functions take it."""
    return tuple(c["get"]) if isinstance(c["get"], list) else c["get"]


def time_of(c: Case) -> Array:
    """``t`` as the functions take it."""
    return None if c["t"] is None else np.asarray(c["t"])


def gp_answer(c: Case, k: dict[str, Any], inputs: dict[str, Array]) -> Any:
    """A call of ``gp_inference``."""
    predict_fn = predict.gp_inference(k["train_train"], inputs[c["y"]], **options_of(c))
    return predict_fn(get_of(c), k["test_train"], k["test_test"])


def ensemble_answer(c: Case, kernel_fn: Callable[..., Any], inputs: dict[str, Array]) -> Any:
    """A call of ``gradient_descent_mse_ensemble``."""
    x, y = inputs[c["x_train"]], inputs[c["y"]]
    predict_fn = predict.gradient_descent_mse_ensemble(kernel_fn, x, y, **options_of(c))
    x_test = inputs[c["x_test"]] if c.get("test", True) else None
    return predict_fn(time_of(c), x_test, get_of(c), c.get("cov", False))


def descent_answer(c: Case, k: dict[str, Any], inputs: dict[str, Array]) -> Any:
    """A call of ``gradient_descent_mse``, from the stored outputs if ``fx``, else from zero."""
    predict_fn = predict.gradient_descent_mse(k["train_train"].ntk, inputs[c["y"]], **options_of(c))
    starts = [inputs["f6x10"], inputs["f3x10"]] if c.get("fx") else [0.0, 0.0]
    if k["test_train"] is None:
        return predict_fn(time_of(c), starts[0])
    return predict_fn(time_of(c), *starts, k["test_train"].ntk)


def rate_answer(c: Case, k: dict[str, Any], inputs: dict[str, Array]) -> Any:
    """A call of ``max_learning_rate``."""
    return predict.max_learning_rate(k["train_train"].ntk, **options_of(c))


def spread(values: dict[str, Array], others: Sequence[dict[str, Array]]) -> dict[str, float]:
    """Greatest difference to ``others``, relative to the largest entry, for each field."""
    return {
        field: float(max(np.max(np.abs(o[field] - v)) for o in others) / (np.max(np.abs(v)) or 1.0))
        for field, v in values.items()
    }


def evaluate(
    cases: list[Case],
    answer: Callable[[Case, dict[str, Array]], dict[str, Array]],
    inputs: dict[str, Array],
) -> dict[str, Array]:
    """The values of all cases by ``<case>/<field>``; adds ``noise`` to each case."""
    rng = np.random.default_rng(7)
    turns = [rotated(inputs, rng) for _ in range(ROTATIONS)]
    values = {}
    for i, c in enumerate(cases):
        got = answer(c, inputs)
        assert got and all(np.all(np.isfinite(v)) and v.size for v in got.values()), c["name"]
        noise = spread(got, [answer(c, turn) for turn in turns])
        c["noise"] = {f: float(f"{e:.1e}") for f, e in noise.items() if "kernel" not in f}
        values |= {f"{c['name']}/{field}": v for field, v in got.items()}
        if i % 40 == 39:
            jax.clear_caches()  # thousands of small compiled functions
    return values


def written_default(default: object) -> str:
    """A default as text: its repr, ``Enum.MEMBER``, or ``<name>`` of a function."""
    if default is inspect.Parameter.empty:
        return "<required>"
    if isinstance(default, enum.Enum):
        return f"{type(default).__name__}.{default.name}"
    return f"<{default.__name__}>" if inspect.isfunction(default) else repr(default)


def signature(function: Callable[..., Any]) -> list[list[str]]:
    """``[[name, default], ...]``, stars kept; a bare ``*`` opens the keyword-only arguments."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    rows: list[list[str]] = []
    bare = True
    for p in inspect.signature(function).parameters.values():
        if p.kind is inspect.Parameter.KEYWORD_ONLY and bare:
            rows.append(["*", "<required>"])
        bare = bare and p.kind not in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        default = "<required>" if p.kind in stars else written_default(p.default)
        rows.append([stars.get(p.kind, "") + p.name, default])
    return rows


def names_of(module: ModuleType) -> dict[str, Any]:
    """Every public name: a signature, the members of an enum, or None for other objects."""
    out: dict[str, Any] = {}
    for name in sorted(n for n in dir(module) if not n.startswith("_")):
        thing = getattr(module, name)
        if isinstance(thing, ModuleType):
            continue
        if inspect.isclass(thing) and issubclass(thing, enum.Enum):
            out[name] = {"members": {m.name: m.value for m in thing}}
        else:
            out[name] = signature(thing) if callable(thing) else None
    return out


def names_table() -> dict[str, Any]:
    """Public names of the peer, and the signatures of the functions that its functions return."""
    k = np.eye(2)
    init_fn, apply_fn, kernel_fn = stax.serial(stax.Identity())
    returned = {
        "init_fn": init_fn,
        "apply_fn": apply_fn,
        "kernel_fn": kernel_fn,
        "gp_inference": predict.gp_inference(k, k),
        "gradient_descent": predict.gradient_descent(lambda a, b: ((a - b) ** 2).sum(), k, k),
        "gradient_descent_mse": predict.gradient_descent_mse(k, k),
        "gradient_descent_mse_ensemble": predict.gradient_descent_mse_ensemble(kernel_fn, k, k),
    }
    methods = [n for n, _ in inspect.getmembers(nt.Kernel, callable) if not n.startswith("_")]
    operators = ["__add__", "__getitem__", "__mul__", "__rmul__"]
    return {
        "versions": versions(),
        "stax": names_of(stax),
        "predict": names_of(predict),
        "neural_tangents": names_of(nt),
        "returned": {name: signature(f) for name, f in returned.items()},
        "kernel_methods": {n: signature(getattr(nt.Kernel, n)) for n in operators + methods},
    }


def versions() -> dict[str, str]:
    """What made the tables."""
    return {
        "neural_tangents": nt.__version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def machine() -> str:
    """The processor, its cores and the system, in one line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor()
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, float64"


def rows(items: Sequence[Any]) -> str:
    """A JSON list with one item a line."""
    return "[\n" + ",\n".join(json.dumps(item) for item in items) + "\n]"


def main() -> None:
    """Write the three files."""
    NAMES.parent.mkdir(parents=True, exist_ok=True)
    NAMES.write_text(json.dumps(names_table(), indent=1) + "\n")
    inputs = make_inputs()
    kernels, predictions = kernel_cases(), predict_cases()
    values = evaluate(kernels, kernel_values, inputs)
    values |= evaluate(predictions, predict_values, inputs)
    values |= {f"input/{name}": x for name, x in inputs.items()}
    np.savez_compressed(HERE / "neural_tangents.npz", **values)
    parts = {
        "versions": json.dumps(versions()),
        "machine": json.dumps(machine()),
        "left_out": rows(LEFT_OUT),
        "kernels": rows(kernels),
        "predictions": rows(predictions),
    }
    text = ",\n".join(f'"{key}": {part}' for key, part in parts.items())
    (HERE / "neural_tangents.json").write_text(f"{{\n{text}\n}}\n")


if __name__ == "__main__":
    main()
