"""A data set directory: raw and scaled shards, scalers, and a record of how they came to be."""

import dataclasses
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from starjax import errors, files
from starjax.data import bundle, columns, shard, split_files
from starjax.data.manifest import SPLITS

SAMPLE = "sample"
SAMPLE_DIRECTORY = Path(__file__).parent / "sample"
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


def shard_path(directory: Path, kind: str, split: str) -> Path:
    """Where the shard of a split lies if it is one file; `kind` is 'raw' or 'scaled'."""
    return split_files.path(directory, kind, split)


def load_split(directory: Path, kind: str, split: str, *, mapped: bool = False) -> shard.Shard:
    """The shard of a split, of however many files.

    Raises:
      FileNotFoundError, shard.ShardError: a file is missing, damaged, or left of another build.
    """
    paths = split_files.find(directory, kind, split) or [shard_path(directory, kind, split)]
    return shard.load_all(paths, mapped=mapped)


def load(
    name: str, feature_keys: tuple[str, ...], target_keys: tuple[str, ...], *, mapped: bool = False
) -> Dataset:
    """Loads a data set directory, or the packaged one for 'sample', with only the columns named.

    Where scaled shards are missing the raw ones are scaled with the directory's scalers, in memory.

    Args:
      mapped: leave the features of scaled shards on disk, save those of splits that other tools compressed.

    Raises:
      DatasetError: the directory or a file of it is missing.
      shard.ShardError, scaler.ScalerError: a file is damaged, or lacks a key.
    """
    folder = directory(name)
    paths = [folder / file for file in BUNDLES.values()]
    scaled = {split: split_files.find(folder, "scaled", split) for split in SPLITS}
    kinds = {split: "scaled" if there else "raw" for split, there in scaled.items()}
    for split, kind in kinds.items():
        paths += split_files.find(folder, kind, split) or [shard_path(folder, kind, split)]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise DatasetError(
            f"data.dataset={name!r} lacks {', '.join(missing)}: build it with python -m starjax.data.build, "
            f"or use the packaged data.dataset={SAMPLE!r}"
        )
    feature_scalers, target_scalers = (bundle.load(path) for path in paths[:2])
    shards = {}
    for split, kind in kinds.items():
        is_mapped = mapped and kind == "scaled" and all(map(shard.can_be_mapped, scaled[split]))
        whole = load_split(folder, kind, split, mapped=is_mapped)
        time_myr = _time_myr(whole, kind, target_scalers)
        shards[split] = dataclasses.replace(whole.select(feature_keys, target_keys), time_myr=time_myr)
        if kind == "raw":
            shards[split] = scale(shards[split], feature_scalers, target_scalers)
    return Dataset(shards, feature_scalers, target_scalers, _fingerprint(folder, paths))


def num_bytes(name: str) -> int:
    """Bytes of the scaled shards of a data set; of one that has none, 0."""
    return sum(p.stat().st_size for s in SPLITS for p in split_files.find(directory(name), "scaled", s))


def directory(name: str) -> Path:
    """Where a data set lies; that called 'sample' is packaged."""
    return SAMPLE_DIRECTORY if name == SAMPLE else Path(name)


def _fingerprint(directory: Path, paths: list[Path]) -> str:
    """SHA-256 over those of the files, which have to be as the build wrote them down, if it did."""
    written_down = _of_build(directory / CONFIG_FILE)
    with ThreadPoolExecutor() as pool:  # hashing lets go of the interpreter
        digests = list(pool.map(files.sha256, paths))
    for path, digest in zip(paths, digests, strict=True):
        if written_down.get(path.name, digest) != digest:
            raise DatasetError(
                f"{path} is not as it was built ({CONFIG_FILE} has another SHA-256): restore it or build the data set again; "
                f"where it was changed on purpose, remove {directory / CONFIG_FILE}"
            )
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _of_build(record: Path) -> dict[str, str]:
    """The SHA-256 that a build wrote down of its files, by name; nothing of files of other tools."""
    try:
        return dict(files.read_json(record)["sha256"])
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{record} is damaged ({error!r:.200}): restore it, build the data set again, or remove it, and no file of the data "
            "set is checked"
        ) from error


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

    raw: np.ndarray | columns.MappedColumns
    keys: tuple[str, ...]
    scalers: bundle.ScalerBundle

    @property
    def shape(self) -> tuple[int, int]:
        return self.raw.shape

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.scalers.transform(self.raw[rows].astype(np.float64), self.keys).astype(np.float32)


def scale(
    raw: shard.Shard, feature_scalers: bundle.ScalerBundle, target_scalers: bundle.ScalerBundle
) -> shard.Shard:
    """The scaled shard of a raw one, in memory."""
    scaled = scale_when_sliced(raw, feature_scalers, target_scalers)
    return dataclasses.replace(scaled, feature=columns.in_memory(scaled.feature))


def scale_when_sliced(
    raw: shard.Shard, feature_scalers: bundle.ScalerBundle, target_scalers: bundle.ScalerBundle
) -> shard.Shard:
    """The scaled shard of a raw one, its features computed where they are sliced."""
    return dataclasses.replace(
        raw,
        feature=ScaledColumns(raw.feature, raw.feature_keys, feature_scalers),
        target=columns.in_memory(ScaledColumns(raw.target, raw.target_keys, target_scalers)),
    )
