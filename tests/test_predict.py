"""Predictions against formulas written out here, high precision, and the peer's numbers."""

from __future__ import annotations

import inspect
import math
from collections import namedtuple
from functools import partial, reduce, wraps
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.linalg

import ntcore
from ntcore import errors, predict, stax
from ntcore.backend import place_of
from ntcore.conformance.fixtures import Library
from ntcore.predict import dynamics, solve, training

# In units of rounding, relative to the largest entry expected.
TOLERANCES = {
    "kernels here, of condition 10 to 30": 512.0,
    "condition times rounding": 64.0,
    "peer": 1e-12 / 2**-52,
    "derivatives against central differences": 1e-7 / 2**-52,
}
EPS = {"float64": 2.0**-52, "float32": 2.0**-23}
Pair = namedtuple("Pair", ["nngp", "ntk"])
Triple = tuple[Pair, Pair, Pair]

N, M, C = 6, 4, 2
REGULAR: list[dict[str, Any]] = [
    {},
    {"diag_reg": 0.05},
    {"diag_reg": 0.05, "diag_reg_absolute_scale": True},
]
TIMES: list[Any] = [None, 0.0, 0.7, [[0.5, 2.0, 30.0], [1.0, 3.0, math.inf]]]


def close(
    got: Any, expected: Any, which: str = "kernels here, of condition 10 to 30", dtype="float64"
) -> None:
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    scale = np.max(np.abs(expected)) or 1.0
    assert np.max(np.abs(got - expected)) <= TOLERANCES[which] * EPS[dtype] * scale


def positive(n: int, seed: int) -> np.ndarray:
    a = np.random.default_rng(seed).standard_normal((n, 2 * n))
    return a @ a.T / n


def blocks() -> Triple:
    """Kernels of a training set, of test and training set, and of a test set."""
    k, t = positive(N + M, 1), positive(N + M, 2)
    parts = [np.s_[:N, :N], np.s_[N:, :N], np.s_[N:, N:]]
    first, second, third = (Pair(k[part], t[part]) for part in parts)
    return first, second, third


def targets(shape: tuple[int, ...] = (N, C)) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape)


def on(backend: Library, x: Any, dtype: str = "float64") -> Any:
    """Arrays of a backend for those of NumPy, in tuples too."""
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*(on(backend, v, dtype) for v in x))
    return backend.asarray(x, dtype)


def kernel_fn_of(dd: Pair, td: Pair, tt: Pair) -> Any:
    """A kernel function that knows its answers; test inputs have M rows."""

    def kernel_fn(x1: Any, x2: Any = None, get: Any = None) -> Any:
        found = td if x2 is not None else dd if x1.shape[0] == N else tt
        if isinstance(get, str):
            return getattr(found, get)
        return namedtuple("AnalyticKernel", get)(*(getattr(found, name) for name in get))

    return kernel_fn


def ensemble(backend: Library, dtype: str = "float64", **options: Any) -> Any:
    """An ensemble on the kernels of :func:`blocks`, and the inputs of its test set."""
    kernel_fn = kernel_fn_of(*(on(backend, b, dtype) for b in blocks()))
    x, x_test = (backend.asarray(np.ones((n, 1)), dtype) for n in (N, M))
    y = backend.asarray(targets(), dtype)
    return predict.gradient_descent_mse_ensemble(kernel_fn, x, y, **options), x_test


# --- the formulas -------------------------------------------------------------------------------


def regular(k: np.ndarray, diag_reg: float = 0.0, diag_reg_absolute_scale: bool = False) -> Any:
    scale = 1.0 if diag_reg_absolute_scale else np.trace(k) / len(k)
    return k + diag_reg * scale * np.eye(len(k))


def remaining(r: np.ndarray, t: Any, rate: float) -> np.ndarray:
    """``exp(-rate t R / N)``."""
    if t is None or math.isinf(t):
        return np.zeros_like(r)
    return scipy.linalg.expm(-rate * t * r / (N * C))


def expected_ensemble(get: str, t: Any, rate: float, test: bool, **reg: Any) -> Any:
    """Mean and covariance, from the formulas of the docstrings, by solve and expm."""
    (k, th), (k_td, th_td), (k_tt, _) = blocks()
    y, eye = targets(), np.eye(N)
    r = regular(k if get == "nngp" else th, **reg)
    e = remaining(r, t, rate)
    e2 = remaining(r, None if t is None else 2 * t, rate)
    if not test:
        covariance = r @ e2 if get == "nngp" else e @ k @ e
        return (eye - e) @ y, covariance
    if get == "nngp":
        inner = np.linalg.solve(r, eye - e2)
        return k_td @ np.linalg.solve(r, (eye - e) @ y), k_tt - k_td @ inner @ k_td.T
    a = th_td @ np.linalg.solve(r, eye - e)
    return a @ y, k_tt + a @ k @ a.T - a @ k_td.T - k_td @ a.T


def over(times: Any, fn: Any) -> tuple[np.ndarray, ...]:
    """Both parts of a Gaussian at every time."""
    flat = [fn(t) for t in np.ravel(times)]
    return tuple(
        np.reshape(p, np.shape(times) + p[0].shape) for p in map(np.array, zip(*flat, strict=True))
    )


@pytest.mark.parametrize("reg", REGULAR)
@pytest.mark.parametrize("get", ["nngp", "ntk"])
@pytest.mark.parametrize("test", [True, False])
def test_ensemble_is_the_formula(backend: Library, reg: dict[str, Any], get: str, test: bool):
    predict_fn, x_test = ensemble(backend, learning_rate=0.8, **reg)
    for t in TIMES:

        def formula(one: Any) -> Any:
            return expected_ensemble(get, one, 0.8, test, **reg)

        mean, covariance = formula(None) if t is None else over(t, formula)
        times = backend.asarray(np.array(t)) if isinstance(t, list) else t
        x = x_test if test else None
        got = predict_fn(times, x, get, compute_cov=True)
        assert type(got) is predict.Gaussian
        close(backend.to_numpy(got.mean), mean)
        close(backend.to_numpy(got.covariance), covariance)
        close(backend.to_numpy(predict_fn(times, x, get)), mean)


@pytest.mark.parametrize("reg", REGULAR)
def test_gp_inference_is_the_formula(backend: Library, reg: dict[str, Any]):
    (k, th), (k_td, th_td), (k_tt, th_tt) = blocks()
    dd, td, tt = (on(backend, b) for b in blocks())
    predict_fn = predict.gp_inference(dd, on(backend, targets()), **reg)
    got = predict_fn(("ntkgp", "nngp", "ntk"), td, tt)
    assert got._fields == ("ntkgp", "nngp", "ntk")
    assert type(got).__name__ == "Gaussians"
    r, r_th = regular(k, **reg), regular(th, **reg)
    a = th_td @ np.linalg.inv(r_th)
    expected = {
        "nngp": (k_td @ np.linalg.solve(r, targets()), k_tt - k_td @ np.linalg.solve(r, k_td.T)),
        "ntk": (a @ targets(), k_tt + a @ k @ a.T - a @ k_td.T - k_td @ a.T),
        "ntkgp": (a @ targets(), th_tt - a @ th_td.T),
    }
    for name, parts in expected.items():
        close(backend.to_numpy(getattr(got, name).mean), parts[0])
        close(backend.to_numpy(getattr(got, name).covariance), parts[1])


@pytest.mark.parametrize("t", [None, 0.0, 3.0, [0.5, 2.0]])
@pytest.mark.parametrize("start", ["zero", "number", "array"])
def test_gradient_descent_mse_is_the_formula(backend: Library, t: Any, start: str):
    (_, th), (_, th_td), _ = blocks()
    f = {"zero": 0.0, "number": 0.4, "array": targets() ** 2}[start]
    g = {"zero": 0.0, "number": -0.3, "array": targets((M, C)) ** 3}[start]

    def formula(one: Any) -> Any:
        r = regular(th, 0.05)
        moved = (np.eye(N) - remaining(r, one, 0.8)) @ (targets() - f)
        return f + moved, g + th_td @ np.linalg.solve(r, moved)

    predict_fn = predict.gradient_descent_mse(
        on(backend, th), on(backend, targets()), learning_rate=0.8, diag_reg=0.05
    )
    begin = [on(backend, x) if start == "array" else x for x in (f, g)]
    train, test = formula(None) if t is None else over(t, formula)
    got = predict_fn(t, begin[0], begin[1], on(backend, th_td))
    close(backend.to_numpy(got[0]), train)
    close(backend.to_numpy(got[1]), test)
    close(backend.to_numpy(predict_fn(t, begin[0])), train)
    alone = predict_fn(t, None, begin[1], on(backend, th_td))
    if start == "zero":
        close(backend.to_numpy(alone), test)
    assert alone.shape == test.shape


def test_max_learning_rate_is_the_formula(backend: Library):
    th = blocks()[0].ntk
    largest = np.linalg.eigvalsh(th)[-1]
    close(backend.to_numpy(predict.max_learning_rate(on(backend, th), eps=0.0)), 2 * N / largest)
    got = predict.max_learning_rate(on(backend, th), y_train_size=N * C, momentum=0.9, eps=0.0)
    close(backend.to_numpy(got), 2 * 1.9 * N * C / largest)
    outer = np.einsum("ij,ab->ijab", th, np.eye(3))
    got = predict.max_learning_rate(on(backend, outer), eps=0.0)
    close(backend.to_numpy(got), 2 * 3 * N / largest)


def test_a_step_below_the_largest_learning_rate_converges_and_one_above_does_not():
    th = blocks()[0].ntk
    rate = float(predict.max_learning_rate(th, N * C))
    for factor, smaller in ((0.99, True), (1.01, False)):
        step = np.eye(N) - factor * rate / (N * C) * th
        assert bool(np.max(np.abs(np.linalg.eigvalsh(step))) < 1) is smaller


# --- neural_tangents 0.6.5 ----------------------------------------------------------------------

SMALL = (
    Pair(
        np.array([[2.0, 1, 0], [1, 3, 1], [0, 1, 4]]), np.array([[5.0, 2, 1], [2, 6, 2], [1, 2, 7]])
    ),
    Pair(np.array([[1, 0.5, 0.25], [0, 1, 2]]), np.array([[2, 1, 0.5], [1, 2, 3]])),
    Pair(np.array([[3.0, 1], [1, 4]]), np.array([[6.0, 2], [2, 8]])),
)
SMALL_Y = np.array([[1.0, -1], [2, 0], [-1, 3]])


def small_kernel_fn(x1: Any, x2: Any = None, get: Any = None) -> Any:
    found = SMALL[1] if x2 is not None else SMALL[0 if len(x1) == 3 else 2]
    return getattr(found, get) if isinstance(get, str) else found


def peer_inference(get: str) -> Any:
    return predict.gp_inference(SMALL[0], SMALL_Y, diag_reg=0.1)(get, *SMALL[1:])


def peer_ensemble(get: str, t: Any, x_test: Any) -> Any:
    predict_fn = predict.gradient_descent_mse_ensemble(
        small_kernel_fn, np.zeros((3, 1)), SMALL_Y, 0.5, 0.2, diag_reg_absolute_scale=True
    )
    return predict_fn(t, x_test, get, True)


def peer_descent(t: Any) -> Any:
    predict_fn = predict.gradient_descent_mse(SMALL[0].ntk, SMALL_Y, diag_reg=0.1)
    return predict_fn(t, np.ones((3, 2)), -np.ones((2, 2)), SMALL[1].ntk)


def peer_axes(y: np.ndarray, **options: Any) -> Any:
    a, b = np.array([[2.0, 1], [1, 2]]), np.array([[1, 0.5], [0.5, 1]])
    dd = np.einsum("ij,ab->ijab", SMALL[0].nngp, a)
    td = np.einsum("ij,ab->ijab", SMALL[1].nngp, b)
    return (predict.gp_inference(dd, y, **options)("nngp", td),)


X2 = np.zeros((2, 1))
PEER: list[tuple[Any, list[Any]]] = [
    (partial(peer_inference, "nngp"), [
        [[0.381476360563813, -0.261070783884472], [-0.0998578945347006, 1.341936475016323]],
        [[2.550663478895418, 0.882282905096593], [0.882282905096593, 2.96109382801398]],
    ]),
    (partial(peer_inference, "ntk"), [
        [[0.422055286366647, -0.311900861017186], [0.0815700491511832, 0.965942761529613]],
        [[2.539958202792297, 0.862020076059395], [0.862020076059395, 2.986244967547724]],
    ]),
    (partial(peer_inference, "ntkgp"), [
        [[0.422055286366647, -0.311900861017186], [0.0815700491511832, 0.965942761529613]],
        [[5.271272701920731, 1.541691358455049], [1.541691358455049, 6.561020671384251]],
    ]),
    (partial(peer_ensemble, "nngp", None, X2), [
        [[0.385013812154696, -0.274516574585635], [-0.103591160220995, 1.374309392265193]],
        [[2.530494647790055, 0.883891574585635], [0.883891574585635, 2.938190607734807]],
    ]),
    (partial(peer_ensemble, "nngp", 3.0, X2), [
        [[0.277845734053373, -0.088885036981405], [-0.032028358621888, 0.901474967075911]],
        [[2.671658216364557, 0.855503346329567], [0.855503346329567, 3.046987155540559]],
    ]),
    (partial(peer_ensemble, "nngp", 3.0, None), [
        [[0.680809021463549, -0.449057660063797], [1.072817462003767, 0.174702141876174],
         [-0.449057660063797, 1.92832862534349]],
        [[0.67233534839918, -0.0543811060683048, -0.0281146152520218],
         [-0.0543811060683048, 0.589839627078853, -0.110610336572348],
         [-0.0281146152520218, -0.110610336572348, 0.507343905758527]],
    ]),
    (partial(peer_ensemble, "ntk", None, X2), [
        [[0.441278590338961, -0.346230632351026], [0.0763855735428149, 1.01948700143223]],
        [[2.526410380202437, 0.868772385867435], [0.868772385867435, 2.970124473466545]],
    ]),
    (partial(peer_ensemble, "ntk", 3.0, X2), [
        [[0.38550668716291, -0.197488335633388], [0.118156968198296, 0.853036680245269]],
        [[2.591034094742704, 0.828773654000843], [0.828773654000843, 3.030670435370924]],
    ]),
    (partial(peer_ensemble, "ntk", 3.0, None), [
        [[0.895320299586143, -0.600230127052806], [1.500963775957766, 0.150251760926077],
         [-0.600230127052806, 2.39628407554391]],
        [[0.169612829255573, -0.0564011691087963, -0.0544437160732592],
         [-0.0564011691087963, 0.15876614314131, -0.0706832227551585],
         [-0.0544437160732592, -0.0706832227551585, 0.143076523882520]],
    ]),
    (partial(peer_descent, 3.0), [
        [[1.044547045199065, -0.865286351489466], [1.865048041684504, 0.029976097835503],
         [-0.89550075912993, 2.887559874088998]],
        [[-0.962269857432856, -1.660028548391528], [-1.481402653363762, -0.635536450785044]],
    ]),
    (partial(peer_descent, None), [
        SMALL_Y,
        [[-0.972112803708997, -1.70606895109283], [-1.494300554258026, -0.609927841879597]],
    ]),
    (partial(peer_axes, SMALL_Y, trace_axes=()), [[[7 / 36, -11 / 72], [-1 / 18, 13 / 18]]]),
    (partial(peer_axes, np.stack([SMALL_Y, SMALL_Y[::-1]], -1)), [
        [[[7 / 36, -1 / 4], [-11 / 72, 53 / 72]], [[-1 / 18, 1 / 2], [13 / 18, -7 / 18]]],
    ]),
    (lambda: [predict.max_learning_rate(SMALL[0].ntk, 6, 0.9)], [2.398822215262185]),
]  # fmt: skip


@pytest.mark.parametrize(("call", "expected"), PEER)
def test_agrees_with_neural_tangents(call: Any, expected: list[Any]):
    for got, value in zip(call(), expected, strict=True):
        close(got, value, "peer")


# --- high precision -----------------------------------------------------------------------------


def test_finite_time_keeps_its_digits_on_a_nearly_singular_kernel(backend: Library):
    """Against 60 digits; the condition of this kernel is 1e15."""
    a = np.array([[1.0, 0.5, 2.0], [1.0, 0.5 + 2.0**-24, 2.0], [0.3, 2.0, -1.0]])
    k = a @ a.T + 2.0**-46 * np.eye(3)
    k_td, y = np.array([[0.4, 0.5, -1.0], [2.0, 1.0, 0.0]]), np.array([[1.0], [1.5], [-2.0]])
    predict_fn = predict.gradient_descent_mse_ensemble(
        lambda x1, x2, get: on(backend, k if x2 is None else k_td), on(backend, k), on(backend, y)
    )
    with mpmath.workdps(60):
        exact = mpmath.matrix(k.tolist())
        inverse = exact**-1
        for t in (0.5, 40.0):
            learned = mpmath.eye(3) - mpmath.expm(-exact * t / 3)
            mean = mpmath.matrix(k_td.tolist()) * inverse * learned * mpmath.matrix(y.tolist())
            expected = np.array(mean.tolist(), dtype=float)
            got = backend.to_numpy(predict_fn(t, on(backend, np.ones((2, 1))), "ntk"))
            error = np.max(np.abs(got - expected))
            spread = t / 3 * np.max(np.abs(k)) * np.max(np.abs(k_td)) * np.max(np.abs(y)) * t
            assert error <= TOLERANCES["condition times rounding"] * EPS["float64"] * spread


@pytest.mark.parametrize("s", [1e-3, 1.0, 1e6, math.inf])
def test_gain_and_its_derivative_against_high_precision(backend: Library, s: float):
    values = np.array([1e-300, 1e-20, 1e-9, 1e-3, 0.2, 0.2501, 3.0, 1e3])
    at = place_of([on(backend, values)])
    times = at.asarray(s)
    got = backend.to_numpy(solve.gain(at, on(backend, values), times))
    with mpmath.workdps(700):
        exact = [
            1 / mpmath.mpf(v) if math.isinf(s) else -mpmath.expm1(-mpmath.mpf(s) * v) / v
            for v in values
        ]
        np.testing.assert_allclose(got, np.array(exact, dtype=float), rtol=8 * EPS["float64"])
        if backend.record.vjp is None or math.isinf(s):
            return
        slopes = []
        for v in values:
            x = mpmath.mpf(s) * v
            slopes.append(mpmath.mpf(s) ** 2 * ((1 + x) * mpmath.exp(-x) - 1) / x**2)
    _, pull = backend.record.vjp(lambda v: solve.gain(at, v, times), on(backend, values))
    (slope,) = pull(on(backend, np.ones_like(values)))
    expected = np.array(slopes, dtype=float)
    np.testing.assert_allclose(backend.to_numpy(slope), expected, rtol=64 * EPS["float64"])


@pytest.mark.parametrize("get", ["nngp", "ntk"])
def test_gain_at_zero_is_the_time(backend: Library, get: str):
    at = place_of([on(backend, np.zeros(1))])
    zero, s = at.asarray(np.zeros(2)), at.asarray(3.0)
    assert backend.to_numpy(solve.gain(at, zero, s)).tolist() == [3.0, 3.0]
    assert backend.to_numpy(solve.gain(at, zero + 1, at.asarray(0.0))).tolist() == [0.0, 0.0]


# --- axes -----------------------------------------------------------------------------------------


def test_a_trace_axis_is_a_kernel_times_the_identity(backend: Library):
    """Kernels with the axis written out give the same means, and its covariances side by side."""
    dd, td, tt = (on(backend, b) for b in blocks())
    short = predict.gp_inference(dd, on(backend, targets()))(("nngp", "ntk"), td, tt)
    full = [
        on(backend, Pair(*(np.einsum("ij,ab->ijab", k, np.eye(C)) for k in b))) for b in blocks()
    ]
    predict_fn = predict.gp_inference(full[0], on(backend, targets()), trace_axes=())
    long = predict_fn(("nngp", "ntk"), *full[1:])
    for s, g in zip(short, long, strict=True):
        close(backend.to_numpy(g.mean), backend.to_numpy(s.mean))
        wide = np.einsum("ij,ab->ijab", backend.to_numpy(s.covariance), np.eye(C))
        close(backend.to_numpy(g.covariance), wide)


@pytest.mark.parametrize(
    ("order", "trace_axes"),
    [("nhwc", -1), ("cnhw", (0,)), ("ncw", (-2,)), ("cn", 0)],
)
@pytest.mark.parametrize("t", [None, [0.5, 2.0, 4.0]])
def test_axes_of_positions(backend: Library, order: str, trace_axes: Any, t: Any):
    """Against the same problem with examples and positions in one axis."""
    sizes = {"n": 3, "h": 2, "w": 2, "c": 2}
    kept = [a for a in order if a != "c"]
    train = [sizes[a] for a in kept]
    test = [2, *train[1:]]
    n, m = math.prod(train), math.prod(test)
    k, th = positive(n + m, 4), positive(n + m, 5)
    flat = [Pair(k[p], th[p]) for p in (np.s_[:n, :n], np.s_[n:, :n], np.s_[n:, n:])]
    rows = [(train, train), (test, train), (test, test)]
    paired = [
        Pair(*(interleaved(x, *r) for x in block)) for block, r in zip(flat, rows, strict=True)
    ]
    y = targets((n, 2))
    shaped = np.moveaxis(y.reshape(*train, 2), -1, order.index("c"))

    def run(parts: list[Any], y: np.ndarray, axes: Any) -> Any:
        known = [on(backend, part) for part in parts]
        first = parts[0].nngp.shape[0]
        kernel_fn = lambda x1, x2, get: answer(  # noqa: E731
            known[1] if x2 is not None else known[0 if x1.shape[0] == first else 2], get
        )
        x = on(backend, np.ones((first, 1)))
        fn = predict.gradient_descent_mse_ensemble(kernel_fn, x, on(backend, y), trace_axes=axes)
        x_test = on(backend, np.ones((parts[1].nngp.shape[0], 1)))
        return fn(t, x_test, ("nngp", "ntk"), True), fn(t, None, "ntk", True)

    plain, plain_train = run(flat, y, (-1,))
    full, full_train = run(paired, shaped, trace_axes)
    for got, wanted, rows_ in (
        (full.nngp, plain.nngp, test),
        (full.ntk, plain.ntk, test),
        (full_train, plain_train, train),
    ):
        times = np.shape(t) if t is not None else ()
        mean = backend.to_numpy(wanted.mean).reshape(*times, *rows_, 2)
        mean = np.moveaxis(mean, -1, len(times) + order.index("c"))
        close(backend.to_numpy(got.mean), mean)
        flat_covariance = backend.to_numpy(wanted.covariance).reshape(-1, *[math.prod(rows_)] * 2)
        covariance = np.array([interleaved(c, rows_, rows_) for c in flat_covariance])
        covariance = covariance.reshape(*times, *covariance.shape[1:])
        close(backend.to_numpy(got.covariance), covariance)


def interleaved(k: np.ndarray, rows: list[int], columns: list[int]) -> np.ndarray:
    """Axes in pairs: (rows, columns) of each axis in turn."""
    each = len(rows)
    order = [i + each * second for i in range(each) for second in (0, 1)]
    return k.reshape(*rows, *columns).transpose(order)


def answer(found: Pair, get: Any) -> Any:
    return getattr(found, get) if isinstance(get, str) else found


# --- what comes back ----------------------------------------------------------------------------


def test_get_chooses_what_comes_back():
    predict_fn, x_test = ensemble_numpy()
    both = predict_fn(None, x_test)
    assert type(both).__name__ == "Gaussians" and both._fields == ("nngp", "ntk")
    assert predict_fn(None, x_test, "NTK").shape == (M, C)
    assert predict_fn(None, x_test, ["ntk"])._fields == ("ntk",)
    assert predict_fn(None, x_test, ("ntk", "nngp"))._fields == ("ntk", "nngp")
    assert type(predict_fn(1.0, x_test)) is type(both)
    assert predict_fn(np.ones((2, 3)), x_test, "ntk", True).covariance.shape == (2, 3, M, M)
    assert predict.Gaussian._fields == ("mean", "covariance")


def ensemble_numpy(x: Any = None, **options: Any) -> Any:
    kernel_fn, x = kernel_fn_of(*blocks()), np.ones((N, 1)) if x is None else x
    made = predict.gradient_descent_mse_ensemble(kernel_fn, x, targets(), **options)
    return made, np.ones((M, 1))


def test_kernels_come_as_arrays_named_tuples_or_kernel():
    dd, td, tt = blocks()
    expected = predict.gp_inference(dd, targets())("nngp", td, tt)
    bare = predict.gp_inference(dd.nngp, targets())("nngp", td.nngp, tt.nngp)
    whole = [ntcore.Kernel(nngp=b.nngp, ntk=b.ntk) for b in blocks()]
    kernels = predict.gp_inference(whole[0], targets())("nngp", whole[1], whole[2])
    for got in (bare, kernels):
        assert np.array_equal(got.mean, expected.mean)
        assert np.array_equal(got.covariance, expected.covariance)
    array_tt = predict.gp_inference(dd, targets())("ntk", td, tt.nngp)
    assert np.array_equal(
        array_tt.covariance, predict.gp_inference(dd, targets())("ntk", td, tt).covariance
    )


def test_training_set_is_learned_exactly(backend: Library):
    dd = on(backend, blocks()[0])
    for reg in REGULAR:
        predict_fn = predict.gp_inference(dd, on(backend, targets()), **reg)
        got = predict_fn(None, None, True)
        for part in got:
            assert np.array_equal(backend.to_numpy(part.mean), targets())
            assert np.array_equal(backend.to_numpy(part.covariance), np.zeros((N, N)))
    predict_fn_of_array = predict.gp_inference(blocks()[0].ntk, targets())
    predict_fn_of_array("ntk")[0, 0] = 7.0  # does not reach the targets
    alone = predict_fn_of_array("ntk", None, True)
    assert np.array_equal(alone.mean, targets())
    assert np.array_equal(alone.covariance, np.zeros((N, N)))


def test_nothing_is_learned_at_time_zero(backend: Library):
    predict_fn, x_test = ensemble(backend)
    for get in ("nngp", "ntk"):
        got = predict_fn(0, x_test, get, True)
        assert np.array_equal(backend.to_numpy(got.mean), np.zeros((M, C)))
        close(backend.to_numpy(got.covariance), blocks()[2].nngp)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("t", [None, 2.0, [1.0, 3.0]])
def test_dtype_and_device_stay(backend: Library, dtype: str, t: Any):
    predict_fn, x_test = ensemble(backend, dtype, diag_reg=0.01)
    for x in (x_test, None):
        for part in predict_fn(t, x, None, True):
            for array in part:
                assert backend.record.owns(array)
                assert array.dtype == getattr(backend.xp, dtype)
                assert backend.record.device(array) == backend.record.device(x_test)
    rate = predict.max_learning_rate(on(backend, blocks()[0].ntk, dtype))
    assert rate.dtype == getattr(backend.xp, dtype)


def test_float32_is_as_good_as_its_digits(backend: Library):
    single, x_test = ensemble(backend, "float32", diag_reg=0.05)
    for t in (None, 2.0):
        for get in ("nngp", "ntk"):
            mean, covariance = expected_ensemble(get, t, 1.0, True, diag_reg=0.05)
            got = single(t, backend.asarray(np.ones((M, 1)), "float32"), get, True)
            close(backend.to_numpy(got.mean), mean, dtype="float32")
            close(backend.to_numpy(got.covariance), covariance, dtype="float32")
    del x_test


def test_device_other_than_the_default():
    xp = pytest.importorskip("array_api_strict")
    there = xp.Device("device1")
    dd, td, tt = (Pair(*(xp.asarray(k, device=there) for k in b)) for b in blocks())
    y = xp.asarray(targets(), device=there)
    for parts in predict.gp_inference(dd, y, diag_reg=0.1)(None, td, tt):
        assert all(x.device == there for x in parts)
    fn = predict.gradient_descent_mse_ensemble(kernel_fn_of(dd, td, tt), xp.ones((N, 1)), y)
    for parts in fn([1.0, 2.0], xp.ones((M, 1)), None, True):
        assert all(x.device == there for x in parts)


# --- numbers one can trust ------------------------------------------------------------------------


def repeated() -> tuple[Triple, np.ndarray]:
    """A training set with repeated examples, which are the test set too."""
    k, th = positive(3, 6), positive(3, 7)
    index = np.array([0, 1, 2, 0, 1])
    both = [x[np.ix_(index, index)] for x in (k, th)]
    pair = Pair(*both)
    return (pair, pair, pair), targets((3, C))[index]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_singular_kernels_are_harmless_at_finite_time(backend: Library, dtype: str):
    """No NaN; against a training set whose repeated examples count as often, exactly."""
    parts, y = repeated()
    fn = predict.gradient_descent_mse_ensemble(
        lambda x1, x2, get: answer(on(backend, parts[0], dtype), get),
        backend.asarray(np.ones((5, 1)), dtype),
        backend.asarray(y, dtype),
    )
    for get in ("nngp", "ntk"):
        got = fn([0.0, 1.0, 1e3, 1e6], backend.asarray(np.ones((5, 1)), dtype), get, True)
        mean, covariance = (backend.to_numpy(x) for x in got)
        assert np.all(np.isfinite(mean)) and np.all(np.isfinite(covariance))
        r = parts[0][0 if get == "nngp" else 1]
        expected = y - scipy.linalg.expm(-r / y.size) @ y
        close(mean[1], expected, dtype=dtype)
        np.testing.assert_allclose(mean[3], y, atol=1e4 * EPS[dtype] * np.max(np.abs(y)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("get", ["nngp", "ntk", "ntkgp"])
def test_covariances_are_symmetric_and_variances_not_negative(
    backend: Library, dtype: str, get: str
):
    """Predicting the training set itself, where variances should be 0 or near."""
    k, th = positive(20, 8), positive(20, 9)
    parts = on(backend, Pair(k, th), dtype)
    y = backend.asarray(targets((20, 1)), dtype)
    for reg in (0.0, 1e-6):
        found = predict.gp_inference(parts, y, diag_reg=reg)(get, parts, parts)
        covariance = backend.to_numpy(found.covariance)
        assert np.array_equal(covariance, covariance.T)
        assert np.all(np.diag(covariance) >= 0)
        if get == "ntkgp":
            continue
        fn = predict.gradient_descent_mse_ensemble(
            lambda x1, x2, get: answer(parts, get), y, y, diag_reg=reg
        )
        for x in (y, None):
            covariance = backend.to_numpy(fn([0.3, 50.0, 1e9], x, get, True).covariance)
            assert np.array_equal(covariance, np.swapaxes(covariance, 1, 2))
            assert np.all(np.einsum("tii->ti", covariance) >= 0)


def test_variance_falls_with_time():
    predict_fn, x_test = ensemble_numpy()
    got = predict_fn(np.linspace(0, 50, 20), x_test, "nngp", True)
    assert np.all(np.diff(np.einsum("tii->ti", got.covariance), axis=0) <= EPS["float64"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [2, 150])
@pytest.mark.parametrize("absolute", [True, False])
def test_singular_kernel_is_refused_with_a_remedy_that_works(
    backend: Library, dtype: str, n: int, absolute: bool
):
    rng = np.random.default_rng(n)
    a = rng.standard_normal((n, max(1, n // 2)))
    k, y = backend.asarray(a @ a.T, dtype), backend.asarray(rng.standard_normal((n, 1)), dtype)
    with pytest.raises(errors.NotPSDError, match="not positive definite") as caught:
        predict.gp_inference(k, y)("nngp", k)
    error = caught.value
    largest = np.linalg.eigvalsh(a @ a.T)[-1]
    assert abs(error.least_eigenvalue) <= 8 * EPS[dtype] * largest
    assert 0 < error.jitter <= 64 * EPS[dtype] * largest
    reg = error.jitter if absolute else error.jitter / (np.trace(a @ a.T) / n)
    fn = predict.gp_inference(k, y, diag_reg=reg * 1.001, diag_reg_absolute_scale=absolute)
    assert np.all(np.isfinite(backend.to_numpy(fn("nngp", k))))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pivot_that_is_a_rounding_error_is_refused(backend: Library, dtype: str):
    """This factorisation succeeds, on nothing but the last bit of an entry."""
    k = backend.asarray(np.array([[1.0, 1.0], [1.0, 1.0 + EPS[dtype]]]), dtype)
    with pytest.raises(errors.NotPSDError):
        predict.gp_inference(k, backend.asarray(targets((2, 1)), dtype))("ntk", k)


def test_remedy_in_the_message_works():
    a = np.random.default_rng(0).standard_normal((20, 10))
    k, y = a @ a.T, targets((20, 1))
    starts: list[dict[str, Any]] = [{}, {"diag_reg": 1e-17, "diag_reg_absolute_scale": True}]
    for start in starts:
        with pytest.raises(errors.NotPSDError) as caught:
            predict.gp_inference(k - 0.5 * np.eye(20), y, **start)("nngp", k)
        words = str(caught.value).split("pass diag_reg=")[1].replace(",", "").split()
        options: dict[str, Any] = {"diag_reg": float(words[0])}
        options["diag_reg_absolute_scale"] = words[1].endswith("True")
        fn = predict.gp_inference(k - 0.5 * np.eye(20), y, **options)
        assert np.all(np.isfinite(fn("nngp", k)))


@pytest.mark.parametrize("bad", [np.zeros((3, 3)), -np.eye(3)])
def test_kernels_without_positive_trace_are_refused(backend: Library, bad: np.ndarray):
    k, y = on(backend, bad), on(backend, targets((3, 1)))
    with pytest.raises(errors.NotPSDError, match="diag_reg_absolute_scale=True"):
        predict.gp_inference(k, y, diag_reg=0.1)("nngp", k)


def test_infinite_times_of_a_singular_kernel_are_refused(backend: Library):
    parts, y = repeated()
    fn = predict.gradient_descent_mse(on(backend, parts[0].ntk), on(backend, y))
    assert np.all(np.isfinite(backend.to_numpy(fn(1e30))))
    for t in (math.inf, [1.0, math.inf]):
        with pytest.raises(errors.NotPSDError):
            fn(t)


def test_indefinite_kernel_is_refused_at_finite_time(backend: Library):
    k, y = on(backend, np.diag([1.0, 2.0, -0.5])), on(backend, targets((3, 1)))
    with pytest.raises(errors.NotPSDError) as caught:
        predict.gradient_descent_mse(k, y)(1.0)
    assert caught.value.least_eigenvalue == pytest.approx(-0.5)


# --- one factorisation ----------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often kernels are factorised."""
    counts = {"cholesky": 0, "spectrum": 0}

    def counting(fn: Any) -> Any:
        @wraps(fn)
        def call(*args: Any) -> Any:
            counts[fn.__name__] += 1
            return fn(*args)

        return call

    for name in counts:
        monkeypatch.setattr(training, name, counting(getattr(training, name)))
    return counts


def test_kernels_are_factorised_once(backend: Library, counted: dict[str, int]):
    dd, td, tt = (on(backend, b) for b in blocks())
    asked = []

    def kernel_fn(x1: Any, x2: Any = None, get: Any = None) -> Any:
        asked.append((x1.shape[0], x2 is None, get))
        return kernel_fn_of(dd, td, tt)(x1, x2, get)

    x, x_test = (backend.asarray(np.ones((n, 1))) for n in (N, M))
    fn = predict.gradient_descent_mse_ensemble(kernel_fn, x, on(backend, targets()))
    assert asked == [] and counted == {"cholesky": 0, "spectrum": 0}
    for _ in range(3):
        fn(None, x_test, "ntk")
        fn(1.0, x_test, "ntk")
        fn([1.0, 2.0], x_test, None, True)
        fn(None, x_test, None, True)
    assert counted == {"cholesky": 2, "spectrum": 2}
    assert [a for a in asked if a[:2] == (N, True)] == [(N, True, "ntk"), (N, True, "nngp")]


def test_ntk_and_ntkgp_share_a_factorisation(counted: dict[str, int]):
    dd, td, tt = blocks()
    predict.gp_inference(dd, targets())(("ntk", "ntkgp"), td, tt)
    assert counted == {"cholesky": 1, "spectrum": 0}


def test_means_need_their_own_kernel_only():
    (k, th), (k_td, th_td), (k_tt, _) = blocks()
    only = kernel_fn_of(Pair(None, th), Pair(None, th_td), Pair(None, None))
    fn = predict.gradient_descent_mse_ensemble(only, np.ones((N, 1)), targets())
    assert fn(1.0, np.ones((M, 1)), "ntk").shape == (M, C)
    only = kernel_fn_of(Pair(k, None), Pair(k_td, None), Pair(k_tt, None))
    fn = predict.gradient_descent_mse_ensemble(only, np.ones((N, 1)), targets())
    assert fn(1.0, np.ones((M, 1)), "nngp", True).covariance.shape == (M, M)


# --- transformations ------------------------------------------------------------------------------


def total(backend: Library, parts: Any) -> Any:
    """A sum over means and covariances that no two entries enter alike."""
    xp, sums = backend.xp, []
    for p in parts:
        for x in p:
            flat = xp.reshape(x, (-1,))
            weights = np.cos(np.arange(flat.shape[0]))
            sums.append(xp.sum(flat * backend.asarray(weights)))
    return reduce(lambda a, b: a + b, sums)


def everything(backend: Library, t: Any) -> Any:
    """A function of kernels, targets, time, learning rate and noise."""

    def fn(k: Any, th: Any, y: Any, t: Any, rate: Any, reg: Any) -> Any:
        blocks_ = []
        for rows, columns in (
            (slice(0, N), slice(0, N)),
            (slice(N, None), slice(0, N)),
            (slice(N, None), slice(N, None)),
        ):
            blocks_.append(Pair(k[rows, columns], th[rows, columns]))
        x, x_test = (backend.asarray(np.ones((n, 1))) for n in (N, M))
        made = predict.gradient_descent_mse_ensemble(
            kernel_fn_of(*blocks_), x, y, learning_rate=rate, diag_reg=reg
        )
        return total(backend, made(t, x_test, None, True))

    if t is None:
        return lambda k, th, y, rate, reg: fn(k, th, y, None, rate, reg)
    return fn


def primals(t: Any) -> list[np.ndarray]:
    rest = [targets(), np.array(t), np.array(0.8), np.array(0.05)]
    if t is None:
        del rest[1]
    return [positive(N + M, 1), positive(N + M, 2), *rest]


def needs(backend: Library, capability: str) -> Any:
    found = getattr(backend.record, capability)
    if found is None:
        pytest.skip(f"{backend.name} has no {capability}")
    return found


def symmetric_step(value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    step = rng.standard_normal(value.shape)
    return step + step.T if value.shape == (N + M, N + M) else step


@pytest.mark.parametrize("t", [None, 0.0, 0.7, [0.5, 20.0]])
def test_derivatives_are_those_of_central_differences(backend: Library, t: Any):
    """In kernels, targets, times, learning rate and noise; in times from 0 there is one side."""
    vjp, rng, h = needs(backend, "vjp"), np.random.default_rng(11), 1e-5
    fn, values = everything(backend, t), primals(t)
    fast = fn if backend.record.jit is None else backend.record.jit(fn)
    out, pull = vjp(fn, *(backend.asarray(v) for v in values))
    close(backend.to_numpy(out), backend.to_numpy(fast(*map(backend.asarray, values))))
    slopes = [backend.to_numpy(g) for g in pull(backend.asarray(np.array(1.0)))]

    def moved(i: int, step: np.ndarray) -> Any:
        shifted = [v + step if j == i else v for j, v in enumerate(values)]
        return backend.to_numpy(fast(*map(backend.asarray, shifted)))

    for i, value in enumerate(values):
        if i == 3 and t == 0.0:
            assert np.all(np.isfinite(slopes[i]))
            continue
        step = symmetric_step(value, rng)
        difference = (moved(i, h * step) - moved(i, -h * step)) / (2 * h)
        scale = max(np.max(np.abs(slopes[i])) * np.sum(np.abs(step)), 1e-3)
        error = abs(np.sum(slopes[i] * step) - difference) / scale
        assert error <= TOLERANCES["derivatives against central differences"] * EPS["float64"]


@pytest.mark.parametrize("t", [None, 0.7, [0.5, 20.0]])
def test_jit_is_eager(backend: Library, t: Any):
    jit = needs(backend, "jit")
    fn, values = everything(backend, t), [backend.asarray(v) for v in primals(t)]
    close(backend.to_numpy(jit(fn)(*values)), backend.to_numpy(fn(*values)))


def test_jit_around_a_predictor_made_outside(backend: Library, counted: dict[str, int]):
    """Nothing traced is kept: the eager call that follows factorises for itself."""
    jit = needs(backend, "jit")
    predict_fn, x_test = ensemble(backend)
    for t in (None, 2.0):
        inside = jit(lambda x, t=t: predict_fn(t, x, "ntk", True))(x_test)
        outside = predict_fn(t, x_test, "ntk", True)
        again = jit(lambda x, t=t: predict_fn(t, x, "ntk", True))(x_test)
        for a, b, c in zip(inside, outside, again, strict=True):
            close(backend.to_numpy(a), backend.to_numpy(b))
            close(backend.to_numpy(c), backend.to_numpy(b))
    assert counted == {"cholesky": 2, "spectrum": 2}


def test_jit_gives_nan_where_eager_raises(backend: Library):
    jit = needs(backend, "jit")
    k, y = on(backend, np.diag([1.0, 2.0, -0.5])), on(backend, targets((3, 1)))
    got = jit(lambda k: predict.gp_inference(k, y)("nngp", k))(k)
    assert np.all(np.isnan(backend.to_numpy(got)))


def test_torch_backward_twice_and_after_no_grad():
    torch = pytest.importorskip("torch")
    k, th = (torch.tensor(positive(N + M, s), requires_grad=True) for s in (1, 2))
    dd, td = Pair(k[:N, :N], th[:N, :N]), Pair(k[N:, :N], th[N:, :N])
    y = torch.tensor(targets())
    fn = predict.gp_inference(dd, y)
    descent = predict.gradient_descent_mse(dd.ntk, y)
    for call in (lambda: fn("ntk", td), lambda: descent(1.0)):
        with torch.no_grad():
            call()
        slopes = []
        for _ in range(2):
            (slope,) = torch.autograd.grad(call().sum(), th, retain_graph=True)
            slopes.append(slope)
        assert torch.equal(slopes[0], slopes[1]) and bool(torch.any(slopes[0] != 0))
        th.grad = None


def test_torch_vmap_over_times():
    torch = pytest.importorskip("torch")
    th, y = torch.tensor(positive(N, 2)), torch.tensor(targets())
    fn = predict.gradient_descent_mse(th, y)
    times = torch.tensor([0.5, 2.0], dtype=torch.float64)
    np.testing.assert_allclose(torch.func.vmap(fn)(times), fn(times), rtol=1e-12)


# --- networks -------------------------------------------------------------------------------------


def test_a_network_from_inputs_to_prediction(backend: Library):
    """Against the same kernels handed over; inputs, and not indices, decide."""
    _, _, kernel_fn = stax.serial(stax.Dense(1, 1.4, 0.3), stax.Erf(), stax.Dense(1, 1.2, 0.1))
    rng = np.random.default_rng(5)
    x, x_test = (backend.asarray(rng.standard_normal((n, 5))) for n in (N, M))
    y = on(backend, targets())
    fn = predict.gradient_descent_mse_ensemble(kernel_fn, x, y, diag_reg=1e-3)
    both = ("nngp", "ntk")
    blocks_ = [kernel_fn(x, None, both), kernel_fn(x_test, x, both), kernel_fn(x_test, None, both)]
    inference = predict.gp_inference(blocks_[0], y, diag_reg=1e-3)
    for got, expected in zip(
        fn(None, x_test, both, True), inference(both, *blocks_[1:]), strict=True
    ):
        close(backend.to_numpy(got.mean), backend.to_numpy(expected.mean))
        close(backend.to_numpy(got.covariance), backend.to_numpy(expected.covariance))
    whole = predict.gp_inference(kernel_fn(x), y, diag_reg=1e-3)
    got = whole("ntk", kernel_fn(x_test, x), kernel_fn(x_test))
    close(backend.to_numpy(got.mean), backend.to_numpy(inference("ntk", *blocks_[1:]).mean))


def test_options_reach_the_kernel_function():
    seen = []

    def kernel_fn(x1: Any, x2: Any = None, get: Any = None, **options: Any) -> Any:
        seen.append((x1.shape[0], x2 is None, options))
        return kernel_fn_of(*blocks())(x1, x2, get)

    graph = {n: np.ones((n, 2)) for n in (N, M)}
    x, x_test = np.ones((N, 1)), np.ones((M, 1))
    fn = predict.gradient_descent_mse_ensemble(
        kernel_fn, x, targets(), level=3, pattern=(graph[N], graph[N])
    )
    fn(None, x_test, "nngp", True, level=3, pattern=(graph[M], graph[M]), more=1)
    by_call = {(n, alone): options for n, alone, options in seen}
    assert by_call[N, True]["pattern"] == (graph[N], graph[N])
    assert by_call[M, False]["pattern"][0] is graph[M]
    assert by_call[M, False]["pattern"][1] is graph[N]
    assert by_call[M, True]["pattern"][1] is graph[M]
    assert by_call[M, True]["more"] == 1 and "more" not in by_call[N, True]
    with pytest.raises(errors.ArgumentError, match="level is 3"):
        fn(None, x_test, "nngp", level=4)


def test_signatures_of_what_is_returned():
    fn, _ = ensemble_numpy()
    names = list(inspect.signature(fn).parameters)
    assert names == ["t", "x_test", "get", "compute_cov", "kernel_fn_test_test_kwargs"]
    inference = predict.gp_inference(blocks()[0], targets())
    assert list(inspect.signature(inference).parameters) == ["get", "k_test_train", "k_test_test"]


# --- what is refused ------------------------------------------------------------------------------

K, K_TD, K_TT = (b.nngp for b in blocks())
DD, TD, TT = blocks()


def nan(k: np.ndarray) -> np.ndarray:
    return np.where(np.arange(k.size).reshape(k.shape) == 1, np.nan, k)


def gp(k: Any = K, y: Any = None, *args: Any, **options: Any) -> Any:
    return predict.gp_inference(k, targets() if y is None else y, *args, **options)


def descent(k: Any = K, **options: Any) -> Any:
    return predict.gradient_descent_mse(k, targets(), **options)


ONES = np.ones((M, 1))
HALF = (K.astype(np.float16), targets().astype(np.float16))
REFUSED: list[tuple[Any, type[Exception], str]] = [
    (lambda: gp(K, targets((N,))), errors.ShapeError, r"y_train .*\(n, 1\)"),
    (lambda: gp(K, targets((5, 2))), errors.ShapeError, "k_train_train"),
    (lambda: gp(K, targets((N, 2, 3))), errors.ShapeError, "trace_axes"),
    (lambda: gp(K, targets((0, 2))), errors.ShapeError, "at least one"),
    (lambda: gp(trace_axes=()), errors.ShapeError, "trace_axes"),
    (lambda: gp(trace_axes=(2,)), errors.ArgumentError, "between -2 and 1"),
    (lambda: gp(K_TD), errors.ShapeError, "k_train_train"),
    (lambda: gp(K, np.ones((N, 1), int)), errors.DTypeError, "int64"),
    (lambda: gp(*HALF), errors.DTypeError, "float16"),
    (lambda: gp(K, [[1.0]] * N), errors.BackendError, "list"),
    (lambda: gp(K, nan(targets())), errors.NotFiniteError, "y_train"),
    (lambda: gp(nan(K))("nngp", K_TD), errors.NotFiniteError, "the nngp of k_train_train"),
    (lambda: gp()("nngp", nan(K_TD)), errors.NotFiniteError, "k_test_train"),
    (lambda: gp()("nngp", K_TD, nan(K_TT)), errors.NotFiniteError, "k_test_test"),
    (lambda: gp(K + np.triu(K))("nngp", K_TD), errors.ArgumentError, "not symmetric"),
    (lambda: gp(diag_reg=-0.1), errors.ArgumentError, "diag_reg is -0.1"),
    (lambda: gp(diag_reg=math.nan), errors.ArgumentError, "diag_reg is nan"),
    (lambda: gp(diag_reg="1"), errors.ArgumentError, "diag_reg is '1'"),
    (lambda: gp(diag_reg=np.ones(2)), errors.ArgumentError, "diag_reg"),
    (lambda: gp()("wrong", K_TD), errors.ArgumentError, "get='wrong'"),
    (lambda: gp()((), K_TD), ValueError, "get=\\(\\)"),
    (lambda: gp()(7, K_TD), errors.ArgumentError, "get=7"),
    (lambda: gp()(("ntk", "NTK"), K_TD), ValueError, "different"),
    (lambda: gp()("nngp", K_TD.T), errors.ShapeError, "k_test_train"),
    (lambda: gp()("nngp", K_TD, K), errors.ShapeError, "k_test_test"),
    (lambda: gp()("nngp", "kernel"), errors.ArgumentError, "k_test_train is a str"),
    (lambda: gp()("ntk", K_TD, K_TT), ValueError, "needs the nngp and the ntk"),
    (lambda: gp(DD)("ntk", TD.ntk, K_TT), ValueError, "needs the nngp and the ntk"),
    (lambda: gp(DD._replace(ntk=None))(None, TD), errors.ArgumentError, "without 'ntk'"),
    (lambda: gp(DD._replace(nngp=None))("ntk", TD, TT), errors.ArgumentError, "without 'nngp'"),
    (lambda: ensemble_numpy()[0](-1.0, ONES), errors.ArgumentError, "negative"),
    (lambda: ensemble_numpy()[0](math.nan, ONES), errors.ArgumentError, "NaN"),
    (lambda: ensemble_numpy()[0]([1.0, -1.0]), errors.ArgumentError, "negative"),
    (lambda: ensemble_numpy()[0](np.ones((0, 2))), errors.ArgumentError, "no time"),
    (lambda: ensemble_numpy()[0](1.0, None, "ntkgp"), errors.ArgumentError, "'ntkgp'"),
    (lambda: ensemble_numpy(learning_rate=-1.0), errors.ArgumentError, "learning_rate"),
    (lambda: ensemble_numpy(diag_reg=math.inf), errors.ArgumentError, "diag_reg"),
    (lambda: ensemble_numpy(np.ones((9, 1))), errors.ShapeError, "x_train"),
    (lambda: descent()(None, None), ValueError, "nothing to predict"),
    (lambda: descent()(None, 0.0, 0.0), ValueError, "without k_test_train"),
    (lambda: descent()(1.0, np.ones((N, 1))), errors.ShapeError, "fx_train_0"),
    (lambda: descent()(1.0, nan(targets())), errors.NotFiniteError, "fx_train_0"),
    (lambda: descent()(1.0, 0.0, ONES, K_TD), errors.ShapeError, "fx_test_0"),
    (lambda: descent()(1.0, math.inf), errors.ArgumentError, "fx_train_0"),
    (lambda: predict.max_learning_rate(K_TD), errors.ShapeError, "ntk_train_train"),
    (lambda: predict.max_learning_rate(nan(K)), errors.NotFiniteError, "ntk_train_train"),
    (lambda: predict.max_learning_rate(K, 0), errors.ArgumentError, "y_train_size"),
    (lambda: predict.max_learning_rate(K, momentum=-1.0), errors.ArgumentError, "momentum"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_is_refused(call: Any, error: type[Exception], message: str):
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, errors.NtcoreError)
    assert str(caught.value).endswith(".")


def test_two_libraries_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(errors.BackendError):
        predict.gp_inference(K, torch.tensor(targets()))
    fn = predict.gp_inference(K, targets())
    with pytest.raises(errors.BackendError):
        fn("nngp", torch.tensor(K_TD))


def test_times_of_numpy_follow_the_kernels(backend: Library):
    predict_fn, x_test = ensemble(backend)
    for t in (np.array([1, 2]), np.float64(2.0), 2, (1.0, 2)):
        got = predict_fn(t, x_test, "ntk")
        assert backend.record.owns(got)
        assert got.shape == (*np.shape(t), M, C)


def test_tables_of_what_can_be_asked_match():
    assert set(dynamics.INVERTED) == set(dynamics.INITIAL)
