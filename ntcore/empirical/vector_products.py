"""Products of the NTK with vectors, which never form it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ntcore.backend import Array, host
from ntcore.empirical.batches import Batch
from ntcore.empirical.checks import checked_outputs
from ntcore.empirical.derivatives import jvp, of_parameters, vjp
from ntcore.empirical.driver import Call, batches_of
from ntcore.empirical.function import Bound, bind
from ntcore.empirical.tree import flatten
from ntcore.errors import ArgumentError, ShapeError


def empirical_ntk_vp_fn(
    f: Any, x1: Any, x2: Any, params: Any, **apply_fn_kwargs: Any
) -> Callable[[Any], Any]:
    r"""Return the function that multiplies the NTK of a model with a vector.

    .. math:: v \mapsto \frac{\partial f(x_1)}{\partial \theta}
              \left( \frac{\partial f(x_2)}{\partial \theta} \right)^T v

    One backward and one forward derivative; the kernel is never formed.

    Parameters
    ----------
    f, params
        As in :func:`~ntcore.empirical_ntk_fn`.
    x1, x2 : array or tree of arrays
        The two batches; ``x2=None`` stands for ``x1``.

    Returns
    -------
    callable
        From an array, or a tree, of the shape of ``f(params, x2)`` to one of the shape of
        ``f(params, x1)``.

    Raises
    ------
    DerivativeError
        If ``f`` cannot be differentiated.
    ShapeError
        If a vector is not shaped as the outputs for ``x2``.
    """
    fn = bind(f, params, x1)
    batches = batches_of(fn.backend, Call(f, x1, x2, params, apply_fn_kwargs), 0)
    checked_outputs(fn, batches)
    return _product(fn, batches[0], batches[-1])


def _product(fn: Bound, one: Batch, two: Batch) -> Callable[[Any], Any]:
    outputs, pull = vjp(fn.backend, of_parameters(fn, two), fn.theta)
    shapes = [tuple(y.shape) for y in outputs]

    def ntk_vp_fn(cotangents: Any) -> Any:
        given = flatten(fn.backend, cotangents)[0]
        came = [tuple(getattr(v, "shape", ())) for v in given]
        if came != shapes:
            raise ShapeError(
                f"a vector of shapes {came} came but f puts out {shapes} for x2; give a tree of "
                "those shapes."
            )
        device = fn.backend.device(fn.theta[0])
        leaves = [
            fn.backend.asarray(v, y.dtype, device) for v, y in zip(given, outputs, strict=True)
        ]
        _, found = jvp(fn.backend, of_parameters(fn, one), fn.theta, pull(leaves))
        return fn.outputs[0].unflatten(found)

    return ntk_vp_fn


def empirical_ntk_operator(f: Any, x1: Any, x2: Any, params: Any, **apply_fn_kwargs: Any) -> Any:
    """Return the NTK of a model as a linear operator of SciPy, without forming it.

    Parameters
    ----------
    f, x1, x2, params
        As in :func:`empirical_ntk_vp_fn`; the outputs of ``f`` are one array.

    Returns
    -------
    scipy.sparse.linalg.LinearOperator
        Of the shape ``(size of f(x1), size of f(x2))``, rows and columns in the order of the
        flattened outputs. It takes and returns NumPy arrays, whatever arrays the model has.

    Raises
    ------
    ArgumentError
        If the outputs are several arrays.
    """
    fn = bind(f, params, x1)
    batches = batches_of(fn.backend, Call(f, x1, x2, params, apply_fn_kwargs), 0)
    shapes = []
    for outputs in checked_outputs(fn, batches):
        if len(outputs) != 1:
            raise ArgumentError(
                f"f puts out {len(outputs)} arrays but a matrix has one order of rows; select one."
            )
        shapes.append(tuple(outputs[0].shape))
    like = fn.theta[0]
    one, two = batches[0], batches[-1]
    times, back = _product(fn, one, two), _product(fn, two, one)

    def on_host(product: Callable[[Any], Any], shape: tuple[int, ...]) -> Callable[[Any], Any]:
        def call(v: Any) -> Any:
            given = fn.backend.asarray(v.reshape(shape), like.dtype, fn.backend.device(like))
            leaf = flatten(fn.backend, product(fn.outputs[0].unflatten([given])))[0][0]
            return host().namespace.asarray(_numpy(fn.backend, leaf)).reshape(-1)

        return call

    size = (math.prod(shapes[0]), math.prod(shapes[-1]))
    dtype = _numpy(fn.backend, fn.backend.namespace.zeros((), dtype=like.dtype)).dtype
    make = host().require("operator", "an NTK as a linear operator")
    return make(size, dtype, on_host(times, shapes[-1]), on_host(back, shapes[0]))


def empirical_ntk_eigenvalues(
    f: Any, x: Any, params: Any, k: int = 6, *, method: str = "lanczos", **apply_fn_kwargs: Any
) -> Any:
    """Return the largest eigenvalues of the NTK of a model, without forming it.

    Parameters
    ----------
    f, x, params
        As in :func:`empirical_ntk_operator`.
    k : int, default 6
        How many.
    method : {'lanczos', 'lobpcg'}
        SciPy's implementation to use.

    Returns
    -------
    numpy.ndarray, ``(k,)``
        The largest first.

    Raises
    ------
    ArgumentError
        If ``k`` is not between 1 and one less than the size of the kernel, or ``method`` is
        unknown.
    """
    operator = empirical_ntk_operator(f, x, None, params, **apply_fn_kwargs)
    size = operator.shape[0]
    if method not in ("lanczos", "lobpcg"):
        raise ArgumentError(f"method={method!r} is unknown; it is 'lanczos' or 'lobpcg'.")
    if not isinstance(k, int) or not 1 <= k < size:
        raise ArgumentError(
            f"k={k!r} eigenvalues of a kernel with {size} rows; k is an integer, at least 1 and "
            "less than the number of rows."
        )
    return host().require("eigenvalues", "eigenvalues of an NTK")(operator, k, method)


def _numpy(backend: Any, x: Array) -> Any:
    return backend.to_numpy(x.detach() if hasattr(x, "detach") else x)
