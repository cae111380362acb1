"""Soft groups of stars: what share of them is in each, where they are and how they spread; and quantiles of all."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from starjax.models import mlp
from starjax.ops import sorting

QUANTILES = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98)
# Stars added to each group, at the origin: few stars tell little, and none are no infinity.
PRIOR_NUM = 0.5
# Added to sums over stars before their logarithm is taken, so that of no stars it is finite.
TINY = 1e-6
# Of the packaged sample, to the nearest power of ten.
TYPICAL_NUM = 100
# Of the logarithms that are summed up: no star outweighs the others by more than e^20.
MAX_TERM = 10.0


class SoftGroups(nnx.Module):
    """A network divides every star among groups; what share of them is in each, and their moments, tell of the set.

    What grows with the number of stars is kept from what does not. The former are the logarithms of the number of stars
    and of sums over stars of what a network makes of each, as a mass is the sum of its stars'; the output is linear in
    them, so that a mass goes with a power of the number of stars, learned to be near one, also of sets larger or smaller
    than any seen. The latter correct it, through a network: shares of groups, means of the features of each group and of
    their products, quantiles of each feature over all stars, and means in place of the sums. Features are seen through
    arcsinh, lest a few stars decide.
    Pooling as in Fisher vectors (Perronnin & Dance 2007, CVPR) with learned groups (NetVLAD: Arandjelović et al. 2016,
    arXiv:1511.07247).

    Hyperparameters:
      num_groups: the groups that each star is divided among.
      num_sums: the sums over stars whose logarithms are taken.
      gate_hidden_dims: hidden widths of the network on stars, which divides them and says what is summed up.
      hidden_dims: hidden widths of the network on what is pooled.
      dropout: rate within that network, in [0, 1).
      dtype: what the products of networks are computed in, 'float32' or 'bfloat16'; moments are float32.
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
        # Orthogonal weights tell stars apart from the first step on, so that no two groups begin alike.
        self.gate = mlp.MLP(
            num_feature, gate_hidden_dims, num_groups + num_sums, dropout=0.0, layer=mlp.orthogonal, **options
        )
        self.num_groups = num_groups
        num_moment = num_feature + num_feature * (num_feature + 1) // 2
        num_pooled = len(QUANTILES) * num_feature + num_groups * (1 + num_moment) + num_sums
        self.linear = mlp.MLP(1 + num_sums, (), num_output, dropout=0.0, **options)
        self.mlp = mlp.MLP(num_pooled, hidden_dims, num_output, dropout=dropout, **options)

    def __call__(self, features_BxKxF, mask_BxK, key=None):
        """(B, K, F), (B, K) -> (B, n_output)."""
        star_BxKxF = jnp.arcsinh(jnp.where(mask_BxK[..., None], features_BxKxF, 0))
        found_BxDxK = self.gate(jnp.moveaxis(star_BxKxF, 1, 2)).astype(star_BxKxF.dtype)
        logit_BxGxK, term_BxSxK = jnp.split(found_BxDxK, [self.num_groups], axis=1)
        share_BxGxK = jax.nn.softmax(logit_BxGxK, axis=1)
        sums_BxS, number_Bx1 = (log_sum(x, mask_BxK) for x in (term_BxSxK, jnp.zeros_like(term_BxSxK[:, :1])))
        grows = jnp.concatenate([sums_BxS, number_Bx1], axis=1)
        stays = jnp.concatenate([pool(star_BxKxF, share_BxGxK, mask_BxK), sums_BxS - number_Bx1], axis=1)
        return self.linear.of_sets(grows) + self.mlp.of_sets(stays, key)


def pool(star_BxKxF, share_BxGxK, mask_BxK):
    """What is told of a set whatever its size: quantiles of each feature, share and moments of each group.

    Args:
      star_BxKxF: the features of each star.
      share_BxGxK: how much of each star belongs to each group.
      mask_BxK: True where a slot holds a star.

    Returns:
      (B, 9 F + G (1 + F + F (F + 1) / 2)): the QUANTILES of each feature; the logarithm of each group's share of the
      stars, in units of an equal share; of each group, the means of features, and of their products.
    """
    n_Bx1 = mask_BxK.sum(axis=1, keepdims=True)
    sorted_KxBxF = sorting.sorted_stars(star_BxKxF, mask_BxK)
    quantile_BxF = [sorting.quantile(sorted_KxBxF, n_Bx1, q) for q in QUANTILES]
    number_BxG, moment_BxGxM = moments(star_BxKxF, jnp.where(mask_BxK[:, None], share_BxGxK, 0))
    share_BxG = (number_BxG * number_BxG.shape[1] + PRIOR_NUM) / (n_Bx1 + PRIOR_NUM)
    parts = [*quantile_BxF, jnp.log(share_BxG), moment_BxGxM.reshape(len(moment_BxGxM), -1)]
    return jnp.concatenate(parts, axis=-1)


def log_sum(term_BxSxK, mask_BxK):
    """The logarithms (B, S) of the sums over stars of exp(term), in units of a typical number of stars; finite for none."""
    term_BxSxK = MAX_TERM * jnp.tanh(term_BxSxK / MAX_TERM)
    total_BxS = jnp.where(mask_BxK[:, None], jnp.exp(term_BxSxK), 0).sum(axis=2)
    return jnp.log((total_BxS + TINY) / TYPICAL_NUM)


def moments(star_BxKxF, weight_BxGxK):
    """Numbers (B, G) of stars, and means (B, G, F + F (F + 1) / 2) of features and of products of any two.

    The means are drawn to 0 as if by PRIOR_NUM further stars.
    """
    star_BxFxK = jnp.moveaxis(star_BxKxF, 1, 2)
    first, second = np.triu_indices(star_BxFxK.shape[1])
    term_BxMxK = jnp.concatenate([star_BxFxK, star_BxFxK[:, first] * star_BxFxK[:, second]], axis=1)
    number_BxG = weight_BxGxK.sum(axis=2)
    total_BxGxM = jnp.einsum(
        "bgk,bmk->bgm", weight_BxGxK, term_BxMxK, precision=mlp.precision(term_BxMxK.dtype)
    )
    return number_BxG, total_BxGxM / (number_BxG + PRIOR_NUM)[..., None]
