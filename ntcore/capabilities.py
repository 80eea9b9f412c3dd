"""What a backend can do, and the place where its arrays live.

The core asks a backend for a capability and raises :class:`~ntcore.errors.Unsupported` where it
is ``None``; it never compares names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from ntcore.errors import Unsupported

Array = Any


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


@dataclass(frozen=True)
class Loan:
    """Arrays of one library as those of another, in the same memory.

    Attributes
    ----------
    at : Place
        Where the other library has them.
    arrays : sequence of array
        The arrays there.
    back : callable
        ``array -> array``: what was made there, as an array of the first library.
    """

    at: Place
    arrays: Sequence[Array]
    back: Callable[[Array], Array]


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
    most_bytes : callable
        ``device -> float``, the bytes of a block beyond which the memory of a tile is the system's
        again after every call.
    workers : callable
        ``device -> int``, how many threads may work on tiles at once.
    side_by_side : callable
        ``threads -> context`` in which that many threads work on tiles at once: what the library
        would share out over all cores stays on the thread that calls it.
    mutable : bool
        Whether ``x[index] = value`` works.
    empty : callable or None
        ``(shape, dtype) -> array`` of unknown values that other libraries can take as it is; the
        namespace's own by default.
    lend : callable or None
        ``(place, arrays) -> Loan or None``: arrays as those of a library that computes kernels of
        them faster; None where they cannot be lent, as those that derivatives follow.
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
    together : callable or None
        ``(fn, args) -> (array, array)``: both arrays of ``fn(*args)``, which are of one shape, in
        one compiled loop.
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
    most_bytes: Callable[[Any], float] = lambda device: math.inf
    is_followed: Callable[[Array], bool] = lambda x: False
    workers: Callable[[Any], int] = lambda device: 1
    side_by_side: Callable[[int], AbstractContextManager[None]] = lambda threads: nullcontext()
    key: Callable[[int], Any] = lambda seed: seed
    alike: Callable[[Any], list[Any]] = lambda device: [device]
    mutable: bool = True
    empty: Callable[[tuple[int, ...], Any], Array] | None = None
    lend: Callable[[Place, Sequence[Array]], Loan | None] | None = None
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
    together: Callable[..., tuple[Array, Array]] | None = None
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

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array of unknown values."""
        if self.backend.empty is not None:
            return self.backend.empty(shape, dtype)
        return self.xp.empty(shape, dtype=dtype, device=self.device)

    def number(self, x: Any) -> Any:
        """Return a leaf as something that multiplies arrays here: plain numbers stay plain."""
        return float(x) if isinstance(x, (bool, int, float)) else self.asarray(x)
