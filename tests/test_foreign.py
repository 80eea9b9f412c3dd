"""Layers written for neural_tangents: three functions, one of them of a Kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from array_api_compat import array_namespace

from ntcore import errors, stax
from ntcore.conformance.fixtures import Library

MASK = 9.0
RNG = np.random.default_rng(0)
X1, X2 = RNG.standard_normal((3, 5, 4, 2)), RNG.standard_normal((2, 5, 4, 2))


def along(c: Any, pairs: int) -> Any:
    """The variances of positions, of a covariance with its spatial axes in pairs."""
    for _ in range(pairs):
        xp = array_namespace(c)
        c = xp.moveaxis(xp.stack([c[:, i, i, ...] for i in range(c.shape[1])]), 0, -1)
    return c


def outer(a: Any, b: Any, leading: int, pairs: int) -> Any:
    """Products of variances with the axes of a covariance."""
    one = [n for size in a.shape[1:] for n in (size, 1)]
    two = [n for size in b.shape[1:] for n in (1, size)]
    first, second = ([-1, 1], [1, -1]) if leading == 2 else ([-1], [-1])
    xp = array_namespace(a)
    return xp.reshape(a, (*first, *one)) * xp.reshape(b, (*second, *two))


@stax.layer
@stax.supports_masking(remask_kernel=True)
def Square(scale=1.0):
    """``scale x**2``, as one would write it for neural_tangents."""

    def init_fn(rng, input_shape):
        return input_shape, ()

    def apply_fn(params, inputs, **kwargs):
        return scale * inputs**2

    @stax.requires(diagonal_spatial=stax.Diagonal())
    def kernel_fn(k, **kwargs):
        pairs = (len(k.nngp.shape) - 2) // 2
        cov2 = k.cov1 if k.cov2 is None else k.cov2
        var1, var2 = along(k.cov1, pairs), along(cov2, pairs)

        def moment(c, a, b, leading):
            return scale**2 * (outer(a, b, leading, pairs) + 2 * c**2)

        return k.replace(
            nngp=moment(k.nngp, var1, var2, 2),
            ntk=None if k.ntk is None else 4 * scale**2 * k.nngp * k.ntk,
            cov1=moment(k.cov1, var1, var1, 1),
            cov2=None if k.cov2 is None else moment(k.cov2, var2, var2, 1),
            is_gaussian=False,
        )

    return init_fn, apply_fn, kernel_fn


@stax.layer
def Middle():
    """The position in the middle of the first axis of space, which it drops."""

    def init_fn(rng, input_shape):
        return (*input_shape[:1], *input_shape[2:]), ()

    def apply_fn(params, inputs, **kwargs):
        return inputs[:, inputs.shape[1] // 2, ...]

    @stax.requires(batch_axis=0, channel_axis=-1)
    def kernel_fn(k, **kwargs):
        m = k.nngp.shape[2] // 2
        shapes = {f"shape{i}": (s[0], *s[2:]) for i, s in ((1, k.shape1), (2, k.shape2))}
        pairs = {n: getattr(k, n) for n in ("nngp", "ntk")}
        sides = {n: getattr(k, n) for n in ("cov1", "cov2")}
        return k.replace(
            **{n: None if c is None else c[:, :, m, m, ...] for n, c in pairs.items()},
            **{n: None if c is None else c[:, m, m, ...] for n, c in sides.items()},
            **shapes,
            channel_axis=k.channel_axis - 1,
        )

    return init_fn, apply_fn, kernel_fn


def around(layer: stax.Model) -> stax.Model:
    return stax.serial(
        stax.Conv(5, (2, 3), (1, 2), "SAME", 1.2, 0.3), layer, stax.Conv(2, (2, 2)), stax.Erf(),
        stax.GlobalAvgPool(), stax.Dense(1, 1.1, 0.1),
    )  # fmt: skip


OURS = around(stax.Monomial(2))
THEIRS = around(Square(1.0))


@pytest.mark.parametrize("second", [None, X2], ids=["x2=None", "x2"])
def test_as_the_library_has_it(backend: Library, second: np.ndarray | None) -> None:
    x1, x2 = backend.asarray(X1), None if second is None else backend.asarray(second)
    got, want = (net.kernel_fn(x1, x2, None) for net in (THEIRS, OURS))
    for name in ("nngp", "ntk", "cov1"):
        a, b = (backend.to_numpy(getattr(k, name)) for k in (got, want))
        assert np.allclose(a, b, rtol=1e-12)


def test_masks_pass_through() -> None:
    x = X1.copy()
    x[0, 3:] = MASK
    got, want = (net.kernel_fn(x, X2, "ntk", mask_constant=MASK) for net in (THEIRS, OURS))
    assert np.allclose(got, want, rtol=1e-12)
    with pytest.raises(errors.PlanError, match=r"Middle\(\) is given masked inputs"):
        Middle().kernel_fn(x, mask_constant=MASK)


def test_finite_networks() -> None:
    params = [net.init_fn(0, X1.shape)[1] for net in (THEIRS, OURS)]
    got, want = (net.apply_fn(p, X1) for net, p in zip((THEIRS, OURS), params, strict=True))
    assert np.allclose(got, want, rtol=1e-12)


def test_sizes_and_traits_are_learned_while_planning() -> None:
    net = stax.serial(stax.Conv(3, (2, 2)), Middle(), stax.Relu(), stax.Flatten(), stax.Dense(1))
    cut = stax.serial(
        stax.Conv(3, (2, 2)), stax.Slice[:, 2], stax.Relu(), stax.Flatten(), stax.Dense(1)
    )
    assert np.allclose(net.kernel_fn(X1, X2, "ntk"), cut.kernel_fn(X1, X2, "ntk"), rtol=1e-13)
    with pytest.raises(errors.PlanError, match=r"Relu\(\) is applied"):
        stax.serial(stax.Dense(3), Square(), stax.Relu()).kernel_fn(X1)
    with pytest.raises(errors.ShapeError, match=r"Middle\(\) expects the batch"):
        stax.serial(stax.Dense(2, channel_axis=1), Middle()).kernel_fn(X1)
    assert repr(around(Square(0.5))).count("Square(0.5)") == 1


@stax.layer
def Broken(what):
    """A layer that returns what it is told."""
    return what


@pytest.mark.parametrize(
    ("what", "kind", "words"),
    [
        ("text", errors.ArgumentError, "Broken returned 'text'"),
        ((None, None, lambda k: 3), errors.PlanError, r"kernel_fn of Broken.*returned a int"),
        ((None, None, lambda k: k.nothing), errors.PlanError, "fails on a small Kernel"),
    ],
)
def test_what_is_no_layer(what: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        Broken(what).kernel_fn(X1)
