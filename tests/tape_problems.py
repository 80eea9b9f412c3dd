"""What the tests of the tape share: where to differentiate, and differences to compare with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ntcore import tape
from ntcore.backend import load
from ntcore.conformance.fixtures import Library

NUMPY = load("numpy")
RNG = np.random.default_rng(0)
X = 0.2 + np.abs(RNG.standard_normal((3, 4)))
W = RNG.standard_normal((4, 4))
STEP = 1e-3
#: Differences of eighth order: the error is far below this.
TOLERANCE = 1e-8
WEIGHTS = ((1, 4 / 5), (2, -1 / 5), (3, 4 / 105), (4, -1 / 280))


def on(fn: Callable) -> Callable:
    """A case as a function of arrays on a tape."""
    return lambda x, w: [fn(x.__array_namespace__(), x, w)]


def assert_close(found: Any, want: Any) -> None:
    scale = max(1.0, float(np.max(np.abs(want))))
    assert np.shape(found) == np.shape(want)
    assert np.max(np.abs(np.asarray(found) - want)) <= TOLERANCE * scale


def check_first(backend: Library, case: Callable) -> None:
    """Tangents, cotangents and rows of cotangents are those of differences."""
    fn, rng = on(case), np.random.default_rng(1)
    along = rng.standard_normal(X.shape), rng.standard_normal(W.shape)
    point, steps = ([backend.asarray(a) for a in pair] for pair in ((X, W), along))

    def value(t: float) -> np.ndarray:
        moved = [a + t * b for a, b in zip(point, steps, strict=True)]
        return backend.to_numpy(tape.vjp(backend.record, fn, *moved)[0][0])

    want = differences(value)
    values, tangents = tape.jvp(backend.record, fn, point, steps)
    assert_close(backend.to_numpy(tangents[0]), want)
    shape = backend.to_numpy(values[0]).shape
    rows = rng.standard_normal((2, *shape))
    _, pull = tape.vjp(backend.record, fn, *point)
    grads = [backend.to_numpy(g) for g in pull([backend.asarray(rows)])]
    axes = tuple(range(1, 1 + len(shape)))
    found = sum(np.sum(g * a, axis=(1, 2)) for g, a in zip(grads, along, strict=True))
    assert_close(found, np.sum(rows * want, axis=axes))
    single = [backend.to_numpy(g) for g in pull([backend.asarray(rows[1])])]
    for one, every in zip(single, grads, strict=True):
        assert_close(one, every[1])


def check_second(backend: Library, case: Callable) -> None:
    """Tangents of tangents, and of cotangents, are those of differences."""
    fn, record = on(case), backend.record
    along = [backend.asarray(np.ones_like(a)) for a in (X, W)]

    def slope(x: Any, w: Any) -> list[Any]:
        return tape.jvp(record, fn, [x, w], along)[1]

    def gradient(x: Any, w: Any) -> list[Any]:
        values, pull = tape.vjp(record, fn, x, w)
        return pull([value * 0 + 1.0 for value in values])

    for first in (slope, gradient):

        def at(t: float, first: Callable = first) -> np.ndarray:
            return backend.to_numpy(first(*(backend.asarray(a + t) for a in (X, W)))[-1])

        found = tape.jvp(record, first, [backend.asarray(a) for a in (X, W)], along)[1][-1]
        assert_close(backend.to_numpy(found), differences(at))


def differences(value: Callable[[float], Any], step: float = STEP) -> Any:
    """The derivative at 0, by differences of eighth order."""
    return sum(c * (value(k * step) - value(-k * step)) / step for k, c in WEIGHTS)
