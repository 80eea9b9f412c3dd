"""JAX on the CPU, GPUs and TPUs."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as xp
import numpy as np

from ntcore.backend import Backend, Linalg
from ntcore.backends.jax_host import lend
from ntcore.backends.jax_modules import adapt
from ntcore.backends.jax_moments import rectifier
from ntcore.backends.jax_stages import fence, is_traced, stage, sweep, together
from ntcore.backends.jax_structured import count, outline, structured
from ntcore.backends.numpy import BACKEND as HOST
from ntcore.backends.numpy import split as split_seed
from ntcore.errors import DTypeError
from ntcore.ops import Table, affine
from ntcore.record import join
from ntcore.record import split as split_record


def _asarray(x: Any, dtype: Any, device: Any) -> Any:
    if dtype is None and getattr(x, "dtype", None) == np.float64 and not _has_float64():
        raise DTypeError(
            "a float64 array was passed but this JAX computes in float32; convert the array to "
            "float32, or set jax.config.update('jax_enable_x64', True) at start-up."
        )
    made = xp.asarray(x, dtype=dtype)
    if device is None or is_traced(made) or made.device == device:
        return made
    return jax.device_put(made, device)


def _has_float64() -> bool:
    return bool(jax.config.jax_enable_x64)


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


def _tile_bytes(device: Any) -> int:
    return 1 << 22 if _is_host(device) else 1 << 28


def _most_bytes(device: Any) -> float:
    """A compiled call takes about four blocks at once; what is freed is kept up to 32 MiB."""
    return 1 << 23 if _is_host(device) else math.inf


def _is_host(device: Any) -> bool:
    return bool(getattr(device, "platform", "cpu") == "cpu")


def _matmul(at: Any, a: Any, b: Any) -> Any:
    """Matrix product in full precision: the default on GPUs and TPUs keeps fewer digits."""
    return xp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _gram(at: Any, a: Any, b: Any) -> Any:
    """One contraction: XLA on the CPU would copy the transposed matrix."""
    return xp.einsum("...ic,...jc->...ij", a, b, precision=jax.lax.Precision.HIGHEST)


def _inner(at: Any, a: Any, b: Any) -> Any:
    """Inner products as one contraction.

    XLA on the CPU (jaxlib 0.10.2) returns wrong sums of products of two arrays that broadcast,
    where it compiles the product, the sum and a scale as one.
    """
    return xp.einsum("...c,...c->...", a, b, precision=jax.lax.Precision.HIGHEST)


MOST_SHIFTS = 3


def _gather_sum(at: Any, x: Any, table: Table) -> Any:
    """Shifted copies where a window reads at few distances: XLA fuses these, but no index."""
    total = None
    for t in range(len(table.index)):
        term = _tap(at, x, table, t)
        total = term if total is None else total + term
    return total


def _gather_sums(
    at: Any,
    x: Any,
    tables: tuple[Table, ...],
    scale: Any = None,
    bias: Any = None,
    plus: Any = None,
) -> Any:
    """Axis after axis: XLA on the CPU would compute the sums of one for each tap of the next."""
    for k in range(len(tables) - 1):
        x = fence(partial(_along, at, tables[k], k), x)
    if tables:
        x = _along(at, tables[-1], len(tables) - 1, x)
    return affine(at, x, scale, bias, plus)


def _along(at: Any, table: Table, axis: int, x: Any) -> Any:
    outer, inner = x.shape[:axis], x.shape[axis + 1 :]
    flat = xp.reshape(x, (math.prod(outer), x.shape[axis], math.prod(inner)))
    return xp.reshape(_gather_sum(at, flat, table), (*outer, -1, *inner))


def _tap(at: Any, x: Any, table: Table, t: int) -> Any:
    index, rows = table.index[t], np.arange(table.index.shape[1])
    reads = np.ones(len(rows), bool) if table.valid is None else table.valid[t]
    if not reads.any():
        return xp.zeros((x.shape[0], len(rows), x.shape[2]), x.dtype)
    step = _step(index[reads], rows[reads])
    shift = index - step * rows
    shifts, zero = np.unique(shift[reads]), xp.zeros((), x.dtype)
    if table.wraps or len(shifts) > MOST_SHIFTS:
        found = xp.take(x, xp.asarray(index), axis=1, mode="clip")
        return found if table.valid is None else xp.where(_mask(reads), found, zero)
    parts = [(_mask(reads & (shift == s)), _shifted(x, int(s), len(rows), step)) for s in shifts]
    total = xp.where(*parts[0], zero)
    for mask, part in parts[1:]:
        total = xp.where(mask, part, total)
    return total


def _step(index: np.ndarray, rows: np.ndarray) -> int:
    """Return how far apart neighbours read, as a rule."""
    apart = np.diff(index)[np.diff(rows) == 1]
    steps, counts = np.unique(apart[apart > 0], return_counts=True)
    return int(steps[counts.argmax()]) if len(steps) else 1


def _mask(reads: np.ndarray) -> Any:
    return xp.asarray(reads)[None, :, None]


def _shifted(x: Any, shift: int, size: int, step: int) -> Any:
    """Return ``x[:, shift + step * m]`` for ``m < size``, with zeros where there is nothing."""
    end = shift + step * (size - 1) + 1
    before, after = max(-shift, 0), max(end - x.shape[1], 0)
    padded = xp.pad(x, ((0, 0), (before, after), (0, 0)))
    return padded[:, shift + before : end + before : step, :]


@partial(jax.jit, donate_argnums=0)
def _write(whole: Any, tile: Any, i: int, j: int) -> Any:
    return jax.lax.dynamic_update_slice(whole, tile, (i, j, *(0,) * (whole.ndim - 2)))


def _register(cls: type) -> None:
    jax.tree_util.register_pytree_node(cls, split_record, lambda aux, kids: join(cls, kids, aux))


@partial(jax.jit, donate_argnums=0)
def _put(whole: Any, part: Any, start: Any) -> Any:
    return jax.lax.dynamic_update_slice_in_dim(whole, part, start, 0)


def _takes(fn: Any, args: tuple[Any, ...]) -> float:
    """Return the bytes of temporaries and results; the compilation is kept for the call."""
    if any(is_traced(x) for x in jax.tree.leaves(args)):
        return 0.0
    found = fn.lower(*args).compile().memory_analysis()
    return 0.0 if found is None else float(found.temp_size_in_bytes + found.output_size_in_bytes)


BACKEND = Backend(
    library="jax",
    namespace=xp,
    owns=lambda x: isinstance(x, jax.Array),
    asarray=_asarray,
    to_numpy=np.asarray,
    device=lambda x: None if is_traced(x) else x.device,
    devices=lambda: [str(d) for d in jax.devices()],
    is_traced=is_traced,
    linalg=Linalg(xp.linalg.cholesky, _solve_triangular),
    erf=jax.scipy.special.erf,
    normal=_normal,
    split=_split,
    is_rng=_is_key,
    key=jax.random.PRNGKey,
    alike=_alike,
    tile_bytes=_tile_bytes,
    most_bytes=_most_bytes,
    mutable=False,
    lend=lend,
    write=_write,
    jit=jax.jit,
    vjp=jax.vjp,
    jvp=jax.jvp,
    vmap=jax.vmap,
    scan=jax.lax.scan,
    takes=_takes,
    put=_put,
    finish=jax.block_until_ready,
    stage=stage,
    sweep=sweep,
    together=together,
    register_pytree=_register,
    flatten=jax.tree.flatten,
    adapt=adapt,
    structured=structured,
    outline=outline,
    count=count,
    aside=jax.ensure_compile_time_eval,
    adopts=("numpy",),
    fused={
        "matmul": _matmul,
        "gram": _gram,
        "inner": _inner,
        "gather_sum": _gather_sum,
        "gather_sums": _gather_sums,
        "rectifier": rectifier,
    },
)
