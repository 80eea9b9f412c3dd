"""Write the table of masked inputs of neural_tangents, the peer of ntcore.

Run by hand, in the environment that make_reference.py describes, never by the tests::

    PEER/bin/python conformance/reference/make_masks.py

It takes about a minute on two cores, works in float64, and writes ``masks.json``, beside this file:

* ``inputs``: arrays with 0.5 wherever something is masked (``MASK``);
* ``kernels``: the expression of a network, the names of its inputs, the kernels and the masks;
* ``finite``: the mask and, at what is not masked, the output of ``apply_fn`` for a network without
  random weights.
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
FIELDS = ("nngp", "ntk", "cov1", "mask1", "mask2")

#: Networks by the kind of their inputs. A Dense layer in front makes a mask one of positions,
#: without which the peer refuses to pool.
NETWORKS = {
    "line": [
        "Identity()",
        "Dense(3, 1.2, 0.3)",
        "Conv(3, (3,), None, 'SAME', 1.2, 0.3)",
        "Conv(3, (3,), None, 'VALID', 1.2, 0.3)",
        "Conv(3, (2,), (2,), 'SAME', 1.2, 0.3)",
        "Conv(3, (4,), (3,), 'SAME', 1.2, 0.3)",
        "Conv(3, (3,), (2,), 'CIRCULAR', 1.2, 0.3)",
        "Flatten()",
        "serial(Dense(3, 1.2, 0.3), GlobalAvgPool())",
        "serial(Dense(3, 1.2, 0.3), GlobalSumPool())",
        "serial(Dense(3, 1.2, 0.3), Relu(), Dense(2, 1.1, 0.1))",
        "serial(Conv(3, (1,)), Flatten(), Dense(2, 1.1, 0.5), Erf(), Dense(1))",
        "serial(FanOut(2), parallel(Conv(2, (3,), None, 'SAME'), Conv(2, (3,), None, 'SAME', 1.0,"
        " 0.3)), FanInSum(), GlobalAvgPool())",
        "serial(FanOut(2), parallel(Conv(2, (3,)), serial(Conv(2, (2,)), Conv(2, (2,)))),"
        " FanInSum())",
    ],
    "image": [
        "Conv(3, (3, 2), (2, 1), 'SAME', 1.2, 0.3)",
        "serial(Dense(2), AvgPool((3, 2), None, 'SAME'))",
        "serial(Dense(2), AvgPool((3, 2), (1, 2), 'SAME', normalize_edges=True))",
        "serial(Dense(2), SumPool((2, 2), (2, 2)))",
        "serial(Conv(3, (3, 3), None, 'SAME', 1.2, 0.3), Relu(), AvgPool((2, 2)),"
        " Conv(3, (2, 2), (1, 2), 'SAME', 1.1, 0.2), Erf(), GlobalAvgPool(), Dense(1, 1.1, 0.1))",
        "serial(Conv(3, (3, 3), None, 'SAME', 1.2, 0.3), LeakyRelu(0.1), Flatten(), Dense(1))",
    ],
    "turned": [
        "Conv(3, (3, 2), (1, 2), 'SAME', 1.2, 0.3, ('NCHW', 'OIHW', 'NCHW'))",
        "serial(Dense(2, channel_axis=1), AvgPool((2, 2), channel_axis=1),"
        " GlobalAvgPool(channel_axis=1))",
        "Flatten()",
    ],
}  # fmt: skip

#: Networks without random weights.
PLAIN = ["Identity()", "Flatten()"]


def make_inputs() -> dict[str, np.ndarray]:
    """Normal inputs: sequences of several lengths, a hole, a single channel, an empty example."""
    rng = np.random.default_rng(30)
    line, lineb = rng.standard_normal((4, 7, 2)), rng.standard_normal((2, 7, 2))
    line[0, 4:], line[1, 0], line[3] = MASK, MASK, MASK
    line[1, 5, 0] = MASK
    lineb[0, 2:4] = MASK
    image, imageb = rng.standard_normal((2, 4, 5, 2)), rng.standard_normal((1, 4, 5, 2))
    image[0, 3:], image[1, :, 3:], imageb[0, :2, :3] = MASK, MASK, MASK
    turned, turnedb = (np.moveaxis(x, -1, 1) for x in (image, imageb))
    return {
        "line": line, "lineb": lineb, "image": image, "imageb": imageb,
        "turned": turned, "turnedb": turnedb,
    }  # fmt: skip


def evaluated(net: str, x1: str, x2: str | None, inputs: dict[str, Any]) -> dict[str, Any]:
    """A case with the values of the peer."""
    second = None if x2 is None else inputs[x2]
    k = eval(net, vars(stax))[2](inputs[x1], second, None, mask_constant=MASK)
    k = k.reverse() if k.is_reversed else k
    values = {name: getattr(k, name) for name in FIELDS}
    values["ntk"] = np.broadcast_to(np.asarray(k.ntk), k.nngp.shape)
    lists = {n: None if v is None else np.asarray(v).tolist() for n, v in values.items()}
    return {"net": net, "x1": x1, "x2": x2, **lists}


def finite(net: str, x: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """A finite network with the values of the peer."""
    out = eval(net, vars(stax))[1]((), inputs[x], mask_constant=MASK)
    mask = np.broadcast_to(out.mask, out.masked_value.shape)
    value = np.where(mask, 0.0, out.masked_value)
    return {"net": net, "x": x, "value": value.tolist(), "mask": mask.tolist()}


def rows(items: list[dict[str, Any]]) -> str:
    """A JSON list with one item a line."""
    return "[\n" + ",\n".join(json.dumps(item) for item in items) + "\n]"


def main() -> None:
    """Write the table."""
    inputs = make_inputs()
    pairs = [(net, x) for x, nets in NETWORKS.items() for net in nets]
    kernels = [evaluated(net, x, x2, inputs) for net, x in pairs for x2 in (f"{x}b", None)]
    versions = {
        "neural_tangents": nt.__version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    parts = {
        "versions": json.dumps(versions),
        "mask_constant": json.dumps(MASK),
        "inputs": json.dumps({name: x.tolist() for name, x in inputs.items()}),
        "finite": rows([finite(net, x, inputs) for net in PLAIN for x in ("line", "image")]),
        "kernels": rows(kernels),
    }
    text = ",\n".join(f'"{key}": {part}' for key, part in parts.items())
    (HERE / "masks.json").write_text(f"{{\n{text}\n}}\n")


if __name__ == "__main__":
    main()
