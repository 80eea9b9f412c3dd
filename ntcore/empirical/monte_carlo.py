"""Kernels averaged over random networks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from operator import add
from typing import Any

from ntcore.backend import Backend, backend_of
from ntcore.empirical.axes import contraction
from ntcore.empirical.ntk import NtkImplementation, empirical_kernel_fn, names_of, together
from ntcore.empirical.samples import Samples
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
        As ``f`` in :func:`~ntcore.empirical_ntk_fn`. If it takes a keyword argument ``rng``, it
        gets a random state of its own for every network: a JAX key for JAX arrays, an integer seed
        for others. With it, networks with Dropout average to their infinite limit.
    key : int, numpy.random.Generator, JAX key or torch.Generator
        The parameters of every sample follow from it: the same ones in every call.
    n_samples : int or iterable of int
        How many networks; several numbers give a generator of the averages over so many, in
        increasing order.
    batch_size : int, default 0
        Examples of each batch that a kernel is computed for at once; 0 for all. The average does
        not depend on it: a function that mixes examples, or draws numbers for the whole batch, is
        given all of them.
    device_count : int, default -1
        How many devices to spread the networks over, of those like the one that holds ``x1``: JAX
        devices of its platform, CUDA devices of torch. -1 for all, 0 and 1 for that one alone. The
        average does not depend on it.
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
        If ``n_samples``, ``batch_size`` or ``key`` is not what is listed, or ``device_count`` more
        than there are.
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
    asked = contraction(trace_axes, diagonal_axes, contract)
    root = _copied(key)

    def averages(x1: Any, x2: Any, get: Any, kwargs: dict[str, Any]) -> Iterator[Any]:
        names = names_of(get)
        samples = Samples(
            init_fn, apply_fn, sample_fn, x1, x2, kwargs, names, asked, vmap_axes, batch_size,
            device_count,
        )  # fmt: skip
        sums: Any = None
        for done, kernels in enumerate(samples.kernels(_copied(root), counts[-1]), 1):
            sums = kernels if sums is None else _combined(add, sums, kernels)
            if progress is not None:
                progress(done, counts[-1])
            if done in counts:
                mean = _combined(lambda s, _: s / done, sums, sums)  # noqa: B023
                found = {name: _stored(mean[name], store_on_device) for name in names}
                yield found[names[0]] if isinstance(get, str) else together(found)

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
