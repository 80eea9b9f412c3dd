"""What a backend is, how the backend of an array is found, and the place where arrays live.

The core asks a backend for a capability and raises :class:`~ntcore.errors.Unsupported` where it
is ``None``; it never compares names. Nothing is imported that the caller has not imported: a
backend is looked at only once its library is in ``sys.modules``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from ntcore.errors import BackendError, DTypeError, Unsupported
from ntcore.record import on_record

Array = Any
ENTRY_POINTS = "ntcore.backends"
_BUILT_IN = {
    "numpy": "ntcore.backends.numpy",
    "cupy": "ntcore.backends.cupy",
    "jax": "ntcore.backends.jax",
    "torch": "ntcore.backends.torch",
    "array_api_strict": "ntcore.backends.strict",
}


@dataclass(frozen=True)
class Linalg:
    """The linear algebra that the Array API standard lacks.

    Attributes
    ----------
    cholesky : callable
        ``a -> L``, lower; where ``a`` is not positive definite, ``L`` holds NaN and nothing is
        raised.
    solve_triangular : callable
        ``(L, b, transpose) -> x`` with ``L x = b`` or ``Lᵀ x = b``, ``L`` lower.
    """

    cholesky: Callable[[Array], Array]
    solve_triangular: Callable[[Array, Array, bool], Array]


def _put(whole: Array, part: Array, start: int) -> Array:
    whole[start : start + part.shape[0], ...] = part
    return whole


@dataclass(frozen=True, eq=False)
class Backend:
    """The capabilities of one array library; ``None`` means that the library cannot.

    Attributes
    ----------
    library : str
        Import name of the library.
    namespace : module
        Its Array API namespace.
    owns : callable
        ``x -> bool``: whether ``x`` is one of its arrays, traced ones included.
    asarray : callable
        ``(x, dtype, device) -> array``; ``x`` is a number, a NumPy array or an array of its own;
        ``dtype`` and ``device`` may be ``None``. Raises rather than losing precision.
    to_numpy : callable
        ``array -> numpy.ndarray`` on the host.
    device : callable
        ``array -> device``, or ``None`` for a traced array.
    devices : callable
        ``() -> list[str]``, the devices that can be used now.
    is_traced : callable
        ``array -> bool``: whether the values are unknown now (under ``jit``, ``grad``, ``vmap``).
    is_followed : callable
        ``array -> bool``: whether derivatives in the array itself may be asked for, though its
        values are known.
    linalg : Linalg
        Cholesky and triangular solves.
    erf : callable
        The error function.
    normal : callable
        ``(rng, shape, dtype, device) -> array`` of standard normal numbers.
    split : callable
        ``(rng, n) -> list`` of ``n`` independent random states.
    is_rng : callable
        ``x -> bool``: whether ``x`` is a native random state of the library.
    key : callable
        ``seed -> random state``, as functions of the library take it; the seed itself where they
        take none.
    alike : callable
        ``device -> list of device``: those of its kind that can be used now, itself included.
    tile_bytes : callable
        ``device -> int``, the bytes that one block of a tile should take.
    workers : callable
        ``device -> int``, how many threads may work on tiles at once.
    side_by_side : callable
        ``threads -> context`` in which that many threads work on tiles at once: what the library
        would share out over all cores stays on the thread that calls it.
    mutable : bool
        Whether ``x[index] = value`` works.
    write : callable or None
        ``(whole, tile, i, j) -> whole``, for arrays that are not mutable: write a tile from
        ``(i, j)`` on; the array that was passed in is gone.
    jit, vjp, jvp, vmap, scan : callable or None
        The library's own transformations, where it has them.
    takes : callable or None
        ``(fn, args) -> bytes`` that a function compiled by ``jit`` takes beyond its arguments; 0
        inside a traced function.
    put : callable or None
        ``(whole, part, start) -> array``: write a part into an array along its first axis; what
        was passed as the whole is not used again.
    finish : callable
        ``tree -> tree``: wait until its arrays are computed.
    holding : callable
        ``bytes -> context`` in which the library keeps no more memory than that for later use.
    stage : callable or None
        ``(fn, static_argnums, whole) -> fn``: compile one layer's arithmetic as a loop of its own,
        or that of many as one where it is ``whole``.
    sweep : callable or None
        ``(fns, args) -> list``: call functions, which are hashable and may differ in what they
        read of static tables, one after the other in one compiled loop.
    with_pullback : callable or None
        ``(fn, pullback, args) -> arrays``: ``fn(*args)``, a tuple of arrays, following none of its
        operations. ``fn`` may be given numbers in place of arrays without axes. What the library
        asks of its derivative is ``pullback(gradient, args, wanted, cotangents) -> gradients``,
        those of the arguments that are wanted and None for others; a cotangent may be None.
        ``gradient(fn, args, cotangents) -> gradients`` follows another function at once. Where the
        library follows in a way that takes no such rule, the operations of ``fn`` are followed.
    chain : callable or None
        ``(chain, arrays, sides, drawn, same, (n1, n2), onto) -> array or None``: run the
        operations of a :class:`ntcore.chain.Chain` on blocks ``(entries, n1 * n2)``, with the
        variances ``(rows, n1)`` and ``(rows, n2)``, and as many rows of examples or None; return
        the outputs one below the other, added to the array ``onto`` if there is one. None where it
        cannot, which costs nothing else. ``same`` marks the pairs that are one example twice; it
        is None where there are none, and otherwise nobody reads a pair ``i > j``.
    register_pytree : callable or None
        ``cls -> None`` for a record class.
    flatten : callable or None
        ``tree -> (leaves, structure)``, ``structure.unflatten(leaves) -> tree``, structures
        hashable; for libraries with trees of their own.
    adapt : callable or None
        ``(f, params) -> (apply, params, why it mixes examples or None) or None``: a model of the
        library as a function ``apply(params, x)``; None for what is not one.
    aside : callable or None
        ``() -> context`` in which arrays are computed now, inside a traced function too.
    operator, eigenvalues : callable or None
        ``(shape, dtype, times, back) -> operator`` and ``(operator, k, method) -> array``: linear
        operators of the host's library, from products with vectors.
    structured : callable or None
        The library's way to the factors of per-example gradients (``ntcore.empirical``).
    outline : callable or None
        The same with shapes in place of arrays, where that saves the computation.
    count : callable or None
        The operations and intermediate entries of a function for one example.
    adopts : tuple of str
        Libraries whose arrays it takes beside its own, as the library itself does.
    fused : mapping
        Faster versions of the operations named in ``ntcore.ops``.
    """

    library: str
    namespace: Any
    owns: Callable[[object], bool]
    asarray: Callable[[Any, Any, Any], Array]
    to_numpy: Callable[[Array], Any]
    device: Callable[[Array], Any]
    devices: Callable[[], list[str]]
    is_traced: Callable[[Array], bool]
    linalg: Linalg
    erf: Callable[[Array], Array]
    normal: Callable[[Any, tuple[int, ...], Any, Any], Array]
    split: Callable[[Any, int], list[Any]]
    is_rng: Callable[[object], bool]
    tile_bytes: Callable[[Any], int]
    is_followed: Callable[[Array], bool] = lambda x: False
    workers: Callable[[Any], int] = lambda device: 1
    side_by_side: Callable[[int], AbstractContextManager[None]] = lambda threads: nullcontext()
    key: Callable[[int], Any] = lambda seed: seed
    alike: Callable[[Any], list[Any]] = lambda device: [device]
    mutable: bool = True
    write: Callable[[Array, Array, int, int], Array] | None = None
    jit: Callable[..., Any] | None = None
    vjp: Callable[..., Any] | None = None
    jvp: Callable[..., Any] | None = None
    vmap: Callable[..., Any] | None = None
    scan: Callable[..., Any] | None = None
    takes: Callable[[Any, tuple[Any, ...]], float] | None = None
    put: Callable[[Array, Array, int], Array] | None = _put
    finish: Callable[[Any], Any] = lambda tree: tree
    holding: Callable[[float], AbstractContextManager[None]] = lambda most: nullcontext()
    stage: Callable[..., Any] | None = None
    sweep: Callable[..., list[Any]] | None = None
    with_pullback: Callable[..., tuple[Array, ...]] | None = None
    chain: Callable[..., Array | None] | None = None
    register_pytree: Callable[[type], None] | None = None
    flatten: Callable[[Any], tuple[list[Any], Any]] | None = None
    adapt: Callable[[Any, Any], tuple[Any, ...] | None] | None = None
    aside: Callable[[], Any] | None = None
    operator: Callable[..., Any] | None = None
    eigenvalues: Callable[..., Any] | None = None
    structured: Callable[..., Any] | None = None
    outline: Callable[..., Any] | None = None
    count: Callable[..., tuple[float, float, float]] | None = None
    adopts: tuple[str, ...] = ()
    fused: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Backend({self.library!r})"

    def require(self, capability: str, purpose: str) -> Any:
        """Return a capability, or raise :class:`Unsupported` naming it and its purpose."""
        found = getattr(self, capability)
        if found is None:
            raise Unsupported(
                f"{purpose} needs '{capability}', which the {self.library} backend does not have; "
                "use a backend that has it, such as jax or torch."
            )
        return found


@dataclass(frozen=True)
class Place:
    """Where a computation happens: a backend, a data type and a device."""

    backend: Backend
    dtype: Any
    device: Any

    @property
    def xp(self) -> Any:
        """The Array API namespace."""
        return self.backend.namespace

    def asarray(self, x: Any) -> Array:
        """Bring a number or a host array here, in this place's data type."""
        return self.backend.asarray(x, self.dtype, self.device)

    def index(self, x: Any) -> Array:
        """Bring a host array of integers or booleans here, keeping its data type."""
        return self.backend.asarray(x, None, self.device)

    def number(self, x: Any) -> Any:
        """Return a leaf as something that multiplies arrays here: plain numbers stay plain."""
        return float(x) if isinstance(x, (bool, int, float)) else self.asarray(x)


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
