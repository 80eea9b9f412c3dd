"""Models expanded in their parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ntcore.backend import Array
from ntcore.empirical.batches import arguments_of
from ntcore.empirical.checks import check_real, forward, unchanged
from ntcore.empirical.derivatives import Fn, jvp, of_parameters
from ntcore.empirical.function import Bound, bind
from ntcore.errors import ArgumentError


def linearize(f: Any, params: Any) -> Callable[..., Any]:
    r"""Return the first-order Taylor expansion of a model in its parameters.

    .. math:: f_\text{lin}(\theta, x) = f(\theta_0, x)
              + \frac{\partial f}{\partial \theta}(\theta_0, x)\,(\theta - \theta_0)

    Parameters
    ----------
    f : callable or model
        As in :func:`~ntcore.empirical_ntk_fn`.
    params : tree of array
        The parameters :math:`\theta_0` to expand about.

    Returns
    -------
    callable
        ``f_lin(params, *args, **kwargs)``, with arguments and outputs as those of ``f``.

    Raises
    ------
    DerivativeError
        If ``f`` cannot be differentiated, returns integers, or changes its arguments.
    """
    return taylor_expand(f, params, 1)


def taylor_expand(f: Any, params: Any, degree: int) -> Callable[..., Any]:
    r"""Return the Taylor expansion of a model in its parameters.

    .. math:: f_d(\theta, x) = \sum_{k=0}^{d} \frac{1}{k!}
              \left. \frac{\mathrm{d}^k}{\mathrm{d}t^k} \right|_{t=0}
              f(\theta_0 + t (\theta - \theta_0), x)

    Parameters
    ----------
    f, params
        As in :func:`linearize`.
    degree : int
        The highest power of :math:`\theta - \theta_0`.

    Returns
    -------
    callable
        ``f_tayl(params, *args, **kwargs)``, with arguments and outputs as those of ``f``.

    Raises
    ------
    ArgumentError
        If ``degree`` is not a non-negative integer.
    DerivativeError
        If ``f`` cannot be differentiated, returns integers, or changes its arguments.
    """
    if not isinstance(degree, int) or isinstance(degree, bool) or degree < 0:
        raise ArgumentError(f"degree={degree!r} must be a non-negative integer.")

    checked: list[bool] = []

    def expanded(p: Any, *args: Any, **kwargs: Any) -> Any:
        model = f if len(args) == 1 else lambda q, packed, **kw: f(q, *packed, **kw)
        x = args[0] if len(args) == 1 else args
        base, there = bind(model, params, x), bind(model, p, x)
        along = _steps(base, there)
        batch = arguments_of(base.backend, x, kwargs)
        if not checked:
            with unchanged((base, batch)):
                check_real(base, forward(base, batch))
            checked.append(True)
        terms = _derivatives(base, of_parameters(base, batch), along, degree)(*base.theta)
        size = len(terms) // (degree + 1)
        sums = [
            sum((terms[k * size + i] / math.factorial(k) for k in range(1, degree + 1)), terms[i])
            for i in range(size)
        ]
        return base.outputs[0].unflatten(sums)

    return expanded


def _steps(base: Bound, there: Bound) -> list[Array]:
    kinds = [[(tuple(t.shape), t.dtype) for t in fn.theta] for fn in (base, there)]
    if kinds[0] != kinds[1] or base.key != there.key:
        raise ArgumentError(
            "the parameters to evaluate at are built, shaped or typed differently from those "
            "expanded about; pass a tree of the same structure."
        )
    return [t - t0 for t, t0 in zip(there.theta, base.theta, strict=True)]


def _derivatives(fn: Bound, f: Fn, along: Sequence[Array], order: int) -> Fn:
    """Return the function from parameters to ``[f, f', f'', ...]`` along a direction."""
    if order == 0:
        return f
    below = _derivatives(fn, f, along, order - 1)

    def both(*theta: Array) -> list[Array]:
        values, tangents = jvp(fn.backend, below, theta, along)
        last = len(values) // order
        return [*values, *tangents[len(values) - last :]]

    return both
