"""NumPy, and SciPy for what the Array API standard lacks."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import array_api_compat.numpy as xp
import numpy as np
from scipy import linalg, special

from ntcore.backend import Backend, Linalg, Place
from ntcore.backends.buffers import aligned, empty, holding, keep_what_is_freed
from ntcore.backends.numpy_moments import moments
from ntcore.backends.numpy_operators import eigenvalues, operator
from ntcore.backends.numpy_sums import gather_sum
from ntcore.backends.products import cores, matmul, side_by_side
from ntcore.ops import DUALS, REFERENCE


def _asarray(x: Any, dtype: Any, device: Any) -> np.ndarray:
    return np.asarray(x, dtype=dtype)


def _cholesky(a: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        return np.full_like(a, np.nan)


def _solve_triangular(lower: np.ndarray, b: np.ndarray, transpose: bool) -> np.ndarray:
    return linalg.solve_triangular(lower, b, lower=True, trans=int(transpose), check_finite=False)


def _normal(rng: Any, shape: tuple[int, ...], dtype: Any, device: Any) -> np.ndarray:
    return np.asarray(generator(rng).standard_normal(shape), dtype=dtype)


def generator(rng: Any) -> np.random.Generator:
    """Return a Generator for a native random state or an integer seed."""
    if isinstance(rng, np.random.Generator):
        return rng
    return np.random.Generator(np.random.Philox(rng))


def split(rng: Any, n: int) -> list[Any]:
    """Return ``n`` independent random states; integer seeds give the same on every machine."""
    if isinstance(rng, np.random.Generator):
        return list(rng.spawn(n))
    root = rng if isinstance(rng, np.random.SeedSequence) else np.random.SeedSequence(rng)
    return list(root.spawn(n))


# --- fused operations: fewer passes, into few buffers --------------------------------------------


def _affine(
    at: Place, x: np.ndarray, scale: Any = None, bias: Any = None, plus: Any = None
) -> np.ndarray:
    given = [y for y in (scale, bias, plus) if y is not None]
    shape = np.broadcast_shapes(x.shape, *map(np.shape, given))
    if shape != x.shape or np.result_type(x, *given) != x.dtype:
        return REFERENCE["affine"](at, x, scale, bias, plus)
    if not given:
        return x
    out = empty(x.shape, x.dtype)
    if scale is not None:
        x = np.multiply(x, scale, out=out)
    if bias is not None:
        x = np.add(x, bias, out=out)
    if plus is not None:
        x = np.add(x, plus, out=out)
    return x


def _product(at: Place, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.multiply(x, y, out=empty(np.broadcast_shapes(x.shape, y.shape), x.dtype))


#: Rows that stay in the first cache however far apart they lie.
ROWS = 16


def _arranged(
    at: Place, x: np.ndarray, order: tuple[int, ...], shape: tuple[int, ...]
) -> np.ndarray:
    """Axes that change places as two groups are one matrix, which is turned strip by strip."""
    turned = np.transpose(x, order)
    if turned.flags.c_contiguous:
        return turned.reshape(shape)
    out, first = empty(turned.shape, x.dtype), order[0]
    if x.flags.c_contiguous and order == (*range(first, x.ndim), *range(first)):
        rows = math.prod(x.shape[:first])
        _turn(x.reshape(rows, -1), out.reshape(-1, rows))
    else:
        np.copyto(out, turned)
    return out.reshape(shape)


def _turn(x: np.ndarray, out: np.ndarray) -> None:
    """Write the transpose of a matrix."""
    rows, columns = x.shape
    step = ROWS if rows < columns else rows
    for i in range(0, rows, step):
        out[:, i : i + step] = x[i : i + step].T


#: Rows of matrices whose products are worth a call each.
TALL = 16


def _pair_products(at: Place, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A product for each pair, which is written where it belongs, unless they are tiny."""
    if min(a.shape[1], b.shape[1]) < TALL:
        return REFERENCE["pair_products"](at, a, b)
    return matmul(at, a[:, None, :, :], np.swapaxes(b, 1, 2)[None, :, :, :])


#: How far scores may lie apart for one of them to be subtracted from all, with no digit lost.
NEAR = 4.0


def _softmax(at: Place, scores: np.ndarray, hidden: np.ndarray | None = None) -> np.ndarray:
    if hidden is not None or not scores.size:
        return REFERENCE["softmax"](at, scores, hidden)
    out, top = empty(scores.shape, scores.dtype), scores.max()
    if not top - scores.min() <= NEAR:
        top = scores.max(axis=-1, keepdims=True)  # which takes longer than the exponentials
    np.subtract(scores, top, out=out)
    np.exp(out, out=out)
    out /= out.sum(axis=-1, keepdims=True)
    return out


PLAIN: dict[str, Callable[..., Any]] = {
    "matmul": matmul,
    "arranged": _arranged,
    "pair_products": _pair_products,
    "softmax": _softmax,
    "gather_sum": gather_sum,
    "affine": _affine,
    "product": _product,
    **{name: moments(name) for name in DUALS},
}


def _compiled(name: str) -> Callable[..., Any]:
    """Return an operation of :mod:`ntcore.backends.numba`, which is imported when it is called."""

    def fused(at: Place, *args: Any) -> Any:
        return _numba().get(name, REFERENCE[name])(at, *args)

    return fused


@cache
def _numba() -> Mapping[str, Callable[..., Any]]:
    try:
        return {**PLAIN, **importlib.import_module("ntcore.backends.numba").FUSED}
    except ImportError:  # installed, but not for this NumPy or this machine
        return PLAIN


def _chain(*args: Any) -> Any:
    """Run a chain by numba or without it, by modules that are imported when it is called."""
    return _chain_runner()(*args)


@cache
def _chain_runner() -> Callable[..., Any]:
    """Return what runs chains."""
    name = "numba_chain" if is_compiled() else "numpy_chain"
    run: Callable[..., Any] = importlib.import_module(f"ntcore.backends.{name}").run
    return run


@cache
def is_compiled() -> bool:
    """Whether numba compiles chains, here and now."""
    if not HAS_NUMBA:
        return False
    try:
        importlib.import_module("ntcore.backends.numba_chain")
    except ImportError:  # installed, but not for this NumPy or this machine
        return False
    return True


HAS_NUMBA = importlib.util.find_spec("numba") is not None
FUSED = dict(PLAIN)
if HAS_NUMBA:
    FUSED |= {name: _compiled(name) for name in (*PLAIN, "gather_sums")}

keep_what_is_freed()
BACKEND = Backend(
    library="numpy",
    namespace=xp,
    owns=lambda x: isinstance(x, (np.ndarray, np.generic)),
    asarray=_asarray,
    to_numpy=np.asarray,
    device=lambda x: "cpu",
    devices=lambda: ["cpu"],
    is_traced=lambda x: False,
    linalg=Linalg(_cholesky, _solve_triangular),
    erf=special.erf,
    normal=_normal,
    split=split,
    is_rng=lambda x: isinstance(x, np.random.Generator),
    tile_bytes=lambda device: 1 << 22,
    workers=lambda device: cores(),
    side_by_side=side_by_side,
    empty=aligned,
    operator=operator,
    eigenvalues=eigenvalues,
    holding=holding,
    chain=_chain,
    fused=FUSED,
)
