"""Masked attention over sets, in memory that grows with the number of stars instead of its square.

The weights of all pairs of stars exist for one tile at a time: some samples, or some queries of one sample.
The backward pass recomputes them from their row sums (Rabe & Staats 2021, arXiv:2112.05682; the gradient as
in Dao et al. 2022, arXiv:2205.14135, appendix B). Everything is plain XLA, for any head size.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from starjax.models import mlp

# Weights of a tile. On a CPU they should fit into the cache of a core; on an accelerator they should keep it
# busy without filling its memory (256 MiB per array). Measured in docs/explanation/performance.md.
CPU_TILE, ACCELERATOR_TILE = 2**17, 2**26
# Logit of padded positions. It is finite, since with minus infinity the weights of a set without stars were
# NaN.
_PADDED = -1e30


def attention(q_BxHxDxQ, k_BxHxDxK, v_BxHxDxK, mask_BxK):
    """Return the scaled dot-product attention of Q queries to the stars among K positions.

    Weights and their sums are at least float32, whatever the inputs are.

    Args:
      q_BxHxDxQ, k_BxHxDxK, v_BxHxDxK: queries, keys and values of H heads of size D, the stars last.
      mask_BxK: True for stars, False for padded positions. A sample without stars gets the mean of its
        values, and finite gradients that are not those of a mean: the caller has to replace its result.

    Returns:
      (B, H, D, Q).
    """
    # This `where` does not change queries of samples with stars. Inside shard_map it also marks queries that
    # are shared by all samples (seeds) as varying over devices: a custom gradient needs all its arguments to
    # vary alike.
    has_stars = mask_BxK.any(axis=1)[:, None, None, None]
    q_BxHxDxQ = jnp.where(has_stars, q_BxHxDxQ * q_BxHxDxQ.shape[2] ** -0.5, 0)
    bias_BxK = jnp.where(mask_BxK, jnp.float32(0), jnp.float32(_PADDED))
    return lax.platform_dependent(
        q_BxHxDxQ,
        k_BxHxDxK,
        v_BxHxDxK,
        bias_BxK,
        cpu=functools.partial(_attend, tile=CPU_TILE),
        default=functools.partial(_attend, tile=ACCELERATOR_TILE),
    )


@functools.partial(jax.custom_vjp, nondiff_argnames=("tile",))
def _attend(q_BxHxDxQ, k_BxHxDxK, v_BxHxDxK, bias_BxK, tile):
    return _forward(q_BxHxDxQ, k_BxHxDxK, v_BxHxDxK, bias_BxK, tile)[0]


def _forward(q_BxHxDxQ, k_BxHxDxK, v_BxHxDxK, bias_BxK, tile):
    num_sample, num_query = _tiling(q_BxHxDxQ, k_BxHxDxK, tile)

    def attend_sample(q_HxDxQ, k_HxDxK, v_HxDxK, bias_K):
        attended, log_sum = lax.map(
            lambda q: _forward_tile(q, k_HxDxK, v_HxDxK, bias_K), _blocks(q_HxDxQ, num_query)
        )
        return _joined(attended, q_HxDxQ.shape[-1]), _joined(log_sum, q_HxDxQ.shape[-1])

    arrays = (q_BxHxDxQ, k_BxHxDxK, v_BxHxDxK, bias_BxK)
    attended_BxHxDxQ, log_sum_BxHxQ = _map(attend_sample, arrays, num_sample)
    return attended_BxHxDxQ, (*arrays, attended_BxHxDxQ, log_sum_BxHxQ)


def _backward(tile, residuals, gradient_BxHxDxQ):
    q_BxHxDxQ, k_BxHxDxK, *_ = residuals
    num_sample, num_query = _tiling(q_BxHxDxQ, k_BxHxDxK, tile)

    def sample_gradients(q_HxDxQ, k_HxDxK, v_HxDxK, bias_K, *per_query):
        def add(sums, block):
            q_gradient, *others = _backward_tile(k_HxDxK, v_HxDxK, bias_K, *block)
            return jax.tree.map(jnp.add, sums, tuple(others)), q_gradient

        zeros = tuple(jnp.zeros_like(x, _sum_dtype(x)) for x in (k_HxDxK, v_HxDxK))
        blocks = tuple(_blocks(x, num_query) for x in (q_HxDxQ, *per_query))
        (k_gradient, v_gradient), q_gradient = lax.scan(add, zeros, blocks)
        gradients = (_joined(q_gradient, q_HxDxQ.shape[-1]), k_gradient, v_gradient)
        return tuple(g.astype(q_HxDxQ.dtype) for g in gradients)

    return *_map(sample_gradients, (*residuals, gradient_BxHxDxQ), num_sample), None


_attend.defvjp(_forward, _backward)


def _tiling(q_BxHxDxQ, k_BxHxDxK, tile: int) -> tuple[int, int]:
    """Return the number of samples of a tile, and of queries of each."""
    _, num_head, _, num_query = q_BxHxDxQ.shape
    per_query = num_head * k_BxHxDxK.shape[-1]
    if per_query * num_query <= tile:
        return tile // (per_query * num_query), num_query
    return 1, max(1, tile // per_query)


def _map(function, arrays, num_sample):
    """Apply `function` to each sample, `num_sample` of them at a time."""
    batch_size = None if num_sample == 1 else num_sample
    return lax.map(lambda one: function(*one), arrays, batch_size=batch_size)


def _blocks(x, size):
    """Split the last axis: (..., Q) -> (number of blocks, ..., size), padded with zeros.

    Queries of zeros are harmless: their results are cut off, and their gradients are zero.
    """
    num = -(-x.shape[-1] // size)
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, num * size - x.shape[-1])])
    return jnp.moveaxis(x.reshape(*x.shape[:-1], num, size), -2, 0)


def _joined(x, size):
    """Undo `_blocks`: (number of blocks, ..., block size) -> (..., size)."""
    x = jnp.moveaxis(x, 0, -2)
    return x.reshape(*x.shape[:-2], -1)[..., :size]


def _logits(q_HxDxQ, k_HxDxK, bias_K):
    return _product("hdq,hdk->hqk", q_HxDxQ, k_HxDxK) + bias_K[None, None]


def _forward_tile(q_HxDxQ, k_HxDxK, v_HxDxK, bias_K):
    """Return the attended values, and the logarithm of the sum of exponentials of each query."""
    logits_HxQxK = _logits(q_HxDxQ, k_HxDxK, bias_K)
    # Less the largest logit, so that no exponential overflows.
    max_HxQ = logits_HxQxK.max(axis=-1)
    # Without the barrier XLA fuses the exponentials into each sum that reads them, and computes them
    # repeatedly.
    weight_HxQxK = lax.optimization_barrier(jnp.exp(logits_HxQxK - max_HxQ[..., None]))
    sum_HxQ = weight_HxQxK.sum(axis=-1)
    total_HxDxQ = _product("hdk,hqk->hdq", v_HxDxK, weight_HxQxK)
    return (total_HxDxQ / sum_HxQ[:, None]).astype(v_HxDxK.dtype), max_HxQ + jnp.log(sum_HxQ)


def _backward_tile(k_HxDxK, v_HxDxK, bias_K, q_HxDxQ, attended_HxDxQ, log_sum_HxQ, gradient_HxDxQ):
    """Return the gradients with respect to queries, keys and values."""
    weight_HxQxK = lax.optimization_barrier(
        jnp.exp(_logits(q_HxDxQ, k_HxDxK, bias_K) - log_sum_HxQ[..., None])
    )
    # The mean of `d_weight` over the stars, without a sum over the stars: the values average to `attended`.
    mean_HxQ = (attended_HxDxQ * gradient_HxDxQ).sum(axis=1, dtype=_sum_dtype(gradient_HxDxQ))
    d_weight_HxQxK = _product("hdq,hdk->hqk", gradient_HxDxQ, v_HxDxK)
    d_logit_HxQxK = lax.optimization_barrier(weight_HxQxK * (d_weight_HxQxK - mean_HxQ[..., None]))
    return (
        _product("hdk,hqk->hdq", k_HxDxK, d_logit_HxQxK),
        _product("hdq,hqk->hdk", q_HxDxQ, d_logit_HxQxK),
        _product("hdq,hqk->hdk", gradient_HxDxQ, weight_HxQxK),
    )


def _product(axes, a, b):
    """Return an einsum in the precision of `a`, with sums of at least float32."""
    options = {"precision": mlp.precision(a.dtype), "preferred_element_type": _sum_dtype(a)}
    return jnp.einsum(axes, a, b.astype(a.dtype), **options)


def _sum_dtype(x):
    return jnp.promote_types(x.dtype, jnp.float32)
