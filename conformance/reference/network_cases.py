"""Cases of networks, of predictions, and the inputs that all cases share."""

import itertools
from collections.abc import Callable, Iterator

from layer_cases import (
    EVERY_PADDING,
    Case,
    Expression,
    activation_cases,
    case,
    collapse_cases,
    conv1d_cases,
    conv2d_cases,
    conv3d_cases,
    conv_option_cases,
    dense_cases,
    pool_cases,
    serial,
    slug,
)

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
        "closed forms and symmetry cover these inputs",
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
