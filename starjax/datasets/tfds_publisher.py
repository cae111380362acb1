"""Publishing of a data set directory in the format of TensorFlow Datasets (TFDS), without TensorFlow.

    starjax publish --dataset=DIR --out=DATA_DIR --version=1.0.0

A record is a snapshot: `stars`, a dict of arrays with one value per star; `targets`, a dict of numbers; and
`run_id`, `time_myr` and `distance_pc` if they are known. The values are raw ones, in physical units; the
scalers are in the metadata. `tfds.data_source` can read the result, and
`config.data.dataset=tfds:star_clusters` trains on it as on the directory (see `tfds_reader`).

Records are written in the order of the shards, by TFDS's sequential writer. (The usual way, a builder that
generates examples, keeps a split in memory to shuffle it, and needs TensorFlow for temporary files beyond 1
GB.)
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import starjax
from starjax import quantities
from starjax.datasets import shard, shard_files, tfds_directory, tfds_reader
from starjax.datasets.dataset import BUNDLES, CONFIG_FILE, TFDS, DatasetError
from starjax.datasets.load import dataset_directory, dataset_fingerprint, find_dataset_files
from starjax.datasets.scalers import bundle
from starjax.datasets.split_manifest import SPLITS
from starjax.io import directory_lock, files
from starjax.runtime import progress_bar

NAME, VERSION = "star_clusters", "1.0.0"
# The module that TFDS records as the origin of a data set.
MODULE = "starjax.datasets.tfds_publisher"
# Approximate bytes of a file of records; snapshots to write at a time.
FILE_BYTES, BATCH = 2**28, 256


def publish_dataset(
    source: str,
    data_dir: Path,
    name: str = NAME,
    version: str = VERSION,
    description: str = "",
    citation: str = "",
) -> Path:
    """Write a data set directory as a version of a data set of TFDS.

    The version is written under a temporary name, and renamed once it is complete and has the digests of all
    its files.

    Args:
      source: the directory of the data set, or the name of a packaged one.
      data_dir: the folder of all data sets of TFDS.
      description, citation: of the data set; if empty, they are taken from the README.md in its directory.

    Returns:
      The directory of the version.

    Raises:
      DatasetError: the version exists already, or an argument is invalid.
      shard.ShardError, scaler.ScalerError: the data set directory is incomplete or damaged.
    """
    tfds = tfds_directory.import_tfds()
    _check_names(source, name, version)
    find_dataset_files(source)  # raises what is missing, before anything is read
    out = data_dir / name / version
    _check_new(out)
    folder = dataset_directory(source)
    raw, metadata = _read_source(source)
    title, card_citation = _read_card(folder)
    staging = out.with_name(f".{version}.partial")
    with directory_lock.locked(staging):
        version_folder = staging / version
        shutil.rmtree(version_folder, ignore_errors=True)  # remains of a killed process
        version_folder.mkdir()
        info = tfds.core.DatasetInfo(
            builder=tfds.core.DatasetIdentity(
                name=name,
                version=tfds.core.Version(version),
                data_dir=str(version_folder),
                module_name=MODULE,
            ),
            description=description or title or "Star clusters: member stars, and properties of the whole.",
            citation=citation or card_citation,
            features=_features(tfds.features, raw),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict({tfds_reader.METADATA_KEY: metadata}),
        )
        _write_records(tfds, info, raw)
        for file in ("README.md", CONFIG_FILE):
            if (folder / file).exists():
                shutil.copyfile(folder / file, version_folder / file)
        files.write_sums(version_folder, version_folder.iterdir())
        # Again, since a process that had the lock before this one may have published it.
        _check_new(out)
        version_folder.rename(out)
        shutil.rmtree(staging)
    return out


def _check_names(source: str, name: str, version: str) -> None:
    if source.startswith(TFDS):
        raise DatasetError(f"--dataset={source} is published already: name a data set directory")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise DatasetError(f"--name={name} should be lower-case letters, digits and _, such as star_clusters")
    if not tfds_directory.VERSION.fullmatch(version):
        raise DatasetError(f"--version={version} should be three numbers, such as 1.0.0")


def _check_new(out: Path) -> None:
    if out.exists():
        raise DatasetError(
            f"{out} exists already, and others may use it for training: choose another --version or --name, "
            "or remove that directory first"
        )


def _read_source(source: str) -> tuple[dict[str, shard.Shard], dict]:
    """Return the raw shards of a data set, on disk unless compressed, and the metadata to publish."""
    folder = dataset_directory(source)
    _, paths = find_dataset_files(source)
    fingerprint = dataset_fingerprint(folder, paths)
    scalers = {of: bundle.to_plain(bundle.load_bundle(folder / file)) for of, file in BUNDLES.items()}
    raw_paths = {split: shard_files.find_shard_files(folder, "raw", split) for split in SPLITS}
    missing = [
        shard_files.shard_path(folder, "raw", split).name for split, found in raw_paths.items() if not found
    ]
    if missing:
        raise DatasetError(
            f"{folder} lacks {', '.join(missing)}, which are needed, since raw values are published"
        )
    # Raises if a raw shard was changed; the fingerprint above is that of the files that training reads.
    dataset_fingerprint(folder, [path for found in raw_paths.values() for path in found])
    raw = {split: shard_files.load_split(folder, "raw", split, mapped=True) for split in SPLITS}
    for split, one in raw.items():
        if (one.feature_keys, one.target_keys) != (raw["train"].feature_keys, raw["train"].target_keys):
            raise DatasetError(
                f"{folder}: the {split} shard has other columns than the train shard: build the data set "
                "again"
            )
    metadata = {
        "format": tfds_reader.FORMAT,
        "starjax": starjax.__version__,
        "fingerprint": fingerprint,
        "splits": {split: shard.count_shard(one) for split, one in raw.items()},
        "scalers": scalers,
    }
    return raw, metadata


def _provenance_keys(raw: dict[str, shard.Shard]) -> list[str]:
    """Return those of `shard.PROVENANCE` that are known in every split."""
    return [key for key in shard.PROVENANCE if all(getattr(one, key) is not None for one in raw.values())]


def _features(features, raw: dict[str, shard.Shard]):
    """Return the content of a record, as `tfds.features`."""
    like = raw["train"]
    with_slash = [key for key in (*like.feature_keys, *like.target_keys) if "/" in key]
    if with_slash:
        raise DatasetError(f"TFDS allows no column names with a slash: {', '.join(with_slash)}")

    def doc(key):
        known = quantities.get(key)
        return ", ".join(filter(None, [known.unit, known.description])) or None

    # Not a Sequence of dicts: it reads the same, but takes four times as long to read and eight times to
    # write.
    stars = {key: features.Tensor(shape=(None,), dtype=np.float32, doc=doc(key)) for key in like.feature_keys}
    targets = {key: features.Scalar(np.float32, doc=doc(key)) for key in like.target_keys}
    provenance = {
        key: features.Text(doc=doc(key)) if key == "run_id" else features.Scalar(np.float32, doc=doc(key))
        for key in _provenance_keys(raw)
    }
    return features.FeaturesDict(
        {"stars": features.FeaturesDict(stars), "targets": features.FeaturesDict(targets), **provenance}
    )


def _write_records(tfds, info, raw: dict[str, shard.Shard]) -> None:
    """Write the records of all splits, then the description of the data set."""
    num_snapshot = sum(one.num_snapshot for one in raw.values())
    num_bytes = sum(4 * one.feature.shape[0] * one.feature.shape[1] for one in raw.values())
    per_file = max(1, int(FILE_BYTES * num_snapshot / max(num_bytes, 1)))
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=per_file, file_format="array_record")
    provenance = _provenance_keys(raw)
    try:
        writer.initialize_splits(list(SPLITS))
        with progress_bar.bar() as display:
            task = display.add_task("publishing", total=num_snapshot)
            for split, one in raw.items():
                for records in _records(one, provenance):
                    writer.add_examples({split: records})
                    display.advance(task, len(records))
        writer.close_all()
    except RuntimeError as error:  # from array_record, for example if the disk is full
        raise DatasetError(f"{error}: correct this, and run the command again") from error


def _records(raw: shard.Shard, provenance: Sequence[str]) -> Iterator[list[dict]]:
    """Yield the records of a split in order, in batches."""
    for first in range(0, raw.num_snapshot, BATCH):
        ptr = raw.ptr[first : first + BATCH + 1]
        columns = np.ascontiguousarray(raw.feature[int(ptr[0]) : int(ptr[-1])].T, np.float32)
        records = []
        for number, (start, end) in enumerate(
            zip(ptr[:-1] - ptr[0], ptr[1:] - ptr[0], strict=True), start=first
        ):
            record: dict[str, Any] = {
                "stars": dict(zip(raw.feature_keys, columns[:, start:end], strict=True)),
                "targets": dict(zip(raw.target_keys, raw.target[number].astype(np.float32), strict=True)),
            }
            for key in provenance:
                value = getattr(raw, key)[number]
                record[key] = str(value) if key == "run_id" else np.float32(value)
            records.append(record)
        yield records


def _read_card(folder: Path) -> tuple[str, str]:
    """Return the title of the README.md in a folder, and its section `## Cite`; empty if missing."""
    path = folder / "README.md"
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    title = re.match(r"# (.+)", text)
    cite = re.search(r"^## Cite\n(.+?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    return title[1].strip() if title else "", cite[1].strip() if cite else ""
