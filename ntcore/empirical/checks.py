"""What a function must be: floating-point, finite, without side effects, example by example."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from ntcore import tape
from ntcore.backend import Array, Backend, host
from ntcore.empirical.batches import Batch
from ntcore.empirical.function import Bound, outputs_at
from ntcore.errors import DerivativeError, DTypeError, NotFiniteError, NtcoreError, ShapeError

Shape = tuple[int, ...]


def forward(fn: Bound, batch: Batch, compiled: dict[Any, Any] | None = None) -> list[Array]:
    """Return the outputs for a batch."""
    backend = fn.backend
    if backend.vjp is None:
        on = tape.tape_of(backend, fn.theta)
        theta = [tape.Traced(t, on) for t in fn.theta]
        found = outputs_at(fn, theta, fn.constants, batch, batch.leaves)
        return [y.value if isinstance(y, tape.Traced) else y for y in found]

    def run(theta: Any, constants: Any, leaves: Any) -> list[Array]:
        return outputs_at(fn, theta, constants, batch, leaves)

    if backend.jit is None or compiled is None:
        return run(fn.theta, fn.constants, batch.leaves)
    key = ("forward", fn.key, batch.key)
    call, structures = compiled.setdefault(key, (backend.jit(run), fn.outputs))
    found = call(fn.theta, fn.constants, batch.leaves)
    fn.outputs[:] = structures
    return list(found)


def checked(fn: Bound, batch: Batch, compiled: dict[Any, Any] | None = None) -> list[Array]:
    """Return the outputs for a batch.

    Raises
    ------
    DerivativeError
        If one of them is not a real floating-point array.
    NotFiniteError
        If one of them holds NaN or infinity.
    """
    found = forward(fn, batch, compiled)
    check_real(fn, found)
    for y in found:
        if not _is_finite(fn.backend, y):
            raise NotFiniteError(
                "f returns NaN or infinity, so that its kernel is not defined; look at its "
                "parameters and inputs."
            )
    return found


def check_real(fn: Bound, found: list[Array]) -> None:
    """Refuse outputs that have no derivative.

    Raises
    ------
    DerivativeError
        If one is not a real floating-point array, or there is none.
    """
    for y in found:
        if not fn.backend.namespace.isdtype(y.dtype, "real floating"):
            raise DerivativeError(
                f"f returns {y.dtype} numbers, which have no derivative; return real "
                "floating-point arrays."
            )
    if not found:
        raise DerivativeError("f returns no array; return at least one.")


def checked_outputs(
    fn: Bound, batches: list[Batch], compiled: dict[Any, Any] | None = None
) -> list[list[Array]]:
    """Return the outputs for one batch, or for two that correspond.

    Raises
    ------
    ShapeError, DTypeError
        If the second batch, or its outputs, are not like the first.
    DerivativeError, NotFiniteError
        As :func:`checked` and :func:`unchanged`.
    """
    with unchanged(*((fn, b) for b in batches)):
        found = [checked(fn, batches[0], compiled)]
        if len(batches) == 2:
            _check_inputs(*batches)
            found.append(_second(fn, batches, compiled))
            _check_alike(*found)
    return found


def _second(fn: Bound, batches: list[Batch], compiled: dict[Any, Any] | None) -> list[Array]:
    try:
        return checked(fn, batches[1], compiled)
    except NtcoreError:
        raise
    except Exception as error:
        shapes = [[tuple(x.shape) for x in b.part(0, 0).leaves] for b in batches]
        if shapes[0] == shapes[1]:
            raise
        one, two = ([tuple(x.shape) for x in b.leaves] for b in batches)
        raise ShapeError(
            f"f takes x1, of shapes {one}, but not x2, of shapes {two}: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error


def _check_inputs(one: Batch, two: Batch) -> None:
    """Refuse a second batch of another kind than the first."""
    if one.key[0] != two.key[0]:
        raise ShapeError("x2 is another tree than x1; give arrays in the same structure.")
    for a, b in zip(one.leaves, two.leaves, strict=False):
        if a.ndim != b.ndim:
            raise ShapeError(
                f"x1 has shape {tuple(a.shape)} and x2 {tuple(b.shape)}; give them the same axes."
            )
        if a.dtype != b.dtype:
            raise DTypeError(f"x1 holds {a.dtype} and x2 {b.dtype}; give both in one data type.")


def check_counts(examples: int, outputs: list[Array], axes: list[int | None]) -> None:
    """Refuse outputs that hold another number of examples than the inputs.

    Raises
    ------
    ShapeError
        If an axis is not there, or of another size.
    """
    for y, axis in zip(outputs, axes, strict=True):
        if axis is None:
            continue
        if not -y.ndim <= axis < y.ndim:
            raise ShapeError(f"vmap_axes names axis {axis} of an output that has {y.ndim} axes.")
        if y.shape[axis] != examples:
            raise ShapeError(
                f"vmap_axes puts the examples on axis {axis} of an output of shape "
                f"{tuple(y.shape)}, but x holds {examples}; name the axis where f puts them."
            )


def _is_finite(backend: Backend, y: Array) -> bool:
    if backend.is_traced(y) or not math.prod(y.shape):
        return True
    return math.isfinite(float(backend.namespace.sum(y * 0)))


@contextmanager
def unchanged(*batches: tuple[Bound, Batch | None]) -> Iterator[None]:
    """Refuse functions that change their arguments, where the library counts changes.

    Raises
    ------
    DerivativeError
        If an array was changed in place.
    """
    watched = [
        x
        for fn, batch in batches
        for x in (*fn.theta, *fn.constants, *(batch.leaves if batch is not None else ()))
    ]
    before = [getattr(x, "_version", None) for x in watched]
    yield
    if before != [getattr(x, "_version", None) for x in watched]:
        raise DerivativeError(
            "f changes its parameters or its inputs in place, so that calling it twice gives two "
            "results; write it as an expression that makes new arrays."
        )


# --- examples of a batch --------------------------------------------------------------------------


def independent(fn: Bound, batch: Batch, outputs: list[Array], compiled: dict[Any, Any]) -> bool:
    """Whether every example's outputs, on axis 0, depend on that example alone.

    Each end of the batch is put through alone and compared.
    """
    if batch.count == 1:
        return all(y.ndim > 0 and y.shape[0] == 1 for y in outputs)
    if any(y.ndim == 0 or y.shape[0] != batch.count for y in outputs):
        return False
    if not any(fn.backend.is_traced(y) for y in outputs):
        return _agrees(fn, batch, outputs)
    key = ("independent", fn.key, batch.key, tuple(tuple(x.shape) for x in batch.leaves))
    if key not in compiled:
        compiled[key] = _stand_in_agrees(fn, batch)
    return bool(compiled[key])


def _agrees(fn: Bound, batch: Batch, outputs: list[Array]) -> bool:
    ends = [(0, 1), (batch.count - 1, batch.count)]
    try:
        alone = [forward(fn, batch.part(*end)) for end in ends]
    except Exception:
        return False  # it cannot take one example
    return all(
        tuple(a.shape) == (1, *y.shape[1:]) and _close(fn.backend, a, y[slice(*end), ...])
        for found, end in zip(alone, ends, strict=True)
        for a, y in zip(found, outputs, strict=True)
    )


def _close(backend: Backend, a: Array, b: Array) -> bool:
    np = host().namespace
    one, two = (np.asarray(backend.to_numpy(_plain(x)), dtype=np.float64) for x in (a, b))
    slack = float(backend.namespace.finfo(a.dtype).eps) ** 0.5
    return bool(np.max(np.abs(one - two), initial=0) <= slack * np.max(np.abs(two), initial=1e-300))


def _plain(x: Any) -> Any:
    return x.detach() if hasattr(x, "detach") else x


def _stand_in_agrees(fn: Bound, batch: Batch) -> bool:
    """Ask the same of made-up numbers, where the real ones are not known yet."""
    backend = fn.backend
    np = host().namespace
    rng = np.random.default_rng(0)

    def made(x: Any) -> Array:
        if backend.namespace.isdtype(x.dtype, "real floating"):
            scale = 1 / math.sqrt(max(x.shape[0], 1)) if x.ndim else 1.0
            return backend.asarray(scale * rng.standard_normal(x.shape), x.dtype, None)
        size = math.prod(x.shape)
        return backend.asarray(np.reshape(np.arange(size) % 2, x.shape), x.dtype, None)

    with backend.aside() if backend.aside is not None else nullcontext():
        try:
            twin = Bound(
                backend, [made(t) for t in fn.theta], [made(c) for c in fn.constants], fn.call, ()
            )
            sample = Batch([made(x) for x in batch.leaves], batch.axes, batch.rebuild, ())
            return _agrees(twin, sample, forward(twin, sample))
        except Exception:
            return False


def _check_alike(one: list[Array], two: list[Array]) -> None:
    """Refuse two batches whose outputs do not correspond."""
    for a, b in zip(one, two, strict=True):
        if a.ndim != b.ndim:
            raise ShapeError(
                f"f has outputs of shape {tuple(a.shape)} for x1 and {tuple(b.shape)} for x2; give "
                "inputs that are alike."
            )
