"""Functions from everywhere, brought into one form: flat parameters, a batch, flat outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ntcore import tape
from ntcore.backend import Array, Backend, backend_of, loaded
from ntcore.empirical.batches import Batch
from ntcore.empirical.tree import flatten, hashable, is_array
from ntcore.errors import ArgumentError, BackendError, DerivativeError
from ntcore.record import Record


@dataclass(frozen=True)
class Adapted:
    """A model of some library as a function.

    Attributes
    ----------
    apply : callable
        ``(params, x, **kwargs) -> outputs``.
    params : tree
        Its parameters; what is not to be differentiated stays inside ``apply``.
    refuse : str or None
        Why it mixes the examples of a batch, where that is known.
    module : bool
        Whether it is a module with a state of its own, whose examples must not mix.
    """

    apply: Callable[..., Any]
    params: Any
    refuse: str | None = None
    module: bool = False


def adapt(f: Any, params: Any) -> Adapted:
    """Return any model as a function of parameters and a batch.

    Raises
    ------
    ArgumentError
        If ``f`` is not a function or a model, or is a function without parameters.
    """
    owner = getattr(f, "__self__", f)
    network = getattr(owner, "network", None)
    if isinstance(network, Record) and getattr(f, "__name__", "apply_fn") == "apply_fn":
        return Adapted(owner.apply_fn, params)
    for backend in loaded():
        made = backend.adapt(f, params) if backend.adapt is not None else None
        if made is not None:
            return Adapted(*made)
    if not callable(f):
        raise ArgumentError(
            f"f is a {type(f).__name__}; give a function f(params, x), a torch module, a flax or "
            "equinox module, or a network of ntcore."
        )
    if params is None:
        raise ArgumentError("params is None; give the parameters of f.")
    return Adapted(f, params)


@dataclass(frozen=True)
class Bound:
    """A function at its parameters, and everything about it that does not depend on a batch.

    Attributes
    ----------
    backend : Backend
        Of the arrays.
    theta : list of array
        The parameters that are differentiated.
    constants : list of array
        What else ``params`` holds.
    call : callable
        ``(theta, constants, x, kwargs) -> outputs``.
    key : tuple
        Hashable description of everything in ``call`` that is not in its arguments.
    module : bool
        Whether it is a module, whose examples must not mix.
    """

    backend: Backend
    theta: list[Array]
    constants: list[Any]
    call: Callable[..., Any]
    key: tuple[Any, ...]
    module: bool = False
    outputs: list[Any] = field(default_factory=list)


def bind(f: Any, params: Any, x: Any) -> Bound:
    """Return a function at some parameters.

    Raises
    ------
    ArgumentError
        If nothing in ``params`` can be differentiated.
    BackendError
        If there is no array to tell the library from.
    """
    made = adapt(f, params)
    if made.refuse is not None:
        raise DerivativeError(made.refuse)
    backend = _backend_of(made.params, x)
    leaves, structure = flatten(backend, made.params)
    trained = [i for i, leaf in enumerate(leaves) if _differentiable(backend, leaf)]
    if not trained:
        raise ArgumentError(
            "params holds no array of real floating-point numbers; give the parameters that f "
            "depends on, as arrays or a tree of arrays."
        )
    theta = [backend.asarray(leaves[i], None, None) for i in trained]
    others = {i: leaf for i, leaf in enumerate(leaves) if i not in set(trained)}
    arrays = [i for i, leaf in others.items() if is_array(leaf)]

    def call(theta: Sequence[Any], constants: Sequence[Any], x: Any, kwargs: dict[str, Any]) -> Any:
        full = {**others, **dict(zip(trained, theta, strict=True))}
        full.update(zip(arrays, constants, strict=True))
        values = structure.unflatten([full[i] for i in range(len(leaves))])
        return made.apply(values, x, **kwargs)

    static = tuple(hashable(leaf) for i, leaf in others.items() if i not in arrays)
    return Bound(
        backend,
        theta,
        [others[i] for i in arrays],
        call,
        (structure, tuple(trained), static),
        made.module,
    )


def _backend_of(params: Any, x: Any) -> Backend:
    candidates = [leaf for tree in (params, x) for leaf in _leaves(tree)]
    arrays = [a for a in candidates if is_array(a)]
    if not arrays:
        raise BackendError("neither params nor x holds an array; pass the arrays that f takes.")
    found = [backend_of(a) for a in arrays]
    names = {b.library for b in found}
    for backend in found:
        if names <= {backend.library, *backend.adopts}:
            return backend
    raise BackendError(
        f"params and x are arrays of {' and '.join(sorted(names))}; convert them to one library."
    )


def _leaves(tree: Any) -> list[Any]:
    for backend in loaded():
        if backend.flatten is not None and not isinstance(tree, (tuple, list, dict)):
            found = backend.flatten(tree)[0]
            if len(found) != 1 or found[0] is not tree:
                return list(found)
    if isinstance(tree, (tuple, list)):
        return [leaf for child in tree for leaf in _leaves(child)]
    if isinstance(tree, dict):
        return [leaf for child in tree.values() for leaf in _leaves(child)]
    return flatten(None, tree)[0]


def _differentiable(backend: Backend, x: Any) -> bool:
    return is_array(x) and bool(backend_of(x).namespace.isdtype(x.dtype, "real floating"))


# --- calling -------------------------------------------------------------------------------------


def outputs_at(fn: Bound, theta: Any, constants: Any, batch: Batch, leaves: Any) -> list[Any]:
    """Return the flat outputs of a function, for arrays of any kind in place of its own.

    Where its parameters are on a tape, everything else goes there too.
    """
    on = next((t.tape for t in (*theta, *leaves) if isinstance(t, tape.Traced)), None)
    if on is not None:
        constants, leaves = _all_on(on, constants), _all_on(on, leaves)
    x, kwargs = batch.rebuild(leaves)
    found, structure = flatten(fn.backend, fn.call(theta, constants, x, kwargs))
    fn.outputs[:] = [structure]
    return [_output(fn.backend, on, y) for y in found]


def _output(backend: Backend, on: tape.Tape | None, y: Any) -> Any:
    """Return one output as an array of the library, on the tape where there is one."""
    if isinstance(y, tape.Traced) or backend.owns(y):
        return y if on is None else _on(on, y)
    if is_array(y) and backend_of(y).library in backend.adopts:
        return backend.asarray(y, None, None)
    raise DerivativeError(
        f"f returns a {type(y).__name__} among its outputs; return {backend.library} arrays, or a "
        "tree of them."
    )


def _all_on(on: tape.Tape, values: Sequence[Any]) -> list[tape.Traced]:
    return [_on(on, v) for v in values]


def _on(on: tape.Tape, v: Any) -> tape.Traced:
    return v if isinstance(v, tape.Traced) and v.tape is on else tape.Traced(v, on)
