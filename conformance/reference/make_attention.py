"""Write the table of attention of neural_tangents, the peer of ntcore.

Run by hand, in the environment that make_reference.py describes, never by the tests::

    PEER/bin/python conformance/reference/make_attention.py

It writes ``attention.json``, beside this file, in float64: ``kernels`` of infinite networks, and
``finite`` networks, each with the parameters that the peer drew. Inputs equal to
``mask_constant`` are masked in the cases that say so. ``left_out`` says what the peer cannot do.
"""

import json
import os
import platform
import warnings
from pathlib import Path
from typing import Any

os.environ["JAX_ENABLE_X64"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import neural_tangents as nt
import numpy as np
from neural_tangents import stax

HERE = Path(__file__).parent
FIELDS = ("nngp", "ntk", "cov1")
MASK = 100.0
STDS = "W_key_std=1.1, W_value_std=.9, W_query_std=1.3, W_out_std=.8, b_std=.3"
LEFT_OUT = [
    {
        "what": "masks on the inputs of a first layer of attention",
        "why": "raises NotImplementedError: masks of several channels",
    },
    {
        "what": "positional embeddings with x1 and x2 of different sizes",
        "why": "raises TypeError: it adds the covariance of the positions of x1 to both",
    },
    {
        "what": "finite networks with masks that append embeddings of other channels than x",
        "why": "raises ValueError: it masks the embeddings with the shape of the inputs",
    },
    {
        "what": "finite networks with pos_emb_decay_fn",
        "why": "draws independent embeddings, whose covariance is not that of its kernel",
    },
]

MECHANISMS = ["'SOFTMAX'", "'IDENTITY'", "'ABS'", "'RELU'"]
EMBEDDINGS = [
    "pos_emb_type='SUM', W_pos_emb_std=.7",
    "pos_emb_type='SUM', pos_emb_decay_fn=inverse, val_pos_emb=True",
    "pos_emb_type='CONCAT', pos_emb_decay_fn=inverse, pos_emb_p_norm=1, W_pos_emb_std=1.2",
    "pos_emb_type='CONCAT', n_chan_pos_emb=7, W_pos_emb_std=.7, val_pos_emb=True",
]


def inverse(distance: Any) -> Any:
    """A decay of the covariance of embeddings."""
    return 1 / (1 + distance)


def attention(mechanism: str, rest: str = "", linear: bool = True, stds: str = STDS) -> str:
    """The expression of one layer."""
    options = [f"linear_scaling={linear}", f"attention_mechanism={mechanism}", stds, rest]
    return f"GlobalSelfAttention(4, 3, 5, 2, {', '.join(o for o in options if o)})"


def every_mechanism(rest: str = "") -> list[str]:
    """Every mechanism that has a kernel."""
    linear = [attention(mechanism, rest) for mechanism in MECHANISMS]
    return [*linear, attention("'IDENTITY'", rest, False)]


SOFT, SQUARE = attention("'SOFTMAX'"), attention("'IDENTITY'", "", False)
MOVED = "batch_axis=1, channel_axis=0"
DEEP = [
    f"serial(Conv(4, (3,), padding='SAME', b_std=.2), Erf(), {SOFT}, Erf(), {SQUARE})",
    f"serial(Dense(6, 1.2), Erf(), {SOFT}, Erf(), Conv(3, (2,)), GlobalAvgPool(), Dense(1))",
    f"serial(FanOut(2), parallel({SOFT}, Dense(4)), FanInSum(), Erf(), {SOFT}, Flatten())",
    f"serial(Dense(6), Erf(), {attention(MECHANISMS[0], EMBEDDINGS[1])}, GlobalAvgPool())",
    f"serial(Dense(6), Erf(), {attention(MECHANISMS[1], EMBEDDINGS[3], False)}, GlobalAvgPool())",
    "serial(Dense(4), GlobalSelfAttention(4, 3, 5, 2), Erf(), Flatten())",
]
NETWORKS: dict[str, list[str]] = {
    "line": [
        *every_mechanism(),
        *(net for rest in EMBEDDINGS for net in every_mechanism(rest)),
        *DEEP,
    ],
    "image": [SOFT, SQUARE, *(attention("'SOFTMAX'", rest) for rest in EMBEDDINGS[1:3]), DEEP[5]],
    "volume": [attention("'SOFTMAX'", EMBEDDINGS[2])],
    "turned": [attention("'RELU'", f"{EMBEDDINGS[1]}, {MOVED}")],
}
UNEVEN = [SOFT, SQUARE, attention("'ABS'"), DEEP[1]]
MASKED = [
    *(
        f"serial(Dense(6, 1.2), {net})"
        for rest in ("", *EMBEDDINGS[2:])
        for net in every_mechanism(rest)
    ),
    *(DEEP[1], *DEEP[3:]),
]
FINITE = [
    *every_mechanism(),
    attention("'SOFTMAX'", "", False),
    attention("'ABS'", EMBEDDINGS[0]),
    attention("'SOFTMAX'", "pos_emb_type='SUM', val_pos_emb=True"),
    attention("'SOFTMAX'", "pos_emb_type='CONCAT', val_pos_emb=True", False),
]
APPENDED = attention("'RELU'", EMBEDDINGS[3])


def make_inputs() -> dict[str, np.ndarray]:
    """Normal inputs: sequences of two lengths, images, volumes, and masked sequences."""
    rng = np.random.default_rng(31)
    sizes = {"line": (4,), "image": (2, 3), "volume": (2, 1, 2)}
    pairs = [(name, s, n) for name, s in sizes.items() for n in (2, 1)]
    found = {name + "b" * (n == 1): rng.standard_normal((n, *s, 3)) for name, s, n in pairs}
    found["longer"] = rng.standard_normal((1, 5, 3))
    holed, holedb = rng.standard_normal((3, 4, 3)), rng.standard_normal((1, 4, 3))
    holed[0, 2:], holed[1, 0], holed[2], holedb[0, 3] = (MASK,) * 4
    found |= {"holed": holed, "holedb": holedb}
    found |= {f"turned{b}": np.transpose(found[f"image{b}"], (3, 0, 1, 2)) for b in ("", "b")}
    return found


def network(net: str) -> Any:
    """The triple of an expression."""
    return eval(net, {**vars(stax), "inverse": inverse})


def evaluated(
    net: str, x1: str, x2: str | None, inputs: dict[str, Any], masked: bool = False
) -> dict[str, Any]:
    """A kernel case with the values of the peer."""
    second = None if x2 is None else inputs[x2]
    constant = MASK if masked else None
    k = network(net)[2](inputs[x1], second, None, mask_constant=constant)
    k = k.reverse() if k.is_reversed else k
    lists = {name: np.asarray(getattr(k, name)).tolist() for name in FIELDS}
    return {"net": net, "x1": x1, "x2": x2, "masked": masked, **lists}


def finite(net: str, x: str, inputs: dict[str, Any], masked: bool = False) -> dict[str, Any]:
    """A finite network with its parameters and the values of the peer."""
    init_fn, apply_fn, _ = network(net)
    _, params = init_fn(jax.random.PRNGKey(0), inputs[x].shape)
    # JAX's own arrays, since the peer multiplies NumPy's embeddings in place.
    drawn = tuple(None if p is None else jnp.round(p, 3) for p in params)
    out = apply_fn(drawn, inputs[x], mask_constant=MASK if masked else None)
    value = np.where(out.mask, 0.0, out.masked_value) if masked else np.asarray(out)
    lists = [None if p is None else p.tolist() for p in drawn]
    return {"net": net, "x": x, "masked": masked, "params": lists, "value": value.tolist()}


def rows(items: list[dict[str, Any]]) -> str:
    """A JSON list with one item a line."""
    return "[\n" + ",\n".join(json.dumps(item) for item in items) + "\n]"


def main() -> None:
    """Write the table."""
    warnings.simplefilter("ignore")
    inputs = make_inputs()
    pairs = [(net, x) for x, nets in NETWORKS.items() for net in nets]
    kernels = [
        *(evaluated(net, x, x2, inputs) for net, x in pairs for x2 in (f"{x}b", None)),
        *(evaluated(net, "line", "longer", inputs) for net in UNEVEN),
        *(evaluated(net, "holed", x2, inputs, True) for net in MASKED for x2 in ("holedb", None)),
    ]
    drawn = [
        *(finite(net, "line", inputs) for net in (*FINITE, APPENDED)),
        *(finite(net, "holed", inputs, True) for net in FINITE),
        finite(attention("'SOFTMAX'", EMBEDDINGS[0]), "image", inputs),
        finite(attention("'SOFTMAX'", f"{EMBEDDINGS[3]}, {MOVED}"), "turned", inputs),
    ]
    versions = {
        "neural_tangents": nt.__version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    parts = {
        "versions": json.dumps(versions),
        "left_out": rows(LEFT_OUT),
        "mask_constant": json.dumps(MASK),
        "inputs": json.dumps({name: x.tolist() for name, x in inputs.items()}),
        "finite": rows(drawn),
        "kernels": rows(kernels),
    }
    text = ",\n".join(f'"{key}": {part}' for key, part in parts.items())
    (HERE / "attention.json").write_text(f"{{\n{text}\n}}\n")


if __name__ == "__main__":
    main()
