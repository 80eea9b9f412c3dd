"""One backend, device and data type, and what a check asks of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from ntcore.backend import Backend, Place, host
from ntcore.conformance.fixtures import Library, library, usable, using
from ntcore.conformance.inputs import patterns
from ntcore.entry import Extras, kernels_of
from ntcore.model import Model
from ntcore.plan import Options
from ntcore.record import Record
from ntcore.result import Kernel

#: The blocks of a kernel.
BLOCKS = ("nngp", "ntk")
FIELDS = ("nngp", "ntk", "cov1", "cov2")
EVERYTHING = Options(ntk=True, cov=True)


@cache
def _without_loans(record: Backend) -> Backend:
    """Return a backend that lends nothing, always the same one, as compilations depend on it."""
    return replace(record, lend=None)


@dataclass(frozen=True)
class Bench:
    """Where a check runs.

    Attributes
    ----------
    library : Library
        The backend and the device.
    dtype : str
        The data type of the inputs.
    """

    library: Library
    dtype: str = "float64"

    @property
    def record(self) -> Backend:
        """The backend."""
        return self.library.record

    @property
    def compiles(self) -> bool:
        """Whether every new shape costs a compilation, so that few of them can be afforded."""
        return self.record.stage is not None

    @property
    def counts(self) -> tuple[int, int]:
        """How many examples two batches have."""
        return (3, 3) if self.compiles else (3, 2)

    @property
    def place(self) -> Place:
        """The place where the core computes for arrays of this bench."""
        sample = self.array(np.zeros(1))
        return Place(self.record, sample.dtype, self.record.device(sample))

    def array(self, x: Any) -> Any:
        """Return a NumPy array as the library's own, in this data type, on this device."""
        return self.library.asarray(x, self.dtype)

    def numpy(self, x: Any) -> np.ndarray:
        """Return one of the library's arrays as NumPy's."""
        return self.library.to_numpy(x)

    def native(
        self,
        network: Record,
        x1: Any,
        x2: Any = None,
        options: Options = EVERYTHING,
        extras: Extras | None = None,
    ) -> Kernel:
        """Return the kernel of NumPy inputs, in the library's own arrays.

        Layers that read a pattern get the one of their example unless there is one in ``extras``.
        """
        one, two = self.array(x1), None if x2 is None else self.array(x2)
        extras = extras or Extras()
        if extras.pattern is None:
            graphs = patterns(network, one.shape, None if two is None else two.shape)
            extras = replace(extras, pattern=graphs)
        with using(self.record):
            return kernels_of(network, one, two, options, extras)

    def kernel(
        self,
        network: Record,
        x1: Any,
        x2: Any = None,
        options: Options = EVERYTHING,
        extras: Extras | None = None,
    ) -> dict[str, np.ndarray]:
        """Return the arrays of the kernel of NumPy inputs, as NumPy's."""
        found = self.native(network, x1, x2, options, extras)
        arrays = {name: getattr(found, name) for name in FIELDS}
        return {name: self.numpy(x) for name, x in arrays.items() if x is not None}

    def alone(self) -> Bench:
        """Return the same bench computing with the library's own operations, and no others."""
        return self._of(_without_loans(self.record)) if self.lends else self

    @property
    def lends(self) -> bool:
        """Whether another backend computes kernels of the library's arrays."""
        return self.record.lend is not None and self.record.lend(self.place, ()) is not None

    def layer_by_layer(self, **changes: Any) -> Bench:
        """Return the same, and every layer by itself."""
        return self.with_record(stage=None, chain=None, lend=None, **changes)

    def with_record(self, **changes: Any) -> Bench:
        """Return the bench with a variant of its backend, such as one with other tiles."""
        return self._of(replace(self.record, **changes))

    def _of(self, record: Backend) -> Bench:
        return replace(self, library=replace(self.library, record=record))

    def reference(self) -> Bench | None:
        """Return the bench to agree with: NumPy's, and array_api_strict's for NumPy itself."""
        if self.record is not host():
            return Bench(Library(host()))
        return None if usable("strict") else Bench(library("strict"))

    def model(self, network: Record) -> Model:
        """Return the public face of a network."""
        return Model(network)
