"""Write the table of elementwise layers of neural_tangents, the peer of ntcore.

Run by hand, in the environment that make_reference.py describes, never by the tests::

    PEER/bin/python conformance/reference/make_elementwise.py

It takes about two minutes on two cores, works in float64, and writes ``elementwise.json``, beside
this file:

* ``kernels``: cases with the expression of the network for the peer (``net``, in the names of its
  ``stax`` and of ``FUNCTIONS``) and for ntcore (``ours``), the names of the inputs, and the values;
* ``functions``: what ``apply_fn`` of a layer returns for ``POINTS``;
* ``inputs``: the inputs by name.

Activations that the peer lacks are integrated by its ``ElementwiseNumerical`` with many nodes.
"""

import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["JAX_ENABLE_X64"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import neural_tangents as nt
import numpy as np
from neural_tangents import stax

Case = dict[str, Any]

HERE = Path(__file__).parent
POINTS = [-3.1, -1.2, -0.4, 0.0, 0.3, 0.9, 2.5]
DEGREE = 120


def square(x: Any) -> Any:
    """A function for ``Elementwise``."""
    return x**2


def square_nngp(cov12: Any, var1: Any, var2: Any) -> Any:
    """Its moment; the peer differentiates it."""
    return var1 * var2 + 2 * cov12**2


FUNCTIONS = {
    "square": square,
    "square_nngp": square_nngp,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "silu": jax.nn.silu,
}

#: Layers of both, by name; a pair where ntcore says it in other words.
LAYERS: tuple[str | tuple[str, str], ...] = (
    "Sign()", "Sigmoid_like()", "Gelu()", "Gelu(approximate=True)", "Sin()", "Sin(1.3, 0.7, 0.4)",
    "Cos()", "Cos(0.8, 1.2, -0.3)", "Rbf()", "Rbf(0.4)", "Exp()", "Exp(1.2, -0.4)",
    "ExpNormalized()", "ExpNormalized(0.7, -0.6, True)", "Gaussian()", "Gaussian(1.3, -0.4)",
    "Gabor()", "Monomial(0)", "Monomial(1)", "Monomial(2)", "Monomial(3)", "Monomial(4)",
    "Monomial(5)", "RectifiedMonomial(0)", "RectifiedMonomial(1)", "RectifiedMonomial(2)",
    "RectifiedMonomial(3)", "RectifiedMonomial(4)", "Polynomial((0.3, -0.2, 0.5, 0.1))",
    "Polynomial((0.7,))", "Polynomial((0.1, 0.0, 0.0, 0.0, 0.2))",
    ("Elementwise(square, square_nngp)", "Elementwise(square, square_nngp, square_slope)"),
)  # fmt: skip

#: Layers that the peer integrates, which is exact for small variances alone.
INTEGRATED: tuple[str | tuple[str, str], ...] = (
    f"ElementwiseNumerical(tanh, {DEGREE})",
    (f"ElementwiseNumerical(tanh, {DEGREE})", "Tanh(1e-12)"),
    (f"ElementwiseNumerical(sigmoid, {DEGREE})", "Sigmoid(1e-12)"),
    (f"ElementwiseNumerical(softplus, {DEGREE})", "Softplus(1e-12)"),
    (f"ElementwiseNumerical(silu, {DEGREE})", "Silu(1e-12)"),
)

#: Layers that the peer computes for inputs of variance 1 alone.
NORMALIZED = ("Hermite(0)", "Hermite(1)", "Hermite(2)", "Hermite(3)", "Hermite(5)")

#: Layers that are NaN for an example and itself, and so in the second layer of a deep network.
SHALLOW = ("RectifiedMonomial",)

#: Layers without a network of finite width.
INFINITE = ("ExpNormalized",)

NETWORKS = {
    "one": ("serial(Dense(3, 1.3, 0.2), {0})", "vec4", "vec3"),
    "deep": (
        "serial(Dense(3, 0.9, 0.2), {0}, Dense(3, 0.8, 0.3), {0}, Dense(1, 1.1, 0.1))",
        "vec4", "vec3",
    ),
    "conv": (
        "serial(Conv(3, (2, 2), W_std=1.2, b_std=0.1), {0}, Flatten(), Dense(1, 1.1))",
        "ims", "imsb",
    ),
}  # fmt: skip
SMALL = {
    "one": ("serial(Dense(3, 0.6, 0.2), {0})", "vec4", "vec3"),
    "deep": (
        "serial(Dense(3, 0.6, 0.2), {0}, Dense(3, 0.8, 0.3), {0}, Dense(1, 1.1, 0.1))",
        "vec4", "vec3",
    ),
    "conv": (
        "serial(Conv(3, (2, 2), W_std=0.6, b_std=0.1), {0}, Flatten(), Dense(1, 1.1))",
        "ims", "imsb",
    ),
}  # fmt: skip
UNIT = {
    "unit": ("serial(Dense(3, 1.0, None), {0})", "unit4", "unit3"),
    "unit-deep": ("serial(Dense(3), {0}, Dense(3), {0}, Dense(1, 1.2, 0.1))", "unit4", "unit3"),
}


def make_inputs() -> dict[str, np.ndarray]:
    """Independent normal inputs, and some of variance 1."""
    rng = np.random.default_rng(20)
    inputs = {
        "vec4": rng.standard_normal((4, 5)),
        "vec3": rng.standard_normal((3, 5)),
        "ims": rng.standard_normal((2, 3, 3, 2)),
        "imsb": rng.standard_normal((1, 3, 3, 2)),
    }
    for name in ("4", "3"):
        x = inputs[f"vec{name}"]
        inputs[f"unit{name}"] = x / np.sqrt(np.mean(x**2, axis=1, keepdims=True))
    return inputs


def kernel_cases() -> Iterator[Case]:
    """Every layer in every network."""
    groups = ((LAYERS, NETWORKS), (INTEGRATED, SMALL), (NORMALIZED, UNIT))
    for layer, networks in [(layer, nets) for layers, nets in groups for layer in layers]:
        theirs, ours = layer if isinstance(layer, tuple) else (layer, layer)
        for name, (net, x1, x2) in networks.items():
            if name == "deep" and theirs.startswith(SHALLOW):
                continue
            yield {
                "name": f"{ours}-{name}",
                "net": net.format(theirs),
                "ours": net.format(ours),
                "x1": x1,
                "x2": x2,
            }


def evaluated(case: Case, inputs: dict[str, np.ndarray]) -> Case:
    """A case with the values of the peer."""
    names = {**vars(stax), **FUNCTIONS}
    both = ("nngp", "ntk")
    k = eval(case["net"], names)[2](inputs[case["x1"]], inputs[case["x2"]], both)
    assert all(np.all(np.isfinite(getattr(k, field))) for field in both), case["name"]
    return {**case, **{field: np.asarray(getattr(k, field)).tolist() for field in both}}


def function_cases() -> Iterator[Case]:
    """What each layer of finite width returns for the same points."""
    names = {**vars(stax), **FUNCTIONS}
    x = np.array(POINTS)[:, None]
    for layer in [*LAYERS, *INTEGRATED, *NORMALIZED]:
        theirs, ours = layer if isinstance(layer, tuple) else (layer, layer)
        if not theirs.startswith(INFINITE):
            y = eval(theirs, names)[1]((), x)
            yield {"ours": ours, "y": np.asarray(y)[:, 0].tolist()}


def rows(items: list[Case]) -> str:
    """A JSON list with one item a line."""
    return "[\n" + ",\n".join(json.dumps(item) for item in items) + "\n]"


def main() -> None:
    """Write the table."""
    inputs = make_inputs()
    versions = {
        "neural_tangents": nt.__version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    parts = {
        "versions": json.dumps(versions),
        "inputs": json.dumps({name: x.tolist() for name, x in inputs.items()}),
        "points": json.dumps(POINTS),
        "functions": rows(list(function_cases())),
        "kernels": rows([evaluated(case, inputs) for case in kernel_cases()]),
    }
    text = ",\n".join(f'"{key}": {part}' for key, part in parts.items())
    (HERE / "elementwise.json").write_text(f"{{\n{text}\n}}\n")


if __name__ == "__main__":
    main()
