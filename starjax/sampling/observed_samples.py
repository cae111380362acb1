"""Samples of simulated clusters as the observer sees them: for training, and fixed ones for evaluation."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from starjax import quantities
from starjax.datasets.dataset import Dataset
from starjax.datasets.scalers import bundle
from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.datasets.shard import Shard
from starjax.sampling import observer
from starjax.sampling.observer_settings import Observer
from starjax.sampling.survey_selection import SEED, split_numbers
from starjax.sampling.viewpoint import Viewpoint

# Draws for each snapshot until a list has MIN_STARS, which distant clusters of few stars rarely do.
_MAX_ATTEMPTS = 8
# Snapshots observed at a time.
_BATCH_SIZE = 32


@dataclasses.dataclass(frozen=True)
class ObservedSamples:
    """Settings of samples that are drawn with the observer.

    Attributes:
      observer: its settings.
      feature_keys: the features that the model sees, among `observer.FEATURES`.
      scalers: scalers of these.
      size: the most rows of a snapshot that are observed.
    """

    observer: Observer
    feature_keys: tuple[str, ...]
    scalers: ScalerBundle
    size: int

    def draw(self, feature, start, end, key: jax.Array, size: int):
        """Return scaled features (size, F), zeros at padded positions, and the mask (size,) of one list.

        Args:
          feature: the stars of all snapshots (n_star, C), see `observer.sort_by_brightness`.
          start, end: the rows of the snapshot, of which the first `size` are observed.
          key: of the sample.
        """
        physical_KxF, mask_K = observe_rows(feature, start, end, key, size, self.observer)
        columns = np.array([observer.FEATURES.index(name) for name in self.feature_keys])
        scaled_KxF = self.scalers.transform(physical_KxF[:, columns], self.feature_keys)
        return jnp.where(mask_K[:, None], scaled_KxF, 0), mask_K

    def count(self, feature, start, end, key: jax.Array):
        """Return how many rows of the snapshot `draw` needs with this key."""
        return observer.count_rows(key, feature, start, end, self.observer)


def observe_rows(feature, start, end, key: jax.Array, size: int, settings: Observer):
    """Return the physical `observer.FEATURES` (size, F) of the first rows of a snapshot, and their mask."""
    position = jnp.arange(size, dtype=start.dtype)
    row = jnp.minimum(start + position, end - 1)
    features_KxF, mask_K, _ = observer.observe(key, feature[row], position < end - start, settings)
    return features_KxF, mask_K


def prepare_dataset(raw: Dataset, settings: Observer, feature_keys: Sequence[str], size: int) -> Dataset:
    """Return a data set whose stars are sorted as the observer needs them, with scalers of FEATURES.

    The scalers are fitted to one list of each training snapshot.

    Args:
      raw: with the physical columns `quantities.OBSERVER`.
      settings: of the observer.
      feature_keys: the features that the model sees.
      size: the most rows of a snapshot that are observed.
    """
    shards = {split: observer.sort_by_brightness(shard) for split, shard in raw.shards.items()}
    whole, _ = observe_shard(shards["train"], jax.random.key(SEED), settings, size)
    columns = [observer.FEATURES.index(name) for name in feature_keys]
    scalers = bundle.fit_bundle(
        whole.feature[:, columns], feature_keys, quantities.scaler_groups(feature_keys, "feature")
    )
    return dataclasses.replace(raw, shards=shards, feature_scalers=scalers)


def observe_splits(
    data: Dataset,
    splits: Sequence[str],
    samples: ObservedSamples,
    fold: int | None = None,
    snapshots: np.ndarray | None = None,
) -> Dataset:
    """Replace the stars of some splits by one list of each snapshot, with scaled features.

    Args:
      data: see `prepare_dataset`; it is not changed.
      splits: names of splits.
      samples: how lists are drawn.
      fold: the number of the fold, if the validation split is one.
      snapshots: numbers of the snapshots to keep of each of these splits; None: all.
    """
    numbers, observed = split_numbers(fold), {}
    for split in splits:
        shard = data.shards[split] if snapshots is None else data.shards[split].take(snapshots)
        # The first number is that of the scalers' lists.
        key = jax.random.fold_in(jax.random.key(SEED), 1 + numbers[split])
        physical, _ = observe_shard(shard, key, samples.observer, samples.size)
        physical = physical.select(samples.feature_keys, shard.target_keys)
        scaled = samples.scalers.transform(physical.feature.astype(np.float64), samples.feature_keys)
        observed[split] = dataclasses.replace(physical, feature=scaled.astype(np.float32))
    return dataclasses.replace(data, shards=data.shards | observed)


@functools.partial(jax.jit, static_argnames="settings")
def _observe_batch(key, attempt, snapshot_B, star_BxKxC, mask_BxK, settings: Observer):
    """Return `observer.observe` of some snapshots; draws depend on their numbers and on the attempt."""
    attempt_key = jax.random.fold_in(key, attempt)

    def one(snapshot, star_KxC, mask_K):
        return observer.observe(jax.random.fold_in(attempt_key, snapshot), star_KxC, mask_K, settings)

    return jax.vmap(one)(snapshot_B, star_BxKxC, mask_BxK)


def observe_shard(shard: Shard, key: jax.Array, settings: Observer, size: int) -> tuple[Shard, Viewpoint]:
    """Return one list of each snapshot, with the physical `observer.FEATURES` and distances, and its view.

    Of several draws it is the first with at least MIN_STARS stars, or that with the most.

    Args:
      shard: see `observer.sort_by_brightness`.
      key: of all lists.
      settings: of the observer.
      size: the most rows of a snapshot that are observed.

    Returns:
      the lists, and the circumstances of each in arrays (n_snapshot, …).
    """
    best: list[np.ndarray] = [np.zeros((0, len(observer.FEATURES)))] * shard.num_snapshot
    views: list[Viewpoint | None] = [None] * shard.num_snapshot
    missing = np.arange(shard.num_snapshot)
    for attempt in range(_MAX_ATTEMPTS):
        for first in range(0, len(missing), _BATCH_SIZE):
            chosen = missing[first : first + _BATCH_SIZE]
            # The last batch is filled up, so that one compiled program serves all.
            snapshot_B = np.resize(chosen, _BATCH_SIZE)
            row_BxK = shard.ptr[snapshot_B, None] + np.arange(size)
            is_star_BxK = row_BxK < shard.ptr[snapshot_B + 1, None]
            star_BxKxC = shard.feature[np.where(is_star_BxK, row_BxK, shard.ptr[snapshot_B, None])]
            features_BxKxF, mask_BxK, view_B = jax.tree.map(
                np.asarray, _observe_batch(key, attempt, snapshot_B, star_BxKxC, is_star_BxK, settings)
            )
            for row, snapshot in enumerate(chosen):
                if views[snapshot] is None or mask_BxK[row].sum() > len(best[snapshot]):
                    best[snapshot] = features_BxKxF[row][mask_BxK[row]]
                    views[snapshot] = Viewpoint(*(values[row] for values in view_B))
        missing = np.array([i for i in missing if len(best[i]) < quantities.MIN_STARS], int)
        if not len(missing):
            break
    view = jax.tree.map(lambda *values: np.stack(values), *views)
    lists = dataclasses.replace(
        shard,
        feature=np.concatenate(best).astype(np.float32),
        feature_keys=observer.FEATURES,
        ptr=np.cumsum([0, *map(len, best)]),
        distance_pc=view.distance,
    )
    return lists, view
