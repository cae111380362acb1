"""A data set directory: raw and scaled shards, scalers, and a record of how they came to be."""

import dataclasses
import hashlib
import importlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from starjax import errors, files
from starjax.data import bundle, columns, shard, split_files
from starjax.data.manifest import SPLITS

# What begins the name of a data set in the form of TensorFlow Datasets (see `tfds_source`).
TFDS = "tfds:"
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


def can_be_mapped(directory: Path, kind: str, split: str) -> bool:
    """Whether all files of a split are as numpy writes them, not compressed."""
    return all(map(shard.can_be_mapped, split_files.find(directory, kind, split)))


def load(
    name: str, feature_keys: tuple[str, ...], target_keys: tuple[str, ...], *, mapped: bool = False
) -> Dataset:
    """Loads a data set directory, the packaged one for 'sample', or one in the form of TFDS for 'tfds:NAME', with only the
    columns named.

    Where scaled shards are missing the raw ones are scaled with the directory's scalers, in memory.

    Args:
      mapped: leave the features of scaled shards on disk, save those of splits that other tools compressed, and of TFDS.

    Raises:
      DatasetError: the directory or a file of it is missing.
      shard.ShardError, scaler.ScalerError: a file is damaged, or lacks a key.
    """
    if name.startswith(TFDS):
        return _room("tfds_source").load(name, feature_keys, target_keys)
    folder = directory(name)
    kinds, paths = find(name)
    feature_scalers, target_scalers = (bundle.load(path) for path in paths[: len(BUNDLES)])
    shards = {}
    for split, kind in kinds.items():
        whole = load_split(
            folder, kind, split, mapped=mapped and kind == "scaled" and can_be_mapped(folder, kind, split)
        )
        shards[split] = prepare(whole, kind, (feature_keys, target_keys), (feature_scalers, target_scalers))
    return Dataset(shards, feature_scalers, target_scalers, fingerprint(folder, paths))


def find(name: str) -> tuple[dict[str, str], list[Path]]:
    """Whether the scaled or the raw shard of each split is read, and all files that are: the scalers' first.

    Raises:
      DatasetError: one is missing.
      shard.ShardError: some files of a split are missing, or left of another build.
    """
    folder = directory(name)
    if not folder.is_dir():
        raise DatasetError(
            f"data.dataset={name!r}: there is no folder {folder.absolute()}; name one that python -m starjax.data.build made, the "
            f"packaged {SAMPLE!r}, or {TFDS}NAME"
        )
    scaled = {split: split_files.find(folder, "scaled", split) for split in SPLITS}
    kinds = {split: "scaled" if there else "raw" for split, there in scaled.items()}
    paths = [folder / file for file in BUNDLES.values()]
    for split, kind in kinds.items():
        paths += split_files.find(folder, kind, split) or [shard_path(folder, kind, split)]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise DatasetError(
            f"data.dataset={name!r} lacks {', '.join(missing)}: build it with python -m starjax.data.build, "
            f"or use the packaged data.dataset={SAMPLE!r}"
        )
    return kinds, paths


def prepare(whole: shard.Shard, kind: str, keys: tuple, scalers: tuple) -> shard.Shard:
    """The scaled shard of what was read of a split, 'raw' or 'scaled', with the columns named.

    Args:
      keys, scalers: of the features, and of the targets.
    """
    time_myr = _time_myr(whole, kind, scalers[1])
    chosen = dataclasses.replace(whole.select(*keys), time_myr=time_myr)
    return scale(chosen, *scalers) if kind == "raw" else chosen


def num_bytes(name: str) -> int:
    """Bytes of the scaled shards of a data set; of one that has none, 0."""
    return sum(p.stat().st_size for s in SPLITS for p in split_files.find(directory(name), "scaled", s))


def directory(name: str) -> Path:
    """Where a data set lies, or would; that called 'sample' is packaged."""
    if name.startswith(TFDS):
        return _room("tfds_folder").directory(name)
    return SAMPLE_DIRECTORY if name == SAMPLE else Path(name)


def _room(name: str):
    """A module about data sets of TFDS, which imports this one."""
    return importlib.import_module(f"starjax.data.{name}")


def fingerprint(directory: Path, paths: list[Path]) -> str:
    """SHA-256 over those of the files, which have to be as the build wrote them down, if it did.

    Raises:
      DatasetError: one is not.
    """
    written_down = _of_build(directory / CONFIG_FILE)
    digests = files.sha256_of_all(paths)
    for path, digest in zip(paths, digests, strict=True):
        if written_down.get(path.name, digest) != digest:
            raise DatasetError(
                f"{path} is not as it was built ({CONFIG_FILE} has another SHA-256): restore it or build the data set again; "
                f"where it was changed on purpose, remove {directory / CONFIG_FILE}"
            )
    return sha256_over(digests)


def sha256_over(digests: Iterable[str]) -> str:
    """The fingerprint of files with these digests."""
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
