"""Summary statistics of each feature over the stars, then a network."""

import functools

import jax.numpy as jnp
from flax import nnx

from starjax.models import mlp
from starjax.ops import sorting

QUANTILES = (0.25, 0.75)


class SummaryStats(nnx.Module):
    """An MLP on the number of stars and seven statistics of each feature.

    Hyperparameters:
      hidden_dims: hidden widths of the network.
      dropout: dropout rate of the network, in [0, 1).
      dtype: precision of the products of the network, 'float32' or 'bfloat16'; the statistics are float32.
    """

    IS_SUPERLINEAR = True

    def __init__(
        self,
        num_feature: int,
        num_output: int,
        *,
        rngs: nnx.Rngs,
        hidden_dims: tuple[int, ...] = (8, 4),
        dropout: float = 0.1,
        dtype: str = "float32",
    ):
        options = {"dropout": dropout, "rngs": rngs, "dtype": mlp.compute_dtype(dtype)}
        self.mlp = mlp.MLP(1 + 7 * num_feature, hidden_dims, num_output, **options)

    def __call__(self, features_BxKxF, mask_BxK, key=None):
        """Map features (B, K, F) and mask (B, K) to (B, num_output)."""
        return self.mlp.of_sets(summary_statistics(features_BxKxF, mask_BxK), key)


def summary_statistics(features_BxKxF, mask_BxK):
    """Return the number of stars and seven statistics of each feature.

    These are mean, median, minimum, maximum, standard deviation, 25 % and 75 % quantile. The standard
    deviation has n - 1 in its denominator and is 0 for a single star. Quantiles are linearly interpolated. An
    empty set gives zeros.

    Args:
      features_BxKxF: the features of each star.
      mask_BxK: True for stars, False for padded positions.

    Returns:
      (B, 1 + 7 F).
    """
    real_BxKx1 = mask_BxK[..., None]
    n_Bx1 = real_BxKx1.sum(axis=1)
    star_BxKxF = jnp.where(real_BxKx1, features_BxKxF, 0)
    mean_BxF = star_BxKxF.sum(axis=1) / jnp.maximum(n_Bx1, 1)
    squared_BxKxF = jnp.where(real_BxKx1, (star_BxKxF - mean_BxF[:, None]) ** 2, 0)
    variance_BxF = squared_BxKxF.sum(axis=1) / jnp.maximum(n_Bx1 - 1, 1)
    # The gradient of the square root at 0 is infinite and would make those of all features NaN.
    std_BxF = jnp.where(variance_BxF > 0, jnp.sqrt(jnp.where(variance_BxF > 0, variance_BxF, 1)), 0)
    sorted_KxBxF = sorting.sorted_stars(features_BxKxF, mask_BxK)
    at_rank = functools.partial(sorting.at_rank, sorted_KxBxF, n_Bx1)
    quantile = functools.partial(sorting.quantile, sorted_KxBxF, n_Bx1)
    statistics = [
        n_Bx1.astype(mean_BxF.dtype),
        mean_BxF,
        quantile(0.5),
        at_rank(jnp.zeros_like(n_Bx1)),
        at_rank(n_Bx1 - 1),
        std_BxF,
        *(quantile(q) for q in QUANTILES),
    ]
    return jnp.concatenate(statistics, axis=-1)
