"""Any function of an array, integrated."""

from __future__ import annotations

from typing import Any

from ntcore.backend import Array, Place
from ntcore.errors import ArgumentError
from ntcore.layers.custom import OfArray, differentiated, named
from ntcore.layers.quadrature import Quadrature
from ntcore.layers.rule import Rule
from ntcore.layers.series import Pair, Series
from ntcore.layers.wedges import Wedges
from ntcore.record import record, settle


@record
class ElementwiseNumerical(Quadrature):
    r"""Any function :math:`\phi`, by Gauss-Hermite quadrature.

    The moment of the derivative follows from :math:`\phi` alone by Stein's lemma; see
    :mod:`~ntcore.layers.series` for the formulas. For functions with kinks, see
    :mod:`~ntcore.layers.wedges`; there it takes ``df``, or a library that differentiates. The
    function may grow like a power.

    Parameters
    ----------
    fn : callable
        The function, of an array of the library in use.
    deg : int, optional
        The number of nodes, whatever their error. By default it is chosen for ``accuracy``.
    df : callable, optional
        The derivative, of an array. By default, where a network of finite width needs it, the
        library differentiates.
    kinks : tuple of float, default ()
        Where the function or its derivative is not smooth.
    accuracy : float, default 1e-8
        The error allowed, beyond which there is a warning; see
        :class:`~ntcore.layers.quadrature.Quadrature`.

    Raises
    ------
    ArgumentError
        If ``deg`` is not a positive integer.
    """

    fn: Any
    deg: int | None = None
    df: Any = None
    kinks: tuple[float, ...] = ()
    accuracy: float = 1e-8

    def __post_init__(self) -> None:
        if self.deg is not None and (type(self.deg) is not int or self.deg < 1):
            raise ArgumentError(
                f"ElementwiseNumerical got deg={self.deg!r}; give a positive integer, or None to "
                "have it chosen."
            )
        for name, value in (("fn", self.fn), ("df", self.df)):
            if not (callable(value) or (value is None and name == "df")):
                raise ArgumentError(
                    f"ElementwiseNumerical got {name}={value!r}; give a function of an array."
                )
        super().__post_init__()
        settle(self, "fn", named(self.fn, OfArray))
        settle(self, "df", self.df if self.df is None else named(self.df))
        settle(self, "kinks", tuple(map(float, self.kinks)))

    @classmethod
    def examples(cls) -> list[Any]:
        return [
            (cls(rational, 160, rational_slope), (3, 2, 3)),
            (cls(bent, None, bent_slope, (0.0,), 1e-12), (5,)),
        ]

    @property
    def stated_error(self) -> float:
        """The accuracy, where the degree is chosen for it."""
        return float(self.accuracy) if self.deg is None else 0.0

    def rules(self, at: Place) -> tuple[tuple[Rule, ...], Rule]:
        rules, blind = super().rules(at)
        if self.kinks or self.df is not None or at.backend.vjp is not None:
            return rules, blind
        return tuple(rule for rule in rules if isinstance(rule, Series)), blind

    def pair(self, at: Place) -> Pair:
        return self.fn, self.df

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        if self.deg is None:
            return super().dual(at, k, q1, q2)
        rule = Wedges(self.deg, self.kinks) if self.kinks else Series(self.deg)
        for q in (q1, q2):
            if not at.backend.is_traced(q):
                self.warn(at, rule, self.pair(at), q)
        return rule.dual(at, self.pair(at), k, q1, q2)

    def derivative(self, at: Place, x: Array) -> Array:
        if self.df is not None:
            return self.df(x)
        return differentiated(at, self.fn, x, f"the gradient of {self!r} without df")


# --- for the examples ---------------------------------------------------------------------------


def rational(x: Any) -> Any:
    """Return a smooth function that bends down."""
    return x / (1 + x * x / 16)


def rational_slope(x: Any) -> Any:
    """Return its derivative."""
    return (1 - x * x / 16) / (1 + x * x / 16) ** 2


def bent(x: Any) -> Any:
    """Return the square, with the sign of its argument."""
    return x * abs(x)


def bent_slope(x: Any) -> Any:
    """Return its derivative."""
    return 2 * abs(x)
