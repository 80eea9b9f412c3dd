"""Functions and arguments whose empirical kernels are compared with neural_tangents.

Imported by the script that writes the table, in an environment of its own, and by the tests; each
function is written for the namespace ``xp`` of its arrays.
"""

from __future__ import annotations

import numpy as np


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    """Numbers that are the same in every environment."""
    return np.random.Generator(np.random.Philox(seed)).standard_normal(shape)


X1, X2 = draw(4, 3, seed=1), draw(3, 3, seed=2)
IMAGES1, IMAGES2 = draw(3, 6, 6, 2, seed=3), draw(2, 6, 6, 2, seed=4)


def mlp_params() -> dict:
    return {
        "first": (0.6 * draw(3, 8, seed=5), draw(8, seed=6)),
        "last": [0.5 * draw(8, 12, seed=7), 0.1 * draw(12, seed=8)],
    }


def mlp(xp, params, x):
    """Two layers of weights; the output has the shape (n, 2, 3, 2)."""
    w, b = params["first"]
    v, c = params["last"]
    return xp.reshape(xp.tanh(x @ w + b) @ v + c, (x.shape[0], 2, 3, 2))


def tree(xp, params, x):
    """A dictionary of outputs, some in a tuple."""
    y = mlp(xp, params, x)
    return {"mean": xp.mean(y, axis=(2, 3)), "pair": (y[:, :, 0, :], xp.sin(y))}


def inputs(xp, params, x):
    """A tree of inputs, and weights used twice."""
    once = mlp(xp, params, x["one"])
    return once + xp.exp(0.1 * mlp(xp, params, x["two"][0]))


def attention_params() -> dict:
    return {name: 0.5 * draw(3, 3, seed=9 + i) for i, name in enumerate("qkvo")}


def attention(xp, params, x):
    """One head over 4 tokens of 3 features, with layer normalisation; the output is (n, 4, 3)."""
    tokens = xp.reshape(xp.concat([x, 2 * x, x * x, x + 1], axis=1), (x.shape[0], 4, 3))
    centred = tokens - xp.mean(tokens, axis=-1, keepdims=True)
    tokens = centred / xp.sqrt(xp.mean(centred**2, axis=-1, keepdims=True) + 1e-5)
    q, k, v = (tokens @ params[name] for name in "qkv")
    scores = xp.exp(q @ xp.permute_dims(k, (0, 2, 1)) / 3**0.5)
    return (scores / xp.sum(scores, axis=-1, keepdims=True)) @ v @ params["o"]


#: Name of the case -> (function, parameters, x1, x2).
FUNCTIONS = {
    "mlp": (mlp, mlp_params(), X1, X2),
    "attention": (attention, attention_params(), X1, X2),
    "inputs": (
        inputs,
        mlp_params(),
        {"one": X1, "two": [0.5 * X1]},
        {"one": X2, "two": [0.5 * X2]},
    ),
}

#: Pairs of trace_axes and diagonal_axes, for outputs (n, 2, 3, 2).
AXES = (((-1,), ()), ((), ()), ((), (1,)), ((1,), (-1,)), ((), (3, 1)), ((2, 1, 3), ()))
SAME_AXES = (((-1,), (0,)), ((0,), (1,)), ((), (0, 2)))


def conv_layers(stax):
    """A network with strides, padding and pooling, in either library."""
    return stax.serial(
        stax.Conv(4, (3, 3), (2, 2), "SAME", W_std=1.2, b_std=0.3),
        stax.Relu(),
        stax.Conv(3, (2, 2), padding="VALID", b_std=0.1),
        stax.Erf(),
        stax.AvgPool((2, 2)),
        stax.Flatten(),
        stax.Dense(5, b_std=0.2),
    )


def residual_layers(stax):
    """A residual network with a global pool, in either library."""
    main = stax.serial(stax.Relu(), stax.Conv(4, (3, 3), padding="SAME"))
    return stax.serial(
        stax.Conv(4, (3, 3), padding="SAME", b_std=0.1),
        stax.FanOut(2),
        stax.parallel(main, stax.Identity()),
        stax.FanInSum(),
        stax.GlobalAvgPool(),
        stax.Dense(3),
    )


NETWORKS = {"conv": conv_layers, "residual": residual_layers}


def numbers(shapes, seed: int):
    """Parameters with the structure of ``shapes``, a tree of arrays or of None."""
    if isinstance(shapes, (tuple, list)):
        return tuple(numbers(s, seed + 7 * i + 1) for i, s in enumerate(shapes))
    return None if shapes is None else draw(*shapes.shape, seed=seed)
