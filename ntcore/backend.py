"""How the backend of an array is found, and the place where several arrays are.

Nothing is imported that the caller has not imported: a backend is looked at only once its library
is in ``sys.modules``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from ntcore.capabilities import Array as Array
from ntcore.capabilities import Backend as Backend
from ntcore.capabilities import Linalg as Linalg
from ntcore.capabilities import Loan as Loan
from ntcore.capabilities import Place as Place
from ntcore.errors import BackendError, DTypeError
from ntcore.record import on_record

ENTRY_POINTS = "ntcore.backends"
_BUILT_IN = {
    "numpy": "ntcore.backends.numpy",
    "cupy": "ntcore.backends.cupy",
    "jax": "ntcore.backends.jax",
    "torch": "ntcore.backends.torch",
    "array_api_strict": "ntcore.backends.strict",
}


@cache
def libraries() -> dict[str, str]:
    """Return the module of every known backend by the import name of its library."""
    found = {e.name: e.value for e in entry_points(group=ENTRY_POINTS)}
    return {**found, **_BUILT_IN}


@cache
def load(library: str) -> Backend:
    """Return the backend of a library, importing the library."""
    known = libraries()
    if library not in known:
        raise BackendError(f"no backend is called {library!r}; there are {', '.join(known)}.")
    backend: Backend = importlib.import_module(known[library]).BACKEND
    if backend.register_pytree is not None:
        on_record(backend.register_pytree)
    return backend


def host() -> Backend:
    """Return the backend that holds static integer tables, and what Python numbers become."""
    return load("numpy")


def loaded() -> list[Backend]:
    """Return the backends whose libraries the caller has imported."""
    return [load(name) for name in libraries() if name in sys.modules]


def is_number(x: object) -> bool:
    """Whether ``x`` is a plain Python number."""
    return isinstance(x, (bool, int, float))


def backend_of(x: object) -> Backend:
    """Return the backend that owns an array, or raise :class:`BackendError`.

    An array may bring its own, as those on a tape do.
    """
    own: Backend | None = getattr(x, "__ntcore_backend__", None)
    if own is not None:
        return own
    for backend in loaded():
        if backend.owns(x):
            return backend
    raise BackendError(
        f"an array was expected but {type(x).__module__}.{type(x).__qualname__} came; "
        f"pass an array of one of {', '.join(libraries())}."
    )


def place_of(arrays: Iterable[object], leaves: Iterable[object] = ()) -> Place:
    """Return the common place of some arrays and of the leaves of a network.

    The data type is that of the arrays; leaves only choose the backend (NumPy arrays follow a
    JAX leaf, as they do in JAX itself). A leaf that is a NumPy array is a constant, and goes
    wherever the arrays are.

    Raises
    ------
    BackendError
        Arrays of two libraries or two devices.
    DTypeError
        An array that is not real floating point.
    """
    arrays = list(arrays)
    everything = arrays + [x for x in leaves if not (is_number(x) or host().owns(x))]
    backend = _common_backend([backend_of(x) for x in everything])
    dtype = backend.namespace.result_type(*[_floating(backend, x) for x in arrays])
    own = [backend.device(x) for x in everything if backend.owns(x)]
    devices = [d for d in own if d is not None]
    if any(d != devices[0] for d in devices):
        raise BackendError(
            f"arrays are on different devices ({', '.join(sorted({str(d) for d in devices}))}); "
            "move them to one."
        )
    return Place(backend, dtype, devices[0] if devices else None)


def _common_backend(found: list[Backend]) -> Backend:
    names = {b.library for b in found}
    for backend in found:
        if names <= {backend.library, *backend.adopts}:
            return backend
    raise BackendError(
        f"arrays of {' and '.join(sorted(names))} were passed together; convert them to one "
        "library first."
    )


def _floating(backend: Backend, x: Any) -> Any:
    """Return the data type an array has on a backend, refusing what is not real floating."""
    owner = backend_of(x)
    if not owner.namespace.isdtype(x.dtype, "real floating"):
        raise DTypeError(
            f"a kernel needs real floating-point inputs but {x.dtype} came; convert the array "
            "first, for example to float32 or float64."
        )
    return x.dtype if owner is backend else backend.asarray(x, None, None).dtype
