"""The blocks of the Set Transformer: multi-head attention with its projections, residuals and norms.

Source: Lee et al. 2019, "Set Transformer" (arXiv:1810.00825), equations 6 to 8.
"""

import jax
from flax import nnx

from starjax.models import mlp
from starjax.models.attention import attention


class MultiHeadAttention(nnx.Module):
    """Projections into heads, attention, projection out; width D throughout.

    Starts as in Vaswani et al. 2017: Xavier-uniform input projections, zero biases.
    """

    def __init__(self, dim: int, num_heads: int, *, rngs: nnx.Rngs):
        # The three input projections are drawn as the one (3 D, D) matrix that they make up.
        xavier = jax.nn.initializers.variance_scaling(0.5, "fan_avg", "uniform")
        self.query = nnx.Linear(dim, dim, kernel_init=xavier, rngs=rngs)
        self.key = nnx.Linear(dim, dim, kernel_init=xavier, rngs=rngs)
        self.value = nnx.Linear(dim, dim, kernel_init=xavier, rngs=rngs)
        self.out = nnx.Linear(dim, dim, kernel_init=mlp.uniform_fan_in(dim), rngs=rngs)
        self.num_heads = num_heads

    def __call__(self, q_BxQxD, k_BxKxD, v_BxKxD, mask_BxK):
        def heads(x):
            return x.reshape(*x.shape[:-1], self.num_heads, -1)

        attended_BxQxHxD = attention(
            heads(self.query(q_BxQxD)), heads(self.key(k_BxKxD)), heads(self.value(v_BxKxD)), mask_BxK
        )
        return self.out(attended_BxQxHxD.reshape(q_BxQxD.shape))


class MultiheadAttentionBlock(nnx.Module):
    """MAB(X, Y): X attends to Y, then a row-wise feed-forward net; residuals and layer norms round both."""

    def __init__(self, num_query, num_key, dim, num_heads, *, dropout, layer_norm, rngs: nnx.Rngs):
        self.fc_q = mlp.linear(num_query, dim, rngs)
        self.fc_k = mlp.linear(num_key, dim, rngs)
        self.fc_v = mlp.linear(num_key, dim, rngs)
        self.mha = MultiHeadAttention(dim, num_heads, rngs=rngs)
        self.feed_forward = mlp.MLP(dim, (dim,), dim, dropout=dropout, rngs=rngs)
        self.norm_attention = _layer_norm(dim, rngs) if layer_norm else None
        self.norm_feed_forward = _layer_norm(dim, rngs) if layer_norm else None

    def __call__(self, x_BxQxF, y_BxKxF, mask_BxK, key=None):
        """(B, Q, num_query), (B, K, num_key) -> (B, Q, dim)."""
        q_BxQxD = self.fc_q(x_BxQxF)
        h_BxQxD = q_BxQxD + self.mha(q_BxQxD, self.fc_k(y_BxKxF), self.fc_v(y_BxKxF), mask_BxK)
        if self.norm_attention is not None:
            h_BxQxD = self.norm_attention(h_BxQxD)
        h_BxQxD = h_BxQxD + self.feed_forward(h_BxQxD, key)
        return h_BxQxD if self.norm_feed_forward is None else self.norm_feed_forward(h_BxQxD)


def _layer_norm(dim, rngs):
    # The fast variance E[x^2] - E[x]^2 cancels in float32 where a row is nearly constant.
    return nnx.LayerNorm(dim, epsilon=1e-5, use_fast_variance=False, rngs=rngs)
