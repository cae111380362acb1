"""A data set directory: raw and scaled shards, scalers, and a record of how they came to be."""

import dataclasses

import numpy as np

from starjax import errors
from starjax.datasets import mapped_arrays, shard
from starjax.datasets.scalers import bundle

# Begins the name of a data set in the form of TensorFlow Datasets (see `tfds_reader`).
TFDS = "tfds:"
CONFIG_FILE = "dataset_config.json"
BUNDLES = {"feature": "feature_scaler_bundle.joblib", "target": "target_scaler_bundle.joblib"}


class DatasetError(errors.StarjaxError):
    """A data set that is not there or not whole, with what to do."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Scaled shards by split, and what it takes to go back to physical units.

    Attributes:
      shards: the scaled shard of each of train, val and test.
      feature_scalers, target_scalers: the bundles that scaled them.
      fingerprint: SHA-256 over the files read.
      fold_N: where the same snapshots train and validate, fold after fold, the fold of each (see `folds.all_of`).
    """

    shards: dict[str, shard.Shard]
    feature_scalers: bundle.ScalerBundle
    target_scalers: bundle.ScalerBundle
    fingerprint: str
    fold_N: np.ndarray | None = None


def prepare_shard(whole: shard.Shard, kind: str, keys: tuple, scalers: tuple) -> shard.Shard:
    """The scaled shard of what was read of a split, 'raw' or 'scaled', with the columns named.

    Args:
      keys, scalers: of the features, and of the targets.
    """
    time_myr = _time_myr(whole, kind, scalers[1])
    chosen = dataclasses.replace(whole.select(*keys), time_myr=time_myr)
    return scale_shard(chosen, *scalers) if kind == "raw" else chosen


def _time_myr(whole: shard.Shard, kind: str, target_scalers: bundle.ScalerBundle) -> np.ndarray | None:
    """The times of the snapshots [Myr], which are known too where `time` is a target."""
    if whole.time_myr is not None or "time" not in whole.target_keys:
        return whole.time_myr
    time = whole.target[:, whole.target_keys.index("time")]
    return time if kind == "raw" else target_scalers.of("time").inverse(time)


@dataclasses.dataclass(frozen=True)
class ScaledColumns:
    """Columns that are scaled where they are sliced; computed in float64 and rounded once.

    Attributes:
      raw: (n, n_key), an array, or what is sliced like one.
      keys: names of its columns.
      scalers: what scales them.
    """

    raw: np.ndarray | mapped_arrays.MappedColumns
    keys: tuple[str, ...]
    scalers: bundle.ScalerBundle

    @property
    def shape(self) -> tuple[int, int]:
        return self.raw.shape

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.scalers.transform(self.raw[rows].astype(np.float64), self.keys).astype(np.float32)


def scale_shard(
    raw: shard.Shard, feature_scalers: bundle.ScalerBundle, target_scalers: bundle.ScalerBundle
) -> shard.Shard:
    """The scaled shard of a raw one, in memory."""
    scaled = scale_lazily(raw, feature_scalers, target_scalers)
    return dataclasses.replace(scaled, feature=mapped_arrays.in_memory(scaled.feature))


def scale_lazily(
    raw: shard.Shard, feature_scalers: bundle.ScalerBundle, target_scalers: bundle.ScalerBundle
) -> shard.Shard:
    """The scaled shard of a raw one, its features computed where they are sliced."""
    return dataclasses.replace(
        raw,
        feature=ScaledColumns(raw.feature, raw.feature_keys, feature_scalers),
        target=mapped_arrays.in_memory(ScaledColumns(raw.target, raw.target_keys, target_scalers)),
    )
