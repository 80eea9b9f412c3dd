"""Graphs on the positions of examples, as callers give them: adjacencies and lists of edges."""

from __future__ import annotations

import enum
import math
from typing import Any

from ntcore.backend import Array, Place, backend_of, host, loaded
from ntcore.errors import BackendError, DTypeError, NotFiniteError, ShapeError
from ntcore.ops import matmul

Sizes = tuple[int, ...]


class AggregateImplementation(enum.Enum):
    """What the ``pattern`` of :class:`~ntcore.layers.Aggregate` is made of."""

    DENSE = "DENSE"
    SPARSE = "SPARSE"


def arrays_in(pattern: Any) -> tuple[Array, ...]:
    """Return the arrays of a pattern that belong to a library of their own, not to the host."""
    if isinstance(pattern, (tuple, list)):
        return tuple(x for p in pattern for x in arrays_in(p))
    owners = (b for b in loaded() if b is not host())
    return (pattern,) if any(b.owns(pattern) for b in owners) else ()


def alike(one: Any, two: Any) -> bool:
    """Whether two patterns are one, or are known to be equal."""
    if one is two:
        return True
    if isinstance(one, (tuple, list)) and isinstance(two, (tuple, list)):
        return len(one) == len(two) and all(map(alike, one, two))
    try:
        backend = backend_of(one)
    except BackendError:
        return False
    if not backend.owns(two) or one.shape != two.shape or one.dtype != two.dtype:
        return False
    verdict = backend.namespace.all(one == two)
    return not backend.is_traced(verdict) and bool(verdict)


def matrices(at: Place, pattern: Any, sizes: Sizes, count: int, name: str, edges: bool) -> Array:
    """Return the weights of the edges of every graph, ``(n, tails, heads)``.

    Parameters
    ----------
    at : Place
        Where the graphs are asked for.
    pattern : array, sparse matrix, or list of them
        A graph for each example, or one for all, then without an axis of examples: adjacencies
        ``(*sizes, *sizes)``, where an entry is the weight of the edge from its first position to
        its second, or lists of edges, as :func:`_of_edges` takes them. What has ``toarray`` or
        ``todense`` is an adjacency of all positions, joined, whatever its library.
    sizes : tuple of int
        Sizes of the axes on which the graphs are.
    count : int
        Number of examples.
    name : str
        The layer, for messages.
    edges : bool
        Whether arrays are lists of edges.

    Raises
    ------
    ShapeError, DTypeError, NotFiniteError
        If the pattern does not fit the positions or the examples, edges are not integers, or
        weights are NaN or infinite.
    """
    if isinstance(pattern, (tuple, list)) and any(map(_is_graph, pattern)):
        found = [_read(at, p, sizes, name, edges) for p in pattern]
        if any(not shared for _, shared in found):
            raise ShapeError(
                f"{name} got a list of patterns, one of which has an axis of examples of its own; "
                "give one graph for each example."
            )
        graphs, shared = at.xp.concat([g for g, _ in found], axis=0), False
    else:
        graphs, shared = _read(at, pattern, sizes, name, edges)
    if not shared and graphs.shape[0] != count:
        raise ShapeError(
            f"{name} got a pattern of {graphs.shape[0]} graphs for a batch of {count} examples; "
            "give one for each, or one for all without an axis of examples."
        )
    finite = at.xp.all(at.xp.isfinite(graphs))
    if not at.backend.is_traced(finite) and not bool(finite):
        raise NotFiniteError(f"{name} got a pattern with NaN or infinity; give finite weights.")
    return graphs


def _is_graph(x: Any) -> bool:
    return hasattr(x, "shape")


def _read(at: Place, pattern: Any, sizes: Sizes, name: str, edges: bool) -> tuple[Array, bool]:
    """Return graphs ``(n, tails, heads)``, and whether there is one for all examples."""
    for dense in ("toarray", "todense"):
        if callable(getattr(pattern, dense, None)):
            return _of_weights(at, getattr(pattern, dense)(), sizes, name)
    if not _is_graph(pattern):
        pattern = host().namespace.asarray(pattern)
    return (_of_edges if edges else _of_weights)(at, pattern, sizes, name)


def _of_weights(at: Place, pattern: Any, sizes: Sizes, name: str) -> tuple[Array, bool]:
    weights, total = at.asarray(pattern), math.prod(sizes)
    given = tuple(weights.shape)
    for form in (sizes + sizes, (total, total)):
        if given in (form, given[:1] + form):
            count = 1 if given == form else given[0]
            return at.xp.reshape(weights, (count, total, total)), given == form
    raise ShapeError(
        f"{name} got a pattern of shape {given} for positions of sizes {sizes}; give an adjacency "
        f"{('n', *sizes, *sizes)}, or {sizes + sizes} for all examples.".replace("'", "")
    )


# --- lists of edges -----------------------------------------------------------------------------


def _of_edges(at: Place, pattern: Any, sizes: Sizes, name: str) -> tuple[Array, bool]:
    """Return the graphs of lists of edges, ``(n, edges, axes, 2)``, from tails to heads.

    With one axis, ``(n, edges, 2)`` does. An edge counts as often as it is listed, and not at all
    where a coordinate is negative.
    """
    values = _values(at, pattern)
    index, xp = (at.index(pattern), at.xp) if values is None else (values, host().namespace)
    if not xp.isdtype(index.dtype, "integral"):
        raise DTypeError(f"{name} got edges of {index.dtype}; give the integers of positions.")
    given = tuple(index.shape)
    if len(sizes) == 1 and len(given) in (2, 3):
        index = index[..., None, :]
    if index.ndim not in (3, 4) or tuple(index.shape[-2:]) != (len(sizes), 2):
        raise ShapeError(
            f"{name} got edges of shape {given} for positions of sizes {sizes}; give "
            f"(n, edges, {len(sizes)}, 2), tails and heads, or (edges, {len(sizes)}, 2) for all "
            "examples."
        )
    shared = index.ndim == 3
    index = index[None, ...] if shared else index
    if values is None:
        return _counted_here(at, index, sizes), shared
    return at.asarray(_counted(index, sizes, name)), shared


def _values(at: Place, x: Any) -> Any:
    """Return an array on the host, or None where its values are not known."""
    if host().owns(x):
        return x
    return None if at.backend.is_traced(x) else at.backend.to_numpy(x)


def _counted(index: Any, sizes: Sizes, name: str) -> Any:
    """Count edges on the host, where their number costs no memory."""
    np = host().namespace
    if bool((index >= np.asarray(sizes)[:, None]).any()):
        raise ShapeError(
            f"{name} got an edge at position {tuple(index.max(axis=(0, 1, 3)).tolist())}, beyond "
            f"the sizes {sizes}; positions count from 0."
        )
    total = math.prod(sizes)
    found = np.zeros((index.shape[0], total, total))
    graph, edge = np.nonzero((index >= 0).all(axis=(-2, -1)))
    strides = [math.prod(sizes[k + 1 :]) for k in range(len(sizes))]
    ends = (index[graph, edge] * np.asarray(strides)[:, None]).sum(axis=-2)
    np.add.at(found, (graph, ends[:, 0], ends[:, 1]), 1)
    return found


def _counted_here(at: Place, index: Array, sizes: Sizes) -> Array:
    """Count edges whose values are not known: as products of what marks tails and heads."""
    xp, np = at.xp, host().namespace
    flat = xp.zeros_like(index[..., 0, :])
    valid = xp.ones_like(flat, dtype=xp.bool)
    for k, size in enumerate(sizes):
        flat = flat * size + index[..., k, :]
        valid = valid & (index[..., k, :] >= 0) & (index[..., k, :] < size)
    valid = xp.all(valid, axis=-1)[..., None]
    every = at.index(np.arange(math.prod(sizes)))
    tails, heads = (xp.astype(flat[..., i, None] == every, at.dtype) for i in (0, 1))
    tails = tails * xp.astype(valid, at.dtype)
    return matmul(at, xp.matrix_transpose(tails), heads)


# --- for layers ---------------------------------------------------------------------------------


def joined(at: Place, a: Array, x: Array, space: tuple[int, ...]) -> Array:
    """Multiply some spatial axes of ``(n, *spatial, C)``, joined, with matrices.

    ``a`` has the shape ``(n, P, P)``, or ``(1, P, P)`` for one matrix for all examples.
    """
    axes = tuple(k + 1 for k in space)
    order = (0, *axes, *(i for i in range(1, x.ndim) if i not in axes))
    moved = at.xp.permute_dims(x, order)
    rest = math.prod(moved.shape[len(axes) + 1 :])
    product = matmul(at, a, at.xp.reshape(moved, (x.shape[0], a.shape[-1], rest)))
    back = tuple(order.index(i) for i in range(x.ndim))
    return at.xp.permute_dims(at.xp.reshape(product, moved.shape), back)


def example(sizes: Sizes, n: int, edges: bool) -> Any:
    """Return a pattern of ``n`` graphs of which each one is determined by its number."""
    np, total = host().namespace, math.prod(sizes)
    if not edges:
        waves = np.cos(2.4 * np.arange(n * total**2))
        return np.reshape(waves, (n, *sizes, *sizes)) / math.sqrt(total)
    graph, edge = np.arange(n)[:, None], np.arange(total + 2)[None, :]
    tails = [(graph + edge * k) % size for k, size in enumerate(sizes, 1)]
    heads = [(graph + edge**2 + k) % size for k, size in enumerate(sizes)]
    found = np.stack([np.stack(ends, axis=-1) for ends in (tails, heads)], axis=-1)
    found[:, -1] = -1
    return found
