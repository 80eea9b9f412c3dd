"""JAX on the CPU, GPUs and TPUs; every layer of an eager call is compiled on its own.

Compiling layer by layer keeps their loops apart: XLA on the CPU would otherwise merge the
stencils of several layers and compute them over and over. Inside the caller's own ``jit`` a fence
around each layer does the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as xp
import numpy as np

from ntcore.backend import Backend, Linalg
from ntcore.backends.jax_modules import adapt
from ntcore.backends.jax_moments import rectifier
from ntcore.backends.jax_structured import count, outline, structured
from ntcore.backends.numpy import BACKEND as HOST
from ntcore.backends.numpy import split as split_seed
from ntcore.errors import DTypeError
from ntcore.ops import REFERENCE, Table
from ntcore.record import join
from ntcore.record import split as split_record

with jax.ensure_compile_time_eval():  # the first kernel of a program may be inside its own jit
    _CONCRETE = type(xp.zeros(()))


def _asarray(x: Any, dtype: Any, device: Any) -> Any:
    if dtype is None and getattr(x, "dtype", None) == np.float64 and not _has_float64():
        raise DTypeError(
            "a float64 array was passed but this JAX computes in float32; convert the array to "
            "float32, or set jax.config.update('jax_enable_x64', True) at start-up."
        )
    made = xp.asarray(x, dtype=dtype)
    if device is None or _is_traced(made) or made.device == device:
        return made
    return jax.device_put(made, device)


def _has_float64() -> bool:
    return bool(jax.config.jax_enable_x64)


def _is_traced(x: Any) -> bool:
    return not isinstance(x, (_CONCRETE, np.ndarray, np.generic))


def _solve_triangular(lower: Any, b: Any, transpose: bool) -> Any:
    return jax.scipy.linalg.solve_triangular(lower, b, trans=int(transpose), lower=True)


def _is_key(x: object) -> bool:
    if not isinstance(x, jax.Array):
        return False
    return bool(jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)) or (
        x.dtype == xp.uint32 and x.shape == (2,)
    )


def _normal(rng: Any, shape: tuple[int, ...], dtype: Any, device: Any) -> Any:
    if _is_key(rng):
        return _asarray(jax.random.normal(rng, shape, dtype or float), dtype, device)
    return _asarray(HOST.normal(rng, shape, None, None), dtype or float, device)


def _split(rng: Any, n: int) -> list[Any]:
    return list(jax.random.split(rng, n)) if _is_key(rng) else split_seed(rng, n)


def _alike(device: Any) -> list[Any]:
    """The devices of a platform; an array that is spread over several stays where it is."""
    platform = getattr(device, "platform", None)
    return [device] if platform is None else jax.local_devices(backend=platform)


@cache
def _stage(fn: Callable[..., Any], static: tuple[int, ...]) -> Callable[..., Any]:
    """Compile a function as a computation of its own, inside a traced one too."""
    alone = jax.jit(fn, static_argnums=static)
    inside = jax.jit(partial(_fenced, fn, static), static_argnums=static)

    def staged(*args: Any) -> Any:
        traced = any(_is_traced(x) for x in _arrays(_without(args, static)))
        return (inside if traced else alone)(*args)

    return staged


def _fenced(fn: Callable[..., Any], static: tuple[int, ...], *args: Any) -> Any:
    """Call ``fn`` so that XLA on the CPU cannot merge its loops with those around it.

    A conditional is what XLA does not look through. It asks whether a number equals itself, which
    holds unless the number is NaN, and then everything is.
    """
    dynamic = _without(args, static)
    numbers = [x for x in _arrays(dynamic) if xp.issubdtype(x.dtype, xp.floating)]

    def call(given: tuple[Any, ...]) -> Any:
        rest = iter(given)
        return fn(*(args[i] if i in static else next(rest) for i in range(len(args))))

    def nan(given: tuple[Any, ...]) -> Any:
        shapes = jax.eval_shape(call, given)
        return jax.tree.map(lambda s: xp.full(s.shape, xp.nan).astype(s.dtype), shapes)

    def fenced(given: tuple[Any, ...]) -> Any:
        first = numbers[0].reshape(-1)[0]
        return jax.lax.cond(first == first, call, nan, given)

    if not numbers or not numbers[0].size:
        return call(dynamic)
    return jax.lax.platform_dependent(dynamic, cpu=fenced, default=call)


def _without(args: tuple[Any, ...], static: tuple[int, ...]) -> tuple[Any, ...]:
    return tuple(x for i, x in enumerate(args) if i not in static)


def _arrays(tree: Any) -> list[Any]:
    return [x for x in jax.tree.leaves(tree) if isinstance(x, jax.Array)]


def _tile_bytes(device: Any) -> int:
    return 1 << 22 if getattr(device, "platform", "cpu") == "cpu" else 1 << 28


def _matmul(at: Any, a: Any, b: Any) -> Any:
    """Matrix product in full precision: the default on GPUs and TPUs keeps fewer digits."""
    return xp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


MOST_SHIFTS = 3


def _gather_sum(at: Any, x: Any, table: Table) -> Any:
    """Shifted copies where a window reads at few distances: XLA fuses these, but no index."""
    total = None
    for t in range(len(table.index)):
        term = _tap(at, x, table, t)
        total = term if total is None else total + term
    return total


def _tap(at: Any, x: Any, table: Table, t: int) -> Any:
    index, rows = table.index[t], np.arange(table.index.shape[1])
    reads = np.ones(len(rows), bool) if table.valid is None else table.valid[t]
    shifts = np.unique((index - rows)[reads])
    if not len(shifts):
        return xp.zeros((x.shape[0], len(rows), x.shape[2]), x.dtype)
    if len(shifts) > MOST_SHIFTS:
        alone = Table(np.where(reads, index, -1)[None, :])
        return REFERENCE["gather_sum"](at, x, alone)
    terms = [(int(s), reads & (index - rows == s)) for s in shifts]
    zero = xp.zeros((), x.dtype)
    shifted = [(xp.asarray(m)[None, :, None], _shifted(x, s, len(rows))) for s, m in terms]
    total = xp.where(*shifted[0], zero)
    for mask, part in shifted[1:]:
        total = xp.where(mask, part, total)
    return total


def _shifted(x: Any, shift: int, size: int) -> Any:
    """Return ``x[:, shift : shift + size]``, with zeros where there is nothing."""
    before, after = max(-shift, 0), max(shift + size - x.shape[1], 0)
    padded = xp.pad(x, ((0, 0), (before, after), (0, 0)))
    return padded[:, shift + before : shift + before + size, :]


def _register(cls: type) -> None:
    jax.tree_util.register_pytree_node(cls, split_record, lambda aux, kids: join(cls, kids, aux))


BACKEND = Backend(
    library="jax",
    namespace=xp,
    owns=lambda x: isinstance(x, jax.Array),
    asarray=_asarray,
    to_numpy=np.asarray,
    device=lambda x: None if _is_traced(x) else x.device,
    devices=lambda: [str(d) for d in jax.devices()],
    is_traced=_is_traced,
    linalg=Linalg(xp.linalg.cholesky, _solve_triangular),
    erf=jax.scipy.special.erf,
    normal=_normal,
    split=_split,
    is_rng=_is_key,
    key=jax.random.PRNGKey,
    alike=_alike,
    tile_bytes=_tile_bytes,
    mutable=False,
    jit=jax.jit,
    vjp=jax.vjp,
    jvp=jax.jvp,
    vmap=jax.vmap,
    scan=jax.lax.scan,
    stage=_stage,
    register_pytree=_register,
    flatten=jax.tree.flatten,
    adapt=adapt,
    structured=structured,
    outline=outline,
    count=count,
    aside=jax.ensure_compile_time_eval,
    adopts=("numpy",),
    fused={"matmul": _matmul, "gather_sum": _gather_sum, "rectifier": rectifier},
)
