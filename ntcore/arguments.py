"""What callers of a network may pass, brought into one form."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from ntcore.backend import Place, backend_of, host, loaded, place_of
from ntcore.errors import ArgumentError, BackendError
from ntcore.network import Tree
from ntcore.plan import Options
from ntcore.result import FIELDS


def names_of(get: Any) -> tuple[str, ...]:
    """Return the fields that ``get`` asks for."""
    if get is None:
        return FIELDS
    asked = (get,) if isinstance(get, str) else tuple(get)
    names = tuple(str(name).lower() for name in asked)
    for name in names:
        if name not in FIELDS:
            raise ArgumentError(
                f"get={name!r} is not a field of Kernel; it has {', '.join(FIELDS)}."
            )
    if not names:
        raise ArgumentError("get is empty; ask for 'nngp', 'ntk' or another field of Kernel.")
    return names


def options_of(
    names: tuple[str, ...],
    diagonal_spatial: bool | None,
    itemsize: int = 4,
    memory_budget: int | None = None,
) -> Options:
    """Return what is asked of a plan."""
    if memory_budget is not None and not memory_budget > 0:
        raise ArgumentError(f"memory_budget={memory_budget!r}; give a positive number of bytes.")
    return Options(
        ntk="ntk" in names,
        nngp="nngp" in names or "ntk" not in names,
        cov=bool({"cov1", "cov2"} & set(names)),
        diagonal_spatial=bool(diagonal_spatial),
        itemsize=itemsize,
        memory_budget=None if memory_budget is None else int(memory_budget),
    )


def selected(kernel: Any, get: Any, names: tuple[str, ...]) -> Any:
    """Return what ``get`` asks for of a kernel."""
    if get is None:
        return kernel
    if isinstance(get, str):
        return getattr(kernel, names[0])
    return namedtuple("AnalyticKernel", names)(*(getattr(kernel, n) for n in names))


def tuples(x: Any) -> Tree:
    """Turn lists into tuples."""
    return tuple(map(tuples, x)) if isinstance(x, (list, tuple)) else x


def deep_tuple(params: Any) -> Any:
    """Turn the lists in a tree of parameters into tuples."""
    return tuple(map(deep_tuple, params)) if isinstance(params, (list, tuple)) else params


def refuse_unknown(function: str, kwargs: dict[str, Any]) -> None:
    """Raise :class:`ArgumentError` for an argument that a function does not have."""
    if kwargs:
        raise ArgumentError(f"{function} got an unknown argument {sorted(kwargs)[0]!r}.")


def place_of_rng(rng: Any, like: Any) -> tuple[Place, Any]:
    """Return where parameters are drawn, and the random state to draw them with."""
    if isinstance(rng, int) and not isinstance(rng, bool):
        at = place_of([like if like is not None else host().namespace.zeros(1)])
        return Place(at.backend, at.dtype, at.device), rng
    for backend in loaded():
        if backend.is_rng(rng):
            return _native_place(backend, rng, like), rng
    raise ArgumentError(
        f"rng is a {type(rng).__name__}; give an integer seed, a numpy.random.Generator, a JAX key "
        "or a torch.Generator."
    )


def _native_place(backend: Any, rng: Any, like: Any) -> Place:
    sample_array = like if like is not None else backend.normal(rng, (1,), None, None)
    if backend_of(sample_array) is not backend:
        raise BackendError(
            f"rng belongs to {backend.library} but like is a {backend_of(sample_array).library} "
            "array; use an integer seed, or a random state of the same library."
        )
    return place_of([sample_array])
