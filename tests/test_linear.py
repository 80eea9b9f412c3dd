"""Linear layers beyond the convolution: kernels, masks and finite networks of neural_tangents.

The table and the script that makes it are in conformance/reference. What neural_tangents does not
compute, or computes otherwise than its own finite networks, is checked against those here.
"""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ntcore import errors, layers, stax
from ntcore.conformance.fixtures import Library, library
from ntcore.model import Model
from ntcore.record import map_leaves

REFERENCE = Path(__file__).parents[1] / "conformance" / "reference"
TABLE: dict[str, Any] = json.loads((REFERENCE / "linear.json").read_text(encoding="utf-8"))
with np.load(REFERENCE / "linear.npz") as arrays:
    VALUES: dict[str, np.ndarray] = dict(arrays)

MASK = 0.5
TOLERANCE = 1e-9
STEP = 12  # a library that compiles runs one case in so many

#: The first spatial axis contracted with the rows of an array, and the channels.
ROWS, LAST = (((1,), (0,)), ((), ())), (((3,), (0,)), ((), ()))


def array(*sizes: int) -> np.ndarray:
    """The arrays of the table."""
    return np.random.default_rng(sum(sizes)).standard_normal(sizes)


def sparse(*sizes: int) -> np.ndarray:
    found = array(*sizes)
    return np.where(np.arange(found.size).reshape(sizes) % 2 == 0, found, 0.0)


def model(net: str, backend: Library) -> Model:
    names = {
        **vars(stax),
        "array": lambda *sizes: backend.asarray(array(*sizes)),
        "sparse": lambda *sizes: backend.asarray(sparse(*sizes)),
    }
    found: Model = eval(net, names)
    return found


def some(cases: list[Any]) -> Any:
    return pytest.mark.parametrize(
        "i", range(len(cases)), ids=["-".join(map(str, case)) for case in cases]
    )


@some(TABLE["kernels"])
def test_kernels_of_neural_tangents(backend: Library, i: int) -> None:
    if backend.record.stage is not None and i % STEP:
        pytest.skip("one case in twelve where every shape is compiled")
    net, x1, x2, masked = TABLE["kernels"][i]
    first = backend.asarray(VALUES[f"input/{x1}"])
    second = None if x2 is None else backend.asarray(VALUES[f"input/{x2}"])
    kwargs = {"mask_constant": MASK} if masked else {}
    k = model(net, backend).kernel_fn(first, second, None, **kwargs)
    for name in ("nngp", "ntk", "cov1"):
        want = VALUES[f"kernel/{i}/{name}"]
        got = backend.to_numpy(getattr(k, name))
        assert got.shape == want.shape
        assert np.max(np.abs(got - want)) <= TOLERANCE * max(1.0, float(np.max(np.abs(want))))
    for name in ("mask1", "mask2"):
        if f"kernel/{i}/{name}" in VALUES:
            got = backend.to_numpy(getattr(k, name))
            assert np.array_equal(got, VALUES[f"kernel/{i}/{name}"])


@some(TABLE["finite"])
def test_finite_networks_of_neural_tangents(backend: Library, i: int) -> None:
    if backend.record.stage is not None and i % STEP:
        pytest.skip("one case in twelve where every shape is compiled")
    net, name = TABLE["finite"][i]
    x, rng = backend.asarray(VALUES[f"input/{name}"]), np.random.default_rng(i)
    found = model(net, backend)
    _, params = found.init_fn(0, x.shape, like=x)
    params = map_leaves(params, lambda p: backend.asarray(rng.standard_normal(tuple(p.shape))))
    masked = f"finite/{i}/mask" in VALUES
    kwargs = {"mask_constant": MASK} if masked else {}
    out = stax.unmask_fn(found.apply_fn)(params, x, **kwargs)
    assert np.allclose(backend.to_numpy(out), VALUES[f"finite/{i}"], rtol=0, atol=1e-12)
    if masked:
        mask = backend.to_numpy(found.apply_fn(params, x, **kwargs).mask)
        assert np.array_equal(np.broadcast_to(mask, out.shape), VALUES[f"finite/{i}/mask"])


def offsets(model: Model, *shapes: tuple[int, ...]) -> list[list[int]]:
    """The offsets that a network asks of its input."""
    edge = model.plan(*shapes).edges[0]
    return [sorted(axis) for axis in edge.cross.axes]


def read_by(net: Model, x1: np.ndarray, x2: np.ndarray) -> set[int]:
    """The offsets of two lines on which a kernel depends, by trying each pair of positions."""
    found = set()
    for p in range(x1.shape[1]):
        for q in range(x2.shape[1]):
            one, two = np.zeros_like(x1), np.zeros_like(x2)
            one[:, p], two[:, q] = 1.0, 1.0
            if np.any(net.kernel_fn(one, two, "nngp")):
                found.add(q - p)
    return found


@pytest.mark.parametrize("sizes", [(4, 4), (4, 6)])
@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR"])
@pytest.mark.parametrize(("width", "stride"), [(1, 1), (2, 2), (3, 2), (4, 3), (9, 2)])
@pytest.mark.parametrize("head", ["Identity()", "Flatten()", "Conv(2, (1,), (2,))"])
def test_a_transposed_convolution_asks_for_what_it_reads(
    head: str, width: int, stride: int, padding: str, sizes: tuple[int, int]
) -> None:
    if head == "Flatten()" and sizes[0] != sizes[1]:
        pytest.skip("images of two sizes are not flattened")
    top = eval(head, vars(stax))
    net = stax.serial(stax.ConvTranspose(3, (width,), (stride,), padding), top)
    x1, x2 = (np.ones((1, n, 1)) for n in sizes)
    (asked,) = offsets(net, (1, sizes[0], 2), (1, sizes[1], 2))
    assert set(asked) == read_by(net, x1, x2)


def test_a_transposed_convolution_asks_for_a_part_of_the_offsets() -> None:
    net = stax.serial(
        stax.ConvTranspose(3, (3, 3), (2, 2), "SAME"), stax.Relu(), stax.AvgPool((2, 2), (2, 2)),
        stax.Flatten(),
    )  # fmt: skip
    assert offsets(net, (1, 8, 8, 3)) == [[0], [0]]


def test_what_reads_nothing_has_its_bias() -> None:
    net = stax.ConvTranspose(3, (1,), (3,), "SAME", 1.2, 0.5)
    k = net.kernel_fn(np.ones((1, 2, 1)), None, ("nngp", "ntk"))
    want = np.full((6, 6), 0.25)
    want[np.ix_([0, 3], [0, 3])] += 1.44
    assert np.allclose(k.nngp[0, 0], want)
    assert np.allclose(k.ntk[0, 0], want)


def test_local_positions_are_uncorrelated() -> None:
    x = np.random.default_rng(3).standard_normal((2, 4, 5, 3))
    net = stax.ConvLocal(3, (2, 3), (1, 2), "SAME", 1.2, 0.5)
    k = net.kernel_fn(x, None, ("nngp", "ntk"))
    shared = stax.Conv(3, (2, 3), (1, 2), "SAME", 1.2, 0.5).kernel_fn(x, None, ("nngp", "ntk"))
    height, width = (np.eye(n, dtype=bool) for n in k.nngp.shape[2::2])
    same = height[:, :, None, None] & width
    for got, want in zip(k, shared, strict=True):
        assert np.all(got[:, :, ~same] == 0)
        assert np.array_equal(got[:, :, same], want[:, :, same])
    assert offsets(net, x.shape) == [[0], [0]]


def test_local_images_of_two_sizes_with_outputs_of_one() -> None:
    """The weights of three positions serve images of five and of six positions."""
    rng = np.random.default_rng(4)
    x1, x2 = rng.standard_normal((2, 5, 3)), rng.standard_normal((2, 6, 3))
    net = stax.ConvLocal(3, (3,), (2,), "SAME", 1.2, 0.5)
    shared = stax.Conv(3, (3,), (2,), "SAME", 1.2, 0.5)
    got, want = (n.kernel_fn(x1, x2, "nngp") for n in (net, shared))
    assert np.allclose(got, want * np.eye(3))


NETWORKS = {
    "filters of several orders of axes": (
        "serial(Conv(72, (2, 2), None, 'SAME', 1.2, 0.1, ('NHWC', 'HWIO', 'NWHC')), Relu(),"
        " ConvLocal(72, (3, 2), (1, 2), 'SAME', 1.2, 0.3, ('NWHC', 'HWIO', 'NHWC')))"),
    "transposed ones": (
        "serial(Conv(72, (2, 2), None, 'SAME', 1.2, 0.1, ('NHWC', 'HWIO', 'NWHC')), Relu(),"
        " ConvTranspose(72, (3, 2), (1, 2), 'SAME', 1.2, 0.3, ('NWHC', 'HWIO', 'NHWC')))"),
    "a resize above one convolution": (
        "serial(Conv(96, (2, 2), None, 'SAME', 1.2, 0.1), Relu(),"
        " ImageResize((-1, 5, 3, -1), 'linear'))"),
    "a cubic one": (
        "serial(Conv(96, (2, 2), None, 'SAME', 1.2, 0.1), Relu(),"
        " ImageResize((-1, 2, 6, -1), 'cubic'), Conv(96, (2, 2), None, 'SAME'))"),
    "a product that turns the axes": (
        "serial(Conv(96, (2, 2), None, 'SAME', 1.2, 0.1, ('NHWC', 'HWIO', 'NWHC')), Relu(),"
        " DotGeneral(lhs=array(2, 3), dimension_numbers=(((1,), (2,)), ((), ())), batch_axis=0))"),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("masked", [False, True])
def test_average_of_finite_networks(name: str, masked: bool) -> None:
    net = model(NETWORKS[name], library("numpy"))
    x, draws = np.random.default_rng(5).standard_normal((2, 3, 4, 2)), 40
    x[1, 0, 1:] = x[0, :, 3] = MASK
    kwargs = {"mask_constant": MASK} if masked else {}
    k = net.kernel_fn(x, None, None, **kwargs)
    outer = []
    for seed in range(draws):
        shape, params = net.init_fn(seed, x.shape)
        y = stax.unmask_fn(net.apply_fn)(params, x, **kwargs)
        assert y.shape == shape
        y = np.moveaxis(y, (k.batch_axis, k.channel_axis), (0, -1))
        outer.append(np.einsum("ahwc,bijc->abhiwj", y, y) / y.shape[-1])
    error = np.std(outer, axis=0, ddof=1) / np.sqrt(draws)
    assert np.all(np.abs(np.mean(outer, axis=0) - k.nngp) < 6 * error + 1e-12)
    assert np.max(error) < 0.05 * np.max(k.nngp)


METHODS = (
    ("nearest",), ("linear", "bilinear", "trilinear", "triangle"), ("cubic", "bicubic", "tricubic"),
    ("lanczos3",), ("lanczos5",),
)  # fmt: skip


@pytest.mark.parametrize("names", METHODS, ids=[names[0] for names in METHODS])
def test_every_method_resizes_covariances_as_it_does_images(names: tuple[str, ...]) -> None:
    x = np.random.default_rng(6).standard_normal((2, 5, 6, 3))
    for sizes in ((8, 2), (5, 13), (1, 6), (3, -1)):
        for antialias in (True, False):
            found = []
            for name in names:
                net = stax.ImageResize((-1, *sizes, -1), name, antialias)
                y = net.apply_fn((), x)
                found.append(net.kernel_fn(x, None, "nngp"))
                want = np.einsum("ahwc,bijc->abhiwj", y, y) / 3
                assert np.allclose(found[-1], want, rtol=0, atol=1e-13)
            assert all(np.array_equal(k, found[0]) for k in found)


def test_a_member_of_an_enumeration_is_a_method() -> None:
    method = enum.Enum("ResizeMethod", ["NEAREST", "LINEAR", "LANCZOS3", "LANCZOS5", "CUBIC"])
    for member in method:
        got, want = (stax.ImageResize((-1, 3, -1), m) for m in (member, member.name.lower()))
        assert got.network == want.network
        assert eval(repr(got.network), vars(layers)) == got.network


def test_the_nearest_position_asks_for_a_part_of_the_offsets() -> None:
    net = stax.serial(
        stax.ImageResize((-1, 8, 8, -1), "nearest"), stax.Conv(3, (3, 3), padding="SAME"),
        stax.Relu(), stax.AvgPool((2, 2), (2, 2)), stax.Flatten(),
    )  # fmt: skip
    assert offsets(net, (1, 4, 4, 3)) == [[-1, 0, 1]] * 2
    assert offsets(stax.ImageResize((-1, -1, 8, -1), "linear"), (1, 2, 3, 1))[1] == [
        -2,
        -1,
        0,
        1,
        2,
    ]


def test_a_product_asks_for_every_offset_of_what_it_contracts_alone() -> None:
    numbers = (((1,), (1,)), ((2,), (0,)))
    net = stax.serial(
        stax.DotGeneral(rhs=array(4, 3), dimension_numbers=numbers), stax.Flatten(batch_axis=1)
    )
    assert offsets(net, (1, 3, 4, 5, 2)) == [[-2, -1, 0, 1, 2], [0], [0]]


def test_without_an_array_a_product_is_the_identity(backend: Library) -> None:
    x = backend.asarray(np.random.default_rng(7).standard_normal((2, 3, 4)))
    got, want = (
        stax.DotGeneral().kernel_fn(x, None, "nngp"),
        stax.Identity().kernel_fn(x, None, "nngp"),
    )
    assert np.array_equal(backend.to_numpy(got), backend.to_numpy(want))
    assert np.array_equal(backend.to_numpy(stax.DotGeneral().apply_fn((), x)), backend.to_numpy(x))


def test_numpy_arrays_and_lists_follow_the_inputs(backend: Library) -> None:
    x = backend.asarray(np.random.default_rng(7).standard_normal((2, 3, 4)))
    want, *others = (
        backend.to_numpy(stax.DotGeneral(rhs=a, dimension_numbers=ROWS).kernel_fn(x, None, "nngp"))
        for a in (backend.asarray(array(3, 2)), array(3, 2), array(3, 2).tolist())
    )
    assert all(np.array_equal(other, want) for other in others)


def test_gradient_in_the_array_of_a_product(backend: Library) -> None:
    """The derivative of the kernel in the array, along a random way, against differences."""
    if backend.record.vjp is None:
        pytest.skip(f"{backend.name} has no vjp")
    x = backend.asarray(np.random.default_rng(8).standard_normal((2, 3, 4, 2)))
    way, step = np.random.default_rng(9).standard_normal((3, 2)), 1e-6

    def ntk(a: Any) -> Any:
        product = stax.DotGeneral(rhs=a, dimension_numbers=ROWS)
        return stax.serial(
            stax.Conv(1, (2, 2), padding="SAME"), product, stax.Erf(), stax.Flatten(), stax.Dense(1)
        ).kernel_fn(x, None, "ntk")

    _, pull = backend.record.vjp(ntk, backend.asarray(array(3, 2)))
    (grad,) = pull(backend.asarray(np.ones((2, 2))))
    up, down = (
        np.sum(backend.to_numpy(ntk(backend.asarray(array(3, 2) + h * way)))) for h in (step, -step)
    )
    assert np.isclose(np.sum(backend.to_numpy(grad) * way), (up - down) / (2 * step), rtol=1e-6)


X = (2, 6, 6, 3)
LOCAL = stax.ConvLocal(3, (3, 3))
ERRORS = {
    "numbers of two letters": (
        lambda: stax.ConvTranspose(3, (3, 3), dimension_numbers=("NCH", "OIH", "NCH")),
        errors.ArgumentError, "ConvTranspose got dimension_numbers.*2 axes"),
    "numbers that are none": (
        lambda: stax.ConvLocal(3, (3,), dimension_numbers="NHC"),
        errors.ArgumentError, "ConvLocal got dimension_numbers='NHC'"),
    "an unknown padding": (
        lambda: stax.ConvTranspose(3, (3, 3), padding="same"), errors.ArgumentError, "'same'"),
    "strides of another length": (
        lambda: stax.ConvTranspose(3, (3, 3), (2,)), errors.ShapeError, "one stride"),
    "a transposed filter on too few axes": (
        lambda: stax.ConvTranspose(3, (3,)).plan(X), errors.ShapeError, "1 spatial axes"),
    "a local filter larger than the image": (
        lambda: stax.ConvLocal(3, (7, 3)).plan(X), errors.ShapeError, r"spatial sizes \(6, 6\)"),
    "an unknown method": (
        lambda: stax.ImageResize((-1, 3, 3, -1), "best"), errors.ArgumentError, "'best'.*lanczos5"),
    "resized channels": (
        lambda: stax.ImageResize((-1, 3, 3, 8), "linear"), errors.ArgumentError, "channels"),
    "resized examples": (
        lambda: stax.ImageResize((4, 3, 3, -1), "linear"), errors.ArgumentError, "examples"),
    "sizes that are none": (
        lambda: stax.ImageResize((-1, 3.5, 3, -1), "linear"), errors.ArgumentError, "3.5"),
    "an axis without positions": (
        lambda: stax.ImageResize((-1, 0, 3, -1), "linear"), errors.ArgumentError, "0"),
    "a resize of too few axes": (
        lambda: stax.ImageResize((-1, 3, -1), "linear").plan(X), errors.ShapeError, "3 sizes"),
    "two arrays": (
        lambda: stax.DotGeneral(lhs=1.0, rhs=2.0), errors.ArgumentError, "both lhs and rhs"),
    "numbers for axes that the array lacks": (
        lambda: stax.DotGeneral(rhs=2.0, dimension_numbers=ROWS), errors.ArgumentError,
        r"sizes \(\)"),
    "numbers of unequal length": (
        lambda: stax.DotGeneral(rhs=array(6, 2), dimension_numbers=(((1, 2), (0,)), ((), ()))),
        errors.ArgumentError, "as many"),
    "lists of unequal length": (
        lambda: stax.DotGeneral(rhs=[[1.0, 2.0], [3.0]]), errors.ArgumentError, "lists"),
    "an array of another size": (
        lambda: stax.DotGeneral(rhs=array(5, 2), dimension_numbers=ROWS).plan(X),
        errors.ShapeError, r"sizes \(5, 2\).*\(6, 6\)"),
    "contracted channels": (
        lambda: stax.DotGeneral(rhs=array(3, 2), dimension_numbers=LAST).plan(X),
        errors.PlanError, "channels"),
    "a product along the examples": (
        lambda: stax.DotGeneral(rhs=array(2), dimension_numbers=(((), ()), ((0,), (0,)))).plan(X),
        errors.PlanError, "examples"),
    "local outputs of two sizes": (
        lambda: LOCAL.plan(X, (2, 6, 7, 3)), errors.ShapeError,
        r"ConvLocal\(out_chan=3.*\(4, 4\) and \(4, 5\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case: str) -> None:
    call, error, words = ERRORS[case]
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("method", ["nearest", "linear", "cubic", "lanczos3", "lanczos5"])
@pytest.mark.parametrize("antialias", [True, False])
def test_a_resize_is_that_of_jax(backend: Library, method: str, antialias: bool) -> None:
    if backend.name != "jax":
        pytest.skip("compares with jax.image.resize")
    import jax

    for sizes in ((5, 9), (9, 5), (7, 7), (4, 13), (12, 3)):
        x = backend.asarray(np.random.default_rng(5).standard_normal((2, sizes[0], 3)))
        layer = stax.ImageResize((-1, sizes[1], -1), method, antialias)
        want = jax.image.resize(x, (2, sizes[1], 3), method, antialias)
        got = layer.apply_fn((), x)
        np.testing.assert_allclose(backend.to_numpy(got), backend.to_numpy(want), atol=1e-13)
