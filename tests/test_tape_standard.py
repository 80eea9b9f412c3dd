"""Every function of the Array API standard 2024.12 on the tape: its derivative, 0, or a refusal."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
import pytest

from ntcore import errors, tape
from ntcore.conformance.fixtures import Library
from tests.tape_problems import NUMPY, W, X, check_first, check_second, on

Case = Callable[[Any, Any, Any], Any]


def well(w: Any) -> Any:
    """A matrix far from singular."""
    return w + 5.0 * w.__array_namespace__().eye(4)


def positive(w: Any) -> Any:
    return w @ w.T + w.__array_namespace__().eye(4)


def all_of(xp: Any, *parts: Any) -> Any:
    return xp.concat([xp.reshape(part, (-1,)) for part in parts])


#: Name -> a function of the namespace, of positive numbers (3, 4) and of a matrix (4, 4).
DIFFERENTIABLE: dict[str, Case] = {
    **{
        name: lambda xp, x, w, name=name: getattr(xp, name)(x)
        for name in """
            abs asinh atan cos cosh exp expm1 log log10 log1p log2 negative positive reciprocal
            sin sinh sqrt square tan tanh
        """.split()  # noqa: SIM905
    },
    "conj": lambda xp, x, w: xp.conj(w) ** 2,
    "real": lambda xp, x, w: xp.real(w) ** 2,
    "acos": lambda xp, x, w: xp.acos(x / 9),
    "acosh": lambda xp, x, w: xp.acosh(x + 1.5),
    "asin": lambda xp, x, w: xp.asin(x / 9),
    "atanh": lambda xp, x, w: xp.atanh(x / 9),
    "add": lambda xp, x, w: xp.add(x, w[:1, :]) ** 2,
    "subtract": lambda xp, x, w: xp.subtract(x, w[:1, :]) ** 2,
    "multiply": lambda xp, x, w: xp.multiply(x, w[:1, :]),
    "divide": lambda xp, x, w: xp.divide(w[:3, :], x),
    "pow": lambda xp, x, w: xp.pow(x, w[:3, :]) + xp.pow(x, 3) + 2.0**w[:3, :],
    "atan2": lambda xp, x, w: xp.atan2(x, w[:3, :]),
    "copysign": lambda xp, x, w: xp.copysign(x, w[:3, :]),
    "hypot": lambda xp, x, w: xp.hypot(x, w[:1, :]),
    "logaddexp": lambda xp, x, w: xp.logaddexp(x, w[:3, :]),
    "maximum": lambda xp, x, w: xp.maximum(x, w[:1, :]),
    "minimum": lambda xp, x, w: xp.minimum(w[:1, :], x),
    "remainder": lambda xp, x, w: xp.remainder(w[:3, :], x) + w[:3, :] % 0.7,
    "clip": lambda xp, x, w: xp.clip(w, -0.5, w.T + 0.3),
    "where": lambda xp, x, w: xp.where(w[:3, :] > 0, x**2, w[:1, :]),
    "sum": lambda xp, x, w: xp.sum(x * x, axis=(0,)) * xp.sum(w, axis=1, keepdims=True),
    "mean": lambda xp, x, w: xp.mean(x * x, axis=-1, keepdims=True) + xp.mean(w),
    "var": lambda xp, x, w: xp.var(w, axis=0, correction=1.0),
    "std": lambda xp, x, w: xp.std(w, axis=1, keepdims=True) + xp.std(x),
    "max": lambda xp, x, w: xp.max(w, axis=(0, 1)) + xp.max(w, axis=1, keepdims=True),
    "min": lambda xp, x, w: xp.min(w * w, axis=0),
    "prod": lambda xp, x, w: xp.prod(w, axis=1) + xp.prod(x, keepdims=True)[0, :],
    "cumulative_sum": lambda xp, x, w: xp.cumulative_sum(w * w, axis=1, include_initial=True),
    "cumulative_prod": lambda xp, x, w: xp.cumulative_prod(w, axis=0, include_initial=True),
    "diff": lambda xp, x, w: xp.diff(w, axis=0, n=2, prepend=x) ** 2,
    "astype": lambda xp, x, w: xp.astype(w, xp.float64) ** 2,
    "asarray": lambda xp, x, w: xp.asarray(w) ** 2,
    "full": lambda xp, x, w: xp.full((2, 3), w[0, 1]) ** 2 + xp.full(3, 2.0),
    "full_like": lambda xp, x, w: xp.full_like(w, x[0, 1]) ** 2 + xp.full_like(w, 2.0),
    "broadcast_arrays": lambda xp, x, w: xp.broadcast_arrays(x[:, :1], w[:1, :])[0] ** 2,
    "broadcast_to": lambda xp, x, w: xp.broadcast_to(x[:, None, :] ** 2, (3, 2, 4)) * w[:2, :],
    "meshgrid": lambda xp, x, w: (
        xp.stack(xp.meshgrid(x[0, :], w[:3, 0])) * xp.meshgrid(w[:3, 0], x[0, :], indexing="ij")[1]
    ),
    "concat": lambda xp, x, w: xp.concat([x, w, x * x], axis=0) ** 2,
    "stack": lambda xp, x, w: xp.stack([x, w[:3, :]], axis=1) ** 2,
    "unstack": lambda xp, x, w: xp.unstack(w, axis=1)[2] * xp.unstack(w)[0],
    "expand_dims": lambda xp, x, w: xp.expand_dims(w, axis=1) * w,
    "squeeze": lambda xp, x, w: xp.squeeze(w[:, None, :], axis=1) ** 2,
    "flip": lambda xp, x, w: xp.flip(w, axis=1) * xp.flip(w),
    "moveaxis": lambda xp, x, w: xp.moveaxis(xp.reshape(w, (2, 2, 4)), (0, 2), (2, 1)) ** 2,
    "permute_dims": lambda xp, x, w: xp.permute_dims(xp.reshape(w, (2, 2, 4)), (2, 0, 1)) ** 2,
    "repeat": lambda xp, x, w: xp.repeat(w, xp.asarray([1, 0, 2, 1]), axis=0) ** 2,
    "reshape": lambda xp, x, w: xp.reshape(x * x, (2, -1)) * xp.reshape(x, (-1,))[:6],
    "roll": lambda xp, x, w: xp.roll(w, 1, axis=(0, 1)) * xp.roll(w, (1, -2), axis=(0, 1)),
    "tile": lambda xp, x, w: xp.tile(x, (2, 1, 2)) ** 2,
    "take": lambda xp, x, w: xp.take(w, xp.asarray([1, 1, 3]), axis=1) ** 2,
    "take_along_axis": lambda xp, x, w: xp.take_along_axis(w, xp.argsort(x, axis=0), axis=0) ** 2,
    "sort": lambda xp, x, w: xp.sort(w, axis=0, descending=True) * w,
    "tril": lambda xp, x, w: xp.tril(w, k=-1) * w,
    "triu": lambda xp, x, w: xp.triu(xp.stack([w, w.T]), k=1) * w,
    "matmul": lambda xp, x, w: xp.matmul(x, xp.stack([w, w.T])) @ x[0, :],
    "matrix_transpose": lambda xp, x, w: xp.matrix_transpose(x) ** 2,
    "tensordot": lambda xp, x, w: xp.tensordot(x, xp.tensordot(w, w, axes=1), axes=((1,), (0,))),
    "vecdot": lambda xp, x, w: xp.vecdot(x, w[:1, :], axis=1),
    "linalg.cholesky": lambda xp, x, w: (
        xp.linalg.cholesky(xp.stack([positive(w), positive(w.T)])) ** 2
        + xp.linalg.cholesky(positive(w), upper=True)
    ),
    "linalg.cross": lambda xp, x, w: xp.linalg.cross(x, w[:3, :], axis=0),
    "linalg.det": lambda xp, x, w: xp.linalg.det(xp.stack([w, w @ w])),
    "linalg.diagonal": lambda xp, x, w: xp.linalg.diagonal(x, offset=-1) ** 2,
    "linalg.eigh": lambda xp, x, w: all_of(
        xp,
        xp.linalg.eigh(positive(w)).eigenvalues ** 2,
        xp.linalg.eigh(xp.stack([positive(w), positive(w.T)])).eigenvectors ** 2,
    ),
    "linalg.eigvalsh": lambda xp, x, w: xp.linalg.eigvalsh(xp.stack([positive(w)] * 2)) ** 2,
    "linalg.inv": lambda xp, x, w: xp.linalg.inv(xp.stack([well(w), well(w.T)])),
    "linalg.matmul": lambda xp, x, w: xp.linalg.matmul(x, w),
    "linalg.matrix_norm": lambda xp, x, w: xp.stack(
        [
            xp.linalg.matrix_norm(w, ord=o, keepdims=True)
            for o in ("fro", "nuc", 1, -1, 2, -2, float("inf"), -float("inf"))
        ]
    ),
    "linalg.matrix_power": lambda xp, x, w: (
        xp.linalg.matrix_power(w, 5) * xp.linalg.matrix_power(w, 0)
        + xp.linalg.matrix_power(well(w), -2)
    ),
    "linalg.matrix_transpose": lambda xp, x, w: xp.linalg.matrix_transpose(x) ** 2,
    "linalg.outer": lambda xp, x, w: xp.linalg.outer(x[0, :], w[1, :]),
    "linalg.pinv": lambda xp, x, w: all_of(xp, xp.linalg.pinv(x), xp.linalg.pinv(w[:, :2])),
    "linalg.qr": lambda xp, x, w: all_of(
        xp, *xp.linalg.qr(well(w)), *xp.linalg.qr(x), *xp.linalg.qr(xp.stack([x.T, 2.0 * x.T]))
    ),
    "linalg.slogdet": lambda xp, x, w: xp.linalg.slogdet(xp.stack([w, well(w)])).logabsdet ** 2,
    "linalg.solve": lambda xp, x, w: all_of(
        xp,
        xp.linalg.solve(well(w), x.T),
        xp.linalg.solve(well(w), x[0, :]),
        xp.linalg.solve(xp.stack([well(w), well(w.T)]), x.T),
        xp.linalg.solve(well(w), xp.stack([x.T, w[:, :3]])),
    ),
    "linalg.svd": lambda xp, x, w: all_of(
        xp,
        xp.linalg.svd(well(w)).U ** 2,
        xp.linalg.svd(x, full_matrices=False).Vh ** 2,
        xp.linalg.svd(xp.stack([x.T, w[:, :3]]), full_matrices=False).U ** 2,
        xp.linalg.svd(x, full_matrices=False).S,
    ),
    "linalg.svdvals": lambda xp, x, w: xp.linalg.svdvals(x) ** 2,
    "linalg.tensordot": lambda xp, x, w: xp.linalg.tensordot(x, w, axes=1),
    "linalg.trace": lambda xp, x, w: xp.linalg.trace(xp.stack([w, w @ w]), offset=1) ** 2,
    "linalg.vecdot": lambda xp, x, w: xp.linalg.vecdot(x, w[:3, :]),
    "linalg.vector_norm": lambda xp, x, w: xp.stack(
        [xp.linalg.vector_norm(w, axis=1, ord=o) for o in (2, 1, 3, float("inf"), -float("inf"))]
    ),
    "fft.fftshift": lambda xp, x, w: xp.fft.fftshift(x) ** 2,
    "fft.ifftshift": lambda xp, x, w: xp.fft.ifftshift(x, axes=(1,)) ** 2,
}  # fmt: skip

#: Their results are constants: integers, booleans, or numbers that jump.
CONSTANT: dict[str, Case] = {
    **{
        name: lambda xp, x, w, name=name: getattr(xp, name)(w)
        for name in """
            all any argmax argmin argsort count_nonzero empty_like isfinite isinf isnan nonzero
            ones_like sign signbit zeros_like
        """.split()  # noqa: SIM905
    },
    **{
        name: lambda xp, x, w, name=name: getattr(xp, name)(x, w[:3, :])
        for name in """
            equal greater greater_equal less less_equal not_equal result_type
        """.split()  # noqa: SIM905
    },
    **{
        name: lambda xp, x, w, name=name: getattr(xp, name)(x > 1, w[:3, :] > 0)
        for name in "bitwise_and bitwise_or bitwise_xor logical_and logical_or logical_xor".split()  # noqa: SIM905
    },
    "bitwise_left_shift": lambda xp, x, w: xp.argsort(x) << xp.asarray(1),
    "bitwise_right_shift": lambda xp, x, w: xp.argsort(x) >> xp.asarray(1),
    "bitwise_invert": lambda xp, x, w: ~(x > 1),
    "logical_not": lambda xp, x, w: xp.logical_not(x > 1),
    "searchsorted": lambda xp, x, w: xp.searchsorted(xp.sort(x[0, :]), w[0, :]),
    "arange": lambda xp, x, w: xp.arange(3),
    "empty": lambda xp, x, w: xp.empty((0, 2)),
    "eye": lambda xp, x, w: xp.eye(3, k=1),
    "linspace": lambda xp, x, w: xp.linspace(0, 1, 5),
    "ones": lambda xp, x, w: xp.ones((2, 3)),
    "zeros": lambda xp, x, w: xp.zeros((2, 3), dtype=w.dtype),
    "can_cast": lambda xp, x, w: xp.can_cast(w.dtype, xp.float64),
    "finfo": lambda xp, x, w: float(xp.finfo(w.dtype).eps),
    "iinfo": lambda xp, x, w: xp.iinfo(xp.int32).max,
    "isdtype": lambda xp, x, w: xp.isdtype(w.dtype, "real floating"),
    "linalg.matrix_rank": lambda xp, x, w: xp.linalg.matrix_rank(w),
    "fft.fftfreq": lambda xp, x, w: xp.fft.fftfreq(5),
    "fft.rfftfreq": lambda xp, x, w: xp.fft.rfftfreq(5),
}

COMPLEX = "real numbers alone"
STEP = "step function"
NONE = "no derivative"
#: What they do to an array that depends on parameters is refused, with these words.
REFUSED: dict[str, tuple[Case, str]] = {
    **{
        name: (lambda xp, x, w, name=name: getattr(xp, name)(w), STEP)
        for name in ("ceil", "floor", "round", "trunc")
    },
    "floor_divide": (lambda xp, x, w: xp.floor_divide(w, 2.0), STEP),
    "nextafter": (lambda xp, x, w: xp.nextafter(w, w), STEP),
    "imag": (lambda xp, x, w: xp.imag(w), COMPLEX),
    "from_dlpack": (lambda xp, x, w: xp.from_dlpack(w), NONE),
    **{
        name: (lambda xp, x, w, name=name: getattr(xp, name)(w), NONE)
        for name in ("unique_all", "unique_counts", "unique_inverse", "unique_values")
    },
    **{
        f"fft.{name}": (lambda xp, x, w, name=name: getattr(xp.fft, name)(w), COMPLEX)
        for name in """
            fft ifft fftn ifftn rfft irfft rfftn irfftn hfft ihfft
        """.split()  # noqa: SIM905
    },
}


def test_every_function_of_the_standard_is_accounted_for() -> None:
    strict = pytest.importorskip("array_api_strict")
    ours = [set(DIFFERENTIABLE), set(CONSTANT), set(REFUSED)]
    assert not ours[0] & ours[1] and not ours[1] & ours[2] and not ours[0] & ours[2]
    later = {"isin", "broadcast_shapes", "linalg.eig", "linalg.eigvals"}  # of 2025.12
    named = {
        prefix + name
        for prefix, space in (("", strict), ("linalg.", strict.linalg), ("fft.", strict.fft))
        for name in space.__all__
        if isinstance(getattr(space, name), FunctionType) and not re.search("__|strict_flags", name)
    }
    assert named - later == set().union(*ours)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_derivatives(backend: Library, name: str) -> None:
    if backend.record.vjp is not None:
        pytest.skip(f"{backend.name} has derivatives of its own")
    check_first(backend, DIFFERENTIABLE[name])


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_second_derivatives(backend: Library, name: str) -> None:
    if backend.record.vjp is not None:
        pytest.skip(f"{backend.name} has derivatives of its own")
    check_second(backend, DIFFERENTIABLE[name])


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_values_are_those_of_the_library(name: str) -> None:
    found = tape.vjp(NUMPY, on(DIFFERENTIABLE[name]), X, W)[0][0]
    want = DIFFERENTIABLE[name](NUMPY.namespace, X, W)
    np.testing.assert_allclose(found, np.asarray(want), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CONSTANT)
def test_constants(name: str) -> None:
    seen = []

    def fn(x: Any, w: Any) -> list[Any]:
        seen.append(CONSTANT[name](x.__array_namespace__(), x, w))
        return [w]

    tape.vjp(NUMPY, fn, X, W)
    want = CONSTANT[name](NUMPY.namespace, X, W)
    for got, wanted in zip(
        *([a] if not isinstance(a, tuple) else a for a in (seen[0], want)), strict=True
    ):
        if isinstance(got, tape.Traced):
            assert got.node is None or name == "sign"
            got = got.value
        if name != "empty_like":
            assert np.array_equal(got, wanted)


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    fn, words = REFUSED[name]
    with pytest.raises(errors.DerivativeError, match=words) as caught:
        tape.vjp(NUMPY, on(fn), X, W)
    assert f"f uses {name}" in str(caught.value) and "\n" not in str(caught.value)


def test_what_does_not_depend_on_parameters_may_be_anything() -> None:
    def fn(w: Any) -> list[Any]:
        xp = w.__array_namespace__()
        signal = xp.asarray(X[:, 0])
        return [w[:3, 0] * xp.floor(signal) * xp.real(xp.fft.ifft(xp.fft.fft(signal)))]

    (value,), pull = tape.vjp(NUMPY, fn, W)
    np.testing.assert_allclose(value, W[:3, 0] * np.floor(X[:, 0]) * X[:, 0])
    np.testing.assert_allclose(pull([np.ones(3)])[0][:3, 0], np.floor(X[:, 0]) * X[:, 0])


ZERO = np.zeros((4, 4))
CORNERS: dict[str, tuple[Callable[[Any, Any], Any], np.ndarray, np.ndarray]] = {
    "norm of 0": (lambda xp, w: xp.linalg.vector_norm(w), ZERO, ZERO),
    "deviation of a constant": (lambda xp, w: xp.std(w), ZERO, ZERO),
    "length of (0, 0)": (lambda xp, w: xp.sum(xp.hypot(w, w)), ZERO, ZERO),
    "masked maximum": (
        lambda xp, w: xp.max(xp.where(xp.eye(4) > 0, w, -xp.inf), axis=1)[0],
        W,
        np.eye(4) * np.eye(4)[0],
    ),
    "singular determinant": (
        lambda xp, w: xp.linalg.det(w),
        np.diag([1.0, 2.0, 3.0, 0.0]),
        np.diag([0.0, 0.0, 0.0, 6.0]),
    ),
    "ties": (lambda xp, w: xp.max(w, axis=0)[0], ZERO, np.eye(4)[0] * np.full((4, 1), 0.25)),
    "equal eigenvalues": (lambda xp, w: xp.sum(xp.linalg.eigvalsh(w)), np.eye(4), np.eye(4)),
}  # fmt: skip


@pytest.mark.parametrize("name", CORNERS)
def test_corners(name: str) -> None:
    fn, at, want = CORNERS[name]
    (value,), pull = tape.vjp(NUMPY, lambda w: [fn(w.__array_namespace__(), w)], at)
    assert np.isfinite(value)
    np.testing.assert_allclose(pull([np.ones(())])[0], want, atol=1e-14)


VECTORS: dict[str, Callable[[Any, Any], Any]] = {
    "eigenvectors": lambda xp, w: xp.linalg.eigh(w).eigenvectors,
    "singular vectors": lambda xp, w: xp.linalg.svd(w).U,
    "of the matrix that does not": lambda xp, w: xp.linalg.svd(w * 0.0).Vh,
    "full_matrices=True": lambda xp, w: xp.linalg.svd(w[:2, :]).Vh,
    "mode='complete'": lambda xp, w: xp.linalg.qr(w[:, :2], mode="complete").Q,
    "ord=3": lambda xp, w: xp.linalg.matrix_norm(w, ord=3),
    "complex": lambda xp, w: xp.astype(w, xp.complex128),
}


@pytest.mark.parametrize("words", VECTORS)
def test_what_has_no_derivative(words: str) -> None:
    def gradient() -> None:
        values, pull = tape.vjp(
            NUMPY, lambda w: [VECTORS[words](w.__array_namespace__(), w)], np.eye(4)
        )
        pull([np.ones_like(value) for value in values])

    with pytest.raises(errors.DerivativeError, match=words) as caught:
        gradient()
    assert "\n" not in str(caught.value)
