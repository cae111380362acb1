"""Soft Groups: stars are divided among learned groups, whose sizes and moments describe the set."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from starjax.models import mlp
from starjax.ops import sorting

QUANTILES = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98)
# Stars added to each group at the origin: they shrink the means of groups of few stars, and keep empty groups
# finite.
PRIOR_NUM = 0.5
# Added to sums over stars before the logarithm, which is then finite for an empty set.
TINY = 1e-6
# Typical number of stars: that of the packaged sample, to the nearest power of ten.
TYPICAL_NUM = 100
# Bound on the logarithms of the terms of sums: no star outweighs another by more than e^20.
MAX_TERM = 10.0


class SoftGroups(nnx.Module):
    """Stars divided among groups; the output depends on extensive and intensive statistics of the set.

    Extensive statistics grow with the number of stars: the logarithms of this number and of sums over stars
    of learned terms, as the mass of a cluster is the sum of those of its stars. The output is linear in them,
    so that a predicted mass is a power of the number of stars, with a learned exponent near one, also for
    sets larger or smaller than those of training.

    Intensive statistics do not grow with the number of stars. They correct the output through a network: the
    fraction of stars in each group, the means of features and of their products in each group, quantiles of
    each feature over all stars, and means instead of the sums. Features pass through arcsinh, so that a few
    outlying stars do not dominate.

    The pooling is that of Fisher vectors (Perronnin & Dance 2007, CVPR) with learned groups (NetVLAD:
    Arandjelović et al. 2016, arXiv:1511.07247).

    Hyperparameters:
      num_groups: number of groups.
      num_sums: number of sums over stars.
      gate_hidden_dims: hidden widths of the gate network, which gives the groups of each star and the terms
        of the sums.
      hidden_dims: hidden widths of the network on the intensive statistics.
      dropout: dropout rate of that network, in [0, 1).
      dtype: precision of the products of networks, 'float32' or 'bfloat16'; moments are float32.
    """

    IS_SUPERLINEAR = True

    def __init__(
        self,
        num_feature: int,
        num_output: int,
        *,
        rngs: nnx.Rngs,
        num_groups: int = 8,
        num_sums: int = 4,
        gate_hidden_dims: tuple[int, ...] = (16,),
        hidden_dims: tuple[int, ...] = (32,),
        dropout: float = 0.1,
        dtype: str = "float32",
    ):
        options = {"rngs": rngs, "dtype": mlp.compute_dtype(dtype)}
        # With orthogonal weights the groups differ from the first step on.
        self.gate = mlp.MLP(
            num_feature, gate_hidden_dims, num_groups + num_sums, dropout=0.0, layer=mlp.orthogonal, **options
        )
        self.num_groups = num_groups
        num_moment = num_feature + num_feature * (num_feature + 1) // 2
        num_pooled = len(QUANTILES) * num_feature + num_groups * (1 + num_moment) + num_sums
        self.linear = mlp.MLP(1 + num_sums, (), num_output, dropout=0.0, **options)
        self.mlp = mlp.MLP(num_pooled, hidden_dims, num_output, dropout=dropout, **options)

    def __call__(self, features_BxKxF, mask_BxK, key=None):
        """Map features (B, K, F) and mask (B, K) to (B, num_output)."""
        star_BxKxF = jnp.arcsinh(jnp.where(mask_BxK[..., None], features_BxKxF, 0))
        gate_BxDxK = self.gate(jnp.moveaxis(star_BxKxF, 1, 2)).astype(star_BxKxF.dtype)
        logit_BxGxK, term_BxSxK = jnp.split(gate_BxDxK, [self.num_groups], axis=1)
        share_BxGxK = jax.nn.softmax(logit_BxGxK, axis=1)
        # With terms of zero the sum is the number of stars.
        sums_BxS, number_Bx1 = (log_sum(x, mask_BxK) for x in (term_BxSxK, jnp.zeros_like(term_BxSxK[:, :1])))
        extensive = jnp.concatenate([sums_BxS, number_Bx1], axis=1)
        intensive = jnp.concatenate([pool(star_BxKxF, share_BxGxK, mask_BxK), sums_BxS - number_Bx1], axis=1)
        return self.linear.of_sets(extensive) + self.mlp.of_sets(intensive, key)


def pool(star_BxKxF, share_BxGxK, mask_BxK):
    """Return statistics of a set that do not grow with its size.

    Args:
      star_BxKxF: the features of each star.
      share_BxGxK: the fraction of each star that belongs to each group.
      mask_BxK: True for stars, False for padded positions.

    Returns:
      (B, 9 F + G (1 + F + F (F + 1) / 2)): the QUANTILES of each feature; the logarithm of the fraction of
      stars in each group, times the number of groups; the means of features and of their products in each
      group.
    """
    n_Bx1 = mask_BxK.sum(axis=1, keepdims=True)
    sorted_KxBxF = sorting.sorted_stars(star_BxKxF, mask_BxK)
    quantile_BxF = [sorting.quantile(sorted_KxBxF, n_Bx1, q) for q in QUANTILES]
    number_BxG, moment_BxGxM = moments(star_BxKxF, jnp.where(mask_BxK[:, None], share_BxGxK, 0))
    share_BxG = (number_BxG * number_BxG.shape[1] + PRIOR_NUM) / (n_Bx1 + PRIOR_NUM)
    parts = [*quantile_BxF, jnp.log(share_BxG), moment_BxGxM.reshape(len(moment_BxGxM), -1)]
    return jnp.concatenate(parts, axis=-1)


def log_sum(term_BxSxK, mask_BxK):
    """Return the logarithm of the sum over stars of exp(term), divided by TYPICAL_NUM.

    Args:
      term_BxSxK: S terms for each star.
      mask_BxK: True for stars, False for padded positions.

    Returns:
      (B, S), finite for an empty set.
    """
    term_BxSxK = MAX_TERM * jnp.tanh(term_BxSxK / MAX_TERM)
    total_BxS = jnp.where(mask_BxK[:, None], jnp.exp(term_BxSxK), 0).sum(axis=2)
    return jnp.log((total_BxS + TINY) / TYPICAL_NUM)


def moments(star_BxKxF, weight_BxGxK):
    """Return the size of each group, and the means of features and of their products in it.

    Args:
      star_BxKxF: the features of each star.
      weight_BxGxK: the fraction of each star that belongs to each group; 0 for padded positions.

    Returns:
      Numbers of stars (B, G), and means (B, G, F + F (F + 1) / 2), with PRIOR_NUM further stars at the
      origin.
    """
    star_BxFxK = jnp.moveaxis(star_BxKxF, 1, 2)
    first, second = np.triu_indices(star_BxFxK.shape[1])
    term_BxMxK = jnp.concatenate([star_BxFxK, star_BxFxK[:, first] * star_BxFxK[:, second]], axis=1)
    number_BxG = weight_BxGxK.sum(axis=2)
    total_BxGxM = jnp.einsum(
        "bgk,bmk->bgm", weight_BxGxK, term_BxMxK, precision=mlp.precision(term_BxMxK.dtype)
    )
    return number_BxG, total_BxGxM / (number_BxG + PRIOR_NUM)[..., None]
