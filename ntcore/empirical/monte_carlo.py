"""Kernels averaged over random networks."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator
from operator import add
from typing import Any

from ntcore.backend import Backend, backend_of, host, loaded
from ntcore.empirical.ntk import NtkImplementation, empirical_kernel_fn, named, names_of
from ntcore.empirical.tree import flatten
from ntcore.errors import ArgumentError


def monte_carlo_kernel_fn(
    init_fn: Callable[..., Any],
    apply_fn: Any,
    key: Any,
    n_samples: int | Iterable[int],
    batch_size: int = 0,
    device_count: int = -1,
    store_on_device: bool = True,
    trace_axes: Any = (-1,),
    diagonal_axes: Any = (),
    vmap_axes: Any = None,
    implementation: NtkImplementation | int = NtkImplementation.AUTO,
    _j_rules: bool = True,
    _s_rules: bool = True,
    _fwd: bool | None = None,
    *,
    contract: str | None = None,
    memory_budget: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Callable[..., Any]:
    r"""Return the function that averages empirical kernels over random parameters.

    .. math:: \hat\Theta = \frac1S \sum_{s=1}^{S} \Theta_{\theta_s}, \qquad
              \theta_s = \texttt{init\_fn}(\text{key}_s, \text{shape of } x_1)

    Parameters
    ----------
    init_fn : callable
        ``(key, input_shape) -> (output_shape, params)``.
    apply_fn : callable or model
        As ``f`` in :func:`~ntcore.empirical_ntk_fn`.
    key : int, numpy.random.Generator, JAX key or torch.Generator
        The parameters of every sample follow from it: the same ones in every call.
    n_samples : int or iterable of int
        How many networks; several numbers give a generator of the averages over so many, in
        increasing order.
    batch_size : int, default 0
        Examples of each batch that a kernel is computed for at once; 0 for all. The average does
        not depend on it.
    device_count : int, default -1
        Accepted for compatibility: samples are computed where the arrays are.
    store_on_device : bool, default True
        Whether to return arrays of the library; False returns NumPy arrays.
    progress : callable, optional
        Called with the number of samples done and their total.
    trace_axes, diagonal_axes, vmap_axes, implementation, contract, memory_budget
        As in :func:`~ntcore.empirical_ntk_fn`.
    _j_rules, _s_rules, _fwd
        Accepted for compatibility; without effect.

    Returns
    -------
    callable
        ``kernel_fn(x1, x2=None, get=None, **kwargs)``.

    Raises
    ------
    ArgumentError
        If ``n_samples`` or ``batch_size`` is not what is listed.
    """
    counts = _counts(n_samples)
    if not _is_count(batch_size) and batch_size != 0:
        raise ArgumentError(f"batch_size={batch_size!r} must be a non-negative integer.")
    if not isinstance(device_count, int) or device_count < -1:
        raise ArgumentError(f"device_count={device_count!r} must be an integer of at least -1.")
    sample_fn = empirical_kernel_fn(
        apply_fn,
        trace_axes,
        diagonal_axes,
        vmap_axes,
        implementation,
        contract=contract,
        memory_budget=memory_budget,
    )
    root = _copied(key)

    def averages(x1: Any, x2: Any, get: Any, kwargs: dict[str, Any]) -> Iterator[Any]:
        names = names_of(get)
        draw = _drawer(init_fn, x1)
        sums: Any = None
        for done, state in enumerate(_states(_copied(root), counts[-1]), 1):
            kernels = _in_batches(sample_fn, x1, x2, names, draw(state), kwargs, batch_size)
            sums = kernels if sums is None else _combined(add, sums, kernels)
            if progress is not None:
                progress(done, counts[-1])
            if done in counts:
                mean = _combined(lambda s, _: s / done, sums, sums)  # noqa: B023
                found = [_stored(mean[name], store_on_device) for name in names]
                yield found[0] if isinstance(get, str) else named(names, found)

    def kernel_fn(x1: Any, x2: Any = None, get: Any = None, **apply_fn_kwargs: Any) -> Any:
        found = averages(x1, x2, get, apply_fn_kwargs)
        return next(found) if isinstance(n_samples, int) else found

    return kernel_fn


def _is_count(n: Any) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and n > 0


def _counts(n_samples: Any) -> list[int]:
    """Return the numbers of samples to report at, in increasing order."""
    if isinstance(n_samples, Iterable) and not isinstance(n_samples, (str, bytes)):
        numbers = list(n_samples)
    else:
        numbers = [n_samples]
    if not numbers or not all(map(_is_count, numbers)):
        shown = n_samples if len(numbers) == 1 else numbers
        raise ArgumentError(f"n_samples={shown!r} must be a positive integer, or several of them.")
    return sorted(set(numbers))


def _copied(key: Any) -> Any:
    """Return a random state that can be drawn from without changing the given one."""
    if hasattr(key, "clone_state"):
        return key.clone_state()
    return copy.deepcopy(key) if hasattr(key, "spawn") else key


def _states(key: Any, n: int) -> list[Any]:
    """Return a random state per sample; integers for an integer."""
    if isinstance(key, int) and not isinstance(key, bool):
        return [int(s.generate_state(1)[0]) for s in host().split(key, n)]
    for backend in loaded():
        if backend.is_rng(key):
            return backend.split(key, n)
    raise ArgumentError(
        f"key is a {type(key).__name__}; give an integer seed, a numpy.random.Generator, a JAX key "
        "or a torch.Generator."
    )


def _drawer(init_fn: Callable[..., Any], x1: Any) -> Callable[[Any], Any]:
    """Return the function from a random state to parameters for inputs like ``x1``."""
    leaves, structure = flatten(None, x1)
    shape = structure.unflatten([tuple(leaf.shape) for leaf in leaves])
    try:
        takes_like = "like" in inspect.signature(init_fn).parameters
    except (TypeError, ValueError):
        takes_like = False
    more = {"like": leaves[0]} if takes_like else {}
    return lambda state: init_fn(state, shape, **more)[1]


def _in_batches(
    sample_fn: Any, x1: Any, x2: Any, names: Any, params: Any, kwargs: Any, size: int
) -> dict[str, Any]:
    """Return the kernels of one sample, computed in blocks of ``size`` examples."""
    if size == 0:
        found = sample_fn(x1, x2, names, params, **kwargs)
        return {name: getattr(found, name) for name in names}
    spans1, spans2 = (_spans(x, size) for x in (x1, x1 if x2 is None else x2))
    rows = []
    for one in spans1:
        given = (_cut(x1, one), [_cut(x1 if x2 is None else x2, two) for two in spans2])
        row = [sample_fn(given[0], two, names, params, **kwargs) for two in given[1]]
        rows.append({name: _joined([getattr(k, name) for k in row], 1) for name in names})
    return {name: _joined([row[name] for row in rows], 0) for name in names}


def _spans(x: Any, size: int) -> list[slice]:
    count = flatten(None, x)[0][0].shape[0]
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _cut(x: Any, span: slice) -> Any:
    leaves, structure = flatten(None, x)
    return structure.unflatten([leaf[span, ...] for leaf in leaves])


def _joined(blocks: list[Any], axis: int) -> Any:
    leaves = [flatten(None, block)[0] for block in blocks]
    structure = flatten(None, blocks[0])[1]
    space = backend_of(leaves[0][0]).namespace
    return structure.unflatten(
        [space.concat(list(parts), axis=axis) for parts in zip(*leaves, strict=True)]
    )


def _combined(fn: Callable[[Any, Any], Any], one: Any, two: Any) -> Any:
    first, structure = flatten(None, one)
    second = flatten(None, two)[0]
    return structure.unflatten([fn(a, b) for a, b in zip(first, second, strict=True)])


def _stored(tree: Any, on_device: bool) -> Any:
    if on_device:
        return tree
    leaves, structure = flatten(None, tree)
    owners: list[Backend] = [backend_of(leaf) for leaf in leaves]
    return structure.unflatten([b.to_numpy(x) for b, x in zip(owners, leaves, strict=True)])
