"""Elementwise layers against neural_tangents, and against mpmath where digits are easily lost.

The stored table and the script that makes it are in conformance/reference. That moments belong to
their functions is checked by the conformance suite, by quadrature and by finite networks.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np
import pytest

from ntcore import stax
from ntcore.backend import Place
from ntcore.conformance.fixtures import Library, library
from ntcore.conformance.tolerances import tolerance
from ntcore.errors import AccuracyWarning, ArgumentError, Unsupported
from ntcore.staging import staged

PATH = Path(__file__).parents[1] / "conformance" / "reference" / "elementwise.json"
TABLE = json.loads(PATH.read_text(encoding="utf-8"))
TOLERANCE = 1e-9
COMPILED_STEP = 3  # where every shape costs a compilation, one case in so many

Case = dict[str, Any]


def square(x: Any) -> Any:
    return x * x


def square_nngp(cov12: Any, var1: Any, var2: Any) -> Any:
    return var1 * var2 + 2 * cov12 * cov12


def square_slope(cov12: Any, var1: Any, var2: Any) -> Any:
    return 4 * cov12


def network(expression: str, lib: Library) -> Any:
    """The network of a case, with functions of the library's own arrays."""
    ours = {f.__name__: f for f in (square, square_nngp, square_slope)}
    return eval(expression, {**vars(stax), **ours, "tanh": lib.xp.tanh})


def relative(got: np.ndarray, want: Any) -> float:
    want = np.asarray(want)
    return float(np.max(np.abs(got - want)) / (np.max(np.abs(want)) or 1.0))


def dual(layer: Any, lib: Library, *points: Any, dtype: str = "float64") -> list[np.ndarray]:
    """Both moments of the layer of a model."""
    at = Place(lib.record, getattr(lib.xp, dtype), lib.device)
    found = layer.network.dual(at, *(lib.asarray(p, dtype) for p in points))
    return [np.asarray(lib.to_numpy(x), dtype=np.float64) for x in found]


# --- neural_tangents ----------------------------------------------------------------------------


@pytest.mark.parametrize("case", TABLE["kernels"], ids=lambda c: c["name"])
def test_kernels(case: Case, backend: Library) -> None:
    position = TABLE["kernels"].index(case)
    if backend.record.stage is not None and position % COMPILED_STEP:
        pytest.skip("one case in a few where every shape is compiled")
    x1, x2 = (backend.asarray(TABLE["inputs"][case[x]]) for x in ("x1", "x2"))
    found = network(case["ours"], backend).kernel_fn(x1, x2, ("nngp", "ntk"))
    for field in found._fields:
        assert relative(backend.to_numpy(getattr(found, field)), case[field]) < TOLERANCE, field


def test_functions(backend: Library) -> None:
    x = backend.asarray(np.asarray(TABLE["points"])[:, None])
    for case in TABLE["functions"]:
        y = backend.to_numpy(network(case["ours"], backend).apply_fn((), x))[:, 0]
        assert relative(y, case["y"]) < TOLERANCE, case["ours"]


def test_large_variances_in_float32(backend: Library) -> None:
    """Rounding of a covariance must not make what is under a root negative."""
    q = np.asarray([1e4, 1e6, 1e9, 1e12])
    for layer in (stax.Gelu(), stax.Gabor(), stax.Gaussian(), stax.Sigmoid_like(), stax.Sin()):
        for gap in (0.0, 1e-7, 2.0):
            found = dual(layer, backend, (1 - gap) * q, q, q, dtype="float32")
            assert np.all(np.isfinite(found)), layer


# --- mpmath -------------------------------------------------------------------------------------

SIGMOID = 1 / mp.mpf("2.4020563531719796")


def arcsine(k: Any, p: Any, q: Any, b: Any = 1) -> Any:
    return 2 / mp.pi * mp.asin(2 * b * b * k / mp.sqrt((1 + 2 * b * b * p) * (1 + 2 * b * b * q)))


def gelu(k: Any, p: Any, q: Any) -> Any:
    root = mp.sqrt((1 + p) * (1 + q) - k * k)
    both = (mp.pi / 2 + mp.atan2(k, root)) / (2 * mp.pi)
    rest = p * q - k * k + k * k * (1 / (1 + p) + 1 / (1 + q))
    return k * both + rest / (2 * mp.pi * root)


def gauss(k: Any, p: Any, q: Any) -> Any:
    return 1 / mp.sqrt((1 + 2 * p) * (1 + 2 * q) - 4 * k * k)


def gabor(k: Any, p: Any, q: Any) -> Any:
    det = (1 + 2 * p) * (1 + 2 * q) - 4 * k * k
    return mp.exp((1 + p + q) / (2 * det) - mp.mpf(1) / 2) * mp.sinh(k / det) / mp.sqrt(det)


def arc_cosine_2(k: Any, p: Any, q: Any) -> Any:
    t = mp.acos(k / mp.sqrt(p * q))
    j = 3 * mp.sin(t) * mp.cos(t) + (mp.pi - t) * (1 + 2 * mp.cos(t) ** 2)
    return p * q * j / (2 * mp.pi)


#: Closed forms as the papers have them; the slope is the derivative in ``k``.
FORMULAS: dict[str, Callable[..., Any]] = {
    "Sign()": lambda k, p, q: 2 / mp.pi * mp.asin(k / mp.sqrt(p * q)),
    "Sigmoid_like()": lambda k, p, q: (1 + arcsine(k, p, q, SIGMOID)) / 4,
    "Gelu()": gelu,
    "Sin()": lambda k, p, q: mp.exp(-(p + q) / 2) * mp.sinh(k),
    "Cos()": lambda k, p, q: mp.exp(-(p + q) / 2) * mp.cosh(k),
    "Rbf()": lambda k, p, q: mp.exp(-(p + q - 2 * k)),
    "Exp()": lambda k, p, q: mp.exp((p + q) / 2 + k),
    "ExpNormalized()": lambda k, p, q: mp.sqrt(p * q) * mp.exp(k / mp.sqrt(p * q) - 1),
    "Gaussian()": gauss,
    "Gabor()": gabor,
    "Monomial(5)": lambda k, p, q: 225 * p**2 * q**2 * k + 600 * p * q * k**3 + 120 * k**5,
    "RectifiedMonomial(2)": arc_cosine_2,
    "Hermite(2)": lambda k, p, q: k**2 + (p - 1) * (q - 1) / 2,
    "Polynomial((1, 0, 2))": lambda k, p, q: (1 + 2 * p) * (1 + 2 * q) + 8 * k**2,
}

#: Variances and one minus the size of the correlation: near coincident and antipodal, tiny, large.
POINTS = (
    (1.0, 1.0, 1e-6), (2.0, 0.5, -1e-6), (1e-9, 3.0, 0.5), (1e-9, 2e-9, -0.3), (9.0, 4.0, 0.2),
    (25.0, 16.0, -1e-3),
)  # fmt: skip
#: Steps have as many digits as the angle between inputs: half of them.
STEPS = ("Sign()",)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("expression", FORMULAS)
def test_digits(expression: str, dtype: str) -> None:
    formula, lib = FORMULAS[expression], library("numpy")
    condition = "coincident" if expression in STEPS else "quadrature"
    allowed = tolerance(condition, dtype)
    layer = eval(expression, vars(stax))
    for p, q, gap in POINTS:
        k = np.sign(gap) * (1 - abs(gap)) * np.sqrt(p * q)
        point = [np.asarray(x, dtype=dtype) for x in (k, p, q)]
        got = dual(layer, lib, *point, dtype=dtype)
        size = [dual(layer, lib, v, v, v)[0] for v in point[1:]]
        with mp.workdps(40):
            exact = [mp.mpf(float(x)) for x in point]
            want = formula(*exact)
            slope = mp.diff(lambda t, exact=exact: formula(t, *exact[1:]), exact[0])
        assert abs(got[0] - float(want)) <= allowed * np.sqrt(size[0] * size[1]), (p, q, gap)
        if expression not in STEPS:
            assert abs(got[1] - float(slope)) <= allowed * max(
                abs(float(slope)), np.sqrt(size[0] * size[1] / (p * q))
            ), (p, q, gap)


@pytest.mark.parametrize("degree", [1, 4, 7])
def test_high_degrees_at_coincident_inputs(degree: int) -> None:
    """Moments of powers of one Gaussian: double factorials."""
    lib, q = library("numpy"), np.asarray([0.0, 0.7, 3.0])
    full = float(mp.fac2(2 * degree - 1)) * q**degree
    slope = degree**2 * float(mp.fac2(2 * degree - 3)) * q ** (degree - 1)
    for name, part in (("Monomial", 1.0), ("RectifiedMonomial", 0.5)):
        got = dual(getattr(stax, name)(degree), lib, q, q, q)
        assert relative(got[0], part * full) < tolerance("quadrature", "float64")
        smooth = slice(1 if degree == 1 else 0, None)  # at 0 the slope of a kink is a convention
        assert relative(got[1][smooth], (part * slope)[smooth]) < tolerance("quadrature", "float64")


# --- integrals ----------------------------------------------------------------------------------

#: Functions without a closed form, and where they are not smooth.
INTEGRATED: dict[str, tuple[Callable[[Any], Any], tuple[float, ...]]] = {
    "Tanh()": (mp.tanh, ()),
    "Sigmoid()": (lambda x: 1 / (1 + mp.exp(-x)), ()),
    "Softplus()": (lambda x: mp.log1p(mp.exp(x)), ()),
    "Silu()": (lambda x: x / (1 + mp.exp(-x)), ()),
    "Swish(0.5)": (lambda x: x / (1 + mp.exp(-x / 2)), ()),
    "Elu(0.5)": (lambda x: x if x > 0 else mp.expm1(x) / 2, (0.0,)),
    "Selu()": (
        lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * mp.expm1(x)),
        (0.0,),
    ),
    "Hardtanh(-0.5, 2.0)": (lambda x: min(max(x, -0.5), 2.0), (-0.5, 2.0)),
}


def line(f: Callable[[Any], Any], kinks: tuple[float, ...], q: float, sign: int) -> float:
    """The moment of a function at one Gaussian and itself, or its negative."""
    root = mp.sqrt(q)
    bends = {s * t / root for t in kinks for s in (-1, 1) if abs(t / root) < 12}
    ends = sorted({mp.mpf(-12), mp.mpf(-3), mp.mpf(0), mp.mpf(3), mp.mpf(12), *bends})
    return float(mp.quad(lambda z: f(root * z) * f(sign * root * z) * mp.npdf(z), ends))


@pytest.mark.parametrize("expression", INTEGRATED)
def test_integrals_at_coincident_and_antipodal_inputs(expression: str, backend: Library) -> None:
    layer = eval(expression, vars(stax))
    q = np.asarray([1e-6, 0.7, 6.0])
    for sign in (1, -1):
        got = staged_dual(layer, backend, sign * q, q, q)[0]
        with mp.workdps(20):
            want = np.asarray([line(*INTEGRATED[expression], v, sign) for v in q])
        size = staged_dual(layer, backend, q, q, q)[0]
        assert np.all(np.abs(got - want) <= 1e-8 * size)


def staged_dual(layer: Any, lib: Library, *points: Any) -> list[np.ndarray]:
    """Both moments, compiled as one where the library compiles."""
    at = Place(lib.record, lib.xp.float64, lib.device)
    both = staged(at, lambda *p: layer.network.dual(at, *p), ())
    return [np.asarray(lib.to_numpy(x)) for x in both(*map(lib.asarray, points))]


def test_no_derivative_is_asked_for(backend: Library) -> None:
    """Stein's lemma gives the slope of a function of which nothing else is known."""
    q = np.asarray([1e-12, 0.3, 2.0, 4.0])
    k = 0.9 * q
    want = staged_dual(stax.Tanh(1e-12), backend, k, q, q)
    got = staged_dual(stax.ElementwiseNumerical(backend.xp.tanh), backend, k, q, q)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-9)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-7)


def test_kinks_that_the_user_names(backend: Library) -> None:
    """Relu by quadrature, with its derivative or with the library's."""
    xp, q = backend.xp, np.asarray([0.3, 2.0])
    k = np.asarray([0.8, -1.0]) * q
    want = staged_dual(stax.Relu(), backend, k, q, q)
    slope = lambda x: xp.where(x > 0, xp.ones_like(x), xp.zeros_like(x))  # noqa: E731
    relu = lambda x: xp.where(x > 0, x, xp.zeros_like(x))  # noqa: E731
    layers = [stax.ElementwiseNumerical(relu, df=slope, kinks=(0.0,))]
    bare = stax.ElementwiseNumerical(relu, kinks=(0.0,))
    if backend.record.vjp is None:
        with pytest.raises(Unsupported, match="vjp"):
            staged_dual(bare, backend, k, q, q)
    else:
        layers.append(bare)
    for layer in layers:
        for got, exact in zip(staged_dual(layer, backend, k, q, q), want, strict=True):
            np.testing.assert_allclose(got, exact, rtol=1e-8, atol=1e-9)


def test_an_accuracy_out_of_reach_is_told() -> None:
    lib, q = library("numpy"), np.asarray([1.0, 3e4])
    with pytest.warns(AccuracyWarning, match=r"Tanh\(\).*3e\+04 on; ask for less") as caught:
        moment, _ = dual(stax.Tanh(), lib, q, q, q)
    told = float(str(caught[0].message).split("about ")[1].split(",")[0])
    exact = [line(mp.tanh, (), 1.0, 1), 1 - 4 / np.sqrt(2 * np.pi * 3e4) * 0.5]
    assert abs(moment[0] - exact[0]) < 1e-8 and abs(moment[1] / exact[1] - 1) < told < 0.5
    with pytest.warns(AccuracyWarning, match="relative error of about"):
        dual(stax.ElementwiseNumerical(np.tanh, 5), lib, q[:1], q[:1], q[:1])


def test_an_accuracy_out_of_reach_is_told_of_a_kernel(backend: Library) -> None:
    """In a library that compiles too, where the values come with no warning of their own."""
    x = np.random.default_rng(3).standard_normal((3, 4))
    net = stax.serial(stax.Dense(1, 60.0), stax.Tanh(), stax.Dense(1))
    with pytest.warns(AccuracyWarning, match=r"Tanh\(\).*ask for less"):
        got = net.kernel_fn(backend.asarray(x), None, "nngp")
    step = stax.serial(stax.Dense(1, 60.0), stax.Sign(), stax.Dense(1)).kernel_fn(x, None, "nngp")
    np.testing.assert_allclose(backend.to_numpy(got), step, atol=0.05)


def test_clipping_keeps_its_digits_in_float32() -> None:
    """An opening next to pi is the larger float; panels must not begin below 0."""
    lib = library("numpy")
    for q in np.linspace(0.1, 3.0, 30):
        point = np.float32([q * (1 + 1e-7), q, q * (1 + 2e-7)])
        layer = stax.Hardtanh(-0.5, 2.0)
        exact = dual(layer, lib, *point.astype(np.float64))
        got = dual(layer, lib, *point, dtype="float32")
        assert relative(got[0], exact[0]) < tolerance("coincident", "float32")
        assert relative(got[1], exact[1]) < tolerance("coincident", "float32")


# --- what has no value, and what users pass in --------------------------------------------------


def test_variances_too_large_for_a_moment_are_infinite(backend: Library) -> None:
    layer = stax.Gaussian(1.0, 0.25)
    q = np.asarray([0.5, 1.0, 1.5, 30.0])
    moment, slope = dual(layer, backend, q, q, q)
    assert np.isfinite(moment[0]) and np.isfinite(slope[0])
    assert np.all(np.isinf(moment[1:])) and np.all(np.isinf(slope[1:]))


def test_a_step_adds_nothing_below_it_to_the_ntk() -> None:
    x = np.asarray(TABLE["inputs"]["vec4"])
    for layer in (stax.Sign(), stax.RectifiedMonomial(0)):
        net = stax.serial(stax.Dense(3), layer, stax.Dense(1, b_std=0.1))
        found = net.kernel_fn(x, None, ("nngp", "ntk"))
        np.testing.assert_array_equal(found.ntk, found.nngp)


def test_the_slope_of_a_moment_is_derived_where_the_library_can(backend: Library) -> None:
    x = backend.asarray(TABLE["inputs"]["vec4"])
    own = stax.Elementwise(square, square_nngp, square_slope)
    bare = stax.Elementwise(square, square_nngp)
    want, got = (stax.serial(stax.Dense(3), f, stax.Dense(1)).kernel_fn for f in (own, bare))
    got(x, None, "nngp")
    if backend.record.vjp is None:
        with pytest.raises(Unsupported, match=r"Elementwise.*d_nngp_fn"):
            got(x, None, "ntk")
    else:
        found = [backend.to_numpy(f(x, None, "ntk")) for f in (want, got)]
        assert relative(*found) < TOLERANCE


def test_half_of_an_elementwise_layer() -> None:
    x = np.asarray(TABLE["inputs"]["vec4"])
    kernel_fn = stax.serial(stax.Dense(3), stax.Elementwise(square)).kernel_fn
    with pytest.raises(Unsupported, match="nngp_fn="):
        kernel_fn(x)
    apply_fn = stax.Elementwise(nngp_fn=square_nngp).apply_fn
    with pytest.raises(Unsupported, match="fn="):
        apply_fn((), x)
    with pytest.raises(Unsupported, match=r"ExpNormalized\(\).*Exp"):
        stax.ExpNormalized().apply_fn((), x)


BAD: dict[str, Callable[[], Any]] = {
    r"Monomial got degree=2\.5; give an integer": lambda: stax.Monomial(2.5),
    r"RectifiedMonomial got degree=-1; give an integer": lambda: stax.RectifiedMonomial(-1),
    r"Hermite got degree='2'; give an integer": lambda: stax.Hermite("2"),
    r"Polynomial got no coefficient; give": lambda: stax.Polynomial(()),
    r"Elementwise got no function; give": lambda: stax.Elementwise(),
    r"Tanh got accuracy=0; give a positive": lambda: stax.Tanh(0),
    r"Hardtanh got the bounds 0\.0 and 1\.0; give": lambda: stax.Hardtanh(0.0, 1.0),
    r"ElementwiseNumerical got deg=0; give": lambda: stax.ElementwiseNumerical(square, 0),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments(message: str) -> None:
    with pytest.raises(ArgumentError, match=message) as caught:
        BAD[message]()
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
