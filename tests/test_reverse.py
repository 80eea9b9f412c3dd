"""Gradients of kernels whose tiles are computed again, against those of every operation."""

import os
import weakref
from dataclasses import replace

import numpy as np
import pytest

from ntcore import stax
from ntcore.conformance.cases import first, layer_classes
from ntcore.conformance.fixtures import using
from ntcore.conformance.inputs import pair, patterns
from ntcore.conformance.tolerances import tolerance
from ntcore.entry import Extras, kernels_of
from ntcore.inputs import leaves_of
from ntcore.parts import Parts, program_within
from ntcore.plan import Options
from ntcore.record import iter_leaves, map_leaves
from ntcore.sizing import FOLLOWED
from ntcore.stax import AvgPool, Conv, Dense, Erf, FanInSum, FanOut, Flatten, GlobalAvgPool, Relu

torch = pytest.importorskip("torch")

TOLERANCE = tolerance("autodiff", np.float64)
SIZES = (1 << 21, 1 << 8)  # bytes of a tile: all pairs at once, and parts of one pair
ARRAYS = ("nngp", "ntk", "cov1", "cov2")


@pytest.fixture(autouse=True)
def _only_where_recomputed(backend):
    if backend.record.with_pullback is None:
        pytest.skip("follows every operation, or none")


def tensor(x):
    return torch.tensor(np.asarray(x), dtype=torch.float64, requires_grad=True)


def drawn(*shape, seed=0):
    return tensor(np.random.default_rng([seed, *shape]).standard_normal(shape))


def weighted(kernels):
    """A sum of all arrays of some kernels with fixed weights."""
    arrays = [getattr(k, n, None) for k in leaves_of(kernels) for n in ARRAYS]
    rng = np.random.default_rng(5)
    return sum(
        (x * torch.tensor(rng.standard_normal(x.shape))).sum() for x in arrays if x is not None
    )


def gradients(record, fn, args):
    with using(record):
        value = fn()
    return value, torch.autograd.grad(value, args, allow_unused=True, materialize_grads=True)


def compare(record, fn, args, sizes=SIZES):
    """Compare values and gradients for tiles of several sizes."""
    want = gradients(replace(record, with_pullback=None), fn, args)
    scale = max(float(g.abs().max()) for g in want[1])
    for size in sizes:
        got = gradients(replace(record, tile_bytes=lambda device, size=size: size), fn, args)
        assert "_Recomputed" in ancestors(got[0]) and "_Recomputed" not in ancestors(want[0])
        one, other = (float(found[0].detach()) for found in (got, want))
        assert abs(one - other) <= TOLERANCE * max(scale, abs(other))
        for one, other in zip(got[1], want[1], strict=True):
            assert float((one - other).abs().max()) <= TOLERANCE * scale


def ancestors(value):
    """Names of everything that a value was made by."""
    names, ahead = set(), [value.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in names:
            names.add(node)
            ahead += [n for n, _ in node.next_functions]
    return " ".join(node.name() for node in names)


# --- the same gradients -------------------------------------------------------------------------


@pytest.mark.parametrize("name", layer_classes())
@pytest.mark.parametrize("alone", [False, True])
def test_every_layer(name, alone, backend):
    for case in first(layer_classes()[name]):
        if alone and case.shape1 != case.shape2:
            continue
        leaves = [tensor(x) for x in iter_leaves(case.network)]
        given = iter(leaves)
        net = map_leaves(case.network, lambda _, given=given: next(given))
        inputs = [tensor(x) for x in pair(case, 4, 3)][: 1 if alone else 2]
        graphs = patterns(case.network, *(x.shape for x in inputs))
        if graphs is not None and graphs[0].dtype.kind == "f":
            one = tensor(graphs[0])
            graphs = one, one if alone else tensor(graphs[1])
            leaves += graphs
        x1, x2 = (*inputs, None)[:2]

        def fn(net=net, x1=x1, x2=x2, graphs=graphs):
            return weighted(kernels_of(net, x1, x2, Options(cov=True), Extras(pattern=graphs)))

        compare(backend.record, fn, [*leaves, *inputs])


def block(strides, W, b):
    first = Conv(4, (3, 3), strides, "SAME", W_std=W)
    main = stax.serial(Relu(), first, Relu(), Conv(4, (3, 3), None, "SAME"))
    side = Conv(4, (1, 1), strides, "SAME", b_std=b)
    return stax.serial(FanOut(2), stax.parallel(main, side), FanInSum())


def strided(W, b):
    return stax.serial(
        Conv(4, (3, 3), padding="SAME", W_std=W, b_std=b),
        block((1, 1), W, b),
        block((2, 2), W, b),
        GlobalAvgPool(),
        Dense(1, W_std=W),
    )


def attentive(W, b):
    return stax.serial(
        Conv(4, (2, 2), W_std=W, b_std=b),
        stax.LayerNorm(),
        stax.GlobalSelfAttention(4, 4, 4, 2, linear_scaling=True),
        Relu(),
        stax.Dropout(0.8),
        Flatten(),
        Dense(1, W_std=W),
    )


def pooling(W, b):
    return stax.serial(
        Conv(4, (3, 3), None, "SAME", W_std=W, b_std=b),
        Erf(),
        AvgPool((2, 2), (2, 2)),
        Conv(4, (2, 2), None, "CIRCULAR", W_std=W),
        Relu(),
    )


def mapping(W, b):
    return stax.serial(
        Dense(4, W_std=W, b_std=b),
        stax.GlobalSelfAttention(4, 4, 4, 2, W_key_std=W, W_out_std=W, b_std=b),
        AvgPool((2, 2), (2, 2)),
        Relu(),
        Flatten(),
    )


NETWORKS = {"residual": strided, "attention": attentive, "space": pooling, "features": mapping}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("options", [{}, {"diagonal_spatial": True}, {"mask_constant": 7.0}])
@pytest.mark.parametrize("alone", [False, True])
def test_networks(name, options, alone, backend):
    W, b, x1, x2 = tensor(1.2), tensor(0.3), drawn(3, 9, 8, 2), drawn(4, 9, 8, 2, seed=1)
    if "mask_constant" in options:
        for x in (x1, x2):
            x.data[0, :, 5:] = x.data[2, 6:] = 7.0
    net = NETWORKS[name](W, b)
    args = [W, b, x1] if alone else [W, b, x1, x2]

    def fn():
        return weighted(net.kernel_fn(x1, None if alone else x2, **options))

    compare(backend.record, fn, args)


def test_several_inputs(backend):
    W, b = tensor(1.2), tensor(0.3)
    net = stax.serial(
        stax.parallel(
            stax.serial(Conv(4, (3,), W_std=W), Relu(), GlobalAvgPool()),
            stax.serial(Dense(4, b_std=b), Erf()),
        ),
        stax.FanInConcat(),
        Dense(1, W_std=W),
    )
    x1, x2 = (drawn(3, 6, 2), drawn(3, 5)), (drawn(4, 6, 2, seed=1), drawn(4, 5, seed=1))
    compare(backend.record, lambda: weighted(net.kernel_fn(x1, x2)), [W, b, *x1, *x2])
    compare(backend.record, lambda: weighted(net.kernel_fn(x1)), [W, b, *x1])


@pytest.mark.parametrize("diagonal_batch", [False, True])
def test_kernels_of_kernels(diagonal_batch, backend):
    W, b, x1, x2 = tensor(1.2), tensor(0.3), drawn(3, 5, 4, 2), drawn(4, 5, 4, 2, seed=1)
    below = stax.serial(Conv(4, (3, 3), None, "SAME", W_std=W, b_std=b), Relu())
    above = stax.serial(Conv(4, (2, 2), W_std=W), Relu(), Flatten())

    def fn(*inputs):
        found = below.kernel_fn(*inputs, diagonal_batch=diagonal_batch)
        return weighted(above.kernel_fn(found))

    compare(backend.record, lambda: fn(x1, x2), [W, b, x1, x2])
    compare(backend.record, lambda: fn(x1), [W, b, x1])


def test_examples_that_are_picked(backend):
    W, x1, x2 = tensor(1.2), drawn(4, 5, 2), drawn(5, 5, 2, seed=1)
    net = stax.serial(
        Conv(4, (3,), W_std=W), Relu(), stax.Index((slice(1, None, 2),)), Conv(4, (2,)), Relu()
    )
    compare(backend.record, lambda: weighted(net.kernel_fn(x1, x2)), [W, x1, x2])
    compare(backend.record, lambda: weighted(net.kernel_fn(x1)), [W, x1])


def test_variances_that_are_not_kept(backend):
    W, x1, x2 = tensor(1.2), drawn(6, 16, 16, 1), drawn(5, 16, 16, 1, seed=1)
    net = stax.serial(*[Conv(4, (3, 3), None, "SAME", W_std=W), Relu()] * 6, Flatten())
    budget = 90_000
    plan = net.plan(x1.shape, x2.shape, itemsize=8, memory_budget=budget)
    assert not plan.keeps
    for second in (x2, None):

        def fn(second=second):
            found = net.kernel_fn(x1, second, ("nngp", "ntk"), memory_budget=budget)
            return (found.nngp - 3 * found.ntk).square().sum()

        args = [W, x1] if second is None else [W, x1, x2]
        compare(backend.record, fn, args, SIZES[:1])


def test_threads_change_no_bit(backend, monkeypatch):
    W, x1 = tensor(1.2), drawn(5, 9, 8, 2)
    net, found = strided(W, 0.1), []
    record = replace(backend.record, tile_bytes=lambda device: 1 << 12)
    for workers in (1, 4):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, n=workers: set(range(n)))
        found.append(gradients(record, lambda: weighted(net.kernel_fn(x1)), [W, x1])[1])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


# --- what is asked for --------------------------------------------------------------------------


def test_derivatives_are_those_of_differences():
    W, b, x1, x2 = tensor(1.2), tensor(0.3), drawn(2, 4, 3, 1), drawn(2, 4, 3, 1, seed=1)

    def fn(W, b, x1, x2=None):
        net = stax.serial(Conv(2, (2, 2), W_std=W, b_std=b), Relu(), GlobalAvgPool(), Dense(1))
        found = net.kernel_fn(x1, x2)
        return tuple(x for x in (found.nngp, found.ntk, found.cov1, found.cov2) if x is not None)

    for args in ((W, b, x1, x2), (W, b, x1)):
        assert torch.autograd.gradcheck(fn, args)
        assert torch.autograd.gradcheck(fn, args, check_batched_grad=True)


def test_second_derivatives_are_those_of_differences():
    W, b, x1, x2 = tensor(1.2), tensor(0.3), drawn(2, 3, 1), drawn(2, 3, 1, seed=1)

    def fn(W, b, x1, x2=None):
        net = stax.serial(Conv(2, (2,), W_std=W, b_std=b), Erf(), Flatten(), Dense(1))
        return net.kernel_fn(x1, x2, ("nngp", "ntk"))

    for args in ((W, b, x1, x2), (W, b, x1)):
        assert torch.autograd.gradgradcheck(fn, args)


def test_arguments_made_of_one_another():
    x = drawn(3, 4)

    def fn(x):
        W = x.std()
        net = stax.serial(Dense(1, W_std=W), Erf(), Dense(1, W_std=2 * W))
        return net.kernel_fn(x, x * x[0, 0], "ntk")

    assert torch.autograd.gradcheck(fn, (x,)) and torch.autograd.gradgradcheck(fn, (x,))


def test_equal_batches_have_gradients_of_their_own(backend):
    kernel_fn = stax.serial(Dense(8, 1.2, 0.3), Erf(), Dense(1)).kernel_fn
    x1 = drawn(4, 3)
    x2 = x1.detach().clone().requires_grad_()
    weights = torch.tensor(np.random.default_rng(1).standard_normal((4, 4)))

    def found(one, two, *wanted):
        return torch.autograd.grad((kernel_fn(one, two, "nngp") * weights).sum(), wanted)

    first, second = found(x1, x2, x1, x2)
    assert torch.allclose(first, found(x1, x2.detach(), x1)[0], rtol=1e-12)
    assert torch.allclose(first + second, found(x1, x1, x1)[0], rtol=1e-12)
    step = 1e-6 * torch.tensor(np.random.default_rng(2).standard_normal((4, 3)))
    with torch.no_grad():
        high, low = (kernel_fn(x1, x2 + s, "nngp") for s in (step, -step))
    slope = ((high - low) * weights).sum() / 2
    assert torch.allclose(slope, (second * step).sum(), rtol=1e-6)


def test_only_what_is_asked_for(backend):
    W, x1, x2 = tensor(1.2), drawn(3, 9, 8, 2), drawn(4, 9, 8, 2, seed=1)
    net, x2 = strided(W, 0.1), x2.detach()
    compare(backend.record, lambda: net.kernel_fn(x1, x2, "ntk").sum(), [W])
    compare(backend.record, lambda: net.kernel_fn(x1, x2).cov1.sum(), [x1])
    assert not strided(1.2, 0.1).kernel_fn(x2, x2[:1]).ntk.requires_grad
    with torch.no_grad():
        assert not net.kernel_fn(x1, x2, "ntk").requires_grad


def test_backwards_twice(backend):
    W, x1 = tensor(1.2), drawn(3, 9, 8, 2)
    value = strided(W, 0.1).kernel_fn(x1, None, "ntk").sum()
    once, again = (torch.autograd.grad(value, [W, x1], retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        value.backward()
        value.backward()


# --- what is held -------------------------------------------------------------------------------


class Held:
    """Bytes that autograd holds, and has held at most, for the way back of one thread."""

    def __init__(self):
        self.now = self.most = 0

    def pack(self, x):
        size = x.untyped_storage().nbytes()
        self.now += size
        self.most = max(self.most, self.now)
        box = {x}
        weakref.finalize(box, self.drop, size)
        return box

    def drop(self, size):
        self.now -= size

    def __enter__(self):
        self.hooks = torch.autograd.graph.saved_tensors_hooks(
            self.pack, lambda box: next(iter(box))
        )
        self.hooks.__enter__()
        return self

    def __exit__(self, *args):
        self.hooks.__exit__(*args)


TILE = 1 << 14


def held(record, depth, n):
    W, x = tensor(1.2), drawn(n, 8, 8, 1)
    net = stax.serial(*[Conv(1, (3, 3), None, "SAME", W_std=W), Relu()] * depth, GlobalAvgPool())
    with using(replace(record, tile_bytes=lambda device: TILE)), Held() as found:
        value = net.kernel_fn(x, x.detach() + 1, "ntk").sum()
        before = found.most
        value.backward()
    return before, found.most


def test_one_tile_is_held_at_a_time(backend, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    every = replace(backend.record, with_pullback=None)
    few, many, deep = (held(backend.record, *size) for size in ((3, 1), (3, 3), (12, 2)))
    inputs = 3 * 3 * 64 * 8
    assert max(few[0], many[0], deep[0]) <= inputs
    assert many[1] <= few[1] + 2 * inputs
    assert deep[1] <= FOLLOWED * TILE
    assert held(every, 3, 3)[1] > 8 * held(every, 3, 1)[1] > 8 * few[1]


def test_parts_are_followed_one_by_one(backend, monkeypatch):
    programs = []

    def made(*args):
        programs.append(program_within(*args))
        return programs[-1]

    monkeypatch.setattr("ntcore.reverse.program_within", made)
    held(backend.record, 3, 2)
    assert isinstance(programs[-1], Parts) and len(programs[-1]) > 1


# --- other ways of following --------------------------------------------------------------------


def kernel_sum(x1, x2):
    layers = [Conv(1, (3, 3), None, "SAME", W_std=1.3), Relu()] * 3
    return stax.serial(*layers, GlobalAvgPool()).kernel_fn(x1, x2, "ntk").sum()


def test_transformations_of_functions(backend):
    record = replace(backend.record, tile_bytes=lambda device: 1 << 12)
    x1, x2 = drawn(4, 8, 8, 2), drawn(3, 8, 8, 2, seed=1).detach()
    plain, way = x1.detach(), drawn(4, 8, 8, 2, seed=2).detach()
    with using(record):
        (want,) = torch.autograd.grad(kernel_sum(x1, x2), x1)
        found = torch.func.grad(kernel_sum)(plain, x2)
        _, slope = torch.func.jvp(lambda x: kernel_sum(x, x2), (plain,), (way,))
        _, dual = torch.autograd.functional.jvp(lambda x: kernel_sum(x, x2), plain, way)
        with torch.autograd.forward_ad.dual_level():
            made = torch.autograd.forward_ad.make_dual(plain, way)
            forward = torch.autograd.forward_ad.unpack_dual(kernel_sum(made, x2)).tangent
        each = torch.func.vmap(lambda x: kernel_sum(x[None], x2))(plain)
        alone = torch.stack([kernel_sum(x[None], x2) for x in plain])
        inside = torch.func.vmap(lambda s: s * kernel_sum(x1, x2))(torch.ones(2).double())
    scale = float(want.abs().max())
    assert float((found - want).abs().max()) <= TOLERANCE * scale
    for other in (slope, dual, forward):
        assert abs(float(other - (want * way).sum())) <= TOLERANCE * scale * want.numel()
    assert float((each - alone).abs().max()) <= TOLERANCE * float(alone.abs().max())
    (again,) = torch.autograd.grad(inside.sum() / 2, x1)
    assert float((again - want).abs().max()) <= TOLERANCE * scale


def test_functions_with_tensors_of_their_own(backend):
    slope, x = tensor(0.3), drawn(3, 4)

    def nngp(k, q1, q2):
        return slope * k * k

    net = stax.serial(Dense(1), stax.Elementwise(nngp_fn=nngp), Dense(1))
    (found,) = torch.autograd.grad(net.kernel_fn(x, None, "nngp").sum(), slope)
    want = net.kernel_fn(x, None, "nngp").sum() / slope
    found, want = float(found), float(want.detach())
    assert abs(found - want) <= TOLERANCE * abs(want)
