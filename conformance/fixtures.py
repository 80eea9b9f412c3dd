"""Which backends a test run covers, and how a test makes and reads their arrays."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest import mock

import numpy as np

from ntcore import backend as discovery
from ntcore.backend import Backend, libraries, load
from ntcore.record import on_record

ALIASES = {"strict": "array_api_strict"}
DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class Library:
    """One backend under test, with its arrays made from and read into NumPy's.

    Attributes
    ----------
    record : Backend
        The backend.
    where : str or None
        The name of a device, as ``Backend.devices`` lists them; None is the library's default.
    """

    record: Backend
    where: str | None = None

    @property
    def name(self) -> str:
        """Import name of the library."""
        return self.record.library

    @property
    def xp(self) -> Any:
        """Array API namespace of the library."""
        return self.record.namespace

    @property
    def device(self) -> Any:
        """The device as the library's own object, or None for its default."""
        return None if self.where is None else device_of(self.record, self.where)

    def asarray(self, x: Any, dtype: str = "float64") -> Any:
        """Return a NumPy array as one of the library's, on the device of this object."""
        dtype = getattr(self.record.namespace, dtype)
        return self.record.asarray(np.asarray(x), dtype, self.device)

    def to_numpy(self, x: Any) -> np.ndarray:
        """Return one of the library's arrays as NumPy's."""
        return np.asarray(self.record.to_numpy(x))

    def dtypes(self) -> list[str]:
        """Return the floating-point types, of those that ntcore computes in, of the device."""
        try:
            info = self.xp.__array_namespace_info__()
            known = info.dtypes(device=self.device, kind="real floating")
        except (AttributeError, TypeError):
            return list(DTYPES)
        return [dtype for dtype in DTYPES if dtype in known]

    def __repr__(self) -> str:
        return self.name if self.where is None else f"{self.name} on {self.where}"


# --- devices ------------------------------------------------------------------------------------


def device_of(record: Backend, name: str) -> Any:
    """Return the library's own object for a device that ``Backend.devices`` lists.

    A library that names no objects (torch) takes the name itself; one whose objects have another
    name (CuPy) lists both in one order.
    """
    try:
        found = [d for d in record.namespace.__array_namespace_info__().devices() if d is not None]
    except AttributeError:
        return name
    named = {str(d): d for d in found}
    if name in named:
        return named[name]
    listed = record.devices()
    return found[listed.index(name)] if len(listed) == len(found) else name


# --- backends -----------------------------------------------------------------------------------


@contextmanager
def using(record: Backend) -> Iterator[None]:
    """Let the arrays that a backend record owns find this record, whether it is registered or not.

    This is how the suite runs a third party's backend before it is installed, and a variant of a
    backend: with other tiles, with other fused operations.
    """
    _announce(record)
    known = discovery.loaded

    def first() -> list[Backend]:
        return [record, *known()]

    holders = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("ntcore.") and vars(module).get("loaded") is known
    ]
    with ExitStack() as stack:
        for module in holders:
            stack.enter_context(mock.patch.object(module, "loaded", first))
        yield


@cache
def _announce(record: Backend) -> None:
    """Register the record classes as pytrees of a library that ntcore does not know."""
    if record.library not in libraries() and record.register_pytree is not None:
        on_record(record.register_pytree)


def installed() -> list[str]:
    """Return the libraries with a backend that can be imported here."""
    return [name for name in libraries() if importlib.util.find_spec(name) is not None]


def usable(name: str) -> str | None:
    """Return why a backend cannot run here, or None if it can."""
    name = ALIASES.get(name, name)
    if name not in libraries():
        return f"no backend is called {name}; there are {', '.join(libraries())}"
    if importlib.util.find_spec(name) is None:
        return f"{name} is not installed"
    try:
        backend = load(name)
        backend.namespace.zeros(1)
    except Exception as error:
        return f"{name} does not work here: {type(error).__name__}: {error}".splitlines()[0]
    return None if backend.devices() else f"{name} finds no device"


def library(name: str, device: str | None = None) -> Library:
    """Return a backend for tests, with float64 switched on where that is the caller's choice.

    Parameters
    ----------
    name : str
        Import name of the library.
    device : str, optional
        The first device whose name begins so, such as ``'cuda'``; the library's default for None.

    Raises
    ------
    LookupError
        If there is no such device.
    """
    name = ALIASES.get(name, name)
    if name == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    record = load(name)
    if device is None:
        return Library(record)
    found = [d for d in record.devices() if d.startswith(device)]
    if not found:
        raise LookupError(f"{name} has no device {device!r}; it has {', '.join(record.devices())}")
    return Library(record, found[0])


def names_for(option: str | None) -> list[str]:
    """Return the libraries a run covers: the one asked for, or every installed one."""
    return installed() if option is None else [ALIASES.get(option, option)]
