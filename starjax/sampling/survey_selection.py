"""What a survey misses of a cluster: the stars fainter than its limit, and some of the others.

The number of stars is the best witness of a cluster's mass where a list is complete, and a false one where it is not. A
model trained on samples that lack stars as lists do learns how far to trust it.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from starjax import quantities
from starjax.datasets.dataset import Dataset
from starjax.datasets.scalers.bundle import ScalerBundle
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


def survey_selection(
    config: ConfigDict, feature_keys: tuple[str, ...], scalers: ScalerBundle
) -> SurveySelection | None:
    """What a config asks for, of features with these names and scalers; None: nothing.

    Lists to be answered for lack what they lack: they may come without luminosities that the model does not see.
    """
    data = config.data
    if not data.faint_limit_range or quantities.LUMINOSITY not in feature_keys:
        return None
    scaled = scalers.of(quantities.LUMINOSITY).transform(np.array(data.faint_limit_range, np.float64))
    return SurveySelection(
        feature_keys.index(quantities.LUMINOSITY), tuple(scaled.tolist()), tuple(data.missing_fraction_range)
    )


def select_stars(key: jax.Array, feature_KxF, mask_K, losses: SurveySelection):
    """Those (K,) of the stars of one sample that are seen: at least MIN_STARS, or all."""
    limit_key, ratio_key, star_key = jax.random.split(key, 3)
    luminosity_K = feature_KxF[:, losses.column]
    low, high = losses.faint_limit_range
    limit = jax.random.uniform(limit_key, minval=low, maxval=high)
    bright_K = _least(-luminosity_K, mask_K, jnp.sum(mask_K & (luminosity_K >= limit)))
    low, high = losses.missing_fraction_range
    ratio = jax.random.uniform(ratio_key, minval=low, maxval=high)
    num_left = jnp.round((1 - ratio) * bright_K.sum()).astype(int)
    return _least(jax.random.uniform(star_key, mask_K.shape), bright_K, num_left)


def _least(value_K, mask_K, num):
    """Those of the stars whose values are the `num` least; at least MIN_STARS, or all."""
    num = jnp.minimum(jnp.maximum(num, quantities.MIN_STARS), mask_K.sum())
    ascending_K = sorting.sort(jnp.where(mask_K, value_K, jnp.inf)[:, None])[:, 0]
    return mask_K & (value_K <= ascending_K[jnp.maximum(num - 1, 0)])


def apply_to_splits(
    config: ConfigDict, data: Dataset, *splits: str, snapshots: np.ndarray | None = None
) -> Dataset:
    """The same data, or where the config says that lists lack stars, with those stars of some splits that a list has.

    Args:
      snapshots: the numbers of those that are wanted of each of the splits; by default all.
    """
    keys = tuple(config.data.feature_keys)
    losses = survey_selection(config, keys, data.feature_scalers)
    if losses is None:
        return data
    key = jax.random.key(SEED)
    numbers = {split: number for number, split in enumerate(SPLITS)}
    if config.data.fold:
        # Lest the lists of all folds, which are calibrated on together, end at the same magnitudes.
        numbers["val"] = len(SPLITS) + config.data.fold[0]
    seen_of = {
        s: apply_to_shard(data.shards[s], jax.random.fold_in(key, numbers[s]), losses, snapshots)
        for s in splits
    }
    return dataclasses.replace(data, shards=data.shards | seen_of)


def apply_to_shard(
    shard: Shard, key: jax.Array, losses: SurveySelection, snapshots: np.ndarray | None = None
) -> Shard:
    """Snapshots of a scaled shard, all or those named, as one list each has them, in memory."""
    snapshots = np.arange(shard.num_snapshot) if snapshots is None else snapshots
    whole = shard.take(snapshots)
    features, find_seen = [], jax.jit(select_stars, static_argnames="losses")
    for i, feature_NxF in zip(snapshots.tolist(), np.split(whole.feature, whole.ptr[1:-1]), strict=True):
        # Few lengths, as each is compiled for.
        num_slot = max(256, 1 << (len(feature_NxF) - 1).bit_length())
        padded_KxF = np.pad(feature_NxF, [(0, num_slot - len(feature_NxF)), (0, 0)])
        mask_K = np.arange(num_slot) < len(feature_NxF)
        is_seen_K = np.asarray(find_seen(jax.random.fold_in(key, i), padded_KxF, mask_K, losses=losses))
        features.append(feature_NxF[is_seen_K[: len(feature_NxF)]])
    ptr = np.cumsum([0, *map(len, features)])
    return dataclasses.replace(whole, feature=np.concatenate(features), ptr=ptr)
