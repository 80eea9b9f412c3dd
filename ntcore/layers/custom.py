"""The user's own function, with the user's own moments."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ntcore.backend import Array, Place
from ntcore.errors import ArgumentError, Unsupported
from ntcore.layers import base
from ntcore.moments import Context, Moments
from ntcore.record import record, settle


@dataclass(frozen=True, repr=False)
class Named:
    """A user's function, shown by the name under which it can be found."""

    function: Callable[..., Any] | None

    def __call__(self, *args: Any) -> Any:
        if self.function is None:
            raise Unsupported(
                "an Elementwise layer was used for what none of its functions says; give fn= for "
                "networks of finite width, and nngp_fn= for kernels."
            )
        return self.function(*args)

    def __repr__(self) -> str:
        f = self.function
        module, name = getattr(f, "__module__", None), getattr(f, "__qualname__", None)
        if name is None or getattr(sys.modules.get(module or ""), name, None) is not f:
            return repr(f)
        if module == builtins.__name__:
            return str(name)
        return f"{module}.{name}".removeprefix("ntcore.")  # as ntcore.stax sees its own


class OfArray(Named):
    """A user's function of an array; it drops the place that a layer passes in front of it."""

    def __call__(self, *args: Any) -> Any:
        return super().__call__(args[-1])


def named(function: Any, kind: type[Named] = Named) -> Named:
    """Return a function with its name."""
    return function if isinstance(function, Named) else kind(function)


def differentiated(at: Place, fn: Callable[[Array], Array], x: Array, purpose: str) -> Array:
    """Return the derivative of an elementwise function, by the library's own differentiation."""
    out, pull = at.backend.require("vjp", purpose)(fn, x)
    return pull(at.xp.ones_like(out))[0]


@record
class Elementwise(base.Elementwise):
    r"""Any function :math:`\phi` whose moments are known.

    Parameters
    ----------
    fn : callable, optional
        :math:`\phi`, of an array; without it there is no network of finite width.
    nngp_fn : callable, optional
        ``(cov12, var1, var2) -> E[fn(u) fn(v)]``, of numbers where the library has ``vmap`` and
        of arrays of one shape where it has not; without it there is no kernel.
    d_nngp_fn : callable, optional
        ``(cov12, var1, var2) -> E[fn'(u) fn'(v)]``; by default the derivative of ``nngp_fn`` in
        ``cov12`` (Price's theorem), where the library differentiates.

    Raises
    ------
    ArgumentError
        Without ``fn`` and ``nngp_fn``.
    Unsupported
        Where a function is needed that was not given and cannot be derived.
    """

    fn: Any = None
    nngp_fn: Any = None
    d_nngp_fn: Any = None

    def __post_init__(self) -> None:
        if self.fn is None and self.nngp_fn is None:
            raise ArgumentError(
                "Elementwise got no function; give fn= for networks of finite width, nngp_fn= for "
                "kernels, or both."
            )
        settle(self, "fn", named(self.fn, OfArray))
        settle(self, "nngp_fn", named(self.nngp_fn))
        settle(self, "d_nngp_fn", named(self.d_nngp_fn))

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(square, square_moment, square_slope)]

    def push(self, ctx: Context, *inputs: Moments) -> Moments:
        if inputs[0].ntk is not None or self.d_nngp_fn.function is not None:
            return super().push(ctx, *inputs)
        # Nothing reads the slope, and a library without derivatives can go on without it.
        return base.Elementwise.push(replace(self, d_nngp_fn=_no_slope), ctx, *inputs)

    def dual(self, at: Place, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        q1, q2 = (at.xp.broadcast_to(q, k.shape) for q in (q1, q2))
        if self.d_nngp_fn.function is not None:
            return _each(at, self.nngp_fn, k, q1, q2), _each(at, self.d_nngp_fn, k, q1, q2)
        vjp = at.backend.require("vjp", f"the NTK of {self!r} without d_nngp_fn")
        moment, pull = vjp(lambda k: _each(at, self.nngp_fn, k, q1, q2), k)
        return moment, pull(at.xp.ones_like(moment))[0]

    def derivative(self, at: Place, x: Array) -> Array:
        return differentiated(at, self.fn, x, f"the gradient of {self!r}")


def _no_slope(cov12: Any, var1: Any, var2: Any) -> Any:
    return 0 * cov12


def _each(at: Place, fn: Callable[..., Array], *args: Array) -> Array:
    """Apply a function of numbers to every entry, or to whole arrays where nothing maps it."""
    if at.backend.vmap is None:
        return fn(*args)
    flat = at.backend.vmap(fn)(*(at.xp.reshape(x, (-1,)) for x in args))
    return at.xp.reshape(flat, args[0].shape)


# --- for the examples ---------------------------------------------------------------------------


def square(x: Any) -> Any:
    """Return the square."""
    return x * x


def square_moment(cov12: Any, var1: Any, var2: Any) -> Any:
    """Return the moment of squares."""
    return var1 * var2 + 2 * cov12 * cov12


def square_slope(cov12: Any, var1: Any, var2: Any) -> Any:
    """Return the moment of derivatives of squares."""
    return 4 * cov12
