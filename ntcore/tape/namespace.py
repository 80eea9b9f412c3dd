"""The namespace of traced arrays: every function of the standard, or a sentence why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ntcore.errors import DerivativeError
from ntcore.tape import elementwise, indexing, linear, products
from ntcore.tape.array import Traced, apply, node_of, value_of
from ntcore.tape.composed import COMPOSED, FFT
from ntcore.tape.linalg import LINALG
from ntcore.tape.trace import Op, Tape

_OPS: dict[str, Op] = {**elementwise.OPS, **linear.OPS, **products.OPS}
_ONE_ARRAY = frozenset(elementwise.UNARY) | {"erf"}
_TWO_ARRAYS = frozenset(elementwise.BINARY) | {"where"}

#: Their results are integers or booleans: constants, whatever they depend on.
DISCRETE = frozenset(
    """
    all any argmax argmin argsort bitwise_and bitwise_invert bitwise_left_shift bitwise_or
    bitwise_right_shift bitwise_xor count_nonzero empty_like equal greater greater_equal isfinite
    isin isinf isnan less less_equal linalg.matrix_rank logical_and logical_not logical_or
    logical_xor nonzero not_equal ones_like searchsorted signbit zeros_like
    """.split()  # noqa: SIM905
)

#: Steps: constant between jumps, so that a derivative would be 0 or not there.
STEPS = frozenset(["ceil", "floor", "floor_divide", "nextafter", "round", "trunc"])


class Namespace:
    """The Array API on the arrays of one tape; what it lacks is refused by name."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.tape is self.tape

    def __hash__(self) -> int:
        return id(self.tape)

    @property
    def linalg(self) -> Extension:
        """The linear algebra of matrices."""
        return Extension(self.tape, "linalg", LINALG)

    @property
    def fft(self) -> Extension:
        """Fourier transforms, whose complex numbers a tape does not hold."""
        return Extension(self.tape, "fft", FFT)

    def __getattr__(self, name: str) -> Any:
        tape = self.tape
        if name in _ONE_ARRAY or name in _TWO_ARRAYS:
            return partial(apply, tape, _OPS[name])
        if name in COMPOSED:
            return partial(_on_tape, self, COMPOSED[name])
        found = getattr(tape.xp, name)
        if not callable(found) or isinstance(found, type):
            return found
        return partial(_constant, tape, found, name)

    def constant(self, value: Any) -> Traced:
        """Return an array of the library below as one that depends on nothing."""
        return Traced(value, self.tape)

    def below(self, x: Any) -> Any:
        """Return what the library below sees of an array."""
        return value_of(self.tape, x)

    # the primitives whose arguments take several forms

    def reshape(self, x: Traced, /, shape: tuple[int, ...], *, copy: bool | None = None) -> Traced:
        """Return the same entries in another shape."""
        return apply(self.tape, linear.OPS["reshape"], x, shape=tuple(map(int, shape)))

    def permute_dims(self, x: Traced, /, axes: tuple[int, ...]) -> Traced:
        """Return the array with its axes in another order."""
        return apply(self.tape, linear.OPS["permute_dims"], x, axes=tuple(axes))

    def broadcast_to(self, x: Traced, /, shape: tuple[int, ...]) -> Traced:
        """Return the array repeated along axes of size 1."""
        return apply(self.tape, linear.OPS["broadcast_to"], x, shape=tuple(shape))

    def sum(
        self, x: Traced, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False
    ) -> Traced:
        """Return the sum over some axes."""
        summed = self.astype(x, dtype) if dtype is not None else x
        return apply(self.tape, linear.OPS["sum"], summed, axis=axis, keepdims=keepdims)

    def flip(self, x: Traced, /, *, axis: Any = None) -> Traced:
        """Return the array with some axes reversed."""
        return apply(self.tape, linear.OPS["flip"], x, axis=axis)

    def cumulative_sum(
        self,
        x: Traced,
        /,
        *,
        axis: int | None = None,
        dtype: Any = None,
        include_initial: bool = False,
    ) -> Traced:
        """Return running sums along an axis."""
        x = self.astype(x, dtype) if dtype is not None else x
        axis = 0 if axis is None else axis % x.ndim
        sums = apply(self.tape, linear.OPS["cumulative_sum"], x, axis=axis)
        if not include_initial:
            return sums
        start = self.zeros_like(sums[(*(slice(None),) * axis, slice(0, 1), ...)])
        return self.concat([start, sums], axis=axis)

    def concat(self, arrays: Any, /, *, axis: int | None = 0) -> Traced:
        """Return arrays joined along an axis."""
        arrays = [self.reshape(a, (-1,)) if axis is None else a for a in arrays]
        return apply(self.tape, linear.OPS["concat"], *arrays, axis=axis or 0)

    def astype(self, x: Traced, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Traced:
        """Return the array in another data type; integers end what is differentiable."""
        isdtype = self.tape.xp.isdtype
        if isdtype(dtype, "complex floating"):
            raise DerivativeError(_why_not("complex numbers"))
        if not isdtype(dtype, "real floating") and node_of(self.tape, x) is not None:
            return self.constant(self.tape.xp.astype(x.value, dtype))
        return apply(self.tape, linear.OPS["astype"], x, dtype=dtype)

    def matmul(self, a: Traced, b: Traced, /) -> Traced:
        """Return matrix products, of vectors too."""
        one = self.reshape(a, (1, *a.shape)) if a.ndim == 1 else a
        two = self.reshape(b, (*b.shape, 1)) if b.ndim == 1 else b
        out = apply(self.tape, products.OPS["matmul"], one, two)
        if a.ndim > 1 and b.ndim > 1:
            return out
        kept = (out.shape[-2],) * (a.ndim > 1) + (out.shape[-1],) * (b.ndim > 1)
        return self.reshape(out, (*out.shape[:-2], *kept))

    def take(self, x: Traced, indices: Any, /, *, axis: int | None = None) -> Traced:
        """Return entries of one axis at some positions."""
        return indexing.take(self.tape, _raised(self.tape, x), indices, axis=axis)

    def take_along_axis(self, x: Traced, indices: Any, /, *, axis: int = -1) -> Traced:
        """Return entries of one axis at positions of their own for every other."""
        return indexing.take_along_axis(self.tape, _raised(self.tape, x), indices, axis=axis)

    def _getitem(self, x: Traced, key: Any) -> Traced:
        return indexing.getitem(self.tape, x, key)

    def positive(self, x: Traced, /) -> Traced:
        """Return the array itself."""
        return x

    def real(self, x: Traced, /) -> Traced:
        """Return the real part: the array itself where it depends on anything."""
        return self._unless_constant("real", x)

    def conj(self, x: Traced, /) -> Traced:
        """Return the complex conjugate: the array itself where it depends on anything."""
        return self._unless_constant("conj", x)

    def _unless_constant(self, name: str, x: Traced) -> Traced:
        if node_of(self.tape, x) is not None:
            return x
        return self.constant(getattr(self.tape.xp, name)(self.below(x)))

    def stop_gradient(self, x: Traced, /) -> Traced:
        """Return the array as a constant."""
        return self.constant(self.below(x))

    def asarray(self, x: Any, /, *, dtype: Any = None, device: Any = None, copy: Any = None) -> Any:
        """Return an array on the tape."""
        if isinstance(x, Traced):
            return x if dtype is None or dtype == x.dtype else self.astype(x, dtype)
        given = {k: v for k, v in (("dtype", dtype), ("device", device)) if v is not None}
        return Traced(self.tape.xp.asarray(x, **given), self.tape)


class Extension:
    """One of the standard's extensions."""

    def __init__(self, tape: Tape, name: str, known: Mapping[str, Callable[..., Any]]) -> None:
        self._tape, self._name, self._known = tape, name, known

    def __getattr__(self, name: str) -> Any:
        if name in self._known:
            return partial(_on_tape, Namespace(self._tape), self._known[name])
        found = getattr(getattr(self._tape.xp, self._name), name)
        if not callable(found) or isinstance(found, type):
            return found
        return partial(_constant, self._tape, found, f"{self._name}.{name}")


def _on_tape(space: Namespace, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function of arrays on the tape, bringing there what is not."""
    return fn(space, *(_raised(space.tape, a) for a in args), **kwargs)


def _raised(tape: Tape, x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        return type(x)(_raised(tape, a) for a in x)
    return Traced(x, tape) if node_of(tape, x) is None and tape.backend.owns(x) else x


def _constant(tape: Tape, fn: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
    """Call a function of the library below whose result is a constant."""
    if name not in DISCRETE and name not in _QUESTIONS:
        for x in [*_flat(args), *_flat(tuple(kwargs.values()))]:
            if node_of(tape, x) is not None:
                raise DerivativeError(_why_not(name))
    found = fn(*(_below(tape, a) for a in args), **{k: _below(tape, v) for k, v in kwargs.items()})
    return _above(tape, found)


_QUESTIONS = frozenset(["result_type", "can_cast", "isdtype", "finfo", "iinfo"])


def _why_not(name: str) -> str:
    if name in STEPS:
        return (
            f"f uses {name}, a step function, whose derivative is 0 wherever there is one; take "
            "it out, or apply it only to arrays that do not depend on the parameters."
        )
    if name.startswith("fft.") or name in ("complex numbers", "imag"):
        return (
            f"f uses {name}, and ntcore's tape holds real numbers alone; rewrite it with real "
            "ones, or use JAX or torch arrays."
        )
    return (
        f"f uses {name}, which has no derivative on ntcore's tape; rewrite it with differentiable "
        "functions of the Array API standard, or use JAX or torch arrays."
    )


def _flat(x: Any) -> list[Any]:
    return [b for a in x for b in _flat(a)] if isinstance(x, (list, tuple)) else [x]


def _below(tape: Tape, x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        return type(x)(_below(tape, a) for a in x)
    return value_of(tape, x)


def _above(tape: Tape, x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        return tuple(_above(tape, a) for a in x)
    return Traced(x, tape) if hasattr(x, "__array_namespace__") else x
