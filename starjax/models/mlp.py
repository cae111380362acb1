"""Fully connected networks, shared by the models.

Within a model the last axis is the stars (or, for whole sets, the samples) and the axis before it the
features: (B, F, K) and (F, B). Networks on stars are only a few values wide; rows of so few values use vector
units badly, rows of stars use them well (docs/explanation/performance.md).
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
    """Return the dtype of products: bfloat16, or None for the dtype of parameters and inputs.

    Raises:
      ConfigError: `name` is not one of DTYPES.
    """
    if name not in DTYPES:
        raise ConfigError(f"model.dtype={name!r} is not one of {', '.join(DTYPES)}")
    return jnp.bfloat16 if name == "bfloat16" else None


def precision(dtype) -> jax.lax.Precision:
    """Return the precision of products of a dtype.

    For float32 it is the highest: by default GPUs compute products in TF32 and TPUs in bfloat16.
    """
    return jax.lax.Precision.DEFAULT if dtype == jnp.bfloat16 else jax.lax.Precision.HIGHEST


def uniform_fan_in(fan_in: int):
    """Return the initializer U(-1/sqrt(fan_in), 1/sqrt(fan_in)), that of `torch.nn.Linear`."""
    bound = fan_in**-0.5

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding  # parameters are replicated
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Linear(nnx.Linear):
    """An affine map, (..., num_in, N) -> (..., num_out, N)."""

    def __call__(self, inputs, out_sharding=None):
        del out_sharding  # parameters are replicated
        return affine(*self.arrays(), inputs, self.dtype)

    def arrays(self) -> tuple[jax.Array, jax.Array]:
        """Return the kernel (num_in, num_out) and the bias (num_out,)."""
        assert self.bias is not None  # for mypy: no layer here is made without one
        return self.kernel[...], self.bias[...]

    def after(self, other: "Linear"):
        """Return kernel and bias of the composition of `other` and then this map."""
        (kernel, bias), (inner_kernel, inner_bias) = self.arrays(), other.arrays()
        product = functools.partial(jnp.matmul, precision=precision(kernel.dtype))
        return product(inner_kernel, kernel), product(inner_bias, kernel) + bias


def affine(kernel_IxO, bias_O, x, dtype=None):
    """Apply an affine map to the axis before the last: (..., I, N) -> (..., O, N)."""
    x, kernel_IxO, bias_O = nnx.nn.dtypes.promote_dtype((x, kernel_IxO, bias_O), dtype=dtype)
    # With a copy of the matrix for each sample XLA multiplies in place, without transposing the stars.
    kernel = jnp.broadcast_to(kernel_IxO.T, (*x.shape[:-2], *kernel_IxO.T.shape))
    return jnp.matmul(kernel, x, precision=precision(x.dtype)) + bias_O.reshape(*[1] * (x.ndim - 2), -1, 1)


def linear(num_in: int, num_out: int, rngs: nnx.Rngs, dtype=None) -> Linear:
    """Return an affine map with weights and biases from U(-1/sqrt(num_in), 1/sqrt(num_in))."""
    init = uniform_fan_in(num_in)
    return Linear(num_in, num_out, kernel_init=init, bias_init=init, dtype=dtype, rngs=rngs)


def orthogonal(num_in: int, num_out: int, rngs: nnx.Rngs, dtype=None) -> Linear:
    """Return a map with orthogonal weights of gain sqrt(2) (Saxe et al. 2014, arXiv:1312.6120), zero bias."""
    init = jax.nn.initializers.orthogonal(2**0.5)
    return Linear(num_in, num_out, kernel_init=init, dtype=dtype, rngs=rngs)


def split_keys(key, num: int) -> list:
    """Split dropout keys (B,), one per sample, into `num` independent ones; None into `num` times None."""
    if key is None:
        return [None] * num
    return list(jax.vmap(lambda k: jax.random.split(k, num), out_axes=1)(key))


def dropout(x, rate: float | jax.Array, key, sample_axis: int = 0):
    """Set each value of `x` to zero with probability `rate`, and rescale the others to keep the mean.

    Args:
      x: values of any shape.
      rate: in [0, 1), rounded to a multiple of 1/65536; may be traced.
      key: one key per sample (B,), so that the pattern of a sample does not depend on how the batch is
        divided among devices; None returns `x` unchanged, for evaluation.
      sample_axis: the axis of the B samples.
    """
    if key is None or (isinstance(rate, float) and rate == 0):
        return x
    threshold = jnp.round(rate * 2**16).astype(jnp.uint32)
    shape = [size for axis, size in enumerate(x.shape) if axis != sample_axis % x.ndim]
    draw = jax.vmap(lambda k: _draw(k, shape), out_axes=sample_axis)
    return jnp.where(draw(key) >= threshold, x / (1 - threshold / 2**16), 0)


def _draw(key, shape):
    """Draw uniform uint32 below 2^16 of a shape."""
    # Numbered with the stars slowest, so that the draw of a star does not depend on the number of padded
    # positions. Hashed, because jax.random.bits took a third of the time of a step of Deep Sets.
    position = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape[::-1]).T
    return random.mix(position ^ jax.random.bits(key)) >> 16


class MLP(nnx.Module):
    """A multilayer perceptron: linear, ReLU and dropout for each hidden width, then a linear layer.

    Each linear layer is made by `layer(num_in, num_out, rngs, dtype)`.
    """

    def __init__(
        self, num_in, hidden_dims, num_out, *, dropout: float, rngs: nnx.Rngs, layer=linear, dtype=None
    ):
        widths = (num_in, *hidden_dims, num_out)
        self.layers = nnx.List([layer(a, b, rngs, dtype) for a, b in itertools.pairwise(widths)])
        self.dropout = dropout

    def __call__(self, x, key=None, sample_axis: int = 0):
        """Map (..., num_in, N) to (..., num_out, N), with dropout if there are keys (see `dropout`)."""
        keys = split_keys(key, len(self.layers) - 1)
        for layer, layer_key in zip(self.layers[:-1], keys, strict=True):
            x = dropout(jax.nn.relu(layer(x)), self.dropout, layer_key, sample_axis)
        return self.layers[-1](x)

    def of_sets(self, x_BxI, key=None):
        """Map whole sets, (B, num_in) to (B, num_out) of at least float32."""
        y_BxO = self(x_BxI.T, key, sample_axis=1).T
        return y_BxO.astype(jnp.promote_types(y_BxO.dtype, jnp.float32))
