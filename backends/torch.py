"""torch, on the CPU and on CUDA; differentiable by its own autograd."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import array_api_compat.torch as xp
import numpy as np
import torch
import torch.utils._pytree as pytree

from ntcore.backend import Backend, Linalg, Place
from ntcore.backends.numpy import BACKEND as HOST
from ntcore.backends.numpy import split as split_seed
from ntcore.backends.products import TURNS
from ntcore.backends.torch_host import lend
from ntcore.backends.torch_modules import adapt
from ntcore.backends.torch_moments import rectifier
from ntcore.backends.torch_pullback import is_transforming, with_pullback
from ntcore.backends.torch_structured import count, structured
from ntcore.errors import DTypeError
from ntcore.ops import Table
from ntcore.record import join
from ntcore.record import split as split_record


def _asarray(x: Any, dtype: Any, device: Any) -> torch.Tensor:
    if isinstance(x, torch.Tensor):
        return x.to(device=device, dtype=dtype)
    if isinstance(x, np.ndarray) and not x.flags.writeable:
        x = x.copy()
    return torch.as_tensor(x, dtype=dtype, device=device)


def _cholesky(a: torch.Tensor) -> torch.Tensor:
    lower, info = torch.linalg.cholesky_ex(a)
    return torch.where(info[..., None, None] == 0, lower, torch.nan)


def _solve_triangular(lower: torch.Tensor, b: torch.Tensor, transpose: bool) -> torch.Tensor:
    a = lower.mT if transpose else lower
    matrix = b if b.ndim > 1 else b[:, None]
    x = torch.linalg.solve_triangular(a, matrix, upper=transpose)
    return x if b.ndim > 1 else x[:, 0]


def _normal(rng: Any, shape: tuple[int, ...], dtype: Any, device: Any) -> torch.Tensor:
    if not isinstance(rng, torch.Generator):
        return _asarray(HOST.normal(rng, shape, None, None), dtype, device)
    drawn = torch.randn(shape, generator=rng, dtype=dtype, device=rng.device)
    return drawn if device is None else drawn.to(device)


def _split(rng: Any, n: int) -> list[Any]:
    """A torch.Generator has no children; drawing in order from one keeps draws independent."""
    return [rng] * n if isinstance(rng, torch.Generator) else split_seed(rng, n)


def _devices() -> list[str]:
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ["cpu", *cuda]


def _alike(device: torch.device) -> list[torch.device]:
    if device.type != "cuda":
        return [device]
    return [torch.device("cuda", i) for i in range(torch.cuda.device_count())]


def _tile_bytes(device: Any) -> int:
    if device is None or torch.device(device).type == "cpu":
        return HOST.tile_bytes("cpu")
    return 1 << 28


def _workers(device: Any) -> int:
    """Transformations, and a mode of inference, are those of the thread that began them alone."""
    alone = is_transforming() or torch.is_inference_mode_enabled()
    return 1 if alone or torch.device(device).type != "cpu" else HOST.workers("cpu")


def _matmul(at: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Matrix product in full precision; a setting that allows TF32 is refused, not overruled."""
    if a.is_cuda and a.dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest":
        raise DTypeError(
            "torch is set to compute float32 products in TF32, which keeps three digits of a "
            "kernel; call torch.set_float32_matmul_precision('highest') or pass float64 inputs."
        )
    if a.is_cuda:
        return torch.matmul(a, b)
    with TURNS.taken():
        return torch.matmul(a, b)


def _gather_sum(at: Place, x: torch.Tensor, table: Table) -> torch.Tensor:
    """All taps in one gather; what reads nothing reads a row of zeros behind the last."""
    outer, rows, inner = x.shape
    if table.valid is not None:
        x = torch.cat([x, x.new_zeros(()).expand(outer, 1, inner)], dim=1)
    found = x.index_select(1, _flat_index(table, rows, at.device))
    taps = table.index.shape[0]
    return found if taps == 1 else found.reshape(outer, taps, -1, inner).sum(1)


@lru_cache(maxsize=4096)
def _flat_index(table: Table, rows: int, device: Any) -> torch.Tensor:
    index = table.index if table.valid is None else np.where(table.valid, table.index, rows)
    return torch.as_tensor(index.reshape(-1), device=device)


def _is_traced(x: torch.Tensor) -> bool:
    """Whether a value cannot be read now, as under ``vmap`` and ``compile``."""
    if torch.compiler.is_compiling():
        return True
    try:
        x.detach().reshape(-1)[:1].sum().item()
    except (RuntimeError, NotImplementedError):
        return True
    return False


def _register(cls: type) -> None:
    def unflatten(leaves: Any, context: tuple[Any, ...]) -> Any:
        return join(cls, tuple(leaves), context)

    pytree.register_pytree_node(cls, _flatten, unflatten)


def _flatten(value: Any) -> tuple[list[Any], Any]:
    leaves, static = split_record(value)
    return list(leaves), static


def _vjp(fn: Any, *primals: torch.Tensor) -> tuple[Any, Any]:
    """As torch.func does, which takes no checkpoints: those are left to autograd."""
    try:
        found: tuple[Any, Any] = torch.func.vjp(fn, *primals)
    except RuntimeError as error:
        if "saved tensor hooks" not in str(error):
            raise
        found = _by_autograd(fn, primals)
    return found


def _by_autograd(fn: Any, primals: tuple[torch.Tensor, ...]) -> tuple[Any, Any]:
    leaves = [p.detach().requires_grad_() for p in primals]
    with torch.enable_grad():
        out = fn(*leaves)
    several = isinstance(out, tuple)

    def pull(cotangents: Any) -> tuple[torch.Tensor, ...]:
        pairs = zip(out, cotangents, strict=True) if several else [(out, cotangents)]
        pairs = [(y, g) for y, g in pairs if y.requires_grad]
        if not pairs:
            return tuple(map(torch.zeros_like, leaves))
        seeds = [[y for y, _ in pairs], leaves, [g for _, g in pairs]]
        return torch.autograd.grad(
            *seeds, retain_graph=True, allow_unused=True, materialize_grads=True
        )

    return tuple(y.detach() for y in out) if several else out.detach(), pull


BACKEND = Backend(
    library="torch",
    namespace=xp,
    owns=lambda x: isinstance(x, torch.Tensor),
    asarray=_asarray,
    to_numpy=lambda x: x.detach().cpu().numpy(),
    device=lambda x: x.device,
    devices=_devices,
    is_traced=_is_traced,
    is_followed=lambda x: bool(torch.is_grad_enabled() and x.requires_grad),
    linalg=Linalg(_cholesky, _solve_triangular),
    erf=torch.special.erf,
    normal=_normal,
    split=_split,
    is_rng=lambda x: isinstance(x, torch.Generator),
    alike=_alike,
    tile_bytes=_tile_bytes,
    workers=_workers,
    side_by_side=HOST.side_by_side,
    holding=HOST.holding,
    lend=lend,
    vjp=_vjp,
    jvp=torch.func.jvp,
    vmap=torch.func.vmap,
    with_pullback=with_pullback,
    register_pytree=_register,
    adapt=adapt,
    structured=structured,
    count=count,
    fused={"matmul": _matmul, "gather_sum": _gather_sum, "rectifier": rectifier},
)
