"""Publishes a built data set in the form of TensorFlow Datasets (TFDS), without TensorFlow.

    python -m starjax.data.tfds --dataset=DIR --out=DATA_DIR --version=1.0.0

A record is a snapshot: `stars`, a dict of arrays with a value a star; `targets`, a dict of numbers; and `run_id`, `time_myr` and
`distance_pc` where they are known. Values are raw ones, in physical units; the scalers that go with them are in the metadata. So
`tfds.data_source` reads it, and `config.data.dataset=tfds:star_clusters` trains as from the directory (see `tfds_source`).

Records are written one after another, in the order of the shards, by TFDS's writer for that. (A builder that generates examples
holds a split in memory to sort it, and beyond 1 GB needs TensorFlow for its temporary files.)
"""

import argparse
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import starjax
from starjax import command, files, lock, progress
from starjax.data import bundle, dataset, shard, split_files, tfds_folder, tfds_source
from starjax.data.dataset import DatasetError
from starjax.data.manifest import SPLITS

NAME, VERSION = "star_clusters", "1.0.0"
# What a column holds; of others, the pipeline that computed them knows.
UNITS = {
    "x": "pc",
    "y": "pc",
    "z": "pc",
    "vx": "km/s",
    "vy": "km/s",
    "vz": "km/s",
    "lon_deg": "deg, from the centre of the cluster",
    "lat_deg": "deg, from the centre of the cluster",
    "pm_lon_coslat_mas_yr": "mas/yr",
    "pm_lat_mas_yr": "mas/yr",
    "log_L_L_sol": "log10 of the luminosity in Lsun",
    "time": "Myr",
    "time_myr": "Myr since the simulation began",
    "distance_pc": "pc, from which it is seen",
    "run_id": "the simulation; snapshots of one are correlated",
}
MASS_UNIT = "Msun"
MODULE = "starjax.data.tfds"
# Bytes of a file of records, about, and snapshots written at a time.
FILE_BYTES, BATCH = 2**28, 256


def publish(
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
    tfds = tfds_folder.package()
    _check_names(source, name, version)
    dataset.find(source)
    out = data_dir / name / version
    _check_free(out)
    folder = dataset.directory(source)
    raw, metadata = _read(source)
    title, to_cite = _card(folder)
    staging = out.with_name(f".{version}.partial")
    with lock.held(staging):
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
            metadata=tfds.core.MetadataDict({tfds_source.METADATA_KEY: metadata}),
        )
        _write(tfds, info, raw)
        for file in ("README.md", dataset.CONFIG_FILE):
            if (folder / file).exists():
                shutil.copyfile(folder / file, made / file)
        files.write_sums(made, made.iterdir())
        _check_free(out)
        made.rename(out)
        shutil.rmtree(staging)
    return out


def _check_names(source: str, name: str, version: str) -> None:
    if source.startswith(dataset.TFDS):
        raise DatasetError(f"--dataset={source} is published already: name the directory of a built data set")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise DatasetError(f"--name={name} should be of small letters, digits and _, as star_clusters")
    if not tfds_folder.VERSION.fullmatch(version):
        raise DatasetError(f"--version={version} should be three numbers, as 1.0.0")


def _check_free(out: Path) -> None:
    if out.exists():
        raise DatasetError(
            f"{out} is there already, and others may train from it: give this data set another --version or --name, or remove "
            "that folder first"
        )


def _read(source: str) -> tuple[dict[str, shard.Shard], dict]:
    """The raw shards of a data set, on disk where they are not compressed, and what the metadata says of them."""
    folder = dataset.directory(source)
    _, paths = dataset.find(source)
    fingerprint = dataset.fingerprint(folder, paths)
    scalers = {of: bundle.to_plain(bundle.load(folder / file)) for of, file in dataset.BUNDLES.items()}
    raw_paths = {split: split_files.find(folder, "raw", split) for split in SPLITS}
    missing = [
        dataset.shard_path(folder, "raw", split).name for split, found in raw_paths.items() if not found
    ]
    if missing:
        raise DatasetError(
            f"{folder} lacks {', '.join(missing)}: what is published are raw values, in physical units"
        )
    dataset.fingerprint(folder, [path for found in raw_paths.values() for path in found])
    raw = {
        split: dataset.load_split(folder, "raw", split, mapped=dataset.can_be_mapped(folder, "raw", split))
        for split in SPLITS
    }
    for split, one in raw.items():
        if (one.feature_keys, one.target_keys) != (raw["train"].feature_keys, raw["train"].target_keys):
            raise DatasetError(
                f"{folder}: the {split} shard has other columns than that of train: build the data set again"
            )
    metadata = {
        "format": tfds_source.FORMAT,
        "starjax": starjax.__version__,
        "fingerprint": fingerprint,
        "splits": {split: count(one) for split, one in raw.items()},
        "scalers": scalers,
    }
    return raw, metadata


def count(raw: shard.Shard) -> dict:
    """How many runs (None where they are not known), snapshots and stars there are."""
    runs = None if raw.run_id is None else len(raw.runs)
    return {"runs": runs, "snapshots": raw.num_snapshot, "stars": len(raw.feature)}


def _known(raw: dict[str, shard.Shard]) -> list[str]:
    """What is known of the snapshots of every split, beside their targets."""
    return [key for key in shard.PROVENANCE if all(getattr(one, key) is not None for one in raw.values())]


def _features(features, raw: dict[str, shard.Shard]):
    """What a record holds, in the words of `tfds.features`."""
    like = raw["train"]
    odd = [key for key in (*like.feature_keys, *like.target_keys) if "/" in key]
    if odd:
        raise DatasetError(f"TFDS has no names of columns with a slash: {', '.join(odd)}")

    def unit(key):
        return UNITS.get(key, MASS_UNIT if "mass" in key else None)

    # Not a Sequence of dicts, which reads the same, but four times as slowly, and is written eight times as slowly.
    stars = {
        key: features.Tensor(shape=(None,), dtype=np.float32, doc=unit(key)) for key in like.feature_keys
    }
    targets = {key: features.Scalar(np.float32, doc=unit(key)) for key in like.target_keys}
    beside = {
        key: features.Text(doc=UNITS[key]) if key == "run_id" else features.Scalar(np.float32, doc=UNITS[key])
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
        with progress.bar() as display:
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


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of the command."""
    parser = command.parser(
        "data.tfds",
        "Publishes a built data set in the form of TensorFlow Datasets.",
        usage="--dataset=DIR [option ...]",
    )
    parser.add_argument("--dataset", required=True, help="the directory of a built data set, or 'sample'")
    parser.add_argument(
        "--out", help="folder of all data sets [default: $TFDS_DATA_DIR, or ~/tensorflow_datasets]"
    )
    parser.add_argument("--name", default=NAME, help="what the data set is called [%(default)s]")
    parser.add_argument(
        "--version",
        metavar="N.N.N",
        default=VERSION,
        help="three numbers; raise one where data change [%(default)s]",
    )
    parser.add_argument(
        "--description",
        metavar="TEXT",
        default="",
        help="[default: the title of the README.md beside the data]",
    )
    parser.add_argument(
        "--citation", metavar="TEXT", default="", help="[default: what stands under '## Cite' there]"
    )
    return parser.parse_args(argv[1:])


def main(arguments: argparse.Namespace) -> None:
    data_dir = Path(arguments.out).expanduser() if arguments.out else tfds_folder.data_dir()
    out = publish(
        arguments.dataset,
        data_dir,
        arguments.name,
        arguments.version,
        arguments.description,
        arguments.citation,
    )
    for split, counts in files.read_json(out / tfds_source.METADATA)[tfds_source.METADATA_KEY][
        "splits"
    ].items():
        runs = "?" if counts["runs"] is None else counts["runs"]
        print(f"{split:<6}{runs:>5} runs {counts['snapshots']:>8} snapshots {counts['stars']:>10} stars")
    is_found = data_dir.absolute() == tfds_folder.data_dir().absolute()
    name = f"{arguments.name}:{arguments.version}" if is_found else out.absolute()
    print(f"published {out}; to train from it: --config.data.dataset={dataset.TFDS}{name}")


if __name__ == "__main__":
    command.run(main, flags_parser=parse)
