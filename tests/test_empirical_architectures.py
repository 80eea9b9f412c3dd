"""A ResNet-18 and a small GPT, in torch and on JAX: all implementations give the same kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ntcore as nt
from ntcore.conformance.fixtures import Library
from tests.architectures import gpt, resnet18

UNITS = 2.0**8  # of rounding, of the largest entry
WAYS = [w for w in nt.NtkImplementation if w is not nt.NtkImplementation.AUTO]
RESNET18 = 11_177_538  # parameters, of which 1,026 are the last layer's


def agree(f: Any, x1: Any, x2: Any, params: Any) -> np.ndarray:
    """All implementations give one kernel, which is not trivial."""
    found = [
        np.asarray(nt.empirical_ntk_fn(f, contract="full", implementation=way)(x1, x2, params))
        for way in WAYS
    ]
    size = np.max(np.abs(found[0]))
    assert found[0].dtype == np.float64 and size > 1e-3
    for other in found[1:]:
        assert np.max(np.abs(other - found[0])) <= UNITS * np.finfo(np.float64).eps * size
    return found[0]


def jacobian_product(jacobian: Any) -> np.ndarray:
    """The kernel of one batch, from rows of derivatives (n, outputs, parameters)."""
    j = np.asarray(jacobian)
    return np.einsum("aip,bjp->abij", j, j)


@pytest.fixture
def torch(backend: Library) -> Any:
    if backend.name != "torch":
        pytest.skip("for torch")
    pytest.importorskip("transformers")
    import torch

    torch.manual_seed(0)
    return torch


@pytest.fixture
def jax(backend: Library) -> Any:
    if backend.name != "jax":
        pytest.skip("for JAX")
    import jax

    return jax


def logits(torch: Any, model: Any, last: bool) -> Any:
    """A module of a model of transformers, which puts out records."""

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model.double().eval()

        def forward(self, x: Any) -> Any:
            found = self.model(x).logits
            return found[:, -1] if last else found

    return Module()


def autograd(torch: Any, module: Any, x: Any) -> np.ndarray:
    """The kernel by torch's own reverse mode, one output at a time."""
    trained = list(module.parameters())
    y = module(x)
    rows = [torch.autograd.grad(v, trained, retain_graph=True) for v in y.reshape(-1)]
    flat = torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows])
    return jacobian_product(flat.reshape(*y.shape, -1))


def test_resnet18_of_torch(torch: Any) -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        layer_type="basic", depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], num_labels=2
    )
    module = logits(torch, ResNetForImageClassification(config), last=False)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
    assert sum(p.numel() for p in module.parameters()) == RESNET18
    x = torch.randn(2, 3, 32, 32).double()
    want = autograd(torch, module, x)
    np.testing.assert_allclose(agree(module, x, None, None), want, atol=1e-12 * np.max(want))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_gpt_of_torch(torch: Any, attention: str) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=11, n_positions=8, n_embd=16, n_layer=2, n_head=2, bos_token_id=0,
        eos_token_id=0, use_cache=False, attn_implementation=attention,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    module, tokens = logits(torch, model, last=True), torch.randint(0, 11, (3, 6))
    want = autograd(torch, module, tokens)
    np.testing.assert_allclose(
        agree(module, tokens, None, None), want, atol=1e-12 * np.max(np.abs(want))
    )
    agree(module, tokens, tokens[:2, :4], None)
    whole = nt.empirical_ntk_fn(model)(tokens, None, None)["logits"]  # a record of outputs
    assert tuple(whole.shape) == (3, 3, 6, 6)


def test_resnet18_of_flax(jax: Any) -> None:
    linen = pytest.importorskip("flax.linen")
    x = jax.numpy.asarray(np.random.default_rng(0).standard_normal((2, 16, 16, 3)))
    network = resnet18(linen, x.dtype)
    variables = jax.jit(network.init)(jax.random.key(0), x)
    assert sum(a.size for a in jax.tree.leaves(variables["params"])) == RESNET18
    agree(network, x, None, variables)


def test_gpt_of_equinox(jax: Any) -> None:
    equinox = pytest.importorskip("equinox")
    network = gpt(equinox, jax, jax.random.key(0), jax.numpy.float64)
    tokens = jax.random.randint(jax.random.key(1), (3, 6), 0, 11)
    found = agree(network, tokens, None, None)
    trained, rest = equinox.partition(network, equinox.is_inexact_array)
    rows = jax.jit(jax.jacrev(lambda p: jax.vmap(equinox.combine(p, rest))(tokens)))(trained)
    flat = [np.asarray(leaf).reshape(3, 11, -1) for leaf in jax.tree.leaves(rows)]
    want = jacobian_product(np.concatenate(flat, axis=2))
    np.testing.assert_allclose(found, want, atol=1e-12 * np.max(np.abs(want)))
