"""Fourier Groups: stars are divided among learned groups that resolve fine structure of some features."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from starjax.errors import ConfigError
from starjax.models import mlp
from starjax.models.soft_groups import PRIOR_NUM, log_sum


class FourierGroups(nnx.Module):
    """Stars embedded by a network, divided among learned groups, and averaged in each.

    The turn-off of the main sequence moves by a few hundredths of a magnitude when the age changes by a
    tenth, while colours span four magnitudes. Networks learn such fine structure slowly from the features
    themselves, and quickly from sines and cosines of them (Tancik et al. 2020, arXiv:2006.10739).

    As in `SoftGroups` the output is linear in the logarithms of the number of stars and of sums over stars of
    learned terms, so that a predicted mass is close to a power of the number of stars. It is corrected by a
    network on the fraction of stars in each group, the mean embedding of each group, and the mean and the
    largest values of the embedding over all stars.

    Hyperparameters:
      fourier_columns: numbers of the features of which the network sees sines and cosines, too.
      num_frequencies: number of frequencies, from a period of eight scaled units on, each half the last.
      star_hidden_dims: hidden widths of the network on stars.
      num_embedding: dimension of the embedding of a star.
      num_groups: number of groups.
      num_values: dimension of the embedding that is averaged in groups.
      num_sums: number of sums over stars.
      hidden_dims: hidden widths of the network on sets.
      dropout: dropout rate of that network, in [0, 1).
      dtype: precision of the products of networks, 'float32' or 'bfloat16'.
    """

    IS_SUPERLINEAR = False

    def __init__(
        self,
        num_feature: int,
        num_output: int,
        *,
        rngs: nnx.Rngs,
        fourier_columns: tuple[int, ...] = (),
        num_frequencies: int = 5,
        star_hidden_dims: tuple[int, ...] = (48, 48),
        num_embedding: int = 48,
        num_groups: int = 24,
        num_values: int = 16,
        num_sums: int = 8,
        hidden_dims: tuple[int, ...] = (64, 64),
        dropout: float = 0.1,
        dtype: str = "float32",
    ):
        if not all(column < num_feature for column in fourier_columns):
            raise ConfigError(
                f"model.fourier_columns={fourier_columns!r} should be numbers of the {num_feature} features, "
                f"from 0 to {num_feature - 1}"
            )
        options = {"rngs": rngs, "dtype": mlp.compute_dtype(dtype)}
        self.fourier_columns = fourier_columns
        self.num_frequencies = num_frequencies
        num_input = num_feature + 2 * num_frequencies * len(fourier_columns)
        self.embed = mlp.MLP(num_input, star_hidden_dims, num_embedding, dropout=0.0, **options)
        self.split = (num_groups, num_groups + num_values)
        self.project = mlp.linear(num_embedding, num_groups + num_values + num_sums, **options)
        num_pooled = num_groups * (1 + num_values) + 2 * num_embedding + num_sums + 1
        self.linear = mlp.MLP(1 + num_sums, (), num_output, dropout=0.0, **options)
        self.mlp = mlp.MLP(num_pooled, hidden_dims, num_output, dropout=dropout, **options)

    def __call__(self, features_BxKxF, mask_BxK, key=None):
        """Map features (B, K, F) and mask (B, K) to (B, num_output)."""
        features_BxFxK = jnp.moveaxis(jnp.where(mask_BxK[..., None], features_BxKxF, 0), 1, 2)
        embedding_BxDxK = jax.nn.relu(self.embed(self._inputs(features_BxFxK)))
        logit_BxGxK, value_BxVxK, term_BxSxK = jnp.split(
            self.project(embedding_BxDxK).astype(features_BxFxK.dtype), self.split, axis=1
        )
        extensive_BxS = jnp.concatenate(
            [log_sum(term_BxSxK, mask_BxK), log_sum(jnp.zeros_like(term_BxSxK[:, :1]), mask_BxK)], axis=1
        )
        pooled = [
            *pool(jax.nn.softmax(logit_BxGxK, axis=1), value_BxVxK, mask_BxK),
            *mean_and_largest(embedding_BxDxK.astype(features_BxFxK.dtype), mask_BxK),
            extensive_BxS,
        ]
        return self.linear.of_sets(extensive_BxS) + self.mlp.of_sets(jnp.concatenate(pooled, axis=1), key)

    def _inputs(self, features_BxFxK):
        """Return the features, compressed, with sines and cosines of some of them (B, I, K)."""
        inputs = [jnp.arcsinh(features_BxFxK)]
        if self.fourier_columns:
            chosen_BxCxK = features_BxFxK[:, np.array(self.fourier_columns)]
            phase = [np.pi / 4 * 2**number * chosen_BxCxK for number in range(self.num_frequencies)]
            inputs += [wave(one) for one in phase for wave in (jnp.sin, jnp.cos)]
        return jnp.concatenate(inputs, axis=1)


def pool(share_BxGxK, value_BxVxK, mask_BxK):
    """Return the mean values of each group (B, G V), and the logarithm of its fraction of the stars (B, G).

    Args:
      share_BxGxK: the fraction of each star that belongs to each group.
      value_BxVxK: values of each star.
      mask_BxK: True for stars, False for padded positions.
    """
    share_BxGxK = jnp.where(mask_BxK[:, None], share_BxGxK, 0)
    number_BxG = share_BxGxK.sum(axis=2)
    total_BxGxV = jnp.einsum(
        "bgk,bvk->bgv", share_BxGxK, value_BxVxK, precision=mlp.precision(value_BxVxK.dtype)
    )
    mean_BxGxV = total_BxGxV / (number_BxG + PRIOR_NUM)[..., None]
    num_star_Bx1 = mask_BxK.sum(axis=1, keepdims=True)
    fraction_BxG = (number_BxG * number_BxG.shape[1] + PRIOR_NUM) / (num_star_Bx1 + PRIOR_NUM)
    return mean_BxGxV.reshape(len(mean_BxGxV), -1), jnp.log(fraction_BxG)


def mean_and_largest(value_BxVxK, mask_BxK):
    """Return mean and largest values (B, V) over the stars, which are not negative; 0 for an empty set."""
    value_BxVxK = jnp.where(mask_BxK[:, None], value_BxVxK, 0)
    num_star_Bx1 = jnp.maximum(mask_BxK.sum(axis=1, keepdims=True), 1)
    return value_BxVxK.sum(axis=2) / num_star_Bx1, value_BxVxK.max(axis=2)
