"""Cases of single layers: every layer of the reference table with every option."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

Case = dict[str, Any]
Expression = str

BOTH = ("nngp", "ntk")
EVERY_PADDING = ("VALID", "SAME", "CIRCULAR")


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
