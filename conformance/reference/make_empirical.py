"""Write empirical.json: empirical kernels of neural_tangents 0.6.5, in float64.

Run in an environment that holds it: ``JAX_ENABLE_X64=1 python make_empirical.py``.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import neural_tangents as nt
import numpy as np
from empirical_cases import (
    AXES,
    FUNCTIONS,
    IMAGES1,
    IMAGES2,
    NETWORKS,
    SAME_AXES,
    X1,
    X2,
    attention,
    mlp,
    mlp_params,
    numbers,
    tree,
)
from neural_tangents import stax

SCALED = 1.3


class Space:
    """jax.numpy of that release, with the two names of the standard that it lacks."""

    concat, permute_dims = staticmethod(jnp.concatenate), staticmethod(jnp.transpose)

    def __getattr__(self, name):
        return getattr(jnp, name)


def plain(value):
    """A tree of arrays as a tree of lists."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if hasattr(value, "_fields"):
        return {k: plain(v) for k, v in zip(value._fields, value, strict=True)}
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    return np.asarray(value).tolist()


def table() -> dict:
    space, found = Space(), {}
    for name, (fn, params, x1, x2) in FUNCTIONS.items():
        f = partial(fn, space)
        axes = AXES if fn is not attention else (((-1,), ()), ((), ()), ((), (1, 2)), ((1, 2), ()))
        for trace, diagonal in axes:
            kernel_fn = nt.empirical_kernel_fn(f, trace, diagonal)
            found[f"{name} {trace} {diagonal}"] = plain(kernel_fn(x1, x2, None, params))
        for trace, diagonal in SAME_AXES if fn is mlp else ():
            kernel_fn = nt.empirical_kernel_fn(f, trace, diagonal)
            found[f"{name} {trace} {diagonal} same"] = plain(kernel_fn(x1, None, None, params))
    f, params = partial(mlp, space), mlp_params()
    found["tree"] = plain(nt.empirical_ntk_fn(partial(tree, space))(X1, X2, params))
    moved = jax.tree_util.tree_map(lambda a: SCALED * a, params)
    found["vp"] = plain(nt.empirical_ntk_vp_fn(f, X1, X2, params)(f(params, X2)))
    found["linearize"] = plain(nt.linearize(f, params)(moved, X1))
    found["taylor"] = [plain(nt.taylor_expand(f, params, d)(moved, X1)) for d in range(4)]
    for name, layers in NETWORKS.items():
        init_fn, apply_fn, _ = layers(stax)
        params = numbers(init_fn(jax.random.PRNGKey(0), IMAGES1.shape)[1], 100)
        for trace, diagonal in (((-1,), ()), ((), ()), ((), (1,))):
            kernel_fn = nt.empirical_kernel_fn(apply_fn, trace, diagonal)
            found[f"{name} {trace} {diagonal}"] = plain(kernel_fn(IMAGES1, IMAGES2, None, params))
    return found


if __name__ == "__main__":
    assert jax.config.jax_enable_x64
    path = Path(__file__).with_name("empirical.json")
    path.write_text(json.dumps(table(), separators=(",", ":")) + "\n", "utf-8")
    print(path, path.stat().st_size)
