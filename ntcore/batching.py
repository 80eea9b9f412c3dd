"""Computing a kernel block by block, for functions that do not cut their work up themselves."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from ntcore.backend import Array, backend_of, host
from ntcore.errors import ArgumentError, Unsupported
from ntcore.inputs import leaves_of, map_tree, of_sizes
from ntcore.network import regrouping
from ntcore.public import shape_of
from ntcore.record import Record
from ntcore.result import Kernel

Blocks = list[list[Any]]

#: What a result holds of one batch alone: ``(n1, ...)`` or ``(n2, ...)``, by field.
OF_FIRST, OF_SECOND = ("cov1", "mask1"), ("cov2", "mask2")


def batch(
    kernel_fn: Callable[..., Any],
    batch_size: int = 0,
    device_count: int = -1,
    store_on_device: bool = True,
) -> Callable[..., Any]:
    """Return a function that computes a kernel in blocks of pairs of batches.

    ``kernel_fn`` of a network cuts its work into tiles by itself; this serves kernels of finite
    networks and any other function of two batches, and results too large for a device.

    Parameters
    ----------
    kernel_fn : callable
        ``(x1, x2, *args, **kwargs) -> result``; a result is an array ``(n1, n2, ...)``, a
        :class:`~ntcore.Kernel`, or a tuple, list or named tuple of such.
    batch_size : int, default 0
        Examples of each batch in a block; the last block of a batch may be smaller. 0 computes
        everything in one block.
    device_count : int, default -1
        Accepted for compatibility: -1, 0 and 1 compute on the device of the inputs.
    store_on_device : bool, default True
        False brings every block to the host as it is computed, and returns NumPy arrays.

    Returns
    -------
    callable
        With the signature of ``kernel_fn``, its results equal to those of ``kernel_fn``. The batch
        is the first axis of every input and ``pattern``.

    Raises
    ------
    ArgumentError
        If ``batch_size`` is negative, or ``device_count`` less than -1.
    Unsupported
        If ``device_count`` is more than 1, a result holds covariances of all pairs of one batch
        (``diagonal_batch=False``), which blocks of two batches do not, or a network picks or joins
        examples, which are others in a block.
    """
    if batch_size < 0 or device_count < -1:
        raise ArgumentError(
            f"batch got batch_size={batch_size} and device_count={device_count}; give a number of "
            "examples (0 for all of them) and -1 devices or more."
        )
    if device_count > 1:
        raise Unsupported(
            f"batch got device_count={device_count} but computes on the device of the inputs; "
            "leave device_count out."
        )

    @functools.wraps(kernel_fn)
    def batched(x1: Any, x2: Any = None, *args: Any, **kwargs: Any) -> Any:
        keep = _same if store_on_device else _to_host
        if not batch_size:
            return _mapped(keep, kernel_fn(x1, x2, *args, **kwargs))
        _check_examples(kernel_fn, _tuples(x1))
        rows, columns = _spans(x1, 0, batch_size), _spans(x1 if x2 is None else x2, 1, batch_size)
        blocks = [
            [
                _mapped(keep, kernel_fn(*_inputs(x1, x2, i, j), *args, **_kwargs(kwargs, i, j)))
                for j in columns
            ]
            for i in rows
        ]
        return _joined(blocks, x2 is None)

    return batched


def _check_examples(kernel_fn: Callable[..., Any], x1: Any) -> None:
    network = getattr(getattr(kernel_fn, "__self__", None), "network", None)
    if not isinstance(network, Record):
        return
    if isinstance(leaves_of(x1)[0], Kernel):
        shapes = map_tree(lambda k: shape_of(k, 1), x1)
    else:
        shapes = of_sizes(network, map_tree(lambda x: tuple(x.shape), x1)).shapes1
    layer = regrouping(network, shapes)
    if layer is not None:
        raise Unsupported(
            f"batch cuts the examples into blocks, but {layer!r} picks or joins those of whole "
            "batches; call kernel_fn itself, which cuts its work into tiles."
        )


# --- cutting up ---------------------------------------------------------------------------------


def _spans(x: Any, axis: int, size: int) -> list[slice]:
    """Return the slices of a batch, at least one; a Kernel has both batches."""
    first = leaves_of(_tuples(x))[0]
    count = int(first.nngp.shape[axis] if isinstance(first, Kernel) else first.shape[0])
    return [slice(i, min(i + size, count)) for i in range(0, max(count, 1), size)]


def _inputs(x1: Any, x2: Any, i: slice, j: slice) -> tuple[Any, Any]:
    first = _tuples(x1)
    if isinstance(leaves_of(first)[0], Kernel):
        return map_tree(lambda k: k.slice(i, j), first), None
    if x2 is None and i == j:
        return _cut(first, i), None
    return _cut(first, i), _cut(first if x2 is None else _tuples(x2), j)


def _kwargs(kwargs: dict[str, Any], i: slice, j: slice) -> dict[str, Any]:
    """Return the arguments of one block: a pattern comes with the examples."""
    pattern = kwargs.get("pattern")
    if pattern is None:
        return kwargs
    one, two = (p if p is None else _cut(p, s) for p, s in zip(pattern, (i, j), strict=True))
    return {**kwargs, "pattern": (one, two)}


def _cut(x: Any, span: slice) -> Any:
    return map_tree(lambda leaf: leaf[span, ...], x)


def _tuples(x: Any) -> Any:
    return tuple(map(_tuples, x)) if isinstance(x, (list, tuple)) else x


# --- putting together ---------------------------------------------------------------------------


def _joined(blocks: Blocks, same: bool, name: str = "") -> Any:
    first = blocks[0][0]
    if isinstance(first, Kernel):
        return _kernel(blocks, same)
    if isinstance(first, (tuple, list)):
        names = getattr(first, "_fields", ("",) * len(first))
        parts = [
            _joined([[b[k] for b in row] for row in blocks], same, n) for k, n in enumerate(names)
        ]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    return _array(blocks, same, name) if hasattr(first, "shape") else first


def _array(blocks: Blocks, same: bool, name: str) -> Any:
    if name in OF_FIRST:
        return _concat([row[0] for row in blocks], 0)
    if name in OF_SECOND:
        return None if same and name == "cov2" else _concat(blocks[0], 0)
    return _concat([_concat(row, 1) for row in blocks], 0)


def _kernel(blocks: Blocks, same: bool) -> Kernel:
    first: Kernel = blocks[0][0]
    if not first.diagonal_batch:
        raise Unsupported(
            "batch cannot put together cov1 and cov2 of all pairs of a batch; leave "
            "diagonal_batch=False out, or ask for 'nngp' and 'ntk' alone."
        )

    def field(name: str) -> Any:
        values = [[getattr(b, name) for b in row] for row in blocks]
        return None if values[-1][-1] is None else _array(values, same, name)

    arrays = {n: field(n) for n in ("nngp", "ntk", *OF_FIRST, *OF_SECOND)}
    n1, n2 = arrays["nngp"].shape[:2]
    return first.replace(
        **arrays,
        x1_is_x2=same or all(row[k].x1_is_x2 for k, row in enumerate(blocks) if k < len(row)),
        shape1=_with_count(first.shape1, first.batch_axis, n1),
        shape2=_with_count(first.shape2, first.batch_axis, n2),
    )


def _with_count(shape: tuple[int, ...], axis: int, count: int) -> tuple[int, ...]:
    return tuple(count if i == axis else n for i, n in enumerate(shape))


def _concat(arrays: list[Array], axis: int) -> Array:
    if len(arrays) == 1:
        return arrays[0]
    return backend_of(arrays[0]).namespace.concat(arrays, axis=axis)


def _same(x: Array) -> Array:
    return x


def _to_host(x: Array) -> Any:
    return host().namespace.asarray(backend_of(x).to_numpy(x))


def _mapped(change: Callable[[Array], Any], result: Any) -> Any:
    """Change every array of a result."""
    if isinstance(result, Kernel):
        return result.replace(**{n: change(x) for n, x in _arrays(result)})
    if isinstance(result, (tuple, list)):
        parts = [_mapped(change, r) for r in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return change(result) if hasattr(result, "shape") else result


def _arrays(kernel: Kernel) -> Iterator[tuple[str, Array]]:
    for name in ("nngp", "ntk", *OF_FIRST, *OF_SECOND):
        x = getattr(kernel, name)
        if x is not None:
            yield name, x
