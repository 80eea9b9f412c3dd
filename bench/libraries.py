"""How each library takes the inputs of a case, computes its kernel and waits for the result."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from case import Case

#: For each way of computing: the array library, and the modules that are hidden from it.
OURS = {
    "numpy": ("numpy", ("numba",)),
    "numpy+numba": ("numpy", ()),
    "torch": ("torch", ("numba",)),
    "torch+numba": ("torch", ()),
    "jax": ("jax", ("numba",)),
    "jax+numba": ("jax", ()),
    "torch-cuda": ("torch", ()),
    "jax-cuda": ("jax", ()),
    "cupy": ("cupy", ()),
}
PEER = "neural_tangents"
WATCHED = ("numpy", "scipy", "numba", "torch", "jax", "jaxlib", "cupy", PEER)

Fn = Callable[[Any], Any]


def set_up(way: str, dtype: str) -> None:
    """Hide what a way goes without, and let JAX have float64 where it is asked for."""
    for name in OURS.get(way, ("", ()))[1]:
        sys.modules[name] = None  # type: ignore[assignment]
    if "jax" in way or way == PEER:
        os.environ.setdefault("JAX_ENABLE_X64", str(int(dtype == "float64")))
        if not way.endswith("cuda"):
            os.environ.setdefault("JAX_PLATFORMS", "cpu")


def inputs(case: Case, counts: tuple[int, int], dtype: str) -> tuple[Any, Any]:
    """Return the two batches, the second None where it is the first.

    They are the same in every library and, rounded to float32, in every data type; a smaller batch
    is the beginning of a larger one.
    """
    x1, x2 = (
        np.random.default_rng(seed).standard_normal((n, *case.shape)).astype("float32")
        for seed, n in enumerate(counts)
    )
    return x1.astype(dtype), (x2.astype(dtype) if counts[1] else None)


@dataclass(frozen=True)
class Prepared:
    """A case on one library: what is timed waits for its result.

    ``run`` computes the kernel, ``product`` the matrix product of the two batches alone, as many
    examples as columns; ``fetch`` hands a result over to NumPy.
    """

    run: Callable[[], Any]
    product: Callable[[], Any]
    fetch: Callable[[Any], Any]


def prepare(way: str, case: Case, counts: tuple[int, int], dtype: str) -> Prepared:
    """Build a case for a way of computing it."""
    put, wait, fetch = _library(way)
    x1, x2 = inputs(case, counts, dtype)
    a, b = put(x1), None if x2 is None else put(x2)
    kernel_fn = case.build(importlib.import_module(_stax(way)))[2]
    if way == PEER:
        import jax

        kernel_fn = jax.jit(kernel_fn, static_argnames="get")

    def read(found: Any) -> np.ndarray:
        """Several kernels lie one behind the other along the last axis."""
        several = isinstance(found, tuple)
        return np.stack([fetch(x) for x in found], axis=-1) if several else fetch(found)

    return Prepared(
        lambda: wait(kernel_fn(a, b, get=case.get)),
        lambda: wait(a @ (a if b is None else b).T),
        read,
    )


def _stax(way: str) -> str:
    return "neural_tangents.stax" if way == PEER else "ntcore.stax"


def _library(way: str) -> tuple[Fn, Fn, Fn]:
    """Return how to make an array, how to wait until it is computed, and how to read it."""
    name = OURS[way][0] if way in OURS else "jax"
    if name == "torch":
        return _torch("cuda" if way.endswith("cuda") else "cpu")
    if name == "jax":
        import jax

        return jax.numpy.asarray, jax.block_until_ready, np.asarray
    if name == "cupy":
        import cupy

        def wait(x: Any) -> Any:
            cupy.cuda.get_current_stream().synchronize()
            return x

        return cupy.asarray, wait, cupy.asnumpy
    return np.asarray, lambda x: x, np.asarray


def _torch(device: str) -> tuple[Fn, Fn, Fn]:
    import torch

    def wait(x: Any) -> Any:
        if device == "cuda":
            torch.cuda.synchronize()
        return x

    return lambda x: torch.as_tensor(x, device=device), wait, lambda x: x.cpu().numpy()


def machine() -> str:
    """Return one line that says what the figures were taken on."""
    with open("/proc/cpuinfo") as file:
        models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0))
    model = models[0] if models else platform.processor()
    load = os.getloadavg()[0]
    return f"{model}, {cores} cores (load {load:.1f} before), {platform.platform()}"


def versions() -> dict[str, str]:
    """Return the versions of Python and of what has been imported."""
    found = {name: getattr(sys.modules.get(name), "__version__", None) for name in WATCHED}
    return {"python": platform.python_version(), **{k: v for k, v in found.items() if v}}
