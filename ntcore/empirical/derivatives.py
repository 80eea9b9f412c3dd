"""Derivatives of a bound function in its parameters, the library's or those of the tape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ntcore import tape
from ntcore.backend import Array, Backend
from ntcore.empirical.batches import Batch
from ntcore.empirical.function import Bound, outputs_at
from ntcore.errors import Unsupported

Fn = Callable[..., list[Array]]


def vjp(backend: Backend, fn: Fn, at: Sequence[Array]) -> tuple[list[Array], Callable[..., Any]]:
    """Return the outputs of ``fn`` and its pullback, both lists of arrays."""
    if backend.vjp is None:
        return tape.vjp(backend, fn, *at)
    outputs, pull = backend.vjp(lambda *theta: tuple(fn(*theta)), *at)
    return list(outputs), lambda cotangents: list(pull(tuple(cotangents)))


def jvp(
    backend: Backend, fn: Fn, at: Sequence[Array], along: Sequence[Array]
) -> tuple[list[Array], list[Array]]:
    """Return the outputs of ``fn`` and their derivatives along tangents, both lists of arrays.

    Raises
    ------
    Unsupported
        If the library cannot differentiate ``fn`` forwards.
    """
    if backend.jvp is None:
        return tape.jvp(backend, fn, at, along)
    try:
        found = backend.jvp(lambda *theta: tuple(fn(*theta)), tuple(at), tuple(along))
    except (NotImplementedError, TypeError) as error:
        if isinstance(error, TypeError) and "forward-mode" not in str(error):
            raise
        raise Unsupported(
            "f uses an operation without a forward derivative, which NTK-vector products and "
            "expansions in parameters need; kernels need none with another implementation, such as "
            "STRUCTURED_DERIVATIVES."
        ) from error
    return list(found[0]), list(found[1])


def of_parameters(fn: Bound, batch: Batch) -> Fn:
    """Return the function from parameters to the outputs for a batch."""
    return lambda *theta: outputs_at(fn, theta, fn.constants, batch, batch.leaves)
