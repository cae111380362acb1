"""Data sets by name: a directory, the packaged sample, or a data set of TensorFlow Datasets."""

from pathlib import Path

from starjax.datasets import shard, shard_files
from starjax.datasets.dataset import BUNDLES, CONFIG_FILE, TFDS, Dataset, DatasetError, prepare_shard
from starjax.datasets.scalers import bundle
from starjax.datasets.split_manifest import SPLITS
from starjax.io import files

SAMPLE_NAME = "sample"
SAMPLE_DIRECTORY = Path(__file__).parent / "sample"


def shard_path(directory: Path, kind: str, split: str) -> Path:
    """Where the shard of a split lies if it is one file; `kind` is 'raw' or 'scaled'."""
    return shard_files.shard_path(directory, kind, split)


def load_split(directory: Path, kind: str, split: str, *, mapped: bool = False) -> shard.Shard:
    """The shard of a split, of however many files.

    Raises:
      FileNotFoundError, shard.ShardError: a file is missing, damaged, or left of another build.
    """
    paths = shard_files.find_shard_files(directory, kind, split) or [shard_path(directory, kind, split)]
    return shard.load_shards(paths, mapped=mapped)


def can_be_mapped(directory: Path, kind: str, split: str) -> bool:
    """Whether all files of a split are as numpy writes them, not compressed."""
    return all(map(shard.can_be_mapped, shard_files.find_shard_files(directory, kind, split)))


def load_dataset(
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
        from starjax.datasets import tfds_reader  # slow to import, and needed for these only

        return tfds_reader.load_tfds(name, feature_keys, target_keys)
    folder = dataset_directory(name)
    kinds, paths = find_dataset_files(name)
    feature_scalers, target_scalers = (bundle.load_bundle(path) for path in paths[: len(BUNDLES)])
    shards = {}
    for split, kind in kinds.items():
        whole = load_split(
            folder, kind, split, mapped=mapped and kind == "scaled" and can_be_mapped(folder, kind, split)
        )
        shards[split] = prepare_shard(
            whole, kind, (feature_keys, target_keys), (feature_scalers, target_scalers)
        )
    return Dataset(shards, feature_scalers, target_scalers, dataset_fingerprint(folder, paths))


def find_dataset_files(name: str) -> tuple[dict[str, str], list[Path]]:
    """Whether the scaled or the raw shard of each split is read, and all files that are: the scalers' first.

    Raises:
      DatasetError: one is missing.
      shard.ShardError: some files of a split are missing, or left of another build.
    """
    folder = dataset_directory(name)
    if not folder.is_dir():
        raise DatasetError(
            f"data.dataset={name!r}: there is no folder {folder.absolute()}; name one that starjax build made, the "
            f"packaged {SAMPLE_NAME!r}, or {TFDS}NAME"
        )
    scaled = {split: shard_files.find_shard_files(folder, "scaled", split) for split in SPLITS}
    kinds = {split: "scaled" if there else "raw" for split, there in scaled.items()}
    paths = [folder / file for file in BUNDLES.values()]
    for split, kind in kinds.items():
        paths += shard_files.find_shard_files(folder, kind, split) or [shard_path(folder, kind, split)]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise DatasetError(
            f"data.dataset={name!r} lacks {', '.join(missing)}: build it with starjax build, "
            f"or use the packaged data.dataset={SAMPLE_NAME!r}"
        )
    return kinds, paths


def num_scaled_bytes(name: str) -> int:
    """Bytes of the scaled shards of a data set; of one that has none, 0."""
    return sum(
        p.stat().st_size
        for s in SPLITS
        for p in shard_files.find_shard_files(dataset_directory(name), "scaled", s)
    )


def dataset_directory(name: str) -> Path:
    """Where a data set lies, or would; that called 'sample' is packaged."""
    if name.startswith(TFDS):
        from starjax.datasets import tfds_directory

        return tfds_directory.version_directory(name)
    return SAMPLE_DIRECTORY if name == SAMPLE_NAME else Path(name)


def dataset_fingerprint(directory: Path, paths: list[Path]) -> str:
    """SHA-256 over those of the files, which have to be as the build wrote them down, if it did.

    Raises:
      DatasetError: one is not.
    """
    written_down = _recorded_digests(directory / CONFIG_FILE)
    digests = files.sha256_of_all(paths)
    for path, digest in zip(paths, digests, strict=True):
        if written_down.get(path.name, digest) != digest:
            raise DatasetError(
                f"{path} is not as it was built ({CONFIG_FILE} has another SHA-256): restore it or build the data set again; "
                f"where it was changed on purpose, remove {directory / CONFIG_FILE}"
            )
    return files.combine_digests(digests)


def _recorded_digests(record: Path) -> dict[str, str]:
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
