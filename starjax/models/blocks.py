"""The attention block of the Set Transformer: multi-head attention with projections, residuals and norms.

Source: Lee et al. 2019, "Set Transformer" (arXiv:1810.00825), equations 6 to 8.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from starjax.models import mlp
from starjax.models.attention import attention


class MultiHeadAttention(nnx.Module):
    """Multi-head attention with input projections and an output projection, all of width D.

    Source: Vaswani et al. 2017 (arXiv:1706.03762). Initialized like `torch.nn.MultiheadAttention`, as the
    reference models are: Xavier-uniform input projections, zero biases.
    """

    def __init__(self, dim: int, num_heads: int, *, rngs: nnx.Rngs, dtype=None):
        # Scale 0.5, since the Xavier bound is that of the three input projections as one (3 D, D) matrix.
        xavier = jax.nn.initializers.variance_scaling(0.5, "fan_avg", "uniform")
        options = {"dtype": dtype, "rngs": rngs}
        self.query = mlp.Linear(dim, dim, kernel_init=xavier, **options)
        self.key = mlp.Linear(dim, dim, kernel_init=xavier, **options)
        self.value = mlp.Linear(dim, dim, kernel_init=xavier, **options)
        self.out = mlp.Linear(dim, dim, kernel_init=mlp.uniform_fan_in(dim), **options)
        self.num_heads = num_heads

    def __call__(self, q_BxDxQ, k_BxDxK, v_BxDxK, mask_BxK):
        """Return the attention of projected queries to projected keys and values: (B, D, Q)."""

        def heads(x):
            return x.reshape(x.shape[0], self.num_heads, -1, x.shape[-1])

        attended_BxHxDxQ = attention(heads(q_BxDxQ), heads(k_BxDxK), heads(v_BxDxK), mask_BxK)
        return self.out(attended_BxHxDxQ.reshape(q_BxDxQ.shape))


class MultiheadAttentionBlock(nnx.Module):
    """MAB(X, Y): X attends to Y, then a feed-forward network; each with a residual and a layer norm."""

    def __init__(
        self, num_query, num_key, dim, num_heads, *, dropout, layer_norm, rngs: nnx.Rngs, dtype=None
    ):
        self.fc_q = mlp.linear(num_query, dim, rngs, dtype)
        self.fc_k = mlp.linear(num_key, dim, rngs, dtype)
        self.fc_v = mlp.linear(num_key, dim, rngs, dtype)
        self.mha = MultiHeadAttention(dim, num_heads, rngs=rngs, dtype=dtype)
        self.feed_forward = mlp.MLP(dim, (dim,), dim, dropout=dropout, rngs=rngs, dtype=dtype)
        self.norm_attention = _layer_norm(dim, rngs, dtype) if layer_norm else None
        self.norm_feed_forward = _layer_norm(dim, rngs, dtype) if layer_norm else None

    def __call__(self, x_BxFxQ, y_BxFxK, mask_BxK, key=None):
        """Map (B, num_query, Q) and (B, num_key, K) to (B, dim, Q)."""
        # Two linear maps in a row are one: a single product gives residual and queries, another one keys and
        # values.
        h_BxDxQ, q_BxDxQ = self._project([self.fc_q.arrays(), self.mha.query.after(self.fc_q)], x_BxFxQ)
        k_BxDxK, v_BxDxK = self._project(
            [self.mha.key.after(self.fc_k), self.mha.value.after(self.fc_v)], y_BxFxK
        )
        h_BxDxQ = h_BxDxQ + self.mha(q_BxDxQ, k_BxDxK, v_BxDxK, mask_BxK)
        if self.norm_attention is not None:
            h_BxDxQ = self.norm_attention(h_BxDxQ)
        h_BxDxQ = h_BxDxQ + self.feed_forward(h_BxDxQ, key)
        return h_BxDxQ if self.norm_feed_forward is None else self.norm_feed_forward(h_BxDxQ)

    def _project(self, maps, x):
        """Apply several linear maps to `x` as one product."""
        kernels, biases = zip(*maps, strict=True)
        projected = mlp.affine(jnp.concatenate(kernels, axis=1), jnp.concatenate(biases), x, self.fc_q.dtype)
        return jnp.split(projected, len(kernels), axis=-2)


def _layer_norm(dim, rngs, dtype):
    # The fast variance E[x^2] - E[x]^2 loses all digits in float32 if the features of a star are nearly
    # equal.
    return nnx.LayerNorm(
        dim,
        epsilon=1e-5,
        use_fast_variance=False,
        reduction_axes=-2,
        feature_axes=-2,
        dtype=dtype,
        rngs=rngs,
    )
