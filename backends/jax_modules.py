"""flax and equinox modules as functions of their parameters; neither library is imported here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import jax

from ntcore.errors import DerivativeError

TRAINING = ("ModifyScopeVariableError", "InvalidRngError", "TraceContextError")


def adapt(f: Any, params: Any) -> tuple[Any, ...] | None:
    """Return a module of flax or of equinox as a function; None for anything else."""
    for library, read in (("flax", _flax), ("equinox", _equinox)):
        if library in sys.modules:
            found = read(sys.modules[library], f, params)
            if found is not None:
                return found
    return None


def _flax(flax: Any, f: Any, params: Any) -> tuple[Any, ...] | None:
    linen, nnx = getattr(flax, "linen", None), getattr(flax, "nnx", None)
    if nnx is not None and isinstance(f, nnx.Module):
        return _nnx(flax, nnx, f, params)
    if linen is None or not isinstance(f, linen.Module):
        return None
    if not (hasattr(params, "keys") and "params" in params):
        return _evaluated(flax, f.apply), params, None, True
    rest = {name: value for name, value in params.items() if name != "params"}
    apply = lambda p, x, **kwargs: f.apply({**rest, "params": p}, x, **kwargs)  # noqa: E731
    return _evaluated(flax, apply), params["params"], None, True


def _evaluated(flax: Any, apply: Callable[..., Any]) -> Callable[..., Any]:
    """Say what is wrong with a module that would change, or that draws numbers."""
    training = tuple(getattr(flax.errors, name) for name in TRAINING if hasattr(flax.errors, name))

    def call(p: Any, x: Any, **kwargs: Any) -> Any:
        try:
            return apply(p, x, **kwargs)
        except training as error:
            raise DerivativeError(
                "the flax module changes its variables or draws random numbers when it is applied, "
                "as BatchNorm and Dropout do in train mode; build it with "
                "use_running_average=True and deterministic=True, or call module.eval(): "
                f"{str(error).splitlines()[0]}"
            ) from error

    return call


def _nnx(flax: Any, nnx: Any, f: Any, params: Any) -> tuple[Any, ...]:
    graph, own, rest = nnx.split(f, nnx.Param, ...)

    def apply(p: Any, x: Any, **kwargs: Any) -> Any:
        return nnx.merge(graph, p, rest)(x, **kwargs)

    return _evaluated(flax, apply), own if params is None else params, None, True


def _equinox(equinox: Any, f: Any, params: Any) -> tuple[Any, ...] | None:
    """An equinox module takes one example; a batch of them goes through ``vmap``."""
    if not isinstance(f, equinox.Module):
        return None
    own, rest = equinox.partition(f, equinox.is_inexact_array)

    def apply(p: Any, x: Any, **kwargs: Any) -> Any:
        whole = equinox.combine(p, rest)
        try:
            return jax.vmap(lambda one: whole(one, **kwargs))(x)
        except RuntimeError as error:
            if "requires a key" not in str(error):
                raise
            raise DerivativeError(
                "the equinox module draws random numbers when it is applied, as Dropout does in "
                "train mode; pass equinox.nn.inference_mode(module)."
            ) from error

    given = own if params is None else equinox.filter(params, equinox.is_array)
    return apply, given, _stateful(equinox, f), True


def _stateful(equinox: Any, f: Any) -> str | None:
    """Return why a module cannot be a function of its parameters, by the name of a layer."""

    def stateful(layer: Any) -> bool:
        return isinstance(layer, equinox.nn.StatefulLayer) and layer.is_stateful()

    layers = jax.tree.leaves(f, is_leaf=stateful)
    names = [type(layer).__name__ for layer in layers if stateful(layer)]
    if not names:
        return None
    return (
        f"{names[0]} of equinox takes a state and returns another, as in train mode, where it may "
        "mix the examples of a batch; give f(params, x) that applies the module in inference mode."
    )
