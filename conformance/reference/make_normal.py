"""Write the table of LayerNorm, Dropout and Aggregate of neural_tangents, the peer of ntcore.

Run by hand, in the environment that make_reference.py describes, never by the tests::

    PEER/bin/python conformance/reference/make_normal.py

It takes a few minutes on two cores, works in float64, and writes ``normal.json``, beside this file:

* ``inputs`` and ``patterns``: arrays, with 100 where something is masked (``MASK``);
* ``kernels``: the expression of a network, the names of its inputs and patterns, and the kernels;
* ``finite``: inputs and outputs of ``apply_fn`` of layers that draw nothing.
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
MASK = 100.0
FIELDS = ("nngp", "ntk", "cov1")
CONV = "Conv(3, (2, 3), None, 'SAME', 1.2, 0.3)"
TURNED = "Conv(3, (2, 3), None, 'SAME', 1.2, 0.3, ('NCHW', 'HWIO', 'NCHW'))"
TOP = "Conv(2, (2, 2), (2, 1), 'SAME', 1.1, 0.2), Erf(), GlobalAvgPool(), Dense(1, 1.1, 0.1)"

#: Networks by the kinds of inputs that they are given.
NETWORKS = {
    ("vector",): [
        "serial(Dense(3, 1.2, 0.3), LayerNorm())",
        "serial(Dense(3, 1.2, 0.3), LayerNorm((1, -1), 0.5), Relu(), Dense(2, 1.1, 0.1))",
        "serial(Dense(3, 1.2, 0.3), Relu(), Dropout(0.7))",
        "serial(Dense(3, 1.2), Relu(), Dropout(0.5), Dense(3, 1.1, 0.2), Relu(), Dropout(0.8),"
        " Dense(1))",
        "serial(Dense(3, 1.2), Erf(), Dropout(0.5, 'test'), Dense(1, 1.1, 0.2))",
    ],
    ("image", "masked"): [
        f"serial({CONV}, LayerNorm())",
        f"serial({CONV}, LayerNorm((1, 3)))",
        f"serial({CONV}, LayerNorm([-1, 2]))",
        f"serial({CONV}, LayerNorm((3, 1, -2)), Relu(), {TOP})",
        f"serial({CONV}, Relu(), Dense(3, 1.1), LayerNorm((2, 3)), Erf(), Flatten(), Dense(2))",
        f"serial({CONV}, Relu(), Dropout(0.6), {TOP})",
        f"serial({CONV}, Dropout(0.6), Dense(2), Relu(), Flatten(), Dropout(0.9), Dense(1))",
        f"serial({CONV}, Relu(), GlobalAvgPool(), Dropout(0.6))",
        f"serial({CONV}, Relu(), Dropout(0.6, 'test'), {TOP})",
    ],
    ("turned",): [
        f"serial({TURNED}, LayerNorm((1, 2), channel_axis=1))",
        f"serial({TURNED}, LayerNorm((1, -1), 1e-3, channel_axis=1), Relu(), Dropout(0.4),"
        " GlobalAvgPool(channel_axis=1), Dense(1))",
    ],
    ("image",): [f"serial({CONV}, LayerNorm((1, 3), 0.25))"],
}

#: Networks with Aggregate, by the kind of their inputs and of their pattern. After an odd number
#: of convolutions, which reverses its axes, the peer reads lists of edges in the wrong order.
GRAPHS = {
    ("image", "rows"): [
        "Aggregate(1)",
        "serial(Dense(3, 1.2, 0.3), Aggregate([-3]), Relu(), Dense(2, 1.1), GlobalAvgPool())",
        f"serial({CONV}, Aggregate(1), Relu(), Aggregate(1), Flatten(), Dense(2))",
        f"serial({CONV}, Relu(), Aggregate(1), {TOP})",
    ],
    ("image", "columns"): [f"serial({CONV}, Relu(), Aggregate(-2))"],
    ("image", "pixels"): [
        f"serial({CONV}, Relu(), Aggregate())",
        f"serial({CONV}, Aggregate((2, 1)), Relu(), Dense(3, 1.1, 0.1), LayerNorm(), Flatten())",
        f"serial({CONV}, Aggregate((1, 2), to_dense=TO_DENSE), Relu(), GlobalAvgPool())",
    ],
    ("turned", "rows"): [f"serial({TURNED}, Relu(), Aggregate(2, 0, 1))"],
    ("turned", "pixels"): [f"serial({TURNED}, Aggregate((2, 3), channel_axis=1), Erf())"],
    ("masked", "rows"): [
        f"serial({CONV}, Aggregate(1))",
        f"serial({CONV}, Relu(), Aggregate(1), {TOP})",
    ],
    ("masked", "pixels"): [f"serial({CONV}, Aggregate(), Relu(), Dense(1), Flatten())"],
    ("image", "row_edges"): [
        "serial(Dense(3, 1.2), Aggregate(1, implementation='SPARSE'), Relu(), Dense(2, 1.1, 0.1))",
    ],
    ("image", "pixel_edges"): [
        "serial(Dense(3, 1.2, 0.3), Relu(), Aggregate((1, 2), 0, -1, implementation='SPARSE'))",
        "serial(Dense(3, 1.2), Aggregate(implementation='SPARSE'), Relu(), Dense(3), Flatten())",
    ],
    ("vector", "weights"): ["serial(Dense(3, 1.2), Aggregate(), Relu(), Dense(1))"],
}  # fmt: skip

#: Layers without weights, in finite networks.
PLAIN = [
    ("LayerNorm()", "image", None),
    ("LayerNorm((1, 3), 0.5)", "image", None),
    ("LayerNorm([1, 2, -1])", "image", None),
    ("LayerNorm((2, 1), channel_axis=1)", "turned", None),
    ("LayerNorm()", "vector", None),
    ("Aggregate(1)", "image", "rows"),
    ("Aggregate(1)", "masked", "rows"),
    ("Aggregate(-2)", "image", "columns"),
    ("Aggregate()", "image", "pixels"),
    ("Aggregate((3, 2), channel_axis=1)", "turned", "pixels"),
    ("Aggregate(implementation='SPARSE')", "image", "pixel_edges"),
    ("Aggregate(1, implementation='SPARSE')", "image", "row_edges"),
    ("Aggregate()", "vector", "weights"),
]


def to_dense(pattern: Any) -> Any:
    """A decoding of patterns, which the tests repeat."""
    return 2 * pattern


SCOPE = {**vars(stax), "TO_DENSE": to_dense}


def make_inputs() -> dict[str, np.ndarray]:
    """Normal inputs, two batches of each kind, the second with ``b`` behind its name."""
    rng = np.random.default_rng(31)
    found = {}
    for end, n in (("", 2), ("b", 1)):
        image = rng.standard_normal((n, 3, 4, 2))
        masked = image.copy()
        masked[0, 2:], masked[-1, 0, 1] = MASK, MASK
        found[f"vector{end}"] = rng.standard_normal((n, 3))
        found[f"image{end}"], found[f"masked{end}"] = image, masked
        found[f"turned{end}"] = np.moveaxis(image, -1, 1)
    return found


def make_patterns() -> dict[str, np.ndarray]:
    """Adjacencies and lists of edges for two batches, padded with -1, with an edge repeated."""
    rng = np.random.default_rng(32)
    found = {}
    for end, n in (("", 2), ("b", 1)):
        found[f"rows{end}"] = rng.standard_normal((n, 3, 3))
        found[f"columns{end}"] = (rng.random((n, 4, 4)) < 0.5).astype(float)
        found[f"pixels{end}"] = rng.standard_normal((n, 3, 4, 3, 4))
        found[f"weights{end}"] = rng.standard_normal(n)
        rows = rng.integers(0, 3, (n, 5, 2))
        rows[0, 3:], rows[0, 1] = -1, rows[0, 0]
        pixels = np.stack([rng.integers(0, s, (n, 9, 2)) for s in (3, 4)], axis=2)
        pixels[0, 6:], pixels[0, 2, 1, 1], pixels[0, 4] = -1, -1, pixels[0, 3]
        found[f"row_edges{end}"], found[f"pixel_edges{end}"] = rows, pixels
    return found


def kernel(
    net: str, x: str, pattern: str | None, alone: bool, given: dict[str, Any]
) -> dict[str, Any]:
    """A case with the values of the peer, with a second batch or without."""
    x2, second = (None, None) if alone else (given[f"{x}b"], given.get(f"{pattern}b"))
    options: dict[str, Any] = {"mask_constant": MASK} if x == "masked" else {}
    if pattern is not None:
        options["pattern"] = (given[pattern], given[pattern] if alone else second)
    k = eval(net, SCOPE)[2](given[x], x2, None, **options)
    k = k.reverse() if k.is_reversed and not k.diagonal_spatial else k
    values = {name: np.asarray(getattr(k, name)) for name in FIELDS}
    values["ntk"] = np.broadcast_to(values["ntk"], values["nngp"].shape)
    lists = {name: shortened(v) for name, v in values.items()}
    case = {"net": net, "x": x, "alone": alone, "pattern": pattern, "gaussian": bool(k.is_gaussian)}
    return case | lists


def finite(net: str, x: str, pattern: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """A finite layer with the values of the peer, 0 where they are masked."""
    options: dict[str, Any] = {"mask_constant": MASK} if x == "masked" else {}
    if pattern is not None:
        options["pattern"] = given[pattern]
    apply_fn = stax.unmask_fn(eval(net, SCOPE)[1]) if options else eval(net, SCOPE)[1]
    out = np.asarray(apply_fn((), given[x], **options))
    return {"net": net, "x": x, "pattern": pattern, "value": shortened(out)}


def shortened(x: np.ndarray) -> Any:
    """An array as nested lists, to 13 digits."""
    return np.vectorize(lambda v: float(f"{v:.13g}"))(x).tolist()


def rows(items: list[dict[str, Any]]) -> str:
    """A JSON list with one item a line."""
    return "[\n" + ",\n".join(json.dumps(item) for item in items) + "\n]"


def main() -> None:
    """Write the table."""
    inputs, patterns = make_inputs(), make_patterns()
    given = inputs | patterns
    cases = [(net, x, None) for kinds, nets in NETWORKS.items() for x in kinds for net in nets]
    cases += [(net, x, pattern) for (x, pattern), nets in GRAPHS.items() for net in nets]
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
        "patterns": json.dumps({name: x.tolist() for name, x in patterns.items()}),
        "finite": rows([finite(*case, given) for case in PLAIN]),
        "kernels": rows([kernel(*case, alone, given) for case in cases for alone in (False, True)]),
    }
    text = ",\n".join(f'"{key}": {part}' for key, part in parts.items())
    (HERE / "normal.json").write_text(f"{{\n{text}\n}}\n")


if __name__ == "__main__":
    main()
