"""The linear algebra of prediction: one factorisation of a kernel, and what follows from it.

Matrices here have two axes; :mod:`ntcore.predict.training` brings kernels over space into that
form. Every check of values runs eagerly, and is left out where values are not known yet (under
``jit``, ``grad``, ``vmap``); a failed factorisation then holds NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ntcore.backend import Array, Place
from ntcore.errors import ArgumentError, NotFiniteError, NotPSDError
from ntcore.ops import matmul

# In units of rounding (eps) of the largest entry or eigenvalue of a kernel.
TOLERANCES = {
    "pivot": 16.0,  # smaller pivots of a Cholesky factor are rounding errors
    "jitter": 32.0,  # this much of the identity makes a singular kernel positive definite
}
SERIES_BELOW = 0.25  # where the Taylor series takes over from the closed form
SERIES_TERMS = 13  # enough there for float64


def known(at: Place, verdict: Array) -> bool:
    """Whether a verdict (a boolean array without axes) is known now, and true."""
    return not at.backend.is_traced(verdict) and bool(verdict)


def epsilon(at: Place) -> float:
    """Return the unit of rounding of a place."""
    return float(at.xp.finfo(at.dtype).eps)


def check_finite(at: Place, x: Array, name: str) -> None:
    """Raise :class:`NotFiniteError` where an array holds NaN or infinity."""
    if known(at, ~at.xp.all(at.xp.isfinite(x))):
        raise NotFiniteError(
            f"{name} holds NaN or infinity, and so would the prediction; remove or replace those "
            "entries first."
        )


def check_symmetric(at: Place, k: Array, name: str) -> None:
    """Raise :class:`ArgumentError` where a kernel differs from its transpose."""
    xp = at.xp
    allowed = math.sqrt(epsilon(at)) * xp.max(xp.abs(k))
    if known(at, xp.max(xp.abs(k - k.T)) > allowed):
        raise ArgumentError(
            f"{name} is not symmetric, which a kernel of the training set with itself has to be; "
            "pass kernel_fn(x_train, None)."
        )


# --- the kernel that is inverted ----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Regularizer:
    r"""The multiple of the identity in :math:`R = K + r I`.

    Attributes
    ----------
    strength : float or array without axes
        :math:`r`, or with ``absolute=False`` its ratio to the mean of the diagonal of ``K``.
    absolute : bool
        Which of the two.
    """

    strength: Any
    absolute: bool

    def scale(self, at: Place, k: Array) -> Any:
        """Return what the strength is a multiple of."""
        return 1.0 if self.absolute else at.xp.linalg.trace(k) / k.shape[0]

    def __call__(self, at: Place, k: Array) -> Array:
        """Return ``K + r I``."""
        if isinstance(self.strength, float) and self.strength == 0:
            return k
        added = at.number(self.strength) * self.scale(at, k)
        return k + added * identity(at, k.shape[0])


def identity(at: Place, n: int) -> Array:
    """Return the ``(n, n)`` identity."""
    return at.xp.eye(n, dtype=at.dtype, device=at.device)


def _refuse(at: Place, k: Array, regular: Array, reg: Regularizer, name: str) -> None:
    """Raise :class:`NotPSDError` with the least eigenvalue and a remedy."""
    values = at.xp.linalg.eigvalsh(regular)
    least, largest = _float(at, values[0]), _float(at, values[-1])
    size = max(abs(least), abs(largest)) or 1.0
    jitter = max(TOLERANCES["jitter"] * size - least / epsilon(at), size) * epsilon(at)
    strength, scale = _float(at, reg.strength), _float(at, reg.scale(at, k))
    absolute = reg.absolute or scale <= 0
    enough = strength * scale + jitter if absolute else strength + jitter / scale
    raise NotPSDError(
        f"{name} is not positive definite in {_dtype_name(at)}: its eigenvalues reach from "
        f"{least:.3g} to {largest:.3g} with diag_reg={strength:.3g}; pass "
        f"diag_reg={_rounded_up(enough)}, diag_reg_absolute_scale={absolute} or more, or remove "
        "repeated examples.",
        least,
        jitter,
    )


def _float(at: Place, x: Any) -> float:
    return float(at.backend.to_numpy(x)) if at.backend.owns(x) else float(x)


def _rounded_up(x: float) -> str:
    """Three digits of a positive number, never below it."""
    unit = 10.0 ** (math.floor(math.log10(x)) - 2)
    return f"{math.ceil(x / unit) * unit:.3g}"


def _dtype_name(at: Place) -> str:
    return str(at.dtype).rsplit(".", 1)[-1]


# --- infinite time: Cholesky --------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Cholesky:
    """``R = L Lᵀ``."""

    at: Place
    lower: Array

    def half(self, b: Array) -> Array:
        """Return ``L⁻¹ b``."""
        return self.at.backend.linalg.solve_triangular(self.lower, b, False)

    def solve(self, b: Array) -> Array:
        """Return ``R⁻¹ b``."""
        return self.at.backend.linalg.solve_triangular(self.lower, self.half(b), True)


@dataclass(frozen=True, eq=False)
class Settled:
    """The end of training, seen by a test set; ``td`` is its kernel ``K*``, ``(n_test, n)``."""

    factor: Cholesky
    td: Array

    def operator(self) -> Array:
        """Return ``K* R⁻¹``, from targets to outputs."""
        return self.factor.solve(self.td.T).T

    def explained(self) -> Array:
        """Return ``K* R⁻¹ K*ᵀ``, the variance that the training set takes away."""
        half = self.factor.half(self.td.T)
        return matmul(self.factor.at, half.T, half)


def cholesky(at: Place, k: Array, reg: Regularizer, name: str) -> Cholesky:
    """Factorise ``R = K + r I``.

    A pivot that is nothing but rounding is refused like a negative one: which of the two a
    singular kernel gives is chance, and differs from library to library.

    Raises
    ------
    NotPSDError
        If ``R`` is not positive definite, or singular to working precision.
    """
    xp = at.xp
    regular = reg(at, k)
    lower = at.backend.linalg.cholesky(regular)
    floor = TOLERANCES["pivot"] * epsilon(at) * xp.max(xp.linalg.diagonal(regular))
    if known(at, ~(xp.min(xp.linalg.diagonal(lower)) ** 2 > floor)):
        _refuse(at, k, regular, reg, name)
    return Cholesky(at, lower)


# --- finite time: eigenvectors ------------------------------------------------------------------


def decay(at: Place, values: Array, s: Array) -> Array:
    r""":math:`e^{-s\lambda}`, 0 at :math:`s = \infty`."""
    xp = at.xp
    ends = xp.isinf(s)
    remains = xp.exp(-xp.where(ends, xp.zeros_like(s), s) * values)
    return xp.where(ends, xp.zeros_like(remains), remains)


def progress(at: Place, values: Array, s: Array) -> Array:
    r""":math:`1 - e^{-s\lambda}`, 1 at :math:`s = \infty`."""
    xp = at.xp
    ends = xp.isinf(s)
    done = -xp.expm1(-xp.where(ends, xp.zeros_like(s), s) * values)
    return xp.where(ends, xp.ones_like(done), done)


def gain(at: Place, values: Array, s: Array) -> Array:
    r""":math:`(1 - e^{-s\lambda}) / \lambda`, between 0 and its limit :math:`s` at 0.

    Where :math:`x = s\lambda` is small this is :math:`s \sum_k (-x)^k / (k + 1)!`, whose value and
    derivatives lose no digits; at :math:`s = \infty` it is :math:`1 / \lambda`.
    """
    xp = at.xp
    ends = xp.isinf(s)
    finite = xp.where(ends, xp.zeros_like(s), s)
    x = finite * values
    near = (x < SERIES_BELOW) & ~ends
    slow = finite * _relative_progress(xp.where(near, x, xp.zeros_like(x)))
    divisor = xp.where(near, xp.ones_like(x), xp.broadcast_to(values, x.shape))
    return xp.where(near, slow, progress(at, values, s) / divisor)


def _relative_progress(x: Array) -> Array:
    """``(1 - exp(-x)) / x`` by its Taylor series."""
    total = x * 0 + 1 / math.factorial(SERIES_TERMS + 1)
    for k in reversed(range(SERIES_TERMS)):
        total = 1 / math.factorial(k + 1) - x * total
    return total


@dataclass(frozen=True, eq=False)
class Spectrum:
    """``R = V Λ Vᵀ``; times ``s`` are in units in which an eigenvalue is a rate."""

    at: Place
    values: Array
    vectors: Array

    def learned(self, y: Array, s: Array) -> Array:
        """Return ``(I - exp(-sR)) y``, ``(times, n, outputs)``."""
        return self._function(y, progress(self.at, self.values, s[:, None]), self.vectors)

    def predicted(self, k_td: Array, y: Array, s: Array) -> Array:
        """Return ``K* R⁻¹ (I - exp(-sR)) y``, ``(times, n_test, outputs)``."""
        left = matmul(self.at, k_td, self.vectors)
        return self._function(y, gain(self.at, self.values, s[:, None]), left)

    def _function(self, y: Array, weights: Array, left: Array) -> Array:
        """Return ``left diag(w) Vᵀ y`` for each row of weights, in one product."""
        xp, (times, n), outputs = self.at.xp, weights.shape, y.shape[1]
        rows = matmul(self.at, self.vectors.T, y)
        weighted = xp.reshape(weights.T[:, :, None] * rows[:, None, :], (n, times * outputs))
        product = xp.reshape(matmul(self.at, left, weighted), (left.shape[0], times, outputs))
        return xp.permute_dims(product, (1, 0, 2))

    def moments(self, s: Array, td: Array | None) -> list[Moment]:
        """Return every time on its own, seen by a test set, or by the training set for None."""
        left = self.vectors if td is None else matmul(self.at, td, self.vectors)
        return [Moment(self, left, s[i]) for i in range(s.shape[0])]


@dataclass(frozen=True, eq=False)
class Moment:
    """One finite time of training, as :class:`Settled` is its end; ``left`` is ``K* V``."""

    spectrum: Spectrum
    left: Array
    s: Array

    def operator(self) -> Array:
        """Return ``K* R⁻¹ (I - exp(-sR))``."""
        at, found = self.spectrum.at, self.spectrum
        return matmul(at, self.left * gain(at, found.values, self.s), found.vectors.T)

    def explained(self) -> Array:
        """Return ``K* R⁻¹ (I - exp(-2sR)) K*ᵀ``."""
        at = self.spectrum.at
        return matmul(at, self.left * gain(at, self.spectrum.values, 2 * self.s), self.left.T)

    def unlearned(self) -> Array:
        """Return ``exp(-sR)``, on the training set."""
        at = self.spectrum.at
        return matmul(at, self.left * decay(at, self.spectrum.values, self.s), self.left.T)

    def remaining(self) -> Array:
        """Return ``R exp(-2sR)``, on the training set."""
        at, values = self.spectrum.at, self.spectrum.values
        weights = values * decay(at, values, 2 * self.s)
        return matmul(at, self.left * weights, self.left.T)


def spectrum(at: Place, k: Array, reg: Regularizer, name: str) -> Spectrum:
    """Diagonalise ``R = K + r I``; eigenvalues that rounding made negative become 0.

    Raises
    ------
    NotPSDError
        If an eigenvalue is more negative than rounding explains.
    """
    regular = reg(at, k)
    values, vectors = at.xp.linalg.eigh(regular)
    if known(at, values[0] < -math.sqrt(epsilon(at)) * values[-1]):
        _refuse(at, k, regular, reg, name)
    return Spectrum(at, at.xp.maximum(values, at.xp.zeros_like(values)), vectors)


def check_invertible(at: Place, found: Spectrum, k: Array, reg: Regularizer, name: str) -> None:
    """Raise :class:`NotPSDError` where infinite time would divide by an eigenvalue of 0."""
    values = found.values
    if known(at, values[0] <= TOLERANCES["pivot"] * epsilon(at) * values[-1]):
        _refuse(at, k, reg(at, k), reg, name)
