"""A ResNet-18 and a small GPT in flax and equinox, of the libraries' own layers."""

from __future__ import annotations

from typing import Any


def resnet18(linen: Any, dtype: Any) -> Any:
    """He et al. 2016, table 1: 18 layers, 11 million parameters without the last layer."""

    class Normed(linen.Module):
        channels: int
        size: int
        stride: int = 1

        @linen.compact
        def __call__(self, x: Any) -> Any:
            x = linen.Conv(
                self.channels, (self.size,) * 2, self.stride, use_bias=False, param_dtype=dtype
            )(x)
            return linen.BatchNorm(use_running_average=True, param_dtype=dtype)(x)

    class Block(linen.Module):
        channels: int
        stride: int

        @linen.compact
        def __call__(self, x: Any) -> Any:
            y = linen.relu(Normed(self.channels, 3, self.stride)(x))
            y = Normed(self.channels, 3)(y)
            if x.shape != y.shape:
                x = Normed(self.channels, 1, self.stride)(x)
            return linen.relu(x + y)

    class ResNet18(linen.Module):
        outputs: int

        @linen.compact
        def __call__(self, x: Any) -> Any:
            x = linen.relu(Normed(64, 7, 2)(x))
            x = linen.max_pool(x, (3, 3), (2, 2), "SAME")
            for k, channels in enumerate((64, 128, 256, 512)):
                x = Block(channels, 1 if k == 0 else 2)(x)
                x = Block(channels, 1)(x)
            return linen.Dense(self.outputs, param_dtype=dtype)(x.mean((1, 2)))

    return ResNet18(2)


def gpt(equinox: Any, jax: Any, key: Any, dtype: Any, width: int = 16, tokens: int = 11) -> Any:
    """Radford et al. 2019: pre-norm blocks, learned places, the embedding shared with the head."""
    jnp, nn = jax.numpy, equinox.nn
    own = {"dtype": dtype}

    class Block(equinox.Module):
        norms: list
        attention: Any
        mlp: list

        def __init__(self, key: Any) -> None:
            a, b, c = jax.random.split(key, 3)
            self.norms = [nn.LayerNorm(width, **own), nn.LayerNorm(width, **own)]
            self.attention = nn.MultiheadAttention(2, width, key=a, **own)
            self.mlp = [
                nn.Linear(width, 4 * width, key=b, **own),
                nn.Linear(4 * width, width, key=c, **own),
            ]

        def __call__(self, x: Any) -> Any:
            y = jax.vmap(self.norms[0])(x)
            mask = jnp.tril(jnp.ones((len(x), len(x)), dtype=bool))
            x = x + self.attention(y, y, y, mask=mask)
            y = jax.vmap(self.norms[1])(x)
            return x + jax.vmap(lambda v: self.mlp[1](jax.nn.gelu(self.mlp[0](v))))(y)

    class GPT(equinox.Module):
        words: Any
        places: Any
        blocks: list
        norm: Any

        def __init__(self, key: Any) -> None:
            a, b, *rest = jax.random.split(key, 4)
            self.words = nn.Embedding(tokens, width, key=a, **own)
            self.places = jax.random.normal(b, (8, width), dtype)
            self.blocks = [Block(k) for k in rest]
            self.norm = nn.LayerNorm(width, **own)

        def __call__(self, ids: Any) -> Any:
            x = jax.vmap(self.words)(ids) + self.places[: len(ids)]
            for block in self.blocks:
                x = block(x)
            return self.words.weight @ self.norm(x[-1])

    return GPT(key)
