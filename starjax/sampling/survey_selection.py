"""Survey selection: remove stars that a survey misses, the faint ones and a fraction of the others.

The number of stars is the best predictor of a cluster's mass if the catalogue is complete, and misleads
otherwise. A model trained on incomplete samples learns how far to rely on it.
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

# Seed of the selection of validation and test, so that runs of all seeds are compared on the same catalogues.
SEED = 0


@dataclasses.dataclass(frozen=True)
class SurveySelection:
    """Settings of the survey selection.

    Attributes:
      column: number of the feature that is the luminosity.
      faint_limit_range: bounds of the uniform limit, in scaled luminosity, below which stars are missing.
      missing_fraction_range: bounds of the uniform fraction of the other stars that are missing, too.
    """

    column: int
    faint_limit_range: tuple[float, float]
    missing_fraction_range: tuple[float, float]


def select_stars(key: jax.Array, feature_KxF, mask_K, selection: SurveySelection):
    """Return the mask (K,) of the stars of a sample that the survey sees: at least MIN_STARS, or all.

    Args:
      key: of the selection of this sample.
      feature_KxF: scaled features.
      mask_K: True for stars, False for padded positions.
      selection: its settings.
    """
    limit_key, ratio_key, star_key = jax.random.split(key, 3)
    luminosity_K = feature_KxF[:, selection.column]
    low, high = selection.faint_limit_range
    limit = jax.random.uniform(limit_key, minval=low, maxval=high)
    bright_K = _smallest(-luminosity_K, mask_K, jnp.sum(mask_K & (luminosity_K >= limit)))
    low, high = selection.missing_fraction_range
    ratio = jax.random.uniform(ratio_key, minval=low, maxval=high)
    num_left = jnp.round((1 - ratio) * bright_K.sum()).astype(int)
    return _smallest(jax.random.uniform(star_key, mask_K.shape), bright_K, num_left)


def _smallest(value_K, mask_K, num):
    """Return the mask of the `num` stars with the smallest values, at least MIN_STARS, or all.

    Stars whose values equal the largest of these are selected, too.
    """
    num = jnp.minimum(jnp.maximum(num, quantities.MIN_STARS), mask_K.sum())
    ascending_K = sorting.sort(jnp.where(mask_K, value_K, jnp.inf)[:, None])[:, 0]
    return mask_K & (value_K <= ascending_K[jnp.maximum(num - 1, 0)])


def split_numbers(fold: int | None) -> dict[str, int]:
    """Return a number for each split, from which the key of its catalogues is made.

    Args:
      fold: the number of the fold, if the validation split is one.
    """
    numbers = {split: number for number, split in enumerate(SPLITS)}
    if fold is not None:
        # Calibration pools the folds: with one key, their catalogues would all have the same limits.
        numbers["val"] = len(SPLITS) + fold
    return numbers


def apply_to_splits(
    data: Dataset,
    splits: Sequence[str],
    selection: SurveySelection,
    fold: int | None = None,
    snapshots: np.ndarray | None = None,
) -> Dataset:
    """Apply a survey selection to some splits of a data set.

    Args:
      data: scaled; it is not changed.
      splits: names of splits.
      selection: its settings.
      fold: the number of the fold, if the validation split is one.
      snapshots: numbers of the snapshots to keep of each of these splits; None: all.
    """
    key, numbers = jax.random.key(SEED), split_numbers(fold)
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
    """Return snapshots of a scaled shard with one draw of the survey selection each, in memory.

    Args:
      shard: scaled.
      key: of the split.
      selection: its settings.
      snapshots: numbers of the snapshots to keep; None: all.
    """
    snapshots = np.arange(shard.num_snapshot) if snapshots is None else snapshots
    whole = shard.take(snapshots)
    features, find_seen = [], jax.jit(select_stars, static_argnames="selection")
    for i, feature_NxF in zip(snapshots.tolist(), np.split(whole.feature, whole.ptr[1:-1]), strict=True):
        # Padded to at least 256 and to a power of two, since jax compiles a program for each length.
        size = max(256, 1 << (len(feature_NxF) - 1).bit_length())
        padded_KxF = np.pad(feature_NxF, [(0, size - len(feature_NxF)), (0, 0)])
        mask_K = np.arange(size) < len(feature_NxF)
        is_seen_K = np.asarray(find_seen(jax.random.fold_in(key, i), padded_KxF, mask_K, selection=selection))
        features.append(feature_NxF[is_seen_K[: len(feature_NxF)]])
    ptr = np.cumsum([0, *map(len, features)])
    return dataclasses.replace(whole, feature=np.concatenate(features), ptr=ptr)
