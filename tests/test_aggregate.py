"""Aggregate beyond the table of neural_tangents: forms of patterns, transformations, defects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from ntcore import errors, stax
from ntcore.conformance.fixtures import Library

RNG = np.random.default_rng(40)
N, H, W = 3, 3, 4
X, X2 = RNG.standard_normal((N, H, W, 2)), RNG.standard_normal((2, H, W, 2))
EDGES = np.array([
    [[0, 1], [1, 2], [1, 2], [2, 0]], [[0, 2], [2, -1], [-1, 1], [-1, -1]],
    [[1, 1], [0, 0], [2, 1], [1, 0]],
])  # fmt: skip


def counted(edges: np.ndarray, size: int) -> np.ndarray:
    found = np.zeros((len(edges), size, size))
    for n, graph in enumerate(edges):
        for tail, head in graph:
            if min(tail, head) >= 0:
                found[n, tail, head] += 1
    return found


DENSE = counted(EDGES, H)
PIXELS = RNG.standard_normal((N, H, W, H, W)) / 4


def hidden(**kwargs: Any) -> stax.Model:
    """A convolution, an aggregation over rows, and a nonlinearity."""
    return stax.serial(
        stax.Conv(2, (2, 3), padding="SAME", W_std=1.2, b_std=0.3), stax.Aggregate(1, **kwargs),
        stax.Relu(), stax.GlobalAvgPool(), stax.Dense(1, 1.1, 0.1),
    )  # fmt: skip


def ntk(model: stax.Model, backend: Library, pattern: Any, x2: Any = None) -> np.ndarray:
    second = None if x2 is None else backend.asarray(x2)
    return backend.to_numpy(model.kernel_fn(backend.asarray(X), second, "ntk", pattern=pattern))


FORMS = {
    "bool": (DENSE > 0, {}, DENSE > 0),
    "floats": (DENSE, {}, DENSE),
    "matrices": ([*DENSE], {}, DENSE),
    "nested lists": (DENSE.tolist(), {}, DENSE),
    "one for all": (DENSE[0], {}, DENSE[[0, 0, 0]]),
    "scipy": ([sparse.csr_array(d) for d in DENSE], {}, DENSE),
    "scipy for all": (sparse.coo_matrix(DENSE[0]), {}, DENSE[[0, 0, 0]]),
    "scipy beside edges": (
        [sparse.csc_array(d) for d in DENSE], {"implementation": "SPARSE"}, DENSE),
    "decoded scipy": (sparse.csr_array(DENSE[0]), {"to_dense": lambda p: p.toarray() * 2},
                      2 * DENSE[[0, 0, 0]]),
    "edges": (EDGES, {"implementation": "SPARSE"}, DENSE),
    "edges with an axis": (EDGES[:, :, None], {"implementation": "SPARSE"}, DENSE),
    "edges for all": (EDGES[0], {"implementation": "SPARSE"}, DENSE[[0, 0, 0]]),
    "edges of several numbers": (
        [EDGES[0], EDGES[1][:1], EDGES[2]], {"implementation": "SPARSE"}, DENSE),
    "the enumeration": (
        EDGES, {"implementation": stax.AggregateImplementation.SPARSE}, DENSE),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_a_graph(backend: Library, name: str) -> None:
    """After a convolution too, where the peer reads lists of edges in the wrong order of axes."""
    pattern, kwargs, same_as = FORMS[name]
    layer = stax.Aggregate(1, **kwargs)
    out = backend.to_numpy(layer.apply_fn((), backend.asarray(X), pattern=pattern))
    assert np.allclose(out, np.einsum("nhwc,nhk->nkwc", X, same_as), rtol=1e-12)
    if backend.record.stage is None:
        got = ntk(hidden(**kwargs), backend, (pattern, None))
        assert np.allclose(got, ntk(hidden(), backend, (1.0 * same_as, None)), rtol=1e-12)


def test_edges_between_pixels_are_those_of_adjacencies(backend: Library) -> None:
    edges = np.stack([RNG.integers(-1, s, (N, 7, 2)) for s in (H, W)], axis=2)
    dense = np.zeros((N, H, W, H, W))
    for n, graph in enumerate(edges):
        for ends in graph:
            if ends.min() >= 0:
                dense[n, ends[0, 0], ends[1, 0], ends[0, 1], ends[1, 1]] += 1
    stem = stax.Conv(2, (2, 2), padding="SAME", b_std=0.2)
    listed = stax.serial(stem, stax.Aggregate(implementation="SPARSE"), stax.Erf())
    whole = stax.serial(stem, stax.Aggregate((2, 1)), stax.Erf())
    flat = [sparse.csr_array(d.reshape(H * W, H * W)) for d in dense]
    want = ntk(whole, backend, (dense, dense[:2]), X2)
    assert np.allclose(ntk(listed, backend, (edges, edges[:2]), X2), want, rtol=1e-12)
    assert np.allclose(ntk(whole, backend, (flat, flat[:2]), X2), want, rtol=1e-12)


def test_a_graph_of_its_own_for_each_batch(backend: Library) -> None:
    """With two graphs for one batch the kernel is not symmetric, and both variances differ."""
    layer, (p, q) = stax.Aggregate(), (PIXELS, PIXELS[::-1].copy())
    k0 = np.einsum("nhwc,mijc->nmhiwj", X, X) / 2
    k = layer.kernel_fn(backend.asarray(X), None, None, pattern=(p, q))
    want = np.einsum("nmhiwj,nhwab,mijcd->nmacbd", k0, p, q)
    assert np.allclose(backend.to_numpy(k.nngp), want, rtol=1e-10, atol=1e-12)
    assert not k.x1_is_x2 and k.cov2 is not None
    want = np.einsum("nnhiwj,nhwab,nijcd->nacbd", k0, q, q)
    assert np.allclose(backend.to_numpy(k.cov2), want, rtol=1e-10, atol=1e-12)
    for pattern in ((p, None), (p, p), (p, p.copy()), ([*p], [*p])):
        assert layer.kernel_fn(backend.asarray(X), None, None, pattern=pattern).x1_is_x2


def test_images_of_two_sizes(backend: Library) -> None:
    x2, p2 = RNG.standard_normal((2, 5, W, 2)), RNG.standard_normal((2, 5, 5))
    got = stax.serial(stax.Aggregate(1), stax.GlobalSumPool()).kernel_fn(
        backend.asarray(X), backend.asarray(x2), "nngp", pattern=(DENSE, p2)
    )
    one, two = (
        np.einsum("nhwc,nhk->nc", x, p) for x, p in ((X, DENSE), (x2, p2))
    )  # every entry of the kernel is a product of sums over space
    assert np.allclose(backend.to_numpy(got), one @ two.T / 2, rtol=1e-12)


def test_kernels_of_kernels_and_other_shapes_of_results(backend: Library) -> None:
    x, pattern = backend.asarray(X), (DENSE, None)
    below = stax.Conv(2, (2, 3), padding="SAME", W_std=1.2, b_std=0.3).kernel_fn(x)
    above = stax.serial(stax.Aggregate(1), stax.Relu())
    both = stax.serial(stax.Conv(2, (2, 3), padding="SAME", W_std=1.2, b_std=0.3), above)
    want = both.kernel_fn(x, None, None, pattern=pattern)
    got = above.kernel_fn(below, pattern=pattern)
    assert np.allclose(backend.to_numpy(got.ntk), backend.to_numpy(want.ntk), rtol=1e-12)
    offsets = both.kernel_fn(x, None, "ntk", pattern=pattern, diagonal_spatial=True)
    want_offsets = np.einsum("nmhhww->nmhw", backend.to_numpy(want.ntk))
    assert np.allclose(backend.to_numpy(offsets), want_offsets, rtol=1e-12)
    cov1 = both.kernel_fn(x, None, "cov1", pattern=pattern, diagonal_batch=False)
    assert np.allclose(backend.to_numpy(cov1), backend.to_numpy(want.nngp), rtol=1e-12)


@pytest.mark.parametrize("kind", ["weights", "edges"])
def test_compiled_with_the_pattern_as_an_argument(backend: Library, kind: str) -> None:
    if backend.record.jit is None:
        pytest.skip("no compilation")
    kwargs = {"implementation": "SPARSE"} if kind == "edges" else {}
    given = EDGES.copy() if kind == "edges" else DENSE
    model, x = hidden(**kwargs), backend.asarray(X)
    pattern = backend.asarray(given, "int64" if kind == "edges" else "float64")
    compiled = backend.record.jit(lambda p: model.kernel_fn(X, None, "ntk", pattern=(p, p)))
    assert np.allclose(backend.to_numpy(compiled(pattern)), ntk(model, backend, (given, None)))
    layer = stax.Aggregate(1, **kwargs)
    out = backend.record.jit(lambda p: layer.apply_fn((), x, pattern=p))(pattern)
    want = layer.apply_fn((), X, pattern=given)
    assert np.allclose(backend.to_numpy(out), want)


def test_derivative_in_the_weights_of_a_graph(backend: Library) -> None:
    if backend.record.vjp is None:
        pytest.skip("no derivatives")
    rng, model, x = np.random.default_rng(41), hidden(), backend.asarray(X)
    weights, way = rng.standard_normal((2, N, H, H))

    def total(p: Any) -> Any:
        return backend.xp.sum(model.kernel_fn(x, None, "nngp", pattern=(p, p)))

    (grad,) = backend.record.vjp(total, backend.asarray(weights))[1](backend.asarray(1.0))
    step = 1e-5
    ends = [
        np.sum(model.kernel_fn(X, None, "nngp", pattern=(p, p)))
        for p in (weights + step * way, weights - step * way)
    ]
    assert np.isclose(np.sum(way * backend.to_numpy(grad)), (ends[0] - ends[1]) / (2 * step))


def test_a_pattern_of_another_library_is_refused() -> None:
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(errors.BackendError, match="array_api_strict and numpy"):
        stax.Aggregate(1).kernel_fn(X, pattern=(strict.asarray(DENSE), None))


@pytest.mark.parametrize("kwargs", [{}, {"implementation": "SPARSE"}])
def test_no_examples_and_no_graphs(backend: Library, kwargs: dict[str, Any]) -> None:
    graphs, x = EDGES if kwargs else DENSE, backend.asarray(X)
    layer = stax.Aggregate(1, **kwargs)
    assert layer.kernel_fn(x, x[:0, ...], "nngp", pattern=(graphs, graphs[:0])).shape[:2] == (N, 0)
    assert layer.apply_fn((), x[:0, ...], pattern=graphs[:0]).shape == (0, H, W, 2)


def test_repr_leaves_the_default_decoding_out() -> None:
    assert repr(stax.Aggregate(1)) == "Aggregate(aggregate_axis=1)"
