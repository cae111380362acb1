"""Data sets in memory: scaled shards by split, and their scalers."""

import dataclasses

import numpy as np

from starjax import errors
from starjax.datasets import mapped_arrays, shard
from starjax.datasets.scalers import bundle

# Prefix of the names of data sets in the format of TensorFlow Datasets (see `tfds_reader`).
TFDS = "tfds:"
# The record of a build: settings, counts and digests.
CONFIG_FILE = "dataset_config.json"
BUNDLES = {"feature": "feature_scaler_bundle.joblib", "target": "target_scaler_bundle.joblib"}


class DatasetError(errors.StarjaxError):
    """A data set that is missing, incomplete or damaged; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Scaled shards by split, and the scalers to return to physical units.

    Attributes:
      shards: the scaled shard of each of train, val and test.
      feature_scalers, target_scalers: the bundles by which they were scaled.
      fingerprint: SHA-256 digest of the files that were read.
      fold_N: the fold of each snapshot, if the same snapshots train and validate in turn (see
        `folds.all_folds`).
    """

    shards: dict[str, shard.Shard]
    feature_scalers: bundle.ScalerBundle
    target_scalers: bundle.ScalerBundle
    fingerprint: str
    fold_N: np.ndarray | None = None


def prepare_shard(
    whole: shard.Shard,
    kind: str,
    keys: tuple[tuple[str, ...], tuple[str, ...]],
    scalers: tuple[bundle.ScalerBundle, bundle.ScalerBundle],
) -> shard.Shard:
    """Return the scaled shard, with only the named columns.

    Args:
      whole: the shard of a split as it was read, with all columns.
      kind: 'raw' or 'scaled'.
      keys, scalers: of the features and of the targets.
    """
    # Before columns are selected: `time` need not be one of the targets.
    time_myr = _time_myr(whole, kind, scalers[1])
    chosen = dataclasses.replace(whole.select(*keys), time_myr=time_myr)
    return scale_shard(chosen, *scalers) if kind == "raw" else chosen


def prepare_raw_shard(
    whole: shard.Shard,
    keys: tuple[tuple[str, ...], tuple[str, ...]],
    target_scalers: bundle.ScalerBundle,
) -> shard.Shard:
    """Return a raw shard with only the named columns, features in physical units and targets scaled.

    Args:
      whole: the raw shard of a split, with all columns.
      keys: of the features and of the targets.
    """
    chosen = dataclasses.replace(whole.select(*keys), time_myr=_time_myr(whole, "raw", target_scalers))
    return _scale_targets(chosen, target_scalers)


def _scale_targets(raw: shard.Shard, scalers: bundle.ScalerBundle) -> shard.Shard:
    return dataclasses.replace(
        raw, target=mapped_arrays.in_memory(ScaledColumns(raw.target, raw.target_keys, scalers))
    )


def _time_myr(whole: shard.Shard, kind: str, target_scalers: bundle.ScalerBundle) -> np.ndarray | None:
    """Return the times of the snapshots [Myr]: their own, or those of the target `time`."""
    if whole.time_myr is not None or "time" not in whole.target_keys:
        return whole.time_myr
    time = whole.target[:, whole.target_keys.index("time")]
    return time if kind == "raw" else target_scalers.of("time").inverse(time)


@dataclasses.dataclass(frozen=True)
class ScaledColumns:
    """Columns that are scaled when they are sliced, in float64 and rounded once.

    Attributes:
      raw: (n, n_key), an array, or something that can be sliced like one.
      keys: names of its columns.
      scalers: the scalers of these columns.
    """

    raw: mapped_arrays.Columns
    keys: tuple[str, ...]
    scalers: bundle.ScalerBundle

    @property
    def shape(self) -> tuple[int, ...]:
        return self.raw.shape

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.scalers.transform(self.raw[rows].astype(np.float64), self.keys).astype(np.float32)


def scale_shard(
    raw: shard.Shard, feature_scalers: bundle.ScalerBundle, target_scalers: bundle.ScalerBundle
) -> shard.Shard:
    """Return the scaled shard of a raw one, in memory."""
    scaled = scale_lazily(raw, feature_scalers, target_scalers)
    return dataclasses.replace(scaled, feature=mapped_arrays.in_memory(scaled.feature))


def scale_lazily(
    raw: shard.Shard, feature_scalers: bundle.ScalerBundle, target_scalers: bundle.ScalerBundle
) -> shard.Shard:
    """Return the scaled shard of a raw one, whose features are computed when they are sliced."""
    scaled = ScaledColumns(raw.feature, raw.feature_keys, feature_scalers)
    return dataclasses.replace(_scale_targets(raw, target_scalers), feature=scaled)
