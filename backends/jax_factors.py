"""Equations whose gradient in a parameter has two factors: products, convolutions, biases."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.extend.core as jex
import jax.numpy as jnp
from jax import lax

from ntcore.backends.jax_chains import Chain
from ntcore.backends.jax_equations import Equations


@dataclass(frozen=True)
class Signal:
    """Which axes of what an equation puts out are outputs of a matrix, and which positions.

    Attributes
    ----------
    outputs, positions : tuple of int
        Axes.
    groups : int
        Number of groups of outputs.
    """

    outputs: tuple[int, ...]
    positions: tuple[int, ...]
    groups: int = 1

    @property
    def outputs_last(self) -> bool:
        """Whether the outputs of one position lie side by side."""
        return max(self.outputs, default=-1) > max(self.positions, default=-1)

    def read(self, signal: Any) -> Any:
        """Return ``(rows, groups, outputs, positions)``."""
        order = (0, *(1 + k for k in (*self.outputs, *self.positions)))
        count = math.prod(signal.shape[1 + k] for k in self.positions)
        return jnp.transpose(signal, order).reshape(signal.shape[0], self.groups, -1, count)


@dataclass(frozen=True)
class Read:
    """One use of a parameter.

    Attributes
    ----------
    frame : tuple
        Uses of one parameter add up if their frames are equal.
    inputs : int
        Number of inputs of the matrix; 0 for a bias.
    signal : Signal
        How its signals lie.
    activations : callable
        From values of variables to ``(groups, positions, inputs)``.
    factor : float or array
        What its activations are multiplied with.
    """

    frame: tuple[Any, ...]
    inputs: int
    signal: Signal
    activations: Callable[[Any], Any]
    factor: Any = 1.0


def read(eqs: Equations, i: int, v: Any, chain: Chain) -> Read | None:
    """Return how equation ``i`` uses the rearranged parameter ``v``; None if it has no factors."""
    line = eqs.lines[i]
    given, name = eqs.inputs(line), line.primitive.name
    side = given.index(v)
    if name in ("add", "add_any", "sub"):
        return _bias(line, given, side, chain)
    if chain.spread:
        return None
    if name == "dot_general":
        return _product(line, given, side, chain)
    if name == "conv_general_dilated" and side == 1:
        return _convolution(line, given, chain)
    return None


def _bias(line: Any, given: Any, side: int, chain: Chain) -> Read | None:
    out = line.outvars[0].aval.shape
    if chain.axis is None or given[side].aval.shape != out:
        return None
    positions = tuple(k for k in range(len(out)) if k != chain.axis)
    count = math.prod(out[k] for k in positions)
    sign = -1.0 if line.primitive.name == "sub" and side == 1 else 1.0
    dtype = line.outvars[0].aval.dtype
    signal = Signal((chain.axis,), positions)
    ones = lambda values: jnp.ones((1, count, 1), dtype)  # noqa: E731
    return Read(("bias",), 0, signal, ones, sign * chain.factor)


def _product(line: Any, given: Any, side: int, chain: Chain) -> Read | None:
    contracted, batch = line.params["dimension_numbers"]
    if batch[0]:
        return None
    other, axes = given[1 - side], tuple(contracted[1 - side])
    if isinstance(other, jex.Literal):
        return None
    shape = other.aval.shape
    free = [k for k in range(len(shape)) if k not in axes]
    inputs, count = (math.prod(shape[k] for k in ks) for ks in (axes, free))
    rank, own = len(line.outvars[0].aval.shape), len(free)
    positions = tuple(range(own)) if side == 1 else tuple(range(rank - own, rank))
    outputs = tuple(k for k in range(rank) if k not in positions)

    def activations(values: Any) -> Any:
        return jnp.transpose(values[other], (*free, *axes)).reshape(1, count, inputs)

    frame = (side, tuple(contracted[side]), chain.steps)
    return Read(frame, inputs, Signal(outputs, positions), activations, chain.factor)


def _convolution(line: Any, given: Any, chain: Chain) -> Read | None:
    p = line.params
    numbers, groups = p["dimension_numbers"], p["feature_group_count"]
    x = given[0]
    if p["batch_group_count"] != 1 or any(d != 1 for d in p["lhs_dilation"]):
        return None
    if isinstance(x, jex.Literal):
        return None
    shape = given[1].aval.shape
    taps = [shape[k] for k in numbers.rhs_spec[2:]]
    inputs = math.prod(taps) * shape[numbers.rhs_spec[1]]

    def activations(values: Any) -> Any:
        a = _patches(values[x], numbers.lhs_spec, taps, p)
        a = a.reshape(-1, math.prod(taps), groups, inputs // math.prod(taps))
        return jnp.moveaxis(a, 2, 0).reshape(groups, -1, inputs)

    out = numbers.out_spec
    frame = (str(p["window_strides"]), str(p["padding"]), str(numbers), chain.steps)
    signal = Signal((out[1],), (out[0], *out[2:]), groups)
    return Read(frame, inputs, signal, activations, chain.factor)


def _patches(x: Any, spec: Any, taps: list[int], p: Any) -> Any:
    """Return ``(batch, *positions, taps, channels)``."""
    x = jnp.transpose(x, (spec[0], *spec[2:], spec[1]))
    pads = [(0, 0, 0), *((lo, hi, 0) for lo, hi in p["padding"]), (0, 0, 0)]
    x = lax.pad(x, jnp.zeros((), x.dtype), pads)
    strides, steps = p["window_strides"], p["rhs_dilation"]
    sizes = [
        (x.shape[k + 1] - steps[k] * (t - 1) - 1) // strides[k] + 1 for k, t in enumerate(taps)
    ]
    found = []
    for tap in _grid(taps):
        start = [0, *(t * d for t, d in zip(tap, steps, strict=True)), 0]
        stop = [
            x.shape[0],
            *(s + (n - 1) * w + 1 for s, n, w in zip(start[1:-1], sizes, strides, strict=True)),
            x.shape[-1],
        ]
        found.append(lax.slice(x, start, stop, (1, *strides, 1)))
    return jnp.stack(found, axis=-2)


def _grid(sizes: list[int]) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = [()]
    for n in sizes:
        found = [(*t, k) for t in found for k in range(n)]
    return found
