"""A data set directory: raw and scaled shards, scalers, and a record of how they came to be."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np

from starjax import errors, files
from starjax.data import bundle, shard
from starjax.data.manifest import SPLITS

SAMPLE = "sample"
SAMPLE_DIRECTORY = Path(__file__).parent / "sample"
# Rows scaled at a time, so that float64 copies stay small beside the shards.
ROWS_PER_BLOCK = 2**16
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
    """

    shards: dict[str, shard.Shard]
    feature_scalers: bundle.ScalerBundle
    target_scalers: bundle.ScalerBundle
    fingerprint: str


def shard_path(directory: Path, kind: str, split: str) -> Path:
    """Where a shard of a data set lies; `kind` is 'raw' or 'scaled'."""
    return directory / f"{kind}-{split}-shard.npz"


def load(
    name: str, feature_keys: tuple[str, ...], target_keys: tuple[str, ...], *, mapped: bool = False
) -> Dataset:
    """Loads a data set directory, or the packaged one for 'sample', with only the columns named.

    Where scaled shards are missing the raw ones are scaled with the directory's scalers, in memory.

    Args:
      mapped: leave the features of scaled shards on disk.

    Raises:
      DatasetError: the directory or a file of it is missing.
      shard.ShardError, scaler.ScalerError: a file is damaged, or lacks a key.
    """
    directory = SAMPLE_DIRECTORY if name == SAMPLE else Path(name)
    paths = [directory / file for file in BUNDLES.values()]
    kinds = {s: "scaled" if shard_path(directory, "scaled", s).exists() else "raw" for s in SPLITS}
    paths += [shard_path(directory, kind, split) for split, kind in kinds.items()]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise DatasetError(
            f"data.dataset={name!r} lacks {', '.join(missing)}: build it with python -m starjax.data.build, "
            f"or use the packaged data.dataset={SAMPLE!r}"
        )
    feature_scalers, target_scalers = (bundle.load(path) for path in paths[:2])
    shards = {}
    for split, kind in kinds.items():
        whole = shard.load(shard_path(directory, kind, split), mapped=mapped and kind == "scaled")
        time_myr = _time_myr(whole, kind, target_scalers)
        shards[split] = dataclasses.replace(whole.select(feature_keys, target_keys), time_myr=time_myr)
        if kind == "raw":
            shards[split] = scale(shards[split], feature_scalers, target_scalers)
    return Dataset(shards, feature_scalers, target_scalers, _fingerprint(directory, paths, mapped))


def num_bytes(name: str) -> int:
    """Bytes of the scaled shards of a data set; of one that has none, 0."""
    paths = [shard_path(Path(name), "scaled", split) for split in SPLITS]
    return sum(path.stat().st_size for path in paths if path.exists())


def _fingerprint(directory: Path, paths: list[Path], is_trusting: bool) -> str:
    """SHA-256 over those of the files; if trusting, over what the build wrote down of them, without reading them."""
    record = directory / CONFIG_FILE
    known = json.loads(record.read_text())["sha256"] if is_trusting and record.exists() else {}
    digests = [known.get(path.name) or files.sha256(path) for path in paths]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _time_myr(whole: shard.Shard, kind: str, target_scalers: bundle.ScalerBundle) -> np.ndarray | None:
    """The times of the snapshots [Myr], which are known too where `time` is a target."""
    if whole.time_myr is not None or "time" not in whole.target_keys:
        return whole.time_myr
    time = whole.target[:, whole.target_keys.index("time")]
    return time if kind == "raw" else target_scalers.of("time").inverse(time)


def scale(
    raw: shard.Shard, feature_scalers: bundle.ScalerBundle, target_scalers: bundle.ScalerBundle
) -> shard.Shard:
    """The scaled shard of a raw one; computed in float64, a block of rows at a time, and rounded once."""

    def columns(values, keys, scalers):
        scaled = np.empty_like(values, dtype=np.float32)
        for first in range(0, len(values), ROWS_PER_BLOCK):
            rows = slice(first, first + ROWS_PER_BLOCK)
            scaled[rows] = scalers.transform(values[rows].astype(np.float64), keys)
        return scaled

    return dataclasses.replace(
        raw,
        feature=columns(raw.feature, raw.feature_keys, feature_scalers),
        target=columns(raw.target, raw.target_keys, target_scalers),
    )
