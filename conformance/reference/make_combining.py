"""Write the table of combined and indexed networks of neural_tangents, the peer of ntcore.

Run by hand, in the environment that make_reference.py describes, never by the tests::

    PEER/bin/python conformance/reference/make_combining.py

It takes about two minutes on two cores, works in float64, and writes ``combining.json``, beside
this file: ``inputs``, and ``kernels``, each with the expression of a network, the names of its
inputs, the kernels, variances, masks and output shape. Inputs named ``holes`` have 0.5 wherever
something is masked. Spatial axes are in the order of the activations.
"""

import json
import os
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
FIELDS = ("nngp", "ntk", "cov1", "cov2", "mask1", "mask2")

CONV = "Conv(4, (3, 2), padding='SAME', W_std=1.3, b_std=0.2)"
SMALL = "Conv(3, (2, 1), W_std=1.1, b_std=0.1)"
DENSE = "Dense(4, 1.3, 0.2)"
HIDDEN = "serial(Dense(5, 1.4, 0.3), Relu(), Dense(4, 0.9, 0.1))"
BENT = "serial(Dense(4, 1.2, 0.3), Relu())"
NCHW = "Conv(4, (3, 2), None, 'SAME', 1.3, 0.2, ('NCHW', 'OIHW', 'NCHW'))"
CHWN = "Conv(4, (3, 2), None, 'SAME', 1.3, 0.2, ('CHWN', 'HWIO', 'CHWN'))"


def fan(merge: str, *branches: str) -> str:
    """One input through several branches, merged."""
    return f"FanOut({len(branches)}), parallel({', '.join(branches)}), {merge}"


def net(*layers: str) -> str:
    """Layers one after the other."""
    return f"serial({', '.join(layers)})"


PRODUCT = net(fan("FanInProd()", DENSE, HIDDEN))
NETWORKS = {
    "vectors": [
        PRODUCT,
        net(fan("FanInProd()", BENT, HIDDEN), "Dense(3, 1.1, 0.1)"),
        net(fan("FanInProd()", "Identity()", "Dense(3)", "serial(Dense(3), Erf())")),
        net(fan("FanInProd()", PRODUCT, BENT), DENSE, "Relu()", DENSE),
        net(fan("FanInProd()", HIDDEN)),
        net(fan("FanInConcat()", DENSE, "Dense(6, 0.8)", BENT), "Dense(2, 1.2, 0.1)", "Relu()"),
        net(fan("FanInConcat(1)", "Identity()", BENT, net(fan("FanInConcat()", DENSE, DENSE)))),
        net(
            fan("FanInConcat(-1)", "Dense(5)", "Identity()"),
            "Dense(3, 1.2, 0.4, parameterization='standard', s=(2, 1))",
        ),
        net(fan("FanInConcat(0)", HIDDEN, DENSE), "Relu()", DENSE),
        net(fan("FanInConcat(0)", HIDDEN, DENSE, DENSE), "Index(Slice[::-2])", "Erf()"),
        net(BENT, "Index(Slice[1:])", "Dense(2, 1.1)"),
        net(fan("FanInSum()", net(DENSE, "Index(Slice[:2])"), net(DENSE, "Index(Slice[-2:])"))),
        net(DENSE, "repeat(serial(Relu(), Dense(4, 1.2, 0.1)), 3)"),
        "serial(FanOut(2), parallel(serial(FanOut(2), parallel(Dense(4), serial(Dense(4, 1.3),"
        " Relu(), Dense(4))), FanInSum()), Dense(4, 0.7)), FanInSum(), Relu(), Dense(2))",
    ],
    "images": [
        net(fan("FanInProd()", CONV, net(CONV, "Relu()")), "Conv(2, (2, 2))", "Flatten()"),
        net(fan("FanInConcat()", CONV, "Dense(3)", net(CONV, "Relu()")), CONV, "Relu()"),
        net(fan("FanInConcat(1)", CONV, SMALL.replace("3,", "4,", 1)), "Relu()", SMALL),
        net(fan("FanInConcat(1)", CONV, SMALL.replace("3,", "4,", 1)), "Relu()", "Flatten()"),
        net(fan("FanInConcat(-2)", CONV, DENSE, DENSE), CONV, "Relu()", "GlobalAvgPool()"),
        net(CONV, "Relu()", "Index(Slice[:, 1:, ::-1])"),
        net(CONV, "Relu()", "Index(Slice[:, 2])", "Dense(2, 1.1, 0.1)", "Flatten()"),
        net(CONV, "Relu()", "Index(Slice[..., -1, :])", "Conv(3, (2,), W_std=1.2)", "Relu()"),
        net(CONV, "Relu()", "Index(Slice[:, -1, 1])", DENSE),
        net(CONV, "Index(Slice[:, ::-2, 1:3])", "Relu()", CONV, "Flatten()"),
        net(CONV, "Relu()", "Index(Slice[:2, 1:, 0])", "Dense(2, 1.1, 0.1)", "Relu()"),
        net(CONV, "Relu()", "Index(Slice[::-1])", "Flatten()", DENSE),
        net(CONV, "Relu()", "Index(Slice[:1])", SMALL, "AvgPool((2, 2))"),
        net(fan("FanInConcat(0)", CONV, net(CONV, "Relu()", DENSE)), "Relu()", CONV),
        net(fan("FanInConcat(-4)", CONV, DENSE), "Relu()", "Index(Slice[1:, 1])", "Flatten()"),
        net("Index(Slice[:, 1:3])", CONV),
        net(CONV, f"repeat(serial(Relu(), {CONV.replace('3, 2', '2, 3')}), 3)", "Flatten()"),
    ],
    "uneven": [
        net(CONV, "Relu()", "Index(Slice[:, -3:-1])", SMALL),
        net(CONV, "Relu()", "Index(Slice[:, -2, -1])", DENSE),
        net(fan("FanInConcat(1)", SMALL, "Conv(3, (3, 1))"), "Relu()", SMALL),
        net(fan("FanInConcat(2)", "Dense(3)", "Dense(3, 0.8)"), "Index(Slice[:, :, -3])"),
    ],
    "first": [
        net(NCHW, "Relu()", "Index((slice(None), slice(None), 1, slice(1, None)), 0, 1)"),
        net(fan("FanInConcat(1)", NCHW, NCHW), "Dense(2, 1.1, 0.1, channel_axis=1)"),
        net(fan("FanInConcat(2)", NCHW, NCHW), "Relu()", NCHW),
    ],
    "last": [
        net(CHWN, "Relu()", "Index(Slice[:, 1:, 1, 1:], -1, 0)"),
        net(fan("FanInConcat(-1)", CHWN, CHWN), "Relu()", CHWN),
        net(fan("FanInConcat(0)", CHWN, CHWN), "Dense(2, 1.1, 0.1, batch_axis=3, channel_axis=0)"),
    ],
    "holes": [
        net(fan("FanInProd()", CONV, DENSE), "Flatten()", DENSE),
        net(fan("FanInConcat()", CONV, DENSE), CONV),
        net(fan("FanInConcat(1)", CONV, DENSE), "Relu()", CONV),
        net(fan("FanInConcat(0)", CONV, DENSE), "Relu()", "GlobalAvgPool()", DENSE),
        net(CONV, "Relu()", "Index(Slice[:, 1:, ::-1])", SMALL),
        net(CONV, "Relu()", "Index(Slice[1:, 2])", DENSE, "Flatten()"),
    ],
}


def make_inputs() -> dict[str, np.ndarray]:
    """Normal inputs, of several layouts, of two sizes, and with masked positions."""
    rng = np.random.default_rng(31)
    images, imagesb = rng.standard_normal((3, 4, 3, 2)), rng.standard_normal((2, 4, 3, 2))
    holes, holesb = images.copy(), imagesb.copy()
    holes[0, 2:], holes[1, :, 1:], holesb[0, 1, :2], holesb[1, 3] = MASK, MASK, MASK, MASK
    return {
        "vectors": rng.standard_normal((4, 3)),
        "vectorsb": rng.standard_normal((3, 3)),
        "images": images,
        "imagesb": imagesb,
        "uneven": images,
        "unevenb": rng.standard_normal((2, 5, 4, 2)),
        "first": np.moveaxis(images, -1, 1),
        "firstb": np.moveaxis(imagesb, -1, 1),
        "last": np.transpose(images, (3, 1, 2, 0)),
        "lastb": np.transpose(imagesb, (3, 1, 2, 0)),
        "holes": holes,
        "holesb": holesb,
    }


def evaluated(expression: str, x1: str, x2: str | None, inputs: dict[str, Any]) -> dict[str, Any]:
    """A case with the values of the peer."""
    second = None if x2 is None else inputs[x2]
    mask = MASK if x1 == "holes" else None
    k = eval(expression, vars(stax))[2](inputs[x1], second, None, mask_constant=mask)
    k = k.reverse() if k.is_reversed else k
    values = {name: getattr(k, name) for name in FIELDS}
    values["ntk"] = np.broadcast_to(np.asarray(k.ntk), k.nngp.shape)
    lists = {n: None if v is None else rounded(np.asarray(v).tolist()) for n, v in values.items()}
    facts = {"shape1": list(k.shape1), "is_gaussian": bool(k.is_gaussian)}
    return {"net": expression, "x1": x1, "x2": x2, **facts, **lists}


def rounded(x: Any) -> Any:
    """Nested lists with twelve digits of each number."""
    if isinstance(x, list):
        return [rounded(v) for v in x]
    return float(f"{x:.12g}") if isinstance(x, float) else x


def rows(items: list[dict[str, Any]]) -> str:
    """A JSON list with one item a line."""
    return "[\n" + ",\n".join(json.dumps(item) for item in items) + "\n]"


def main() -> None:
    """Write the table."""
    inputs = make_inputs()
    seconds = {x: (f"{x}b",) if x == "uneven" else (f"{x}b", None) for x in NETWORKS}
    cases = [(n, x, second) for x, nets in NETWORKS.items() for n in nets for second in seconds[x]]
    versions = {"neural_tangents": nt.__version__, "jax": jax.__version__}
    parts = {
        "versions": json.dumps(versions),
        "mask_constant": json.dumps(MASK),
        "inputs": json.dumps({name: x.tolist() for name, x in inputs.items()}),
        "kernels": rows([evaluated(*case, inputs) for case in cases]),
    }
    text = ",\n".join(f'"{key}": {part}' for key, part in parts.items())
    (HERE / "combining.json").write_text(f"{{\n{text}\n}}\n")


if __name__ == "__main__":
    main()
