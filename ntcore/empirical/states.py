"""Random states: one for every network, and those that networks draw from when applied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ntcore.backend import Array, Backend, host, loaded
from ntcore.errors import ArgumentError


def states(key: Any, n: int) -> Iterator[tuple[Any, Any]]:
    """Yield two random states for each of ``n`` networks; integers for an integer.

    One is for the parameters, the other for what a network draws when it is applied.

    Raises
    ------
    ArgumentError
        If ``key`` is no random state.
    """
    if _is_seed(key):
        for child in host().split(key, n):
            one, two = map(_seed, host().split(child, 2))
            yield one, two
        return
    owner = _owner(key)
    if owner is None:
        raise ArgumentError(
            f"key is a {type(key).__name__}; give an integer seed, a numpy.random.Generator, a JAX "
            "key or a torch.Generator."
        )
    for child in owner.split(key, n):
        one, two = owner.split(child, 2)
        yield one, two


def fixed(backend: Backend, state: Any) -> Any:
    """Return a random state from which the same numbers come each time.

    Of the kind that functions of the library take, which for most is an integer seed.
    """
    owner = _owner(state)
    if owner is not None and owner.owns(state):
        return state
    if owner is not None:
        drawn = owner.to_numpy(owner.normal(state, (4,), None, None))
        bits = int.from_bytes(drawn.tobytes(), "big")
        state = _seed(host().namespace.random.SeedSequence(bits))
    return backend.key(state)


def of_second(backend: Backend, rng: Any, one: Sequence[Array], two: Sequence[Array]) -> Any:
    """Return the random state for the second of two batches: its own, unless they are equal."""
    if _equal(backend, one, two):
        return rng
    if _is_seed(rng):
        return _seed(host().split(rng, 2)[1])
    owner = _owner(rng)
    return rng if owner is None or not owner.owns(rng) else owner.split(rng, 2)[1]


def _equal(backend: Backend, one: Sequence[Array], two: Sequence[Array]) -> bool:
    def alike(a: Array, b: Array) -> bool:
        if a is b:
            return True
        known = not (backend.is_traced(a) or backend.is_traced(b))
        same = tuple(a.shape) == tuple(b.shape) and a.dtype == b.dtype
        return known and same and bool(backend.namespace.all(a == b))

    return len(one) == len(two) and all(map(alike, one, two))


def _is_seed(key: Any) -> bool:
    return isinstance(key, int) and not isinstance(key, bool)


def _seed(sequence: Any) -> int:
    return int(sequence.generate_state(1)[0])


def _owner(key: Any) -> Backend | None:
    return next((backend for backend in loaded() if backend.is_rng(key)), None)
