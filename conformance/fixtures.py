"""Which backends a test run covers, and how a test makes and reads their arrays."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntcore.backend import Backend, libraries, load

ALIASES = {"strict": "array_api_strict"}


@dataclass(frozen=True)
class Library:
    """One backend under test, with its arrays made from and read into NumPy's."""

    record: Backend

    @property
    def name(self) -> str:
        """Import name of the library."""
        return self.record.library

    @property
    def xp(self) -> Any:
        """Array API namespace of the library."""
        return self.record.namespace

    def asarray(self, x: Any, dtype: str = "float64") -> Any:
        """Return a NumPy array as one of the library's, on its default device."""
        dtype = getattr(self.record.namespace, dtype)
        return self.record.asarray(np.asarray(x), dtype, None)

    def to_numpy(self, x: Any) -> np.ndarray:
        """Return one of the library's arrays as NumPy's."""
        return np.asarray(self.record.to_numpy(x))

    def __repr__(self) -> str:
        return self.name


def installed() -> list[str]:
    """Return the libraries with a backend that can be imported here."""
    return [name for name in libraries() if importlib.util.find_spec(name) is not None]


def usable(name: str) -> str | None:
    """Return why a backend cannot run here, or None if it can."""
    if importlib.util.find_spec(name) is None:
        return f"{name} is not installed"
    try:
        backend = load(name)
        backend.namespace.zeros(1)
    except Exception as error:
        return f"{name} does not work here: {type(error).__name__}: {error}".splitlines()[0]
    return None if backend.devices() else f"{name} finds no device"


def library(name: str) -> Library:
    """Return a backend for tests, with float64 switched on where that is the caller's choice."""
    name = ALIASES.get(name, name)
    if name == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    return Library(load(name))


def names_for(option: str | None) -> list[str]:
    """Return the libraries a run covers: the one asked for, or every installed one."""
    return installed() if option is None else [ALIASES.get(option, option)]
