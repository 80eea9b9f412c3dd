"""Write the table of linear layers of neural_tangents, the peer of ntcore.

Run by hand, in the environment that make_reference.py describes, never by the tests::

    PEER/bin/python conformance/reference/make_linear.py

It takes about two minutes on two cores, works in float64, and writes, beside this file,

* ``linear.json``: the cases. A kernel is the expression of a network, the names of its inputs and
  whether they are masked; a finite network is an expression, an input and a seed;
* ``linear.npz``: the inputs (``input/<name>``), the kernels (``kernel/<case>/<field>``), and what
  finite networks return (``finite/<case>``) when every parameter is drawn, in its own shape and
  in their order, from ``numpy.random.default_rng(seed)``.

What the peer cannot compute is not here: cubic and Lanczos kernels, masks in front of
``ImageResize`` at infinite width, and ``DotGeneral()`` without an array, of which it makes NaN.
Nor is ``ImageResize`` above an odd number of convolutions, which reverse the axes of the peer's
kernel without its noticing: there its kernel is not that of its own finite networks.
"""

import json
import os
import platform
from pathlib import Path
from typing import Any

os.environ["JAX_ENABLE_X64"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import neural_tangents as nt
import numpy as np
from neural_tangents import stax

HERE = Path(__file__).parent
MASK = 0.5
FIELDS = ("nngp", "ntk", "cov1")
NCHW = "('NCHW', 'OIHW', 'NCHW')"
ODD = "('NWHC', 'HWIO', 'NHWC')"

#: Networks by the name of their first input; ``array(*sizes)`` is a fixed array.
TRANSPOSE = {
    "line": [
        f"ConvTranspose(3, ({w},), ({s},), '{pad}', 1.2, 0.3)"
        for pad in ("SAME", "VALID", "CIRCULAR")
        for w, s in ((1, 2), (2, 1), (2, 3), (3, 2), (4, 2), (4, 3), (5, 1), (9, 2))
    ],
    "image": [
        "ConvTranspose(3, (3, 2), (1, 2), 'SAME', 1.2)",
        "ConvTranspose(3, (3, 2), None, 'SAME', 1.2, 0.3, None, 'standard', (2, 3))",
        f"ConvTranspose(3, (3, 2), (2, 1), 'SAME', 1.2, 0.3, {ODD})",
        "serial(ConvTranspose(3, (3, 2), (2, 2), 'SAME', 1.2, 0.3), Relu(),"
        " Conv(3, (2, 3), (2, 1), 'SAME', 1.1, 0.2), Relu(), Flatten(), Dense(1))",
        "serial(Conv(3, (2, 2), None, 'SAME', 1.2, 0.1), Relu(),"
        " ConvTranspose(3, (2, 3), (3, 2), 'VALID', 1.2, 0.3), Relu(), GlobalAvgPool(), Dense(1))",
        "serial(ConvTranspose(2, (4, 5), (2, 3), 'CIRCULAR', 1.2, 0.3, None, 'standard'), Erf(),"
        " AvgPool((2, 2)), Dense(3), Flatten())",
    ],
    "turned": [f"ConvTranspose(3, (2, 3), (1, 2), 'VALID', 1.2, 0.3, {NCHW})"],
    "cube": ["serial(ConvTranspose(3, (2, 3, 1), (2, 1, 2), 'SAME', 1.2, 0.3), Flatten())"],
}
LOCAL = {
    "line": [
        f"ConvLocal(3, ({w},), ({s},), '{pad}', 1.2, 0.3)"
        for pad in ("SAME", "VALID", "CIRCULAR")
        for w, s in ((1, 2), (2, 1), (3, 2), (4, 3))
    ],
    "image": [
        "ConvLocal(3, (3, 2), (1, 2), 'SAME', 1.2)",
        "ConvLocal(3, (3, 2), None, 'SAME', 1.2, 0.3, None, 'standard', (2, 3))",
        f"ConvLocal(3, (3, 2), (2, 1), 'SAME', 1.2, 0.3, {ODD})",
        "serial(ConvLocal(3, (7, 2), (2, 1), 'SAME', 1.2, 0.3), Relu(),"
        " Conv(3, (2, 3), (2, 1), 'SAME', 1.1, 0.2), Relu(), GlobalAvgPool(), Dense(1))",
        "serial(Conv(3, (2, 2), None, 'SAME', 1.2, 0.1), Relu(),"
        " ConvLocal(3, (2, 3), None, 'CIRCULAR', 1.2, 0.3), Relu(), Flatten(), Dense(1))",
        "serial(ConvLocal(2, (2, 2), None, 'VALID', 1.2, 0.3, None, 'standard', (1, 3)), Erf(),"
        " ConvLocal(2, (2, 2), None, 'VALID', 1.2, 0.3, None, 'standard', (3, 1)),"
        " GlobalSumPool())",
        "serial(ConvLocal(2, (2, 2), None, 'SAME', 1.2, 0.3), AvgPool((2, 2)), Relu(), Flatten())",
    ],
    "turned": [f"ConvLocal(3, (2, 3), (1, 2), 'SAME', 1.2, 0.3, {NCHW})"],
    "cube": ["serial(ConvLocal(3, (2, 3, 1), (2, 1, 2), 'SAME', 1.2, 0.3), Flatten())"],
}
RESIZE = {
    "line": [
        f"ImageResize((-1, {n}, -1), '{method}', {antialias})"
        for n, method, antialias in (
            (9, "nearest", True), (3, "nearest", True), (8, "linear", True), (3, "bilinear", True),
            (2, "linear", True), (3, "triangle", False), (2, "trilinear", False),
            (1, "linear", True),
        )
    ],
    "image": [
        "ImageResize((-1, 2, 7, -1), 'linear')",
        "ImageResize((-1, -1, 3, -1), 'linear', False)",
        "serial(Conv(3, (2, 2), None, 'SAME'), Conv(3, (3, 2), None, 'SAME', 1.2, 0.1), Relu(),"
        " ImageResize((-1, 5, 6, -1), 'nearest'), Conv(3, (2, 3), None, 'SAME', 1.1, 0.2), Relu(),"
        " Flatten(), Dense(1))",
        "serial(Conv(3, (2, 2), None, 'SAME'), Conv(3, (3, 2), None, 'SAME', 1.2, 0.1),"
        " ImageResize((-1, 5, 3, -1), 'linear'), Relu(), Conv(3, (2, 2), (2, 1)), GlobalAvgPool(),"
        " Dense(1, 1.1, 0.2))",
        "serial(Dense(3, 1.2, 0.1), Relu(), ImageResize((-1, 3, 8, -1), 'linear'), Flatten(),"
        " Dense(1))",
    ],
    "turned": ["ImageResize((-1, -1, 5, 3), 'linear', channel_axis=1)"],
}  # fmt: skip
DOT = {
    "line": [
        "DotGeneral(rhs=-2.5)",
        "DotGeneral(lhs=array(5), dimension_numbers=(((), ()), ((0,), (1,))))",
        "DotGeneral(rhs=array(5, 3), dimension_numbers=(((1,), (0,)), ((), ())))",
        "DotGeneral(lhs=array(5), dimension_numbers=(((0,), (1,)), ((), ())))",
        "DotGeneral(rhs=array(3))",
        "DotGeneral(lhs=array(2, 3))",
    ],
    "image": [
        "DotGeneral(rhs=array(4, 3), dimension_numbers=(((2, 1), (0, 1)), ((), ())))",
        "DotGeneral(lhs=array(3, 2, 4), dimension_numbers=(((2,), (2,)), ((0,), (1,))))",
        "DotGeneral(rhs=array(3, 2), dimension_numbers=(((), ()), ((1,), (0,))))",
        "DotGeneral(rhs=array(4, 3), dimension_numbers=(((), ()), ((2, 1), (0, 1))))",
        "DotGeneral(lhs=array(2, 4), dimension_numbers=(((1,), (2,)), ((), ())), batch_axis=3,"
        " channel_axis=0)",
        "serial(Conv(3, (2, 2), None, 'SAME', 1.2, 0.1), DotGeneral(rhs=array(3, 5),"
        " dimension_numbers=(((1,), (0,)), ((), ()))), Relu(), Flatten(), Dense(1))",
        "serial(Conv(3, (2, 2), None, 'SAME', 1.2, 0.1), Relu(), DotGeneral(rhs=array(4, 2),"
        " dimension_numbers=(((2,), (0,)), ((), ()))), Dense(3, channel_axis=2), Erf(),"
        " GlobalAvgPool(channel_axis=2), Dense(1))",
    ],
    "turned": [
        "DotGeneral(rhs=array(4, 2), dimension_numbers=(((3,), (0,)), ((), ())), channel_axis=1)",
        "DotGeneral(lhs=array(3, 2), dimension_numbers=(((0,), (2,)), ((), ())), channel_axis=1)",
    ],
}

#: Masked inputs; None stands for an input compared with itself.
MASKED = {
    "holes": [
        *(f"ConvTranspose(3, ({w},), ({s},), '{pad}', 1.2, 0.3)"
          for pad in ("SAME", "VALID", "CIRCULAR") for w, s in ((1, 2), (2, 1), (3, 2), (5, 2))),
        *(f"ConvLocal(3, ({w},), ({s},), '{pad}', 1.2, 0.3)"
          for pad in ("SAME", "VALID", "CIRCULAR") for w, s in ((2, 1), (3, 2))),
        "DotGeneral(rhs=sparse(5, 3), dimension_numbers=(((1,), (0,)), ((), ())))",
        "DotGeneral(lhs=sparse(5, 2), dimension_numbers=(((), ()), ((0,), (1,))))",
        "DotGeneral(rhs=-2.5)",
    ],
    "cells": [
        "serial(Conv(2, (2, 2), None, 'SAME', 1.1, 0.2), Relu(),"
        " ConvTranspose(3, (3, 2), (1, 2), 'SAME', 1.2, 0.3), GlobalAvgPool())",
        "serial(ConvLocal(3, (2, 3), None, 'SAME', 1.2, 0.3), Relu(), Flatten(), Dense(1))",
    ],
}  # fmt: skip

FINITE = {
    "line": [
        "ConvTranspose(3, (4,), (3,), 'SAME', 1.2, 0.3)",
        "ConvTranspose(3, (3,), (2,), 'CIRCULAR', 1.2, 0.3, None, 'standard', (2, 2))",
        "ConvLocal(3, (3,), (2,), 'CIRCULAR', 1.2, 0.3)",
        *(f"ImageResize((-1, {n}, -1), '{method}', {antialias})"
          for method in ("cubic", "lanczos3", "lanczos5") for n in (3, 8)
          for antialias in (True, False)),
        "DotGeneral(rhs=array(2, 3))",
    ],
    "image": [
        f"ConvTranspose(3, (3, 2), (2, 1), 'VALID', 1.2, 0.3, {ODD})",
        f"ConvLocal(3, (3, 2), (2, 1), 'SAME', 1.2, 0.3, {ODD})",
        "ConvLocal(3, (2, 3), (1, 2), 'VALID', 1.2, 0.3, ('NHWC', 'HIWO', 'NHWC'), 'standard',"
        " (2, 2))",
        "DotGeneral(lhs=array(3, 2, 4), dimension_numbers=(((2,), (2,)), ((0,), (1,))))",
    ],
    "turned": [
        f"ConvTranspose(3, (2, 3), (1, 2), 'SAME', 1.2, 0.3, {NCHW})",
        f"ConvLocal(3, (2, 3), (1, 2), 'SAME', 1.2, 0.3, {NCHW})",
    ],
    "cube": ["ConvLocal(3, (2, 3, 1), (2, 1, 2), 'SAME', 1.2, 0.3)"],
    "holes": [
        *(f"ImageResize((-1, {n}, -1), '{method}')" for method in ("nearest", "linear")
          for n in (3, 9)),
        "DotGeneral(rhs=sparse(5, 3), dimension_numbers=(((1,), (0,)), ((), ())))",
        "ConvLocal(3, (2,), None, 'SAME', 1.2, 0.3)",
        "ConvTranspose(3, (3,), (2,), 'CIRCULAR', 1.2, 0.3)",
    ],
}  # fmt: skip

#: What each input is compared with, beside itself: another of its sizes, and one of others.
OTHERS = {"line": "lineb", "image": "imageb", "turned": "turnedb", "cube": None}
UNEVEN = {"line": "longer", "image": "larger"}


def array(*sizes: int) -> np.ndarray:
    """A fixed array: normal numbers."""
    return np.random.default_rng(sum(sizes)).standard_normal(sizes)


def sparse(*sizes: int) -> np.ndarray:
    """A fixed array of which every other entry is 0."""
    found = array(*sizes)
    return np.where(np.arange(found.size).reshape(sizes) % 2 == 0, found, 0.0)


NAMES = {**vars(stax), "array": array, "sparse": sparse}


def make_inputs() -> dict[str, np.ndarray]:
    """Normal inputs; ``holes`` and ``cells`` are masked in part, one channel alone too."""
    rng = np.random.default_rng(31)
    sizes = {
        "line": (2, 5, 2), "lineb": (1, 5, 2), "longer": (1, 6, 2), "image": (2, 3, 4, 2),
        "imageb": (1, 3, 4, 2), "larger": (1, 4, 3, 2), "cube": (2, 2, 3, 3, 2),
        "holes": (3, 5, 2), "cells": (2, 3, 4, 2),
    }  # fmt: skip
    found = {name: rng.standard_normal(size) for name, size in sizes.items()}
    found["holes"][0, 3:] = found["holes"][1, 0] = found["holes"][2, 2] = MASK
    found["cells"][0, 2] = found["cells"][1, :, 3] = MASK
    turned = {f"turned{b}": np.moveaxis(found[f"image{b}"], -1, 1) for b in ("", "b")}
    return found | turned


def kernel(net: str, x1: str, x2: str | None, masked: bool, inputs: dict) -> dict[str, np.ndarray]:
    """The kernels of a case; what the peer holds of offset 0 alone gets its 0s."""
    second = None if x2 is None else inputs[x2]
    kwargs: dict[str, Any] = {"mask_constant": MASK} if masked else {}
    k = eval(net, NAMES)[2](inputs[x1], second, None, **kwargs)
    k = k.reverse() if k.is_reversed and not k.diagonal_spatial else k
    values = {name: np.asarray(getattr(k, name)) for name in FIELDS}
    values["ntk"] = np.broadcast_to(values["ntk"], values["nngp"].shape)
    if k.diagonal_spatial:
        values = {name: spread(v, 1 if name == "cov1" else 2) for name, v in values.items()}
    masks = {name: getattr(k, name) for name in ("mask1", "mask2")} if masked else {}
    return values | {name: np.asarray(m) for name, m in masks.items() if m is not None}


def spread(k: np.ndarray, front: int) -> np.ndarray:
    """A kernel with every offset from one of offset 0."""
    for axis in reversed(range(front, k.ndim)):
        k = np.moveaxis(k, axis, -1)
        k = np.moveaxis(k[..., None] * np.eye(k.shape[-1]), (-2, -1), (axis, axis + 1))
    return k


def finite(net: str, name: str, seed: int, inputs: dict) -> tuple[np.ndarray, np.ndarray | None]:
    """What a finite network returns for drawn parameters, 0 where it is masked, and its mask."""
    x = inputs[name]
    init_fn, apply_fn, _ = eval(net, NAMES)
    rng = np.random.default_rng(seed)
    _, params = init_fn(jax.random.PRNGKey(0), x.shape)
    drawn = jax.tree_util.tree_map(lambda p: rng.standard_normal(p.shape), params)
    if name not in MASKED:
        return np.asarray(apply_fn(drawn, x)), None
    out = apply_fn(drawn, x, mask_constant=MASK)
    mask = np.broadcast_to(out.mask, out.masked_value.shape)
    return np.where(mask, 0.0, out.masked_value), mask


def pairs() -> list[tuple[str, str, str | None, bool]]:
    """Every network with its inputs: with another, with itself, and uneven where that works."""
    found: list[tuple[str, str, str | None, bool]] = []
    for layers in (TRANSPOSE, LOCAL, RESIZE, DOT):
        for x, nets in layers.items():
            for i, net in enumerate(nets):
                found.append((net, x, OTHERS[x] if i % 2 else None, False))
                uneven = x in UNEVEN and layers in (TRANSPOSE, RESIZE) and "Flatten" not in net
                found += [(net, x, UNEVEN[x], False)] if uneven else []
    return found + [(net, x, None, True) for x, nets in MASKED.items() for net in nets]


def rows(items: list[Any]) -> str:
    """A JSON list with one item a line."""
    return "[\n" + ",\n".join(json.dumps(item) for item in items) + "\n]"


def main() -> None:
    """Write the table."""
    inputs = make_inputs()
    values = {f"input/{name}": x for name, x in inputs.items()}
    kernels = pairs()
    for i, (net, x1, x2, masked) in enumerate(kernels):
        found = kernel(net, x1, x2, masked, inputs)
        values |= {f"kernel/{i}/{name}": v for name, v in found.items()}
    networks = [(net, x) for x, nets in FINITE.items() for net in nets]
    for i, (net, x) in enumerate(networks):
        out, mask = finite(net, x, i, inputs)
        values |= {f"finite/{i}": out} | ({} if mask is None else {f"finite/{i}/mask": mask})
    versions = {
        "neural_tangents": nt.__version__, "jax": jax.__version__, "numpy": np.__version__,
        "python": platform.python_version(),
    }  # fmt: skip
    text = f'{{"versions": {json.dumps(versions)},\n"kernels": {rows(kernels)},\n'
    (HERE / "linear.json").write_text(f'{text}"finite": {rows(networks)}\n}}\n')
    np.savez_compressed(HERE / "linear.npz", **values)


if __name__ == "__main__":
    main()
