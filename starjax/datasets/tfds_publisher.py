"""Publishes a built data set in the form of TensorFlow Datasets (TFDS), without TensorFlow.

    starjax publish --dataset=DIR --out=DATA_DIR --version=1.0.0

A record is a snapshot: `stars`, a dict of arrays with a value a star; `targets`, a dict of numbers; and `run_id`, `time_myr` and
`distance_pc` where they are known. Values are raw ones, in physical units; the scalers that go with them are in the metadata. So
`tfds.data_source` reads it, and `config.data.dataset=tfds:star_clusters` trains as from the directory (see `tfds_reader`).

Records are written one after another, in the order of the shards, by TFDS's writer for that. (A builder that generates examples
holds a split in memory to sort it, and beyond 1 GB needs TensorFlow for its temporary files.)
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import starjax
from starjax import quantities
from starjax.datasets import shard, shard_files, tfds_directory, tfds_reader
from starjax.datasets.dataset import BUNDLES, CONFIG_FILE, TFDS, DatasetError
from starjax.datasets.load import (
    can_be_mapped,
    dataset_directory,
    dataset_fingerprint,
    find_dataset_files,
    load_split,
    shard_path,
)
from starjax.datasets.scalers import bundle
from starjax.datasets.split_manifest import SPLITS
from starjax.io import directory_lock, files
from starjax.runtime import progress_bar

NAME, VERSION = "star_clusters", "1.0.0"
MODULE = "starjax.datasets.tfds_publisher"
# Bytes of a file of records, about, and snapshots written at a time.
FILE_BYTES, BATCH = 2**28, 256


def publish_dataset(
    source: str,
    data_dir: Path,
    name: str = NAME,
    version: str = VERSION,
    description: str = "",
    citation: str = "",
) -> Path:
    """Writes a data set directory as a version of a data set of TFDS.

    It is written under another name, and has that of the version once it is whole, with the digests of all its files.

    Args:
      source: the directory of the data set, or 'sample'.
      data_dir: the folder of all data sets of TFDS.
      description, citation: what the data set says of itself; where empty, what the README.md of its directory does.

    Returns:
      the folder of the version.

    Raises:
      DatasetError: that version is there, or something that is given cannot be.
      shard.ShardError, scaler.ScalerError: the data set directory lacks something, or is damaged.
    """
    tfds = tfds_directory.package()
    _check_names(source, name, version)
    find_dataset_files(source)
    out = data_dir / name / version
    _check_free(out)
    folder = dataset_directory(source)
    raw, metadata = _read(source)
    title, to_cite = _card(folder)
    staging = out.with_name(f".{version}.partial")
    with directory_lock.locked(staging):
        made = staging / version
        shutil.rmtree(made, ignore_errors=True)  # of a process that was killed
        made.mkdir()
        info = tfds.core.DatasetInfo(
            builder=tfds.core.DatasetIdentity(
                name=name, version=tfds.core.Version(version), data_dir=str(made), module_name=MODULE
            ),
            description=description or title or "Star clusters: member stars, and properties of the whole.",
            citation=citation or to_cite,
            features=_features(tfds.features, raw),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict({tfds_reader.METADATA_KEY: metadata}),
        )
        _write(tfds, info, raw)
        for file in ("README.md", CONFIG_FILE):
            if (folder / file).exists():
                shutil.copyfile(folder / file, made / file)
        files.write_sums(made, made.iterdir())
        _check_free(out)
        made.rename(out)
        shutil.rmtree(staging)
    return out


def _check_names(source: str, name: str, version: str) -> None:
    if source.startswith(TFDS):
        raise DatasetError(f"--dataset={source} is published already: name the directory of a built data set")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise DatasetError(f"--name={name} should be of small letters, digits and _, as star_clusters")
    if not tfds_directory.VERSION.fullmatch(version):
        raise DatasetError(f"--version={version} should be three numbers, as 1.0.0")


def _check_free(out: Path) -> None:
    if out.exists():
        raise DatasetError(
            f"{out} is there already, and others may train from it: give this data set another --version or --name, or remove "
            "that folder first"
        )


def _read(source: str) -> tuple[dict[str, shard.Shard], dict]:
    """The raw shards of a data set, on disk where they are not compressed, and what the metadata says of them."""
    folder = dataset_directory(source)
    _, paths = find_dataset_files(source)
    fingerprint = dataset_fingerprint(folder, paths)
    scalers = {of: bundle.to_plain(bundle.load_bundle(folder / file)) for of, file in BUNDLES.items()}
    raw_paths = {split: shard_files.find_shard_files(folder, "raw", split) for split in SPLITS}
    missing = [shard_path(folder, "raw", split).name for split, found in raw_paths.items() if not found]
    if missing:
        raise DatasetError(
            f"{folder} lacks {', '.join(missing)}: what is published are raw values, in physical units"
        )
    dataset_fingerprint(folder, [path for found in raw_paths.values() for path in found])
    raw = {
        split: load_split(folder, "raw", split, mapped=can_be_mapped(folder, "raw", split))
        for split in SPLITS
    }
    for split, one in raw.items():
        if (one.feature_keys, one.target_keys) != (raw["train"].feature_keys, raw["train"].target_keys):
            raise DatasetError(
                f"{folder}: the {split} shard has other columns than that of train: build the data set again"
            )
    metadata = {
        "format": tfds_reader.FORMAT,
        "starjax": starjax.__version__,
        "fingerprint": fingerprint,
        "splits": {split: shard.count_shard(one) for split, one in raw.items()},
        "scalers": scalers,
    }
    return raw, metadata


def _known(raw: dict[str, shard.Shard]) -> list[str]:
    """What is known of the snapshots of every split, beside their targets."""
    return [key for key in shard.PROVENANCE if all(getattr(one, key) is not None for one in raw.values())]


def _features(features, raw: dict[str, shard.Shard]):
    """What a record holds, in the words of `tfds.features`."""
    like = raw["train"]
    odd = [key for key in (*like.feature_keys, *like.target_keys) if "/" in key]
    if odd:
        raise DatasetError(f"TFDS has no names of columns with a slash: {', '.join(odd)}")

    def doc(key):
        known = quantities.get(key)
        return ", ".join(filter(None, [known.unit, known.description or known.label])) or None

    # Not a Sequence of dicts, which reads the same, but four times as slowly, and is written eight times as slowly.
    stars = {key: features.Tensor(shape=(None,), dtype=np.float32, doc=doc(key)) for key in like.feature_keys}
    targets = {key: features.Scalar(np.float32, doc=doc(key)) for key in like.target_keys}
    beside = {
        key: features.Text(doc=doc(key)) if key == "run_id" else features.Scalar(np.float32, doc=doc(key))
        for key in _known(raw)
    }
    return features.FeaturesDict(
        {"stars": features.FeaturesDict(stars), "targets": features.FeaturesDict(targets), **beside}
    )


def _write(tfds, info, raw: dict[str, shard.Shard]) -> None:
    """Writes the records of all splits, and then what they are."""
    num_snapshot = sum(one.num_snapshot for one in raw.values())
    num_bytes = sum(4 * one.feature.shape[0] * one.feature.shape[1] for one in raw.values())
    per_file = max(1, int(FILE_BYTES * num_snapshot / max(num_bytes, 1)))
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=per_file, file_format="array_record")
    known = _known(raw)
    try:
        writer.initialize_splits(list(SPLITS))
        with progress_bar.bar() as display:
            task = display.add_task("publishing", total=num_snapshot)
            for split, one in raw.items():
                for records in _records(one, known):
                    writer.add_examples({split: records})
                    display.advance(task, len(records))
        writer.close_all()
    except RuntimeError as error:  # of array_record, such as of a full disk
        raise DatasetError(f"{error}: mend that, and give the command again") from error


def _records(raw: shard.Shard, known: Sequence[str]) -> Iterator[list[dict]]:
    """The records of a split in their order, some at a time."""
    for first in range(0, raw.num_snapshot, BATCH):
        ptr = raw.ptr[first : first + BATCH + 1]
        columns = np.ascontiguousarray(raw.feature[int(ptr[0]) : int(ptr[-1])].T, np.float32)
        records = []
        for number, (start, end) in enumerate(
            zip(ptr[:-1] - ptr[0], ptr[1:] - ptr[0], strict=True), start=first
        ):
            record = {
                "stars": dict(zip(raw.feature_keys, columns[:, start:end], strict=True)),
                "targets": dict(zip(raw.target_keys, raw.target[number].astype(np.float32), strict=True)),
            }
            for key in known:
                value = getattr(raw, key)[number]
                record[key] = str(value) if key == "run_id" else np.float32(value)
            records.append(record)
        yield records


def _card(folder: Path) -> tuple[str, str]:
    """The title of a data set's README.md, and what it asks to cite (under `## Cite`); empty where it says nothing."""
    path = folder / "README.md"
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    title = re.match(r"# (.+)", text)
    cite = re.search(r"^## Cite\n(.+?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    return title[1].strip() if title else "", cite[1].strip() if cite else ""
