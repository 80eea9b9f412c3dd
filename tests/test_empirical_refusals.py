"""What empirical kernels refuse: one sentence each, on every library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import ntcore as nt
from ntcore import stax
from ntcore.conformance.fixtures import Library
from ntcore.errors import (
    ArgumentError,
    BackendError,
    DerivativeError,
    DTypeError,
    NotFiniteError,
    NtcoreError,
    ShapeError,
)
from tests.empirical_problems import cases


@dataclass
class Problem:
    """A small function, its arguments, and the library they are of."""

    lib: Library

    def __post_init__(self) -> None:
        draw = lambda *shape: self.lib.asarray(cases.draw(*shape))  # noqa: E731
        self.p, self.x1, self.x2 = (draw(3, 2), draw(2)), draw(4, 3), draw(5, 3)
        self.draw = draw
        self.net = stax.serial(stax.Dense(4), stax.Relu(), stax.Dense(2))
        self.params = self.net.init_fn(0, (4, 3), like=self.x1)[1]

    def cast(self, y: Any, name: str) -> Any:
        own = hasattr(y, "__array_namespace__")
        space = y.__array_namespace__() if own else self.lib.xp
        return space.astype(y, getattr(space, name))


def affine(p: Any, x: Any) -> Any:
    return x @ p[0] + p[1]


def ntk(fn: Any, *args: Any, **kwargs: Any) -> Callable[[Problem], Any]:
    """The NTK of a function for all ways to name arguments: by default x1, None and p."""

    def call(q: Problem) -> Any:
        given = [a(q) if callable(a) else a for a in args] or [q.x1, None, q.p]
        f = (lambda p, x: fn(q, p, x)) if fn is not None else affine
        return nt.empirical_ntk_fn(f, **kwargs)(*given)

    return call


def changes_x(q: Problem, p: Any, x: Any) -> Any:
    x[0, 0] = 1.0
    return affine(p, x)


def changes_p(q: Problem, p: Any, x: Any) -> Any:
    p[1][0] = 1.0
    return affine(p, x)


X1, X2, P = (lambda q: q.x1), (lambda q: q.x2), (lambda q: q.p)

FUNCTIONS = {
    "integers": (DerivativeError, "int32 numbers", lambda q, p, x: q.cast(affine(p, x), "int32")),
    "booleans": (DerivativeError, "bool numbers", lambda q, p, x: affine(p, x) > 0),
    "NaN": (NotFiniteError, "NaN", lambda q, p, x: affine(p, x) * float("nan")),
    "infinity": (NotFiniteError, "infinity", lambda q, p, x: affine(p, x) * float("inf")),
    "nothing": (DerivativeError, "no array", lambda q, p, x: None),
    "a number": (DerivativeError, "a float among", lambda q, p, x: 1.0),
    "text": (DerivativeError, "a str among", lambda q, p, x: (affine(p, x), "text")),
}  # fmt: skip

BAD: dict[str, tuple[type, str, Callable[[Problem], Any]]] = {
    **{name: (kind, words, ntk(fn)) for name, (kind, words, fn) in FUNCTIONS.items()},
    # axes
    "trace out of range": (ArgumentError, "names axis 5 .* from -2 to 1", ntk(None, trace_axes=5)),
    "diagonal out of range": (
        ArgumentError, "diagonal_axes names axis -3", ntk(None, diagonal_axes=(-3,)),
    ),
    "trace that is no integer": (ArgumentError, "trace_axes", ntk(None, trace_axes=(1.0,))),
    "trace that is a truth": (ArgumentError, "trace_axes", ntk(None, trace_axes=(True,))),
    "overlap": (ArgumentError, "one of them", ntk(None, trace_axes=(1,), diagonal_axes=(-1,))),
    "trace of a number": (
        ArgumentError, r"pass trace_axes=\(\)", ntk(lambda q, p, x: affine(p, x)[0, 0]),
    ),
    "trace of nothing": (ShapeError, "no entries", ntk(lambda q, p, x: affine(p, x)[:, :0])),
    "pairs of unequal batches": (
        ShapeError, "batches of one size", ntk(None, X1, X2, P, diagonal_axes=(0,)),
    ),
    "contract": (ArgumentError, "contract='sum'", ntk(None, contract="sum")),
    # examples
    "vmap_axes of an input": (ShapeError, "axis 5 of an array", ntk(None, vmap_axes=(5, 0, {}))),
    "vmap_axes of an output": (ShapeError, "axis 7 of an output", ntk(None, vmap_axes=(0, 7, {}))),
    "vmap_axes of another kind": (ArgumentError, "tuple", ntk(None, vmap_axes="0")),
    "vmap_axes of another tree": (
        ArgumentError, "built differently", ntk(None, vmap_axes=({"a": 0}, 0, {})),
    ),
    "vmap_axes of more outputs": (ShapeError, "2 outputs", ntk(None, vmap_axes=(0, (0, 0), {}))),
    "vmap_axes of no input": (ShapeError, "no axis of x", ntk(None, vmap_axes=(None, 0, {}))),
    "outputs of fewer examples": (
        ShapeError, "x holds 4", ntk(lambda q, p, x: affine(p, x)[:2, :], vmap_axes=0),
    ),
    "inputs of several sizes": (
        ShapeError, r"hold \[4, 5\] examples",
        ntk(lambda q, p, x: affine(p, x["a"]), lambda q: {"a": q.x1, "b": q.x2}, None, P),
    ),
    # the second batch
    "x2 of another type": (
        DTypeError, "float32", ntk(None, X1, lambda q: q.cast(q.x2, "float32"), P),
    ),
    "x2 of more axes": (ShapeError, "same axes", ntk(None, X1, lambda q: q.draw(2, 4, 3), P)),
    "x2 of another width": (
        ShapeError, "not x2, of shapes", ntk(None, X1, lambda q: q.draw(2, 4), P),
    ),
    "x2 of another tree": (ShapeError, "another tree", ntk(None, X1, lambda q: (q.x1,), P)),
    # parameters
    "no parameters": (ArgumentError, "params is None", ntk(None, X1, None, None)),
    "empty parameters": (ArgumentError, "params holds no array", ntk(None, X1, None, ())),
    "integer parameters": (
        ArgumentError, "params holds no array",
        ntk(None, X1, None, lambda q: q.cast(q.p[0], "int32")),
    ),
    "no arrays at all": (BackendError, "neither params nor x", ntk(None, None, None, (1.0,))),
    "x without axes": (ShapeError, "axis of examples", ntk(None, lambda q: q.x1[0, 0], None, P)),
    "parameters of another network": (
        ShapeError, "3 members", lambda q: nt.empirical_ntk_fn(q.net)(q.x1, None, q.params[:2]),
    ),
    "parameters of other shapes": (
        ShapeError, r"Dense\(out_dim=4\) got parameters of shapes \[\(7, 4\)\]",
        lambda q: nt.empirical_ntk_fn(q.net)(
            q.x1, None, ((q.draw(7, 4), None), (), (q.draw(4, 2), None))
        ),
    ),
    # the rest
    "no function": (ArgumentError, "f is a int", lambda q: nt.empirical_ntk_fn(3)(q.x1, None, q.p)),
    "implementation": (ArgumentError, "implementation=7", ntk(None, implementation=7)),
    "negative budget": (ArgumentError, "memory_budget=-1", ntk(None, memory_budget=-1)),
    "budget in words": (ArgumentError, "memory_budget='1 GB'", ntk(None, memory_budget="1 GB")),
    "budget below the kernel": (
        ArgumentError, "kernel alone", ntk(None, trace_axes=(), memory_budget=100),
    ),
    "get": (
        ArgumentError, "get='cov1'",
        lambda q: nt.empirical_kernel_fn(affine)(q.x1, None, "cov1", q.p),
    ),
    "get that is no name": (
        ArgumentError, "get=3", lambda q: nt.empirical_kernel_fn(affine)(q.x1, None, 3, q.p),
    ),
    # products and expansions
    "product with integers": (
        DerivativeError, "int32 numbers",
        lambda q: nt.empirical_ntk_vp_fn(
            lambda p, x: q.cast(affine(p, x), "int32"), q.x1, q.x2, q.p
        ),
    ),
    "product with another shape": (
        ShapeError, "for x2",
        lambda q: nt.empirical_ntk_vp_fn(affine, q.x1, q.x2, q.p)(q.x1 @ q.p[0]),
    ),
    "operator of two outputs": (
        ArgumentError, "2 arrays",
        lambda q: nt.empirical_ntk_operator(lambda p, x: (x @ p[0], x @ p[0]), q.x1, None, q.p),
    ),
    "too many eigenvalues": (
        ArgumentError, "k=8 .* 8 rows",
        lambda q: nt.empirical_ntk_eigenvalues(affine, q.x1, q.p, 8),
    ),
    "expansion of integers": (
        DerivativeError, "int32 numbers",
        lambda q: nt.linearize(lambda p, x: q.cast(affine(p, x), "int32"), q.p)(q.p, q.x1),
    ),
    "expansion at other parameters": (
        ArgumentError, "same structure",
        lambda q: nt.linearize(affine, q.p)((q.p[0], q.p[0]), q.x1),
    ),
    "expansion at another type": (
        ArgumentError, "typed differently",
        lambda q: nt.linearize(affine, q.p)((q.cast(q.p[0], "float32"), q.p[1]), q.x1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_one_sentence_each(backend: Library, name: str) -> None:
    kind, words, call = BAD[name]
    with pytest.raises(kind, match=words) as caught:
        call(Problem(backend))
    assert isinstance(caught.value, NtcoreError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fn", [changes_x, changes_p], ids=lambda f: f.__name__)
def test_functions_that_change_their_arguments(backend: Library, fn: Callable) -> None:
    problem = Problem(backend)
    kind = TypeError if backend.name == "jax" else DerivativeError  # JAX's own sentence
    f = lambda p, x: fn(problem, p, x)  # noqa: E731
    for call in (
        lambda: ntk(fn)(problem),
        lambda: nt.empirical_ntk_vp_fn(f, problem.x1, None, problem.p),
        lambda: nt.linearize(f, problem.p)(problem.p, problem.x1),
    ):
        with pytest.raises(kind, match=r"in place|immutable"):
            call()


def test_what_is_empty_has_an_empty_kernel(backend: Library) -> None:
    q = Problem(backend)
    for way in nt.NtkImplementation:
        ntk_fn = nt.empirical_ntk_fn(affine, contract="full", implementation=way)
        assert tuple(ntk_fn(q.x1[:0, :], None, q.p).shape) == (0, 0, 2, 2)
        assert tuple(ntk_fn(q.x1, q.x2[:0, :], q.p).shape) == (4, 0, 2, 2)
        none = lambda p, x: affine(p, x)[:, :0]  # noqa: E731
        found = nt.empirical_ntk_fn(none, contract="full", implementation=way)(q.x1, None, q.p)
        assert tuple(found.shape) == (4, 4, 0, 0)
    assert tuple(nt.empirical_nngp_fn(affine)(q.x1[:0, :], q.x2, q.p).shape) == (0, 5)


def test_what_does_not_depend_on_parameters_has_kernel_zero(backend: Library) -> None:
    q = Problem(backend)
    for way in nt.NtkImplementation:
        found = nt.empirical_ntk_fn(lambda p, x: x * 2.0, implementation=way)(q.x1, q.x2, q.p)
        assert np.array_equal(backend.to_numpy(found), np.zeros((4, 5)))


def test_expansions_take_any_arguments(backend: Library) -> None:
    q = Problem(backend)
    double = (q.p[0] * 2.0, q.p[1] * 2.0)
    want = backend.to_numpy(affine(double, q.x1))
    for f, args, kwargs in (
        (affine, (), {"x": q.x1}),
        (lambda p, x, y: affine(p, x) + 0.0 * y, (q.x1, 1.0), {}),
        (lambda p: affine(p, q.x1), (), {}),
    ):
        if args == () and not kwargs and backend.record.vjp is None:
            continue  # an array from outside is not on the tape, nor has it to be
        found = backend.to_numpy(nt.linearize(f, q.p)(double, *args, **kwargs))
        np.testing.assert_allclose(found, want, rtol=1e-12)
