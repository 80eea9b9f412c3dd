"""The training set of a prediction: its targets, their axes, and factorisations of its kernels.

Targets ``y`` have axes that the kernel has too (examples, and positions where outputs are images)
and axes that it lacks, ``trace_axes``, along which outputs are independent copies of each other. A
kernel keeps its axes in pairs, ``(n1, n2, H1, H2, ...)``; here it becomes a matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ntcore.backend import Array, Place, backend_of, host, is_number, loaded, place_of
from ntcore.errors import ArgumentError, DTypeError, ShapeError
from ntcore.predict.solve import (
    Cholesky,
    Regularizer,
    Spectrum,
    check_finite,
    check_symmetric,
    cholesky,
    known,
    spectrum,
)

Axes = int | Sequence[int]
Factor = TypeVar("Factor", Cholesky, Spectrum)

LEAST_BITS = 32  # of a floating-point number in which there are factorisations


@dataclass(frozen=True)
class Layout:
    """Sizes of the targets, and which of their axes the kernel lacks.

    Attributes
    ----------
    sizes : tuple of int
        Shape of the targets of the training set.
    trace : tuple of int
        Their axes that the kernel lacks, ascending.
    """

    sizes: tuple[int, ...]
    trace: tuple[int, ...]

    @property
    def kept(self) -> tuple[int, ...]:
        """The axes that the kernel has."""
        return tuple(i for i in range(len(self.sizes)) if i not in self.trace)

    @property
    def trained(self) -> tuple[int, ...]:
        """Sizes of the kernel of the training set, each once."""
        return tuple(self.sizes[i] for i in self.kept)

    @property
    def copies(self) -> tuple[int, ...]:
        """Sizes of the axes that the kernel lacks."""
        return tuple(self.sizes[i] for i in self.trace)

    def columns(self, at: Place, y: Array) -> Array:
        """Return targets as ``(n, outputs)``."""
        moved = at.xp.permute_dims(at.asarray(y), (*self.kept, *self.trace))
        return at.xp.reshape(moved, (math.prod(self.trained), math.prod(self.copies)))

    def outputs(self, at: Place, flat: Array, times: tuple[int, ...], rows: Any) -> Array:
        """Undo :meth:`columns` for ``(times, n_test, outputs)``; ``rows`` are the test sizes."""
        behind = (*self.kept, *self.trace)
        first = len(times)
        order = [first + behind.index(i) for i in range(len(behind))]
        full = at.xp.reshape(flat, (*times, *rows, *self.copies))
        return at.xp.permute_dims(full, (*range(first), *order))

    def pairs(self, at: Place, flat: Array, times: tuple[int, ...], rows: Any) -> Array:
        """Undo :func:`matrix` for ``(times, n_test, n_test)``."""
        first, each = len(times), len(rows)
        order = [first + i + each * second for i in range(each) for second in (0, 1)]
        full = at.xp.reshape(flat, (*times, *rows, *rows))
        return at.xp.permute_dims(full, (*range(first), *order))

    def check(self, name: str, k: Array, rows: Any = None, columns: Any = None) -> None:
        """Raise :class:`ShapeError` unless a kernel has these sizes; None stands for any."""
        shape, each = _sizes(k), len(self.kept)
        found = (shape[0::2], shape[1::2])
        right = all(w is None or tuple(w) == f for w, f in zip((rows, columns), found, strict=True))
        if len(shape) == 2 * each and right:
            return
        wanted = [_any(sizes, each) for sizes in (rows, columns)]
        pairs = ", ".join(f"{r}, {c}" for r, c in zip(*wanted, strict=True))
        raise ShapeError(
            f"{name} has the shape {shape} but targets of shape {self.sizes} with "
            f"trace_axes={self.trace} need ({pairs}); pass the kernel of the same examples, or "
            "name in trace_axes the axes of y_train that the kernel lacks."
        )


def layout_of(y: Array, trace_axes: Axes) -> Layout:
    """Return the layout of some targets.

    Raises
    ------
    ArgumentError
        If an axis is out of range or named twice.
    ShapeError
        If the targets hold nothing, or no axis is left for the kernel.
    """
    sizes = _sizes(y)
    axes = (trace_axes,) if isinstance(trace_axes, int) else tuple(trace_axes)
    if sizes and not all(-len(sizes) <= a < len(sizes) for a in axes):
        raise ArgumentError(
            f"trace_axes={axes} does not fit y_train of shape {sizes}; each axis must lie between "
            f"{-len(sizes)} and {len(sizes) - 1}."
        )
    trace = tuple(sorted({a % len(sizes) for a in axes})) if sizes else ()
    if len(trace) < len(sizes) and 0 not in sizes:
        return Layout(sizes, trace)
    raise ShapeError(
        f"y_train has the shape {sizes}, which with trace_axes={axes} leaves no example; pass at "
        "least one, and (n, 1) rather than (n,) for a single output."
    )


def matrix(at: Place, k: Array) -> Array:
    """Return a kernel with axes in pairs as a matrix."""
    k, axes = at.asarray(k), range(k.ndim)
    if len(axes) == 2:
        return k
    rows, columns = axes[0::2], axes[1::2]
    sizes = [math.prod(k.shape[i] for i in part) for part in (rows, columns)]
    return at.xp.reshape(at.xp.permute_dims(k, (*rows, *columns)), tuple(sizes))


def _sizes(x: Array) -> tuple[int, ...]:
    return tuple(int(n) for n in x.shape)


def _any(sizes: Any, length: int) -> list[str]:
    return ["any"] * length if sizes is None else [str(n) for n in sizes]


# --- the training set ---------------------------------------------------------------------------


class Training:
    """Targets, how their kernel is regularised, and its factorisations.

    Attributes
    ----------
    y : array
        Targets.
    layout : Layout
        Their axes.
    regularizer : Regularizer
        The multiple of the identity added to the kernel.
    learning_rate : float or array without axes
        Unit of time.
    source : str
        What the kernel is called in messages.
    """

    def __init__(
        self,
        y: Array,
        trace_axes: Axes,
        diag_reg: Any,
        absolute: bool,
        learning_rate: Any,
        source: str,
    ) -> None:
        at = place_of([y])
        self.layout = layout_of(y, trace_axes)
        check_finite(at, at.asarray(y), "y_train")
        self.y = y
        self.regularizer = Regularizer(scalar(diag_reg, "diag_reg"), bool(absolute))
        self.learning_rate = scalar(learning_rate, "learning_rate")
        self.source = source
        self._made: dict[tuple[str, ...], Any] = {}

    def place(self, arrays: Iterable[Array], t: Any = None) -> Place:
        """Return the common place of the targets and some kernels.

        Times of NumPy follow the kernels; times that another library traces decide, as a traced
        learning rate does.
        """
        leaves = [self.regularizer.strength, self.learning_rate]
        if is_array(t) and not host().owns(t):
            leaves.append(t)
        at = place_of([self.y, *arrays], leaves)
        if at.xp.finfo(at.dtype).bits < LEAST_BITS:
            raise DTypeError(
                f"a prediction factorises kernels, for which {at.dtype} has too few digits; "
                "convert them to float32 or float64."
            )
        return at

    def targets(self, at: Place) -> Array:
        """Return the targets as ``(n, outputs)``."""
        return self.layout.columns(at, self.y)

    def cholesky(self, at: Place, name: str, k: Array) -> Cholesky:
        """Return the Cholesky factor of a kernel, made at most once."""
        return self._factor(cholesky, at, name, k)

    def spectrum(self, at: Place, name: str, k: Array) -> Spectrum:
        """Return the eigenvalues and eigenvectors of a kernel, found at most once."""
        return self._factor(spectrum, at, name, k)

    def _factor(
        self,
        make: Callable[[Place, Array, Regularizer, str], Factor],
        at: Place,
        name: str,
        k: Array,
    ) -> Factor:
        key = (make.__name__, name, at.backend.library, str(at.dtype))
        if key in self._made:
            found: Factor = self._made[key]
            return found
        label = self.label(name)
        check_finite(at, k, label)
        check_symmetric(at, k, label)
        made = make(at, k, self.regularizer, label)
        held = made.lower if isinstance(made, Cholesky) else made.values
        if all(map(lasting, (k, held, self.regularizer.strength))):
            self._made[key] = made
        return made

    def label(self, name: str) -> str:
        """Return what messages call a kernel of the training set."""
        return f"the {name} of {self.source}" if name else self.source

    def steps(self, at: Place, t: Any) -> tuple[Array | None, tuple[int, ...]]:
        r"""Return :math:`\eta t / N` for every time as a vector, and the shape of ``t``.

        None, which is infinity, stays None.

        Raises
        ------
        ArgumentError
            If a time is negative or NaN, or there is none.
        """
        if t is None:
            return None, ()
        xp = at.xp
        times = at.asarray(t)
        shape = _sizes(times)
        if 0 in shape:
            raise ArgumentError(f"t has the shape {shape} and holds no time; pass at least one.")
        if known(at, ~xp.all(times >= 0)):
            raise ArgumentError("t holds a negative time or NaN; times start at 0.")
        rate = at.number(self.learning_rate) / math.prod(self.layout.sizes)
        return xp.reshape(times, (-1,)) * rate, shape


def is_array(x: object) -> bool:
    """Whether ``x`` is an array of a library in use."""
    return any(backend.owns(x) for backend in loaded())


def lasting(x: Any) -> bool:
    """Whether a value may be kept between calls.

    Neither traced values, which mean nothing outside their trace, nor what torch differentiates,
    since the graph behind it serves one backward pass only.
    """
    if is_number(x):
        return True
    return not backend_of(x).is_traced(x) and not getattr(x, "requires_grad", False)


def scalar(value: Any, name: str) -> Any:
    """Return a non-negative number: a float, or an array without axes of another library.

    Raises
    ------
    ArgumentError
        If it is negative, not finite, or not a number.
    """
    if host().owns(value) and value.ndim == 0:
        value = float(value)
    if is_number(value):
        right = 0 <= value < math.inf
        value = float(value)
    elif is_array(value) and value.ndim == 0:
        at = place_of([value])
        right = not known(at, ~((value >= 0) & at.xp.isfinite(value)))
    else:
        right = False
    if not right:
        raise ArgumentError(f"{name} is {value!r}; it must be a finite number, 0 or more.")
    return value
