"""What a survey misses of a cluster: the stars fainter than its limit, and some of the others.

The number of stars is the best witness of a cluster's mass where a list is complete, and a false one where it is not. A
model trained on samples that lack stars as lists do learns how far to trust it.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from starjax import quantities
from starjax.datasets.dataset import Dataset
from starjax.datasets.shard import Shard
from starjax.datasets.split_manifest import SPLITS
from starjax.ops import sorting

# Of what validation and test lack: runs of all seeds are held against the same lists.
SEED = 0


@dataclasses.dataclass(frozen=True)
class SurveySelection:
    """Which stars samples lack.

    Attributes:
      column: the luminosity among the features, by number.
      faint_limit_range: scaled luminosities, between which a limit is drawn, uniformly, that fainter stars lie beyond.
      missing_fraction_range: fractions, between which one is drawn, uniformly, of the brighter stars that are lost as well.
    """

    column: int
    faint_limit_range: tuple[float, float]
    missing_fraction_range: tuple[float, float]


def select_stars(key: jax.Array, feature_KxF, mask_K, selection: SurveySelection):
    """Those (K,) of the stars of one sample that are seen: at least MIN_STARS, or all."""
    limit_key, ratio_key, star_key = jax.random.split(key, 3)
    luminosity_K = feature_KxF[:, selection.column]
    low, high = selection.faint_limit_range
    limit = jax.random.uniform(limit_key, minval=low, maxval=high)
    bright_K = _least(-luminosity_K, mask_K, jnp.sum(mask_K & (luminosity_K >= limit)))
    low, high = selection.missing_fraction_range
    ratio = jax.random.uniform(ratio_key, minval=low, maxval=high)
    num_left = jnp.round((1 - ratio) * bright_K.sum()).astype(int)
    return _least(jax.random.uniform(star_key, mask_K.shape), bright_K, num_left)


def _least(value_K, mask_K, num):
    """Those of the stars whose values are the `num` least; at least MIN_STARS, or all."""
    num = jnp.minimum(jnp.maximum(num, quantities.MIN_STARS), mask_K.sum())
    ascending_K = sorting.sort(jnp.where(mask_K, value_K, jnp.inf)[:, None])[:, 0]
    return mask_K & (value_K <= ascending_K[jnp.maximum(num - 1, 0)])


def apply_to_splits(
    data: Dataset,
    splits: Sequence[str],
    selection: SurveySelection,
    fold: int | None = None,
    snapshots: np.ndarray | None = None,
) -> Dataset:
    """Apply a survey selection to some splits of a data set.

    Args:
      fold: the number of the fold that is the validation split, if it is one.
      snapshots: the numbers of the snapshots to keep of each of these splits; by default all.
    """
    key = jax.random.key(SEED)
    numbers = {split: number for number, split in enumerate(SPLITS)}
    if fold is not None:
        # The folds are calibrated on together: with one key, their catalogues would all end at the same magnitudes.
        numbers["val"] = len(SPLITS) + fold
    selected = {
        split: apply_to_shard(
            data.shards[split], jax.random.fold_in(key, numbers[split]), selection, snapshots
        )
        for split in splits
    }
    return dataclasses.replace(data, shards=data.shards | selected)


def apply_to_shard(
    shard: Shard, key: jax.Array, selection: SurveySelection, snapshots: np.ndarray | None = None
) -> Shard:
    """Snapshots of a scaled shard, all or those named, as one list each has them, in memory."""
    snapshots = np.arange(shard.num_snapshot) if snapshots is None else snapshots
    whole = shard.take(snapshots)
    features, find_seen = [], jax.jit(select_stars, static_argnames="selection")
    for i, feature_NxF in zip(snapshots.tolist(), np.split(whole.feature, whole.ptr[1:-1]), strict=True):
        # Few lengths, as each is compiled for.
        num_slot = max(256, 1 << (len(feature_NxF) - 1).bit_length())
        padded_KxF = np.pad(feature_NxF, [(0, num_slot - len(feature_NxF)), (0, 0)])
        mask_K = np.arange(num_slot) < len(feature_NxF)
        is_seen_K = np.asarray(find_seen(jax.random.fold_in(key, i), padded_KxF, mask_K, selection=selection))
        features.append(feature_NxF[is_seen_K[: len(feature_NxF)]])
    ptr = np.cumsum([0, *map(len, features)])
    return dataclasses.replace(whole, feature=np.concatenate(features), ptr=ptr)
