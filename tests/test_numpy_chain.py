"""Chains in NumPy alone: how entries are gathered, and pieces of any size."""

import importlib

import numpy as np
import pytest

from ntcore.ops import REFERENCE, Table
from tests.test_chains import CHAINED, DEEP, alone, images, spied

chain, backend, sums, tables, beside = (
    importlib.import_module(f"ntcore.backends.{name}")
    for name in ("numpy_chain", "numpy", "numpy_sums", "chain_tables", "numpy_beside")
)


class Here:
    """A place that needs to know no more than NumPy."""

    xp = np

    @staticmethod
    def index(x):
        return x


def window(size, taps, step=1, seams=()):
    """A table of sums of neighbours, none of them beyond a border or across a seam."""
    places = np.arange(0, size, step)
    index = places + np.asarray(taps)[:, None]
    inside = (index >= 0) & (index < size)
    for seam in seams:
        inside &= (index >= seam) == (places >= seam)
    return Table(np.where(inside, index, -1))


GATHERED = {
    "a window": window(32, (-1, 0, 1)),
    "seams": window(40, (-1, 0, 1), seams=(11, 20, 31)),
    "a stride": window(33, (-1, 0, 1), step=2),
    "one tap": window(9, (0,)),
    "beyond": window(6, (-4, 5)),
    "turned": Table(np.arange(7)[::-1][None, :]),
    "at random": Table(np.random.default_rng(3).integers(-1, 20, (4, 50))),
    "nothing": Table(np.full((2, 5), -1)),
}


@pytest.mark.parametrize("name", GATHERED)
def test_gathering(name):
    table = GATHERED[name]
    x = np.random.default_rng(1).standard_normal((3, max(table.index.max() + 1, 40), 5))
    out = np.full((3, table.index.shape[1], 5), np.nan)
    sums.gather(x, table, out)
    want = REFERENCE["gather_sum"](Here, x, table)
    assert np.max(np.abs(out - want)) <= 4 * np.finfo(float).eps * np.max(np.abs(want), initial=1)


def test_a_window_is_few_calls():
    x, out = np.zeros((1, 40, 5)), np.zeros((1, 40, 5))
    assert len(sums.gathering(x, GATHERED["seams"], out)) <= 7
    assert len(sums.gathering(x[:, :33], GATHERED["a stride"], out[:, :17])) <= 4


@pytest.mark.parametrize("seed", range(5))
def test_runs_hold_every_entry_once(seed):
    rng = np.random.default_rng(seed)
    reads = {
        int(i): tuple(map(int, np.sort(rng.choice(60, rng.integers(0, 4), False))))
        for i in np.sort(rng.choice(60, 20, False))
    }
    found = {}
    for entries, taps in sums.progressions(reads, np.inf):
        every = range(60)[entries]
        for n, entry in enumerate(every):
            assert entry not in found
            found[entry] = tuple(range(60)[own][n] for own in taps)
            assert all(len(range(60)[own]) == len(every) for own in taps)
    assert found == reads


@pytest.mark.parametrize("first, held", [(0, 3), (1, 1), (2, 2), (0, 4)])
def test_rows_of_a_table(first, held):
    index = np.concatenate([window(5, (-1, 0, 1)).index + 5 * r for r in range(4)], axis=1)
    valid = np.tile(window(5, (-1, 0, 1)).valid, 4)
    table = Table(np.where(valid, index, -1))
    part = tables.rows_of(table, 4, 20, first, held)
    x = np.random.default_rng(2).standard_normal((1, 20, 2))
    whole = REFERENCE["gather_sum"](Here, x, table)[:, 5 * first : 5 * (first + held)]
    got = REFERENCE["gather_sum"](Here, x[:, 5 * first : 5 * (first + held)], part)
    assert np.array_equal(got, whole)


@pytest.mark.parametrize("name", [*CHAINED, *(f"deep {name}" for name in DEEP)])
@pytest.mark.parametrize("counts", [(3, 5), (2, 150), (9, 0)])
@pytest.mark.parametrize("slab, most", [(1 << 9, 1 << 24), (1 << 12, 0), (1 << 21, 1 << 24)])
def test_pieces_of_any_size(name, counts, slab, most, monkeypatch):
    net, shape = DEEP[name[5:]] if name.startswith("deep ") else CHAINED[name]
    x1, x2 = images(shape, *counts)
    monkeypatch.setattr(backend, "_chain_runner", lambda: chain.run)
    monkeypatch.setattr(chain, "SLAB_BYTES", slab)
    monkeypatch.setattr(beside, "MOST_BYTES", most)
    ran = spied(monkeypatch)
    found = net.kernel_fn(x1, x2, ("nngp", "ntk"))
    assert any(ran)
    want = alone(monkeypatch, lambda: net.kernel_fn(x1, x2, ("nngp", "ntk")))
    for a, b in zip(found, want, strict=True):
        assert np.max(np.abs(a - b)) <= 8 * np.finfo(float).eps * np.max(np.abs(b))


def test_entries_that_read_nothing_are_passed_over():
    index = np.array([[-1, 0, 1, -1, -1, 3, 4], [-1, 1, 2, -1, -1, 4, -1]])
    runs = tables.reading(Table(index))
    assert [run for run, _ in runs] == [slice(1, 3), slice(5, 7)]
    x = np.random.default_rng(2).standard_normal((1, 5, 2))
    whole = REFERENCE["gather_sum"](Here, x, Table(index))
    for run, table in runs:
        assert np.array_equal(REFERENCE["gather_sum"](Here, x, table), whole[:, run])
    assert tables.reading(GATHERED["nothing"]) == []
    assert tables.reading(GATHERED["turned"]) == [(slice(0, 7), GATHERED["turned"])]


def test_variances_of_pairs_take_no_more_than_they_may(monkeypatch):
    sides = tuple(np.ones((1000, n)) for n in (6, 12))
    for most in (0, 1 << 18, 1 << 20, 1 << 24):
        monkeypatch.setattr(beside, "MOST_BYTES", most)
        batches = beside.Batches(False, sides, None, None, (6, 12), {}, 50.0)
        pairs = np.zeros((6, 12), int)
        for group in batches.groups(1000):
            found = batches.of(*group)
            pairs[group] += 1
            spread = sum(x.nbytes for x in found.sides)
            assert spread <= max(most, sum(x[:, group[k]].nbytes for k, x in enumerate(sides)))
        assert (pairs == 1).all()


def test_loops_of_others_stay_as_they_are(monkeypatch):
    before = np.getbufsize()
    monkeypatch.setattr(backend, "_chain_runner", lambda: chain.run)
    net, shape = CHAINED["pools"]
    net.kernel_fn(*images(shape, 4, 5))
    assert np.getbufsize() == before
