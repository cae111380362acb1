"""Fully connected blocks shared by the three models."""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx


def uniform_fan_in(fan_in: int):
    """Initializer U(-1/sqrt(fan_in), 1/sqrt(fan_in)), used for weights and biases alike."""
    bound = fan_in**-0.5

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding  # parameters are replicated
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def linear(num_in: int, num_out: int, rngs: nnx.Rngs) -> nnx.Linear:
    """Affine map (..., num_in) -> (..., num_out)."""
    init = uniform_fan_in(num_in)
    return nnx.Linear(num_in, num_out, kernel_init=init, bias_init=init, rngs=rngs)


def orthogonal(num_in: int, num_out: int, rngs: nnx.Rngs) -> nnx.Linear:
    """As `linear`, begun with orthogonal weights of gain sqrt(2) (Saxe et al. 2014, arXiv:1312.6120), no bias."""
    return nnx.Linear(num_in, num_out, kernel_init=jax.nn.initializers.orthogonal(2**0.5), rngs=rngs)


def split_keys(key, num: int) -> list:
    """`num` independent dropout keys a sample from `key` (B,); `num` times None from None."""
    if key is None:
        return [None] * num
    return list(jax.vmap(lambda k: jax.random.split(k, num), out_axes=1)(key))


def dropout(x, rate: float, key):
    """Zeros each value of `x` (B, ...) with probability `rate` and rescales the rest.

    Args:
      key: one key a sample (B,), so that a sample's pattern does not depend on how the batch is
        spread over devices; or None, which returns `x` unchanged (evaluation).
    """
    if key is None or rate == 0:
        return x
    keep = jax.vmap(lambda k: jax.random.bernoulli(k, 1 - rate, x.shape[1:]))(key)
    return jnp.where(keep, x / (1 - rate), 0)


class MLP(nnx.Module):
    """Linear -> ReLU -> dropout for each hidden width, then one linear layer to `num_out`.

    `layer(num_in, num_out, rngs)` makes each linear layer.
    """

    def __init__(self, num_in, hidden_dims, num_out, *, dropout: float, rngs: nnx.Rngs, layer=linear):
        widths = (num_in, *hidden_dims, num_out)
        self.layers = nnx.List([layer(a, b, rngs) for a, b in itertools.pairwise(widths)])
        self.dropout = dropout

    def __call__(self, x, key=None):
        """(B, ..., num_in) -> (B, ..., num_out); `key` (B,) switches dropout on."""
        keys = split_keys(key, len(self.layers) - 1)
        for layer, layer_key in zip(self.layers[:-1], keys, strict=True):
            x = dropout(jax.nn.relu(layer(x)), self.dropout, layer_key)
        return self.layers[-1](x)
