"""Fully connected blocks shared by the models.

Within a model features stand on the axis before the last and stars (or, for whole sets, samples) on the last:
(B, F, K) and (F, B). Networks on stars are a few values wide, and rows of a few values are too short for any
machine, while rows of stars are not (benchmarks/README.md).
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
from flax import nnx

from starjax.errors import ConfigError
from starjax.ops import random

DTYPES = ("float32", "bfloat16")


def compute_dtype(name: str):
    """What products are computed in: bfloat16, or None for the dtype of parameters and inputs.

    Raises:
      ConfigError: `name` is not one of DTYPES.
    """
    if name not in DTYPES:
        raise ConfigError(f"model.dtype={name!r} is not one of {', '.join(DTYPES)}")
    return jnp.bfloat16 if name == "bfloat16" else None


def precision(dtype) -> jax.lax.Precision:
    """That of products: what float32 says is what it is, which by default it is not on GPUs (TF32) and TPUs (bfloat16)."""
    return jax.lax.Precision.DEFAULT if dtype == jnp.bfloat16 else jax.lax.Precision.HIGHEST


def uniform_fan_in(fan_in: int):
    """Initializer U(-1/sqrt(fan_in), 1/sqrt(fan_in)), used for weights and biases alike."""
    bound = fan_in**-0.5

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding  # parameters are replicated
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Linear(nnx.Linear):
    """Affine map (..., num_in, N) -> (..., num_out, N)."""

    def __call__(self, x):
        return affine(self.kernel[...], self.bias[...], x, self.dtype)

    def after(self, other: "Linear"):
        """Kernel and bias of the one map that is this one applied after `other`."""
        kernel, bias = self.kernel[...], self.bias[...]
        product = functools.partial(jnp.matmul, precision=precision(kernel.dtype))
        return product(other.kernel[...], kernel), product(other.bias[...], kernel) + bias


def affine(kernel_IxO, bias_O, x, dtype=None):
    """(..., I, N) -> (..., O, N)."""
    x, kernel_IxO, bias_O = nnx.nn.dtypes.promote_dtype((x, kernel_IxO, bias_O), dtype=dtype)
    # A matrix for each sample, the same one: XLA then multiplies them in place, without transposing the stars.
    kernel = jnp.broadcast_to(kernel_IxO.T, (*x.shape[:-2], *kernel_IxO.T.shape))
    return jnp.matmul(kernel, x, precision=precision(x.dtype)) + bias_O.reshape(*[1] * (x.ndim - 2), -1, 1)


def linear(num_in: int, num_out: int, rngs: nnx.Rngs, dtype=None) -> Linear:
    """Weights and biases begin uniform, within the inverse root of `num_in`."""
    init = uniform_fan_in(num_in)
    return Linear(num_in, num_out, kernel_init=init, bias_init=init, dtype=dtype, rngs=rngs)


def orthogonal(num_in: int, num_out: int, rngs: nnx.Rngs, dtype=None) -> Linear:
    """Orthogonal weights of gain sqrt(2) (Saxe et al. 2014, arXiv:1312.6120) to begin with, no bias."""
    init = jax.nn.initializers.orthogonal(2**0.5)
    return Linear(num_in, num_out, kernel_init=init, dtype=dtype, rngs=rngs)


def split_keys(key, num: int) -> list:
    """`num` independent dropout keys a sample from `key` (B,); `num` times None from None."""
    if key is None:
        return [None] * num
    return list(jax.vmap(lambda k: jax.random.split(k, num), out_axes=1)(key))


def dropout(x, rate: float, key, sample_axis: int = 0):
    """Zeros each value of `x` with probability `rate`, to 1 in 65,536, and rescales the rest.

    Args:
      rate: in [0, 1); may be traced.
      key: one key a sample (B,), so that a sample's pattern does not depend on how the batch is
        spread over devices; or None, which returns `x` unchanged (evaluation).
      sample_axis: the axis of the B samples.
    """
    if key is None or (isinstance(rate, float) and rate == 0):
        return x
    threshold = jnp.round(rate * 2**16).astype(jnp.uint32)
    shape = [size for axis, size in enumerate(x.shape) if axis != sample_axis % x.ndim]
    draw = jax.vmap(lambda k: _draw(k, shape), out_axes=sample_axis)
    return jnp.where(draw(key) >= threshold, x / (1 - threshold / 2**16), 0)


def _draw(key, shape):
    """Uniform uint32 below 2^16, of a shape. With `jax.random.bits` they took a third of a step of Deep Sets."""
    # Numbered slot after slot, so that what is drawn for a star does not depend on how many slots there are.
    place = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape[::-1]).T
    return random.mix(place ^ jax.random.bits(key)) >> 16


class MLP(nnx.Module):
    """Linear -> ReLU -> dropout for each hidden width, then one linear layer to `num_out`.

    `layer(num_in, num_out, rngs, dtype)` makes each linear layer.
    """

    def __init__(
        self, num_in, hidden_dims, num_out, *, dropout: float, rngs: nnx.Rngs, layer=linear, dtype=None
    ):
        widths = (num_in, *hidden_dims, num_out)
        self.layers = nnx.List([layer(a, b, rngs, dtype) for a, b in itertools.pairwise(widths)])
        self.dropout = dropout

    def __call__(self, x, key=None, sample_axis: int = 0):
        """(..., num_in, N) -> (..., num_out, N); `key` (B,) switches dropout on, B being the size of `sample_axis`."""
        keys = split_keys(key, len(self.layers) - 1)
        for layer, layer_key in zip(self.layers[:-1], keys, strict=True):
            x = dropout(jax.nn.relu(layer(x)), self.dropout, layer_key, sample_axis)
        return self.layers[-1](x)

    def of_sets(self, x_BxI, key=None):
        """(B, num_in) -> (B, num_out), at least float32."""
        y_BxO = self(x_BxI.T, key, sample_axis=1).T
        return y_BxO.astype(jnp.promote_types(y_BxO.dtype, jnp.float32))
