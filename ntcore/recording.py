"""A backend that records: layers pushed through it write a chain; see :mod:`ntcore.recorder`."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ntcore.backend import Place, host
from ntcore.ghosts import Batch, Ghost, Unrecordable, refuse
from ntcore.ops import DUALS, REFERENCE, Table
from ntcore.recorder import (
    Value,
    affine,
    dual,
    gather_sums,
    normalize,
    product,
    put_variances,
    spread,
    total,
)


class _Namespace:
    """What of the standard can be recorded: new axes, and rows that are picked."""

    def __getattr__(self, name: str) -> Any:
        raise Unrecordable(name)

    @staticmethod
    def reshape(x: Any, shape: tuple[int, ...]) -> Value:
        if not isinstance(x, Value):
            raise Unrecordable
        return x.reshaped(shape)

    @staticmethod
    def permute_dims(x: Any, axes: tuple[int, ...]) -> Batch:
        if not isinstance(x, Batch):
            raise Unrecordable
        return x.behind_space(axes)

    @staticmethod
    def take(x: Any, index: Any, axis: int) -> Value:
        """Pick rows of one axis of a block."""
        if not isinstance(x, Value):
            raise Unrecordable
        np, sizes = host().namespace, x.shape
        inner = math.prod(sizes[axis + 1 :])
        flat = x.reshaped((math.prod(sizes[:axis]), sizes[axis], inner, 1))
        every = (np.arange(flat.shape[0]), np.asarray(index), np.arange(inner))
        tables = tuple(Table(i[None, :]) for i in every)
        found = gather_sums(None, flat, tables)
        return found.reshaped((*sizes[:axis], len(index), *sizes[axis + 1 :]))


#: What is recorded beside the moments of nonlinearities.
OPERATIONS = (gather_sums, affine, product, total, spread, normalize, put_variances)


def recording_place(at: Place) -> Place:
    """Return a place where operations are written down."""
    fused = {f.__name__: f for f in OPERATIONS}
    fused |= {name: dual(name) for name in DUALS}
    made = replace(
        at.backend,
        namespace=_Namespace(),
        owns=lambda x: isinstance(x, Ghost),
        asarray=_keep,
        stage=None,
        scan=None,
        chain=None,
        fused={name: refuse for name in REFERENCE} | fused,
    )
    return Place(made, at.dtype, at.device)


def _keep(x: Any, dtype: Any, device: Any) -> Any:
    """Let host tables of integers pass; any other array is a constant no chain holds."""
    if getattr(getattr(x, "dtype", None), "kind", "") not in "biu":
        raise Unrecordable
    return x
