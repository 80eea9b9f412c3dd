"""Random networks, one after the other: their random states, blocks of examples, and devices."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import cycle
from typing import Any

from ntcore.backend import Backend, backend_of
from ntcore.empirical.axes import FREE, Contraction
from ntcore.empirical.batches import batch_of
from ntcore.empirical.checks import forward, independent
from ntcore.empirical.function import adapt, bind
from ntcore.empirical.states import fixed, states
from ntcore.empirical.tree import flatten, map_tree
from ntcore.errors import ArgumentError

Kernels = dict[str, Any]


@dataclass
class Samples:
    """The kernels of random networks for two batches.

    Attributes
    ----------
    init_fn, apply_fn : callable
        The networks.
    kernel_fn : callable
        Their kernels, ``(x1, x2, name, params, **kwargs)``.
    x1, x2, kwargs
        Its arguments.
    names : tuple of str
        Which kernels.
    asked : Contraction
        What becomes of the axes of the outputs.
    vmap_axes
        Where the examples are.
    batch_size, device_count : int
        Examples at once, and devices at once; see :func:`monte_carlo_kernel_fn`.
    """

    init_fn: Callable[..., Any]
    apply_fn: Any
    kernel_fn: Callable[..., Any]
    x1: Any
    x2: Any
    kwargs: dict[str, Any]
    names: tuple[str, ...]
    asked: Contraction
    vmap_axes: Any
    batch_size: int
    device_count: int
    draws: bool | None = field(default=None, init=False)
    splits: bool | None = field(default=None, init=False)

    @cached_property
    def backend(self) -> Backend:
        """The backend of the examples."""
        return backend_of(flatten(None, self.x1)[0][0])

    def kernels(self, key: Any, n: int) -> Iterator[Kernels]:
        """Yield the kernels of ``n`` networks, in the order of their random states."""
        drawn = (self._drawn(*pair) for pair in states(key, n))
        devices = self._devices()
        if len(devices) == 1:
            yield from (self._kernels(*sample, None) for sample in drawn)
            return
        with ThreadPoolExecutor(len(devices)) as pool:
            ahead: deque[Future[Kernels]] = deque()
            for sample, device in zip(drawn, cycle(devices), strict=False):
                ahead.append(pool.submit(self._kernels, *sample, device))
                if len(ahead) == len(devices):
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    # drawing

    def _drawn(self, state: Any, other: Any) -> tuple[Any, dict[str, Any]]:
        """Return the parameters of a network, and its keyword arguments."""
        leaves, structure = flatten(None, self.x1)
        shape = structure.unflatten([tuple(leaf.shape) for leaf in leaves])
        more = {"like": leaves[0]} if _accepts(self.init_fn, "like") else {}
        params = self.init_fn(state, shape, **more)[1]
        kwargs = self.kwargs
        if self._draws(params, other):
            kwargs = {**kwargs, "rng": fixed(self.backend, other)}
        if self.splits is None:
            self.splits = bool(self.batch_size) and self._splits(params, kwargs)
        return params, kwargs

    def _draws(self, params: Any, state: Any) -> bool:
        """Whether the networks take a random state as the keyword argument ``rng``."""
        if self.draws is None:
            named, every = _accepts(self.apply_fn, "rng"), _accepts_any(self.apply_fn)
            self.draws = "rng" not in self.kwargs and (
                named or (every and self._tried(params, fixed(self.backend, state)))
            )
        return self.draws

    def _tried(self, params: Any, rng: Any) -> bool:
        made = adapt(self.apply_fn, params)
        if made.module or made.refuse is not None:
            return False
        try:
            made.apply(made.params, self.x1, rng=rng, **self.kwargs)
        except TypeError as error:
            return "rng" not in str(error)
        return True

    # examples

    def _kernels(self, params: Any, kwargs: dict[str, Any], device: Any) -> Kernels:
        """Return the kernels of one network, computed on a device and brought back."""
        home = self.backend.device(flatten(None, self.x1)[0][0])
        x1, x2, params, kwargs = (
            _moved(self.backend, tree, device) for tree in (self.x1, self.x2, params, kwargs)
        )
        if self.splits:
            found = self._in_blocks(x1, x2, params, kwargs)
        else:
            found = {name: self.kernel_fn(x1, x2, name, params, **kwargs) for name in self.names}
        back = None if device is None else home
        return {name: _moved(self.backend, kernel, back) for name, kernel in found.items()}

    def _splits(self, params: Any, kwargs: dict[str, Any]) -> bool:
        """Whether blocks of examples have the kernels that they have in the whole batch.

        Not if examples are mixed, or numbers drawn for the batch as a whole.
        """
        if self.vmap_axes not in (None, 0):
            return False
        pairs = {k: v[0] if isinstance(v, tuple) and len(v) == 2 else v for k, v in kwargs.items()}
        fn = bind(self.apply_fn, params, self.x1)
        batch = batch_of(fn.backend, self.x1, pairs, None)
        outputs = forward(fn, batch)
        kept = all(y.ndim and self.asked.roles(y.ndim, 0)[0] == FREE for y in outputs)
        return kept and independent(fn, batch, outputs, {})

    def _in_blocks(self, x1: Any, x2: Any, params: Any, kwargs: dict[str, Any]) -> Kernels:
        second = x1 if x2 is None else x2
        spans = [list(_spans(x, self.batch_size)) for x in (x1, second)]
        found = {}
        for name in self.names:
            rows = [
                [self.kernel_fn(_cut(x1, i), _cut(second, j), name, params, **kwargs)
                 for j in spans[1]]
                for i in spans[0]
            ]  # fmt: skip
            found[name] = _joined([_joined(row, 1) for row in rows], 0)
        return found

    # devices

    def _devices(self) -> list[Any]:
        """Return the devices to use: those like the one that holds the examples.

        Raises
        ------
        ArgumentError
            If more are asked for than there are.
        """
        here = self.backend.device(flatten(None, self.x1)[0][0])
        found = [None] if here is None else self.backend.alike(here)
        if self.device_count > len(found):
            raise ArgumentError(
                f"device_count={self.device_count} but there are {len(found)} devices like the one "
                "of x1; ask for no more, or for all of them with -1."
            )
        return found if self.device_count == -1 else found[: max(self.device_count, 1)]


def _accepts(fn: Any, name: str) -> bool:
    try:
        return name in inspect.signature(fn).parameters
    except (TypeError, ValueError):
        return False


def _accepts_any(fn: Any) -> bool:
    try:
        kinds = [p.kind for p in inspect.signature(fn).parameters.values()]
    except (TypeError, ValueError):
        return False
    return inspect.Parameter.VAR_KEYWORD in kinds


def _moved(backend: Backend, tree: Any, device: Any) -> Any:
    if device is None:
        return tree
    return map_tree(
        backend, lambda x: backend.asarray(x, None, device) if backend.owns(x) else x, tree
    )


# --- blocks --------------------------------------------------------------------------------------


def _spans(x: Any, size: int) -> list[slice]:
    count = flatten(None, x)[0][0].shape[0]
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _cut(x: Any, span: slice) -> Any:
    return map_tree(None, lambda leaf: leaf[span, ...], x)


def _joined(blocks: list[Any], axis: int) -> Any:
    leaves = [flatten(None, block)[0] for block in blocks]
    structure = flatten(None, blocks[0])[1]
    space = backend_of(leaves[0][0]).namespace
    return structure.unflatten(
        [space.concat(list(parts), axis=axis) for parts in zip(*leaves, strict=True)]
    )
