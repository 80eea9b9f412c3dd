"""The backend, the device and the data type that a command computes with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ntcore.backend import Array, Backend, libraries, load
from ntcore.cli.extras import present
from ntcore.cli.refusal import Refusal

ALIASES = {"strict": "array_api_strict"}
FIRST = ("numpy", "jax", "torch", "cupy")


@dataclass(frozen=True)
class Machine:
    """Where the demo computes: ``array`` brings data there and ``host`` brings it back."""

    backend: Backend
    dtype: Any
    device: Any
    installed: tuple[str, ...]

    def array(self, x: Any) -> Array:
        """Bring host data here, in the data type of the kernels."""
        return self.backend.asarray(x, self.dtype, self.device)

    def precise(self, x: Any) -> Array:
        """Bring an array here in float64."""
        return self.backend.asarray(x, self.backend.namespace.float64, self.device)

    def host(self, x: Array) -> Any:
        """Return a float64 NumPy array of an array."""
        import numpy as np

        return np.asarray(self.backend.to_numpy(x), dtype=np.float64)

    def with_dtype(self, name: str) -> Machine:
        """Return the same place with another data type."""
        dtype = getattr(self.backend.namespace, name)
        return Machine(self.backend, dtype, self.device, self.installed)


def installed() -> tuple[str, ...]:
    """Return the libraries with a backend that are installed here, without importing them."""
    names = [*FIRST, *(name for name in libraries() if name not in FIRST)]
    return tuple(name for name in names if present(name))


def machine(library: str | None, device: str | None, dtype: str) -> Machine:
    """Return the place asked for, or refuse it in one line."""
    here = installed()
    name = ALIASES.get(library or "", library) or here[0]
    if name not in libraries():
        raise Refusal(f"no backend is called {library!r}; installed: {', '.join(here)}")
    if name not in here:
        raise Refusal(f"{name} is not installed; installed: {', '.join(here)}")
    backend = _working(name, here)
    return Machine(backend, getattr(backend.namespace, dtype), _device(backend, device), here)


def _working(name: str, here: tuple[str, ...]) -> Backend:
    """Load a backend and compute one number with it."""
    try:
        if name == "jax":
            _allow_float64()
        backend = load(name)
        backend.to_numpy(backend.asarray(1.0, backend.namespace.float64, None))
    except Exception as error:  # whatever a broken installation raises
        others = ", ".join(other for other in here if other != name)
        raise Refusal(f"{name} does not work here ({reason(error)}); try {others}") from error
    return backend


def _allow_float64() -> None:
    """Let JAX hold float64 arrays; arrays of other data types stay as they are."""
    import jax

    jax.config.update("jax_enable_x64", True)


def _device(backend: Backend, wanted: str | None) -> Any:
    """Return the device of that name as the library's own object."""
    if wanted is None:
        return None
    names = backend.devices()
    name = names[0] if wanted == "cpu" and len(names) == 1 else wanted
    if name not in names:
        raise Refusal(
            f"{backend.library} has no device called {wanted!r}; it has {', '.join(names)}"
        )
    if backend.library == "jax":
        import jax

        return jax.devices()[names.index(name)]
    if backend.library == "cupy":
        import cupy

        return cupy.cuda.Device(names.index(name))
    return name


def reason(error: Exception) -> str:
    """Return the first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
