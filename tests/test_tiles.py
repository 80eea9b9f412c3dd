"""Tiles cover every pair once, and threads that compute them leave the BLAS as they found it."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntcore.backends import products
from ntcore.sizing import for_all_threads
from ntcore.tasks import Threads, in_order
from ntcore.tiles import make_grid

SIZES = st.integers(0, 150)


@given(SIZES, SIZES, st.integers(1, 3000), st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_tiles_cover_every_pair_once_and_hold_no_more_than_they_may(n1, n2, pairs, same, even):
    n2 = n1 if same else n2
    seen = np.zeros((n1, n2), int)
    for tile in make_grid(n1, n2, pairs, same, even):
        part = seen[tile.start1 : tile.stop1, tile.start2 : tile.stop2]
        assert 0 < part.size <= pairs
        part += 1
    once = np.ones((n1, n2), int)
    assert np.array_equal(*(np.triu(x) if same else x for x in (seen, once)))


@pytest.mark.parametrize(
    ("n1", "n2", "pairs"), [(500, 500, 125_000), (32, 32, 171), (4000, 4000, 2_700_000)]
)
def test_even_tiles_differ_little(n1, n2, pairs):
    sizes = [
        (t.stop1 - t.start1) * (t.stop2 - t.start2) for t in make_grid(n1, n2, pairs, False, True)
    ]
    assert max(sizes) <= 1.3 * min(sizes)


@pytest.fixture
def blas():
    """Every BLAS, on two threads whatever the environment says."""
    control = pytest.importorskip("threadpoolctl")
    found = control.ThreadpoolController().select(user_api="blas")
    with found.limit(limits=2):
        yield found


def threads(blas):
    return {library["num_threads"] for library in blas.info()}


def test_a_blas_has_one_thread_while_every_core_is_at_work(blas):
    most = products.cores()
    assert threads(blas) == {2}
    with products.side_by_side(most):
        with products.side_by_side(most):
            assert threads(blas) == {1}
        assert threads(blas) == {1}
    assert threads(blas) == {2}
    with products.side_by_side(most - 1):
        assert threads(blas) == {2}


def test_products_on_many_threads_are_the_same_with_and_without_control(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 300, 300))
    many = Threads(products.cores(), products.side_by_side)

    def multiplied():
        return [
            x for _, x in in_order(many, lambda i: products.matmul(None, a, b + i), range(6), 6)
        ]

    found = multiplied()
    monkeypatch.setattr(products, "_blas", lambda: None)
    for i, (x, y) in enumerate(zip(found, multiplied(), strict=True)):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(x, a @ (b + i), rtol=1e-12, atol=1e-12)


def test_the_threads_of_a_blas_are_restored_where_a_tile_fails(blas):
    def fail(i):
        assert threads(blas) == {1}
        raise ValueError("a tile failed")

    many = Threads(2, lambda _: products.side_by_side(products.cores()))
    with pytest.raises(ValueError, match="a tile failed"):
        list(in_order(many, fail, range(4), 4))
    assert threads(blas) == {2}


@pytest.mark.parametrize("workers", [1, 2, 4, 8, 16])
def test_no_thread_is_without_a_tile_of_a_symmetric_kernel(workers):
    pairs = for_all_threads(Cores(workers), 1, 1 << 40)
    assert len(make_grid(4000, 4000, pairs, True, even=True)) >= workers


class Cores:
    """As much of a job as its tiles depend on."""

    counts, same, traced = (4000, 4000), True, False
    plan = SimpleNamespace(pairs=8_002_000, cost=SimpleNamespace(entries=10 * 8_002_000))

    def __init__(self, workers):
        self.at = SimpleNamespace(
            device="cpu", backend=SimpleNamespace(workers=lambda device: workers)
        )
