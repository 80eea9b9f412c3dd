"""Bad input: one typed sentence that names the layer or the argument."""

from __future__ import annotations

import numpy as np
import pytest

from ntcore import errors, stax

X = np.random.default_rng(0).normal(size=(3, 6, 6, 2))
V = X[:, 0, 0]


def planning(net, shape=X.shape):
    return lambda: net.plan(shape)


def fan(*branches):
    return stax.serial(
        stax.Conv(4, (3, 3), padding="SAME"),
        stax.FanOut(len(branches)),
        stax.parallel(*branches),
        stax.FanInSum(),
    )


def graph(pattern, **kwargs):
    return lambda: stax.Aggregate(1, **kwargs).kernel_fn(X, None, "nngp", pattern=(pattern, None))


def edges(pattern):
    return graph(pattern, implementation="SPARSE")


CASES = {
    "activation on the raw input": (
        planning(stax.Relu()), errors.PlanError, r"Relu\(\).*raw input.*Dense or Conv"),
    "two activations in a row": (
        planning(stax.serial(stax.Dense(3), stax.Relu(), stax.Erf())),
        errors.PlanError, r"Erf\(\)"),
    "activation after a pool of an activation": (
        planning(stax.serial(stax.Conv(3, (2, 2)), stax.Relu(), stax.AvgPool((2, 2)), stax.Relu())),
        errors.PlanError, r"Relu\(\)"),
    "activation after a flatten": (
        planning(stax.serial(stax.Conv(3, (2, 2)), stax.Flatten(), stax.Relu())),
        errors.PlanError, r"Relu\(\)"),
    "a nonlinear branch into a sum": (
        planning(fan(stax.Relu(), stax.Identity())), errors.PlanError, r"FanInSum\(\).*number 0"),
    "correlated branches into a sum": (
        planning(fan(stax.Identity(), stax.AvgPool((1, 1)))), errors.PlanError, "correlated"),
    "branches of different sizes": (
        planning(fan(stax.Conv(4, (2, 2)), stax.Identity())), errors.ShapeError, r"\(5, 5, 4\)"),
    "branches not merged": (
        planning(stax.serial(stax.FanOut(2), stax.Dense(3))), errors.PlanError, "2 branches"),
    "as many inputs as branches": (
        planning(stax.parallel(stax.Dense(3), stax.Dense(3))), errors.PlanError, "one input"),
    "a sum of one thing": (
        planning(stax.serial(stax.Dense(3), stax.FanInSum())), errors.PlanError, "merges branches"),
    "too few spatial axes": (
        planning(stax.Conv(3, (3, 3)), (2, 9, 3)), errors.ShapeError, "2 spatial axes"),
    "a pool on too many axes": (
        planning(stax.AvgPool((3,))), errors.ShapeError, "1 spatial axes"),
    "a filter larger than the image": (
        planning(stax.Conv(3, (9, 9))), errors.ShapeError, r"spatial sizes \(6, 6\)"),
    "channels elsewhere": (
        planning(stax.serial(stax.Conv(3, (3, 3)), stax.Dense(3, channel_axis=1))),
        errors.ShapeError, "channels on axis 1"),
    "an axis out of range": (
        planning(stax.Dense(3, channel_axis=7)), errors.ShapeError, "channel_axis=7"),
    "a vector": (lambda: stax.Dense(3).kernel_fn(V[0]), errors.ShapeError, r"\(2,\)"),
    "integers": (
        lambda: stax.Dense(3).kernel_fn(np.ones((2, 3), int)), errors.DTypeError, "int64"),
    "complex numbers": (
        lambda: stax.Dense(3).kernel_fn(np.ones((2, 3), complex)), errors.DTypeError, "complex"),
    "nan": (lambda: stax.Dense(3).kernel_fn(V * np.nan), errors.NotFiniteError, "x1 holds NaN"),
    "infinity in x2": (
        lambda: stax.Dense(3).kernel_fn(V, V / 0.0), errors.NotFiniteError, "x2 holds NaN"),
    "not an array": (lambda: stax.Dense(3).kernel_fn("x"), errors.BackendError, "builtins.str"),
    "different channels": (
        lambda: stax.Dense(3).kernel_fn(V, V[:, :1]), errors.ShapeError, "2 channels"),
    "an unknown field": (
        lambda: stax.Dense(3).kernel_fn(V, None, "ntkk"), errors.ArgumentError, "ntkk"),
    "nothing to get": (lambda: stax.Dense(3).kernel_fn(V, None, ()), errors.ArgumentError, "empty"),
    "an unknown argument": (
        lambda: stax.Dense(3).kernel_fn(V, foo=1), errors.ArgumentError, "'foo'"),
    "a kernel and x2": (
        lambda: stax.Dense(3).kernel_fn(stax.Dense(3).kernel_fn(V), V), errors.ArgumentError, "x2"),
    "padding": (lambda: stax.Conv(3, (3, 3), padding="same"), errors.ArgumentError, "'same'"),
    "a filter that is a number": (lambda: stax.Conv(3, 3), errors.ArgumentError, "filter_shape=3"),
    "a filter of zero": (lambda: stax.Conv(3, (3, 0)), errors.ArgumentError, r"\(3, 0\)"),
    "a stride too few": (lambda: stax.Conv(3, (3, 3), (2,)), errors.ShapeError, "one stride"),
    "specs that do not fit": (
        lambda: stax.Conv(3, (3, 3), dimension_numbers=("NHC", "HIO", "NHC")),
        errors.ArgumentError, "dimension_numbers"),
    "no units": (lambda: stax.Dense(0), errors.ArgumentError, "out_dim=0"),
    "half a unit": (lambda: stax.Dense(2.5), errors.ArgumentError, "out_dim=2.5"),
    "a negative deviation": (lambda: stax.Dense(2, -1.0), errors.ArgumentError, "W_std=-1.0"),
    "no deviation": (lambda: stax.Dense(2, None), errors.ArgumentError, "W_std=None"),
    "a parameterization": (
        lambda: stax.Dense(2, parameterization="mup"), errors.ArgumentError, "'mup'"),
    "no repetition": (lambda: stax.repeat(stax.Dense(2), 0), errors.ArgumentError, "n=0"),
    "normalization of the raw input": (
        planning(stax.LayerNorm()), errors.PlanError, r"LayerNorm\(\).*raw input"),
    "normalization of an activation": (
        planning(stax.serial(stax.Dense(3), stax.Relu(), stax.LayerNorm())),
        errors.PlanError, r"LayerNorm\(\).*not known"),
    "normalization without the channels": (
        planning(stax.serial(stax.Dense(3), stax.LayerNorm((1, 2)))),
        errors.PlanError, "over the channels, on axis 3"),
    "normalization over the examples": (
        planning(stax.serial(stax.Dense(3), stax.LayerNorm((0, 3)))),
        errors.PlanError, "over the examples, on axis 0"),
    "normalization over an axis too many": (
        planning(stax.serial(stax.Dense(3), stax.LayerNorm((4, -1)))),
        errors.ShapeError, "between -4 and 3"),
    "normalization over no axis": (
        lambda: stax.LayerNorm(None), errors.ArgumentError, "axis=None"),
    "a negative epsilon": (lambda: stax.LayerNorm(eps=-1e-3), errors.ArgumentError, "eps=-0.001"),
    "dropout of the raw input": (
        planning(stax.serial(stax.Dropout(0.5), stax.Dense(3))),
        errors.PlanError, r"Dropout\(rate=0.5\).*raw input"),
    "activation after dropout": (
        planning(stax.serial(stax.Dense(3), stax.Dropout(0.5), stax.Relu())),
        errors.PlanError, r"Relu\(\)"),
    "dropout of everything": (lambda: stax.Dropout(0.0), errors.ArgumentError, "rate=0.0"),
    "a rate above one": (lambda: stax.Dropout(2), errors.ArgumentError, "rate=2"),
    "no rate": (lambda: stax.Dropout(None), errors.ArgumentError, "rate=None"),
    "a mode": (lambda: stax.Dropout(0.5, "eval"), errors.ArgumentError, "mode='eval'"),
    "dropout without random numbers": (
        lambda: stax.Dropout(0.5).apply_fn((), V), errors.ArgumentError, "pass rng to apply_fn"),
    "aggregation over the channels": (
        planning(stax.Aggregate((1, -1))), errors.PlanError, "over axis 3.*spatial axes"),
    "aggregation over the examples": (
        planning(stax.Aggregate(0)), errors.PlanError, "over axis 0"),
    "aggregation over an axis too many": (
        planning(stax.Aggregate(-5)), errors.ShapeError, "between -4 and 3"),
    "an implementation": (
        lambda: stax.Aggregate(implementation="sparse"), errors.ArgumentError, "'sparse'"),
    "a decoding that is no function": (
        lambda: stax.Aggregate(to_dense=None), errors.ArgumentError, "to_dense=None"),
    "a kernel without a pattern": (
        lambda: stax.Aggregate(1).kernel_fn(X), errors.ArgumentError, r"pattern=\(p1, p2\)"),
    "a finite network without a pattern": (
        lambda: stax.Aggregate(1).apply_fn((), X), errors.ArgumentError, "pattern=p to apply_fn"),
    "a pattern for one batch of two": (
        lambda: stax.Aggregate(1).kernel_fn(X, X[:1], pattern=(np.ones((3, 6, 6)), None)),
        errors.ArgumentError, "there is none"),
    "a pattern that does not fit": (
        graph(np.ones((3, 6, 5))), errors.ShapeError, r"\(3, 6, 5\).*\(n, 6, 6\)"),
    "too few graphs": (graph(np.ones((2, 6, 6))), errors.ShapeError, "2 graphs.*3 examples"),
    "graphs with examples of their own": (
        graph([np.ones((6, 6)), np.ones((2, 6, 6))]), errors.ShapeError, "of its own"),
    "weights that are NaN": (graph(np.full((6, 6), np.nan)), errors.NotFiniteError, "NaN"),
    "edges that are no integers": (edges(np.ones((3, 4, 2))), errors.DTypeError, "float64"),
    "edges of three ends": (
        edges(np.ones((3, 4, 3), int)), errors.ShapeError, r"\(3, 4, 3\).*\(n, edges, 1, 2\)"),
    "an edge out of range": (
        edges(np.array([[0, 1], [6, 2]])), errors.ShapeError, r"beyond the sizes \(6,\)"),
    "a class for a layer": (
        lambda: stax.serial(stax.Dense(2), stax.Relu), errors.ArgumentError, r"stax.Relu\(\)"),
    "parameters of another network": (
        lambda: stax.serial(stax.Dense(2)).apply_fn((), V), errors.ShapeError, "0 entries"),
    "a seed that is text": (
        lambda: stax.Dense(2).init_fn("0", V.shape), errors.ArgumentError, "str"),
    "a number for a function": (
        lambda: stax.ElementwiseNumerical(3, 5), errors.ArgumentError, "fn=3"),
    "a mask constant": (
        lambda: stax.Dense(2).kernel_fn(V, mask_constant="none"), errors.ArgumentError, "'none'"),
    "one pattern": (
        lambda: stax.Dense(2).kernel_fn(V, pattern=V), errors.ArgumentError, "pattern is a"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("name", CASES)
def test_bad_input(name):
    call, kind, words = CASES[name]
    with pytest.raises(kind, match=words) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    assert isinstance(caught.value, errors.NtcoreError)


def test_every_error_is_also_the_built_in_that_callers_catch():
    members = [e for e in vars(errors).values() if isinstance(e, type)]
    members.remove(errors.NtcoreError)
    for member in members:
        assert issubclass(member, errors.NtcoreError)
        built_in = (ValueError, TypeError, NotImplementedError, MemoryError, UserWarning)
        assert issubclass(member, built_in)


def test_arrays_of_two_libraries_are_refused():
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(errors.BackendError, match="array_api_strict and numpy"):
        stax.Dense(3).kernel_fn(V, strict.asarray(V))


def test_float64_where_jax_computes_in_float32_is_refused():
    jax = pytest.importorskip("jax")
    x = jax.numpy.asarray(V, jax.numpy.float32)
    with jax.enable_x64(False), pytest.raises(errors.DTypeError, match="jax_enable_x64"):
        stax.Dense(3).kernel_fn(x, V)


def test_an_image_without_examples_gives_an_empty_kernel(backend):
    x = backend.asarray(V)
    assert stax.serial(stax.Dense(3), stax.Relu()).kernel_fn(x, x[:0, ...], "ntk").shape == (3, 0)
