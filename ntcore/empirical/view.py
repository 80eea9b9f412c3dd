"""One output of a function on one batch, example by example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ntcore import tape
from ntcore.backend import Array, Backend, Place, backend_of, host
from ntcore.empirical.batches import Batch
from ntcore.empirical.function import Bound, outputs_at
from ntcore.empirical.tree import flatten

REFUSALS = (RuntimeError, NotImplementedError, TypeError, ValueError)


class Exceeded(Exception):
    """A compiled function would take more memory than there is room for.

    Attributes
    ----------
    name : str
        Which.
    took : float
        Bytes that it takes beyond its arguments.
    """

    def __init__(self, name: str, took: float) -> None:
        super().__init__(f"{name} takes {took:,.0f} bytes")
        self.name, self.took = name, took


@dataclass(frozen=True)
class View:
    """One output of a function on one batch.

    Attributes
    ----------
    fn : Bound
        The function at its parameters.
    batch : Batch
        Its other arguments.
    which : int
        Which of its outputs.
    out : int or None
        Where the output has the examples; None where the whole batch is one example.
    compiled : dict
        What has been compiled for the function.
    dtype : dtype or None
        Of the output; that of the parameters where None.
    room : float or None
        Bytes that a compiled function may take beyond its arguments.
    """

    fn: Bound
    batch: Batch
    which: int = 0
    out: int | None = 0
    compiled: dict[Any, Callable[..., Any]] = field(default_factory=dict)
    dtype: Any = None
    room: float | None = None

    @property
    def backend(self) -> Backend:
        """The backend of the arrays."""
        return self.fn.backend

    @property
    def place(self) -> Place:
        """Where the gradients are."""
        first = self.fn.theta[0]
        dtype = first.dtype if self.dtype is None else self.dtype
        return Place(self.backend, dtype, self.backend.device(first))

    @property
    def count(self) -> int:
        """Number of examples."""
        return 1 if self.out is None else self.batch.count

    @property
    def arrays(self) -> tuple[Any, ...]:
        """Everything that is an array: parameters, constants, examples."""
        return tuple(self.fn.theta), tuple(self.fn.constants), tuple(self.batch.leaves)

    def part(self, start: int, stop: int) -> View:
        """Return the view of some of the examples."""
        if (start, stop) == (0, self.count):
            return self
        return replace(self, batch=self.batch.part(start, stop))

    def whole(self, theta: Sequence[Any], constants: Sequence[Any], leaves: Sequence[Any]) -> Array:
        """Return the output for the whole batch, examples first."""
        y = outputs_at(self.fn, theta, constants, self.batch, leaves)[self.which]
        if self.out is None:
            return y
        return y if self.out % y.ndim == 0 else _space(y).moveaxis(y, self.out, 0)

    def single(
        self, theta: Sequence[Any], constants: Sequence[Any], leaves: Sequence[Any]
    ) -> Array:
        """Return the output for one example, whose arrays have lost the axis of examples."""
        if self.out is None:
            return self.whole(theta, constants, leaves)
        grown = [
            e if a is None else self.backend.namespace.expand_dims(e, axis=a)
            for e, a in zip(leaves, self.batch.axes, strict=True)
        ]
        y = self.whole(theta, constants, grown)
        return _space(y).reshape(y, tuple(y.shape[1:]))

    def examples(self) -> list[list[Any]]:
        """Return the arrays of each example, without the axis of examples."""
        if self.out is None:
            return [list(self.batch.leaves)]
        return [
            [
                x if a is None else x[(*(slice(None),) * a, i, ...)]
                for x, a in zip(self.batch.leaves, self.batch.axes, strict=True)
            ]
            for i in range(self.count)
        ]

    @property
    def vmap_axes(self) -> tuple[int | None, ...]:
        """Where the arrays of the batch have the examples."""
        return self.batch.axes if self.out is not None else (None,) * len(self.batch.leaves)

    def at(self, theta: Any, constants: Any, leaves: Any) -> View:
        """Return the view of other arrays of the same shapes, such as traced ones."""
        fn = replace(self.fn, theta=list(theta), constants=list(constants))
        return replace(self, fn=fn, batch=replace(self.batch, leaves=list(leaves)))

    def noted(self, name: str, make: Callable[[], Any], *extra: Any) -> Any:
        """Return what is known of the function under a name, made where there is nothing yet."""
        key = ("noted", name, self.fn.key, self.batch.key, self.which, self.out, *extra)
        if key not in self.compiled:
            self.compiled[key] = make()
        return self.compiled[key]

    def compile(self, name: str, run: Callable[..., Any], *extra: Any) -> Callable[..., Any]:
        """Return a function compiled by the library, once for all batches of one structure.

        Where it is known what it takes, that has to fit in the room there is, and one call ends
        before the next begins.

        Raises
        ------
        Exceeded
            When it is called, if it does not fit.
        """
        jit = self.backend.jit
        if jit is None:
            return run
        key = (name, self.fn.key, self.batch.key, self.batch.axes, self.which, self.out, *extra)
        if key not in self.compiled:
            self.compiled[key] = jit(run)
        fn, takes = self.compiled[key], self.backend.takes
        return fn if self.room is None or takes is None else self._within(fn, takes, key)

    def _within(self, fn: Callable[..., Any], takes: Callable[..., float], key: Any) -> Any:
        """Return a compiled function that refuses to take more than there is room for."""

        def call(*args: Any) -> Any:
            arrays = flatten(self.backend, args)[0]
            kinds = ("takes", key, *((tuple(x.shape), x.dtype) for x in arrays))
            if kinds not in self.compiled:
                self.compiled[kinds] = takes(fn, args)  # type: ignore[assignment]
            took: Any = self.compiled[kinds]
            if took > self.room:
                raise Exceeded(key[0], took)
            return self.backend.finish(fn(*args))

        return call

    def seeds(self, shape: tuple[int, ...], positions: Any) -> Array:
        """Return a one-hot cotangent of ``shape`` for each flat position."""
        np, at = host().namespace, self.place
        wide = float(at.xp.finfo(at.dtype).eps) < 1e-10
        size = int(np.prod(np.asarray(shape, dtype=np.int64)))
        ones = np.zeros((len(positions), size), dtype=np.float64 if wide else np.float32)
        ones[np.arange(len(positions)), positions] = 1
        return at.asarray(ones.reshape((len(positions), *shape)))


def _space(y: Any) -> Any:
    return y.__array_namespace__() if isinstance(y, tape.Traced) else backend_of(y).namespace
