"""Deep Sets: a network for each star, a sum or mean over stars, and a network for the set."""

import jax.numpy as jnp
from flax import nnx

from starjax.errors import ConfigError
from starjax.models import mlp

POOLINGS = ("mean", "sum")


class DeepSets(nnx.Module):
    """Deep Sets, rho(pool(phi(star))) (Zaheer et al. 2017, arXiv:1703.06114, theorem 2).

    Hyperparameters:
      phi_hidden_dims: widths of the network applied to each star; its outputs, of the last width, are pooled.
      rho_hidden_dims: hidden widths of the network applied to the pooled values.
      pooling: 'mean' or 'sum' over the stars of the set.
      dropout: dropout rate of both networks, in [0, 1).
      dtype: precision of products, 'float32' or 'bfloat16'.
    """

    IS_SUPERLINEAR = False

    def __init__(
        self,
        num_feature: int,
        num_output: int,
        *,
        rngs: nnx.Rngs,
        phi_hidden_dims: tuple[int, ...] = (8, 4),
        rho_hidden_dims: tuple[int, ...] = (8, 4),
        pooling: str = "mean",
        dropout: float = 0.1,
        dtype: str = "float32",
    ):
        if pooling not in POOLINGS:
            raise ConfigError(f"model.pooling={pooling!r} is not one of {', '.join(POOLINGS)}")
        if not phi_hidden_dims:
            raise ConfigError("model.phi_hidden_dims=() is empty: give at least one width")
        *hidden, num_pooled = phi_hidden_dims
        # With orthogonal weights the pooled values of the packaged sample start with a spread of 0.7, else of
        # 0.1.
        options = {
            "dropout": dropout,
            "rngs": rngs,
            "layer": mlp.orthogonal,
            "dtype": mlp.compute_dtype(dtype),
        }
        self.phi = mlp.MLP(num_feature, hidden, num_pooled, **options)
        self.rho = mlp.MLP(num_pooled, rho_hidden_dims, num_output, **options)
        self.pooling = pooling

    def __call__(self, features_BxKxF, mask_BxK, key=None):
        """Map features (B, K, F) and mask (B, K) to (B, num_output); an empty set is pooled to zeros."""
        phi_key, rho_key = mlp.split_keys(key, 2)
        real_Bx1xK = mask_BxK[:, None]
        stars_BxFxK = jnp.where(real_Bx1xK, jnp.moveaxis(features_BxKxF, 1, 2), 0)
        encoded_BxDxK = self.phi(stars_BxFxK, phi_key)
        sum_dtype = jnp.promote_types(encoded_BxDxK.dtype, jnp.float32)
        # Again, since the biases of phi encode padded positions as something else than zero.
        pooled_BxD = jnp.where(real_Bx1xK, encoded_BxDxK, 0).sum(axis=2, dtype=sum_dtype)
        if self.pooling == "mean":
            pooled_BxD = pooled_BxD / jnp.maximum(real_Bx1xK.sum(axis=2), 1)
        return self.rho.of_sets(pooled_BxD, rho_key)
