"""Infinite networks against averages over wide finite ones, with nothing in common but the layers.

With one nonlinearity, above Gaussian weights and below a linear readout, both averages are
unbiased at any width: what is left is the error of the sample, whose size the sample itself tells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ntcore.conformance.bench import Bench
from ntcore.conformance.cases import Case
from ntcore.conformance.inputs import generic, patterns
from ntcore.conformance.measure import Measure, Measures
from ntcore.conformance.networks import around, plan_of, serial
from ntcore.conformance.tolerances import STANDARD_ERRORS, tolerance
from ntcore.layers import Dense
from ntcore.layers.base import Elementwise, Layer
from ntcore.model import Model
from ntcore.network import Parallel, Serial
from ntcore.record import Record, iter_leaves
from ntcore.shape import Axes

WIDTH, DRAWS, COUNT, DIRECTIONS = 128, 24, 2, 6

#: The fields that say how many channels a layer has, or how many of its parts grow with it.
WIDTHS = dict.fromkeys(("out_dim", "out_chan", "n_chan_out"), WIDTH)
WIDTHS |= {"n_chan_key": 64, "n_heads": 8}


@dataclass(frozen=True)
class Sample:
    """A wide network, without and with a readout, and what it is given."""

    hidden: Serial
    read: Serial
    x: np.ndarray
    axes: Axes
    patterns: tuple[np.ndarray, np.ndarray] | None

    def beside(self, seed: int) -> dict[str, Any]:
        """Return what layers of a finite network may ask for beside their input."""
        return {"rng": DRAWS + seed, "pattern": None if self.patterns is None else self.patterns[0]}


def check(bench: Bench, case: Case) -> Measures:
    """Compare both kernels with their averages over random networks."""
    deep = not isinstance(case.layer, Elementwise)
    found = around(case.layer, case.shape1, deep=deep) or case.network
    hidden = serial(*map(_widened, found.layers))
    plan = plan_of(hidden, case.shape1, case.shape1)
    axes = plan.edges[plan.outputs].shape1.axes
    read = serial(*hidden.layers, Dense(1, 1.1, 0.2, axes.batch, axes.channel))
    x = generic(case.shape1, COUNT, 10)
    sample = Sample(hidden, read, x, axes, patterns(hidden, x.shape))
    yield from _nngp(sample, bench.dtype)
    yield from _ntk(sample, bench.dtype)


def _widened(node: Record) -> Record:
    if isinstance(node, Parallel):
        return replace(node, branches=tuple(map(_widened, node.branches)))
    if not isinstance(node, Layer):
        return node
    names = [f.name for f in fields(node) if f.name in WIDTHS]  # type: ignore[arg-type]
    return replace(node, **{name: WIDTHS[name] for name in names}) if names else node


def _nngp(sample: Sample, dtype: str) -> Measures:
    """Compare ``y y' / channels``, along the kernel itself and along random directions."""
    want = Model(sample.hidden).kernel_fn(sample.x, None, "nngp", pattern=sample.patterns)
    rng = np.random.default_rng(11)
    ways = [want, *(rng.standard_normal(want.shape) for _ in range(DIRECTIONS))]
    draws = [[np.sum(k * way) for way in ways] for k in _outer_products(sample)]
    expected = [float(np.sum(want * way)) for way in ways]
    yield _judged("nngp of finite networks", np.array(draws), np.array(expected), dtype)


def _outer_products(sample: Sample) -> Iterator[np.ndarray]:
    """Yield, of each draw, ``(n, n, H, H, W, W)``, space in the user's order."""
    model = Model(sample.hidden)
    for seed in range(DRAWS):
        _, params = model.init_fn(seed, sample.x.shape)
        y = model.apply_fn(params, sample.x, **sample.beside(seed))
        y = np.moveaxis(y, sample.axes.channel, -1)
        y = np.moveaxis(y, sample.axes.batch - (sample.axes.channel < sample.axes.batch), 0)
        ndim = y.ndim - 2
        outer = np.tensordot(y, y, (-1, -1)) / y.shape[-1]
        order = [i + e * (ndim + 1) for i in range(ndim + 1) for e in (0, 1)]
        yield np.transpose(outer, order)


def _ntk(sample: Sample, dtype: str) -> Measures:
    """Compare inner products of gradients of one weighted sum over space, for each example."""
    model = Model(sample.read)
    theta = model.kernel_fn(sample.x, None, "ntk", pattern=sample.patterns)
    shape = theta.shape[2::2]
    weights = np.random.default_rng(12).standard_normal(shape)
    both = np.multiply.outer(weights, weights)
    order = [i + e * len(shape) for i in range(len(shape)) for e in (0, 1)]
    want = np.sum(theta * np.transpose(both, order), axis=tuple(range(2, theta.ndim)))
    draws = [_gram(model, sample, weights, seed) for seed in range(DRAWS)]
    yield _judged("ntk of finite networks", np.array(draws), want, dtype)


def _gram(model: Model, sample: Sample, weights: np.ndarray, seed: int) -> np.ndarray:
    """Return the inner products of the gradients of all examples, for one draw."""
    _, params = model.init_fn(seed, sample.x.shape)
    out, pull = model.vjp_fn(params, sample.x, **sample.beside(seed))
    rows = []
    for i in range(out.shape[sample.axes.batch]):
        grad = np.zeros_like(out)
        one: Any = np.moveaxis(grad, sample.axes.batch, 0)[i]
        channel = sample.axes.channel - (sample.axes.batch < sample.axes.channel)
        one[...] = np.expand_dims(weights, channel)
        own, _ = pull(grad)
        rows.append(np.concatenate([g.reshape(-1) for g in iter_leaves(own)]))
    matrix = np.stack(rows)
    return matrix @ matrix.T


def _judged(what: str, draws: np.ndarray, want: np.ndarray, dtype: str) -> Measure:
    """Compare an average with its expectation, in units of its own standard error."""
    error = np.std(draws, axis=0, ddof=1) / math.sqrt(len(draws))
    apart = np.abs(np.mean(draws, axis=0) - want)
    allowed = STANDARD_ERRORS * error + tolerance("agreement", dtype) * np.max(np.abs(want))
    ratio = np.max(apart / allowed)
    scale = np.max(np.abs(want))
    note = f"{np.max(apart) / scale:.1%} off, standard error {np.max(error) / scale:.1%}"
    return Measure(what, float(ratio), note)
