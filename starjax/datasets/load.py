"""Loading of data sets by name: a directory, a packaged one, or a data set of TensorFlow Datasets."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from starjax.datasets import shard_files
from starjax.datasets.dataset import (
    BUNDLES,
    CONFIG_FILE,
    TFDS,
    Dataset,
    DatasetError,
    prepare_raw_shard,
    prepare_shard,
)
from starjax.datasets.scalers import bundle
from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.datasets.shard import Shard
from starjax.datasets.split_manifest import SPLITS
from starjax.io import files

# The packaged data sets, by name.
PACKAGED = {name: Path(__file__).parent / name for name in ("sample", "clusters")}
SAMPLE_DIRECTORY, CLUSTERS_DIRECTORY = PACKAGED["sample"], PACKAGED["clusters"]


def load_dataset(
    name: str, feature_keys: tuple[str, ...], target_keys: tuple[str, ...], *, mapped: bool = False
) -> Dataset:
    """Load a data set with only the named columns.

    If a scaled shard is missing, the raw one is scaled with the directory's scalers, in memory.

    Args:
      name: a data set directory, the name of a packaged one ('sample' or 'clusters'), or 'tfds:NAME' for
        one of TFDS.
      mapped: leave the features of scaled shards on disk, except those of compressed files and of TFDS.

    Raises:
      DatasetError: the directory or a file in it is missing, or a simulation is in two splits.
      shard.ShardError, scaler.ScalerError: a file is damaged, or lacks a column.
    """
    if name.startswith(TFDS):
        from starjax.datasets import tfds_reader  # slow to import

        dataset = tfds_reader.load_tfds(name, feature_keys, target_keys)
    else:
        dataset = _load_directory(name, feature_keys, target_keys, mapped)
    _check_simulations(name, dataset.shards)
    return dataset


def load_raw_dataset(name: str, feature_keys: tuple[str, ...], target_keys: tuple[str, ...]) -> Dataset:
    """Load a data set with the named columns, the features in physical units and the targets scaled.

    Args:
      name: a data set directory with raw shards, or the name of a packaged one.

    Raises:
      DatasetError, shard.ShardError, scaler.ScalerError: as from `load_dataset`; or there are no raw shards.
    """
    folder = dataset_directory(name)
    kinds, paths = find_dataset_files(name, kinds=("raw",))
    _, target_scalers = (bundle.load_bundle(path) for path in paths[: len(BUNDLES)])
    shards = {}
    for split in kinds:
        whole = shard_files.load_split(folder, "raw", split, mapped=False)
        shards[split] = prepare_raw_shard(whole, (feature_keys, target_keys), target_scalers)
    dataset = Dataset(shards, ScalerBundle(()), target_scalers, dataset_fingerprint(folder, paths))
    _check_simulations(name, dataset.shards)
    return dataset


def _load_directory(
    name: str, feature_keys: tuple[str, ...], target_keys: tuple[str, ...], mapped: bool
) -> Dataset:
    folder = dataset_directory(name)
    kinds, paths = find_dataset_files(name)
    # The first of the paths, in the order of BUNDLES.
    feature_scalers, target_scalers = (bundle.load_bundle(path) for path in paths[: len(BUNDLES)])
    shards = {}
    for split, kind in kinds.items():
        whole = shard_files.load_split(folder, kind, split, mapped=mapped and kind == "scaled")
        shards[split] = prepare_shard(
            whole, kind, (feature_keys, target_keys), (feature_scalers, target_scalers)
        )
    return Dataset(shards, feature_scalers, target_scalers, dataset_fingerprint(folder, paths))


def _check_simulations(name: str, shards: Mapping[str, Shard]) -> None:
    """Raise DatasetError if a simulation is in two splits.

    Its snapshots are correlated, so that the test metrics would reward overfitting.
    """
    for one, other in itertools.combinations(SPLITS, 2):
        if shared := sorted(set(shards[one].simulations) & set(shards[other].simulations)):
            more = " …" if len(shared) > 3 else ""
            raise DatasetError(
                f"data.dataset={name!r}: simulation {', '.join(shared[:3])}{more} is in {one} and in "
                f"{other}, but all snapshots of a simulation belong to one split: build the data set again"
            )


def find_dataset_files(
    name: str, kinds: Sequence[str] = ("scaled", "raw")
) -> tuple[dict[str, str], list[Path]]:
    """Find the files of a data set directory.

    Args:
      kinds: of shards, in the order of preference.

    Returns:
      For each split whether its 'scaled' or its 'raw' shard is read; all files that are read, the scalers
      first.

    Raises:
      DatasetError: a file is missing.
      shard.ShardError: some files of a split are missing, or belong to another build.
    """
    folder = dataset_directory(name)
    if not folder.is_dir():
        raise DatasetError(
            f"data.dataset={name!r}: there is no folder {folder.absolute()}: name one made by starjax build, "
            f"a packaged one ({_packaged_names()}), or {TFDS}NAME"
        )
    found_kinds = {
        split: [kind for kind in kinds if shard_files.find_shard_files(folder, kind, split)]
        for split in SPLITS
    }
    kind_of = {split: next(iter(found), kinds[-1]) for split, found in found_kinds.items()}
    paths = [folder / file for file in BUNDLES.values()]
    for split, kind in kind_of.items():
        found = shard_files.find_shard_files(folder, kind, split)
        # If there is none, the name of the single file, for the message below.
        paths += found or [shard_files.shard_path(folder, kind, split)]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise DatasetError(
            f"data.dataset={name!r} lacks {', '.join(missing)}: build it with starjax build, "
            f"or use a packaged one: {_packaged_names()}"
        )
    return kind_of, paths


def num_scaled_bytes(name: str) -> int:
    """Return the size of the scaled shards of a data set [bytes]; 0 if there are none."""
    folder = dataset_directory(name)
    paths = [path for split in SPLITS for path in shard_files.find_shard_files(folder, "scaled", split)]
    return sum(path.stat().st_size for path in paths)


def dataset_directory(name: str) -> Path:
    """Return the directory of a data set, whether it exists or not."""
    if name.startswith(TFDS):
        from starjax.datasets import tfds_directory

        return tfds_directory.version_directory(name)
    return PACKAGED.get(name, Path(name))


def _packaged_names() -> str:
    """Return the names of the packaged data sets for messages: 'sample' or 'clusters'."""
    return " or ".join(map(repr, PACKAGED))


def dataset_fingerprint(directory: Path, paths: list[Path]) -> str:
    """Return a SHA-256 digest over those of the files.

    Raises:
      DatasetError: a file differs from its digest in the record of the build, if there is a record.
    """
    recorded = _recorded_digests(directory / CONFIG_FILE)
    digests = files.sha256_of_all(paths)
    for path, digest in zip(paths, digests, strict=True):
        if recorded.get(path.name, digest) != digest:
            raise DatasetError(
                f"{path} was changed since it was built ({CONFIG_FILE} has another SHA-256): restore it, or "
                f"build the data set again; if it was changed on purpose, remove {directory / CONFIG_FILE}"
            )
    return files.combine_digests(digests)


def _recorded_digests(record: Path) -> dict[str, str]:
    """Return the SHA-256 digests in the record of a build, by file name; empty if there is no record."""
    try:
        return dict(files.read_json(record)["sha256"])
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{record} is damaged ({error!r:.200}): restore it, or build the data set again; or remove it, "
            "and no file of the data set is verified"
        ) from error
