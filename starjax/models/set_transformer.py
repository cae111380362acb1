"""Set Transformer: stars attend to each other, then learned seeds attend to the stars."""

import jax
import jax.numpy as jnp
from flax import nnx

from starjax.errors import ConfigError
from starjax.models import mlp
from starjax.models.blocks import MultiheadAttentionBlock


class SetTransformer(nnx.Module):
    """Self-attention blocks, pooling by attention, and a decoder (Lee et al. 2019, arXiv:1810.00825).

    Hyperparameters:
      hidden_dim: width of every block; a multiple of `num_heads`.
      num_heads: number of attention heads.
      num_sabs: number of self-attention blocks.
      num_seeds: number of seeds that pool the stars; the decoder sees the concatenation of all of them.
      output_hidden_dims: hidden widths of the decoder; () for a single linear layer.
      layer_norm: whether to normalize after attention and after the feed-forward network.
      dropout: dropout rate of the feed-forward networks and the decoder, in [0, 1).
      dtype: precision of products, 'float32' or 'bfloat16'.
    """

    IS_SUPERLINEAR = True

    def __init__(
        self,
        num_feature: int,
        num_output: int,
        *,
        rngs: nnx.Rngs,
        hidden_dim: int = 6,
        num_heads: int = 2,
        num_sabs: int = 1,
        num_seeds: int = 1,
        output_hidden_dims: tuple[int, ...] = (),
        layer_norm: bool = True,
        dropout: float = 0.1,
        dtype: str = "float32",
    ):
        if hidden_dim % num_heads:
            raise ConfigError(
                f"model.hidden_dim={hidden_dim} must be a multiple of model.num_heads={num_heads}"
            )
        options = {"dropout": dropout, "rngs": rngs, "dtype": mlp.compute_dtype(dtype)}
        block = {"layer_norm": layer_norm, **options}
        inputs = [num_feature] + [hidden_dim] * num_sabs
        self.sabs = nnx.List(
            [MultiheadAttentionBlock(n, n, hidden_dim, num_heads, **block) for n in inputs[:-1]]
        )
        self.pool = MultiheadAttentionBlock(hidden_dim, inputs[-1], hidden_dim, num_heads, **block)
        # Seeds of about unit length for any width.
        seed_init = jax.nn.initializers.variance_scaling(1.0, "fan_out", "uniform")
        self.seeds = nnx.Param(seed_init(rngs.params(), (num_seeds, hidden_dim)))
        self.decoder = mlp.MLP(num_seeds * hidden_dim, output_hidden_dims, num_output, **options)

    def __call__(self, features_BxKxF, mask_BxK, key=None):
        """Map features (B, K, F) and mask (B, K) to (B, num_output); an empty set is pooled to zeros."""
        *sab_keys, pool_key, decoder_key = mlp.split_keys(key, len(self.sabs) + 2)
        h_BxDxK = jnp.where(mask_BxK[:, None], jnp.moveaxis(features_BxKxF, 1, 2), 0)
        for sab, sab_key in zip(self.sabs, sab_keys, strict=True):
            h_BxDxK = sab(h_BxDxK, h_BxDxK, mask_BxK, sab_key)
        num_sample = features_BxKxF.shape[0]
        seeds_BxDxS = jnp.broadcast_to(self.seeds[...].T, (num_sample, *self.seeds.shape[::-1]))
        pooled_BxDxS = self.pool(seeds_BxDxS, h_BxDxK, mask_BxK, pool_key)
        # Without stars, attention returns the mean of padded positions.
        pooled_BxDxS = jnp.where(mask_BxK.any(axis=1)[:, None, None], pooled_BxDxS, 0)
        concatenated_BxI = jnp.moveaxis(pooled_BxDxS, 1, 2).reshape(num_sample, -1)
        return self.decoder.of_sets(concatenated_BxI, decoder_key)
