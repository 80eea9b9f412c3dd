"""Models of torch, flax and equinox: every implementation equals the Jacobian contraction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ntcore as nt
from ntcore import errors
from ntcore.conformance.fixtures import Library

UNITS = 2.0**10  # of rounding, of the largest entry
JACOBIAN = nt.NtkImplementation.JACOBIAN_CONTRACTION
OTHERS = [w for w in nt.NtkImplementation if w is not JACOBIAN]
STRUCTURED = [nt.NtkImplementation.STRUCTURED_DERIVATIVES]


@pytest.fixture
def torch(backend: Library) -> Any:
    if backend.name != "torch":
        pytest.skip("for torch")
    import torch

    torch.manual_seed(0)
    return torch


def agree(f: Any, x1: Any, x2: Any, params: Any, ways: Any = OTHERS) -> None:
    """All implementations give the numbers of the Jacobian contraction."""

    def by(way: Any) -> np.ndarray:
        return np.asarray(nt.empirical_ntk_fn(f, (), implementation=way)(x1, x2, params))

    want = by(JACOBIAN)
    slack = UNITS * np.finfo(want.dtype).eps * np.max(np.abs(want))
    for way in ways:
        assert np.max(np.abs(by(way) - want)) <= slack, way


# --- torch ---------------------------------------------------------------------------------------


def convolutional(torch: Any) -> Any:
    nn = torch.nn
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Conv2d(4, 4, (3, 2), padding="same", dilation=(1, 2), groups=2), nn.GroupNorm(2, 4),
        nn.ReLU(), nn.Conv2d(4, 3, 2, bias=False), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(3, 2),
    )  # fmt: skip
    module[1].running_mean.normal_()
    module[0].bias.requires_grad_(False)
    return module.double()


def transformer(torch: Any) -> Any:
    nn = torch.nn

    class Block(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.norms = nn.ModuleList([nn.LayerNorm(8), nn.LayerNorm(8)])
            self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

        def forward(self, x: Any) -> Any:
            y = self.norms[0](x)
            x = x + self.attention(y, y, y, need_weights=False)[0]
            return x + self.mlp(self.norms[1](x))

    class Transformer(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(7, 8)
            self.places = nn.Parameter(torch.randn(5, 8))
            self.blocks = nn.Sequential(Block(), Block())
            self.head = nn.Linear(8, 7, bias=False)
            self.head.weight = self.tokens.weight

        def forward(self, t: Any) -> Any:
            return self.head(self.blocks(self.tokens(t) + self.places[None]))[:, -1]

    return Transformer().double()


def recurrent(torch: Any) -> Any:
    class Last(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.out = torch.nn.LSTM(2, 3, batch_first=True), torch.nn.Linear(3, 2)

        def forward(self, x: Any) -> Any:
            return self.out(self.cell(x)[0][:, -1])

    return Last().double()


def test_torch_modules(torch: Any) -> None:
    images = torch.randn(4, 2, 8, 8).double()
    agree(convolutional(torch).eval(), images, images[:3], None)
    tokens = torch.randint(0, 7, (4, 5))
    agree(transformer(torch).eval(), tokens, None, None, STRUCTURED)
    agree(recurrent(torch), torch.randn(3, 4, 2).double(), None, None, STRUCTURED)


def test_torch_modules_that_occur_twice(torch: Any) -> None:
    nn, x = torch.nn, torch.randn(4, 3).double()
    twice = nn.Linear(3, 3).double()
    module = nn.Sequential(twice, nn.Tanh(), twice, nn.Tanh(), nn.Linear(3, 2).double())
    weight, names = twice.weight, list(dict(module.named_parameters()))
    want = by_autograd(torch, module, x)
    for _ in range(2):
        found = nt.empirical_ntk_fn(module, contract="full")(x, None, None)
        torch.testing.assert_close(found, want)
    assert twice.weight is weight and list(dict(module.named_parameters())) == names
    params = {n: t.detach() for n, t in module.state_dict().items()}  # names both occurrences
    found = nt.empirical_ntk_fn(module, contract="full")(x, None, params)
    torch.testing.assert_close(found, want)
    agree(module, x, x[:2], None)


def test_more_modules_of_torch(torch: Any) -> None:
    nn, images = torch.nn, torch.randn(3, 2, 5, 4).double()

    class Attends(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.MultiheadAttention(4, 2, add_bias_kv=True, batch_first=True)

        def forward(self, x: Any) -> Any:
            return self.inner(x, x, x)[0].mean(1)

    class Checkpointed(nn.Linear):  # type: ignore[name-defined]
        def forward(self, x: Any) -> Any:
            call = torch.utils.checkpoint.checkpoint
            return call(super().forward, x.flatten(1), use_reentrant=False)

    for layers in (
        [nn.ConvTranspose2d(2, 4, 3, 2, 1, output_padding=1, groups=2), nn.Tanh()],
        [nn.Conv2d(2, 3, (2, 3), padding=1, padding_mode="circular"), nn.PReLU(3)],
        [nn.RMSNorm(4), nn.Tanh()],
        [nn.InstanceNorm2d(2, affine=True), nn.Flatten(2), nn.Conv1d(2, 2, 3)],
        [nn.Unflatten(1, (1, 2)), nn.Conv3d(1, 2, 2, dilation=(1, 2, 1)), nn.Tanh()],
        [nn.Flatten(2), nn.Linear(20, 4), Attends()],
        [Checkpointed(40, 4), nn.Tanh()],
    ):
        module = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(2)).double().eval()
        module(images)
        want = by_autograd(torch, module, images)
        for way in nt.NtkImplementation:
            kernel_fn = nt.empirical_ntk_fn(module, contract="full", implementation=way)
            torch.testing.assert_close(kernel_fn(images, None, None), want)


def by_autograd(torch: Any, module: Any, x: Any) -> Any:
    """Return the full kernel from one backward pass of the module itself per output."""
    trained, y = [p for p in module.parameters() if p.requires_grad], module(x)
    rows = [torch.autograd.grad(v, trained, retain_graph=True) for v in y.reshape(-1)]
    jacobian = torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows])
    n, outputs = y.shape
    return (jacobian @ jacobian.T).reshape(n, outputs, n, outputs).movedim(2, 1)


def test_torch_functions(torch: Any) -> None:
    params = {"w": torch.randn(4, 4).double(), "b": torch.randn(4).double().requires_grad_()}
    x = torch.randn(5, 4).double()
    tanh = torch.tanh
    agree(lambda p, x: tanh(tanh(x @ p["w"] + 0.1 * p["b"]) @ (2 * p["w"])), x, None, params)
    agree(lambda p, x: tanh(x @ p["w"].T) @ p["w"] * p["b"].exp(), x, None, params)
    agree(lambda p, x: torch.einsum("ni,io->no", x, p["w"]) + p["b"], x, None, params)
    normed = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 3).double())
    agree(normed, x, None, None, STRUCTURED)


def test_a_kernel_equals_autograd(torch: Any) -> None:
    module, x = convolutional(torch).eval(), torch.randn(3, 2, 8, 8).double()
    found = nt.empirical_ntk_fn(module, contract="full")(x, None, None)
    assert not found.requires_grad
    torch.testing.assert_close(found, by_autograd(torch, module, x))


def test_torch_modules_that_mix_examples(torch: Any) -> None:
    nn, x = torch.nn, torch.randn(4, 3)

    class Centred(nn.Linear):  # type: ignore[name-defined]
        def forward(self, x: Any) -> Any:
            return super().forward(x) - super().forward(x).mean(0)

    for module, words in (
        (nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), "BatchNorm1d '1' normalises"),
        (nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)), "Dropout '1' drops"),
        (Centred(3, 2), "something else for an example alone"),
    ):
        with pytest.raises(errors.DerivativeError, match=words):
            nt.empirical_ntk_fn(module)(x, None, None)


# --- JAX -----------------------------------------------------------------------------------------


@pytest.fixture
def jnp(backend: Library) -> Any:
    if backend.name != "jax":
        pytest.skip("for JAX")
    return backend.xp


def draw(jnp: Any, *shape: int) -> Any:
    return jnp.asarray(np.random.default_rng(sum(shape)).standard_normal(shape))


def test_jax_functions(jnp: Any) -> None:
    import jax

    x, w, g = draw(jnp, 5, 4), draw(jnp, 4, 4), draw(jnp, 4)
    shared = {"w": w, "g": g}

    def many(p: Any, x: Any) -> Any:
        normed = p["w"] * p["g"] / jnp.linalg.norm(p["w"], axis=0)
        h = jax.nn.relu(jax.jit(lambda x: x @ p["w"])(x) @ p["w"].T + p["g"])
        return jnp.tanh(h @ normed) * jnp.exp(p["g"])

    agree(many, x, x[:2], shared)

    def scanned(p: Any, x: Any) -> Any:
        step = lambda h, _: (jnp.tanh(h @ p["w"]), None)  # noqa: E731
        return jax.lax.scan(step, x, None, length=3)[0]

    agree(scanned, x, None, shared, STRUCTURED)


def test_functions_of_jax_without_a_forward_derivative(jnp: Any) -> None:
    import jax

    @jax.custom_vjp
    def rule(x: Any) -> Any:
        return jnp.tanh(x)

    rule.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: (g * (1 - jnp.tanh(x) ** 2),))
    x, w = draw(jnp, 4, 3), draw(jnp, 3, 2)
    f = lambda w, x: rule(x @ w)  # noqa: E731
    agree(f, x, None, w, STRUCTURED)
    for call in (
        lambda: nt.empirical_ntk_fn(f, implementation=2)(x, None, w),
        lambda: nt.linearize(f, w)(w, x),
        lambda: nt.empirical_ntk_vp_fn(f, x, None, w)(x @ w),
    ):
        with pytest.raises(errors.Unsupported, match="without a forward derivative"):
            call()


def test_parameters_of_fewer_digits_than_the_inputs(jnp: Any) -> None:
    x, w = draw(jnp, 5, 4), draw(jnp, 4, 4).astype("float32")
    wide = nt.empirical_ntk_fn(lambda w, x: jnp.tanh(x @ w))(x, None, w.astype("float64"))
    for way in nt.NtkImplementation:
        ntk_fn = nt.empirical_ntk_fn(lambda w, x: jnp.tanh(x @ w), implementation=way)
        found = ntk_fn(x, None, w)
        assert np.max(np.abs(found - wide)) <= UNITS * np.finfo(np.float32).eps * np.max(wide)


def test_flax_modules(jnp: Any) -> None:
    linen = pytest.importorskip("flax.linen")
    import jax

    class Network(linen.Module):  # type: ignore[name-defined]
        @linen.compact
        def __call__(self, x: Any) -> Any:
            x = linen.Conv(4, (3, 3), strides=(2, 1), param_dtype=x.dtype)(x)
            x = linen.relu(linen.LayerNorm(param_dtype=x.dtype)(x))
            h = linen.Conv(4, (2, 2), kernel_dilation=(1, 2), param_dtype=x.dtype)(x)
            x = linen.avg_pool(x + h, (2, 2)).reshape(x.shape[0], -1, 4)
            x = x + linen.MultiHeadDotProductAttention(2, param_dtype=x.dtype)(x)
            return linen.Dense(2, param_dtype=x.dtype)(x.mean(1))

    network, x = Network(), draw(jnp, 3, 6, 4, 2)
    agree(network, x, None, network.init(jax.random.key(0), x), STRUCTURED)


def test_flax_modules_in_train_mode(jnp: Any) -> None:
    linen = pytest.importorskip("flax.linen")
    import jax
    from flax import nnx

    x, key = draw(jnp, 4, 3), jax.random.key(0)
    normed = linen.Sequential([linen.BatchNorm(use_running_average=False), linen.Dense(2)])
    dropped = linen.Sequential([linen.Dense(9), linen.Dropout(0.5, deterministic=False)])
    keys = {"params": key, "dropout": key}
    modern = nnx.Sequential(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), nnx.BatchNorm(2, rngs=nnx.Rngs(0)))
    for module, variables in (
        (normed, normed.init(key, x)),
        (dropped, dropped.init(keys, x)),
        (modern, None),
    ):
        with pytest.raises(errors.DerivativeError, match="train mode") as caught:
            nt.empirical_ntk_fn(module)(x, None, variables)
        assert "\n" not in str(caught.value)
    with pytest.raises(errors.DerivativeError, match="example alone"):
        nt.empirical_ntk_fn(dropped)(x, None, dropped.init(keys, x), rngs={"dropout": key})
    modern.eval()
    assert nt.empirical_ntk_fn(modern)(x, None, None).shape == (4, 4)


def test_equinox_modules(jnp: Any) -> None:
    equinox = pytest.importorskip("equinox")
    import jax

    module = equinox.nn.MLP(4, 2, 8, 2, key=jax.random.key(0), dtype=jnp.float64)
    agree(module, draw(jnp, 3, 4), None, None, STRUCTURED)


def test_equinox_modules_in_train_mode(jnp: Any) -> None:
    import jax

    equinox = pytest.importorskip("equinox")
    x = draw(jnp, 3, 4)
    dropout = equinox.nn.Sequential(
        [equinox.nn.Linear(4, 2, key=jax.random.key(0), dtype=jnp.float64), equinox.nn.Dropout()]
    )
    with pytest.raises(errors.DerivativeError, match="inference_mode"):
        nt.empirical_ntk_fn(dropout)(x, None, None)
    agree(equinox.nn.inference_mode(dropout), x, None, None, STRUCTURED)
    normed = equinox.nn.BatchNorm(4, axis_name="batch", mode="batch")
    with pytest.raises(errors.DerivativeError, match="BatchNorm of equinox takes a state"):
        nt.empirical_ntk_fn(normed)(x, None, None)
