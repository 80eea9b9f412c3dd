"""Closed forms against what they claim to be: Price's theorem, and quadrature of the function.

A layer may say by attributes what it is: ``weak_derivative = False`` (a step: its slope is 0),
``kinks`` (where its function or derivative jumps, 0 by default), and ``stated_error`` (the relative
error of a form that is not exact, 0 by default), which is added to the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ntcore.backend import Array, Place
from ntcore.conformance.bench import Bench
from ntcore.conformance.cases import Case
from ntcore.conformance.measure import Measures, close, finite, holds
from ntcore.staging import staged

Values = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

#: Variances, and correlations away from one and minus one.
VARIANCES = ((1.0, 1.0), (0.3, 2.1), (4.0, 0.9))
CORRELATIONS = (-0.9, -0.4, 0.0, 0.5, 0.95)

#: Central differences of eighth order: ``f' = sum(w * (f(x + j h) - f(x - j h))) / h``.
WEIGHTS = ((1, 4 / 5), (2, -1 / 5), (3, 4 / 105), (4, -1 / 280))
STEP = 0.01

#: Nodes of a Gauss-Legendre panel, one standard deviation wide, and how many panels each way.
NODES, REACH = 16, 13


def price(bench: Bench, case: Case) -> Measures:
    r"""Compare ``dual[1]`` with the derivative of ``dual[0]`` in ``k`` (Price 1958).

    A layer whose function has no weak derivative says so by ``weak_derivative``; its ``dual[1]``
    must be 0.
    """
    layer: Any = case.layer
    k, q1, q2 = _grid()
    slope = _dual(bench, case, k, q1, q2)[1]
    if not layer.weak_derivative:
        yield holds("slope of a function without a weak derivative", not np.any(slope), "is not 0")
        return
    h = STEP * (np.sqrt(q1 * q2) - np.abs(k))
    found = _difference(lambda x: _dual(bench, case, x, q1, q2)[0], k, h)
    yield close("Price's theorem", slope, found, "price", bench.dtype, _stated(case))


def quadrature(bench: Bench, case: Case) -> Measures:
    """Compare both moments with integrals of the function and of its derivative.

    The function has to be smooth but for the points in its attribute ``kinks``, 0 by default.
    """
    kinks, stated = tuple(getattr(case.layer, "kinks", (0.0,))), _stated(case)
    values = _values(bench, case)
    points = _grid()
    want = np.array([_plane(values, kinks, *p) for p in zip(*points, strict=True)])
    got = _dual(bench, case, *points)
    for i, what in enumerate(("moment", "slope")):
        yield close(f"{what} by quadrature", got[i], want[:, i], "quadrature", bench.dtype, stated)
    yield from _degenerate(bench, case, values, kinks)
    x = np.linspace(-3.0, 3.0, 41) + STEP / math.e
    x = x[[min(abs(v - kink) for kink in (*kinks, math.inf)) > 5 * STEP for v in x]]
    found = _difference(lambda v: values(v)[0], x, np.full_like(x, STEP))
    yield close("derivative of the function", values(x)[1], found, "price", bench.dtype)


def _degenerate(bench: Bench, case: Case, values: Values, kinks: tuple[float, ...]) -> Measures:
    """Compare the exact values at coincident, antipodal and zero inputs."""
    stated = _stated(case)
    q = np.asarray([v for both in VARIANCES for v in both] + [0.0])
    for what, sign in (("coincident", 1.0), ("antipodal", -1.0)):
        want = np.array([_line(values, kinks, v, sign) for v in q])
        moment, slope = _dual(bench, case, sign * q, q, q)
        yield close(
            f"moment at {what} inputs", moment, want[:, 0], "quadrature", bench.dtype, stated
        )
        # At zero inputs the slope of a kink is a convention.
        yield close(
            f"slope at {what} inputs", slope[:-1], want[:-1, 1], "quadrature", bench.dtype, stated
        )
        yield finite("slope at zero inputs", slope)


def _stated(case: Case) -> float:
    """Return the relative error that a layer's closed form has by its own statement."""
    return float(getattr(case.layer, "stated_error", 0.0))


def _grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    q1, q2, rho = np.array([(*q, r) for q in VARIANCES for r in CORRELATIONS]).T
    return rho * np.sqrt(q1 * q2), q1, q2


def _values(bench: Bench, case: Case) -> Values:
    layer: Any = case.layer

    def values(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        given = bench.array(x)
        both = layer.fn(bench.place, given), layer.derivative(bench.place, given)
        return bench.numpy(both[0]), bench.numpy(both[1])

    return values


def _dual(bench: Bench, case: Case, *points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    dual = staged(bench.place, _both, (0, 1))
    found = dual(bench.place, case.layer, *map(bench.array, points))
    return tuple(np.broadcast_to(bench.numpy(x), points[0].shape) for x in found)


def _both(at: Place, layer: Any, *points: Array) -> tuple[Array, Array]:
    return layer.dual(at, *points)


def _difference(fn: Callable, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    return sum(w * (fn(x + j * h) - fn(x - j * h)) for j, w in WEIGHTS) / h


# --- integrals ----------------------------------------------------------------------------------


def _rule(kinks: tuple[float, ...], deviation: float) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of panels that end at every kink."""
    ends = np.unique([*(deviation * np.arange(-REACH, REACH + 1)), *kinks])
    x, w = np.polynomial.legendre.leggauss(NODES)
    half, middle = np.diff(ends)[:, None] / 2, (ends[1:] + ends[:-1])[:, None] / 2
    return (middle + half * x).reshape(-1), (half * w).reshape(-1)


def _plane(values: Values, kinks: tuple[float, ...], k: float, q1: float, q2: float) -> list[float]:
    """Return the integrals over two variables, for the function and for its derivative."""
    (u, wu), (v, wv) = (_rule(kinks, math.sqrt(q)) for q in (q1, q2))
    det = q1 * q2 - k * k
    form = q2 * u[:, None] ** 2 - 2 * k * u[:, None] * v[None, :] + q1 * v[None, :] ** 2
    density = np.exp(-form / (2 * det)) / (2 * math.pi * math.sqrt(det))
    return [float((wu * a) @ density @ (wv * b)) for a, b in zip(values(u), values(v), strict=True)]


def _line(values: Values, kinks: tuple[float, ...], q: float, sign: float) -> list[float]:
    """Return the integrals over one variable and itself, or its negative."""
    if q == 0:
        return [float(x[0] ** 2) for x in values(np.zeros(1))]
    u, w = _rule((*kinks, *(-x for x in kinks)), math.sqrt(q))
    weight = w * np.exp(-u * u / (2 * q)) / math.sqrt(2 * math.pi * q)
    pairs = zip(values(u), values(sign * u), strict=True)
    return [float(np.sum(weight * a * b)) for a, b in pairs]
