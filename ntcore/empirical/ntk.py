"""Empirical kernels under the names of neural_tangents."""

from __future__ import annotations

import enum
from collections import namedtuple
from collections.abc import Callable
from functools import cache
from typing import Any

from ntcore.backend import Array
from ntcore.empirical.axes import Contraction, contraction
from ntcore.empirical.driver import Call, Settings, nngp_of, ntk_of
from ntcore.empirical.tree import flatten
from ntcore.errors import ArgumentError


class NtkImplementation(enum.IntEnum):
    """How to compute the NTK; every way gives the same numbers to rounding.

    Attributes
    ----------
    AUTO
        The cheapest, by a count of operations and bytes.
    JACOBIAN_CONTRACTION
        Forms the gradient of every output of every example, and multiplies.
    NTK_VECTOR_PRODUCTS
        Derivatives along the gradients of the second batch: no gradient of the first is formed.
    STRUCTURED_DERIVATIVES
        Activations times back-propagated signals, layer by layer; gradients stay in factors
        wherever that is cheaper (Novak et al. 2022, section 3).
    """

    AUTO = 0
    JACOBIAN_CONTRACTION = 1
    NTK_VECTOR_PRODUCTS = 2
    STRUCTURED_DERIVATIVES = 3


KernelFn = Callable[..., Any]


def empirical_ntk_fn(
    f: Any,
    trace_axes: Any = (-1,),
    diagonal_axes: Any = (),
    vmap_axes: Any = None,
    implementation: NtkImplementation | int = NtkImplementation.AUTO,
    _j_rules: bool = True,
    _s_rules: bool = True,
    _fwd: bool | None = None,
    *,
    contract: str | None = None,
    memory_budget: float | None = None,
) -> KernelFn:
    r"""Return the function that computes the NTK of a finite model.

    .. math:: \Theta_{n o, n' o'} = \sum_k \frac{\partial f_o(x_n)}{\partial \theta_k}
              \frac{\partial f_{o'}(x_{n'})}{\partial \theta_k}

    Parameters
    ----------
    f : callable or model
        ``f(params, x, **kwargs)`` on JAX, torch, NumPy, CuPy or array_api_strict arrays, with
        arrays or trees of arrays for ``params``, ``x`` and the outputs; or a torch module, a flax
        or equinox module, a network of :mod:`ntcore.stax` or its ``apply_fn``.
    trace_axes : int or tuple of int
        Axes of the output over which to average the diagonal.
    diagonal_axes : int or tuple of int
        Axes of the output of which only the diagonal is wanted.
    vmap_axes : None, int or tuple, optional
        Where examples are, independent of each other: one axis for inputs and outputs, or axes of
        the inputs, the outputs and the keyword arguments. None finds out whether axis 0 is one,
        and differentiates the whole batch at once where it is not.
    implementation : NtkImplementation, default AUTO
        How to compute it; the numbers are the same to rounding.
    _j_rules, _s_rules, _fwd
        Accepted for compatibility; without effect.
    contract : {'trace', 'full', 'diag'}, optional
        In place of axes: the mean over all axes of the output but the examples', everything, or
        their diagonal.
    memory_budget : float, optional
        Bytes to stay within, the result included; examples and rows are worked on in pieces to
        fit. 2 GiB by default.

    Returns
    -------
    callable
        ``ntk_fn(x1, x2, params, **kwargs)``; ``x2=None`` stands for ``x1``, ``params=None`` for
        those of a module. Of the shape ``(n1, n2, ...)``: every axis of the output
        twice, one after the other, less the traced ones, diagonal ones once. A keyword argument
        that is a pair is split between ``x1`` and ``x2``; of a random state ``rng``, ``x2`` gets
        one of its own, unless it equals ``x1``.

    Raises
    ------
    ArgumentError, ShapeError, BackendError
        If an argument does not fit.
    DTypeError
        If ``x1`` and ``x2`` are of two data types.
    DerivativeError
        If ``f`` cannot be differentiated, returns integers, changes its arguments, or is a module
        that mixes the examples of a batch.
    NotFiniteError
        If the outputs are not finite.
    """
    given = contraction(trace_axes, diagonal_axes, contract)
    settings = _settings(given, vmap_axes, implementation, memory_budget)
    compiled: dict[Any, Any] = {}

    def ntk_fn(x1: Any, x2: Any, params: Any, **apply_fn_kwargs: Any) -> Any:
        return ntk_of(Call(f, x1, x2, params, apply_fn_kwargs), settings, compiled)

    return ntk_fn


def empirical_nngp_fn(
    f: Any, trace_axes: Any = (-1,), diagonal_axes: Any = (), *, contract: str | None = None
) -> KernelFn:
    r"""Return the function that computes products of a model's outputs, their NNGP kernel.

    .. math:: K_{n o, n' o'} = f_o(x_n)\, f_{o'}(x_{n'})

    Arguments, shapes and errors as in :func:`empirical_ntk_fn`.

    Returns
    -------
    callable
        ``nngp_fn(x1, x2, params, **kwargs)``.
    """
    settings = _settings(contraction(trace_axes, diagonal_axes, contract), None, 1, None)
    compiled: dict[Any, Any] = {}

    def nngp_fn(x1: Any, x2: Any, params: Any, **apply_fn_kwargs: Any) -> Any:
        return nngp_of(Call(f, x1, x2, params, apply_fn_kwargs), settings, compiled)

    return nngp_fn


def empirical_kernel_fn(
    f: Any,
    trace_axes: Any = (-1,),
    diagonal_axes: Any = (),
    vmap_axes: Any = None,
    implementation: NtkImplementation | int = NtkImplementation.AUTO,
    _j_rules: bool = True,
    _s_rules: bool = True,
    _fwd: bool | None = None,
    *,
    contract: str | None = None,
    memory_budget: float | None = None,
) -> KernelFn:
    """Return the function that computes the NNGP kernel and the NTK of a finite model.

    Arguments and errors as in :func:`empirical_ntk_fn`.

    Returns
    -------
    callable
        ``kernel_fn(x1, x2, get, params, **kwargs)``; ``get`` is ``'nngp'``, ``'ntk'``, or a tuple
        of them, or None for both, which return a named tuple in place of each output.
    """
    given = (trace_axes, diagonal_axes)
    functions = {
        "nngp": empirical_nngp_fn(f, *given, contract=contract),
        "ntk": empirical_ntk_fn(
            f, *given, vmap_axes, implementation, contract=contract, memory_budget=memory_budget
        ),
    }

    def kernel_fn(x1: Any, x2: Any, get: Any, params: Any, **apply_fn_kwargs: Any) -> Any:
        names = names_of(get)
        found = {name: functions[name](x1, x2, params, **apply_fn_kwargs) for name in names}
        return found[names[0]] if isinstance(get, str) else together(found)

    return kernel_fn


def names_of(get: Any) -> tuple[str, ...]:
    """Return the kernels that ``get`` asks for."""
    given = ("nngp", "ntk") if get is None else (get,) if isinstance(get, str) else get
    names = tuple(str(g).lower() for g in given) if isinstance(given, (tuple, list)) else ()
    wrong = [name for name in names if name not in ("nngp", "ntk")]
    if wrong or not names:
        raise ArgumentError(
            f"get={get!r} asks for nothing that a finite model has; it may be 'nngp', 'ntk', a "
            "tuple of them, or None."
        )
    return names


def together(kernels: dict[str, Any]) -> Any:
    """Return trees of kernels as one tree of named tuples."""
    leaves = [flatten(None, tree)[0] for tree in kernels.values()]
    structure = flatten(None, next(iter(kernels.values())))[1]
    made = _tuple_of(tuple(kernels))
    return structure.unflatten([made(*each) for each in zip(*leaves, strict=True)])


@cache
def _tuple_of(names: tuple[str, ...]) -> Any:
    """Return the class of named tuples with these fields; they can be pickled."""
    again: dict[str, Any] = {"__reduce__": lambda self: (_remade, (names, tuple(self)))}
    return type("EmpiricalKernel", (namedtuple("EmpiricalKernel", names),), again)


def _remade(names: tuple[str, ...], values: tuple[Array, ...]) -> Any:
    return _tuple_of(names)(*values)


def _settings(
    asked: Contraction, vmap_axes: Any, implementation: Any, budget: float | None
) -> Settings:
    try:
        chosen = NtkImplementation(implementation)
    except ValueError:
        raise ArgumentError(
            f"implementation={implementation!r} is unknown; it is one of "
            f"{', '.join(str(i) for i in NtkImplementation.__members__)}."
        ) from None
    number = isinstance(budget, (int, float)) and not isinstance(budget, bool)
    if budget is not None and not (number and budget > 0):
        raise ArgumentError(f"memory_budget={budget!r} must be a positive number of bytes.")
    return Settings(asked, vmap_axes, chosen.name.lower(), budget)
