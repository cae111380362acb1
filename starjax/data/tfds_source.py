"""Data sets in the form of TensorFlow Datasets (TFDS), read without TensorFlow.

    tfds:star_clusters                  the newest version in $TFDS_DATA_DIR, or ~/tensorflow_datasets
    tfds:star_clusters:1.0.0            that version
    tfds:star_clusters/CONFIG:1.0.0     of a data set that has several configs
    tfds:/data/star_clusters/1.0.0      the folder of a version

`starjax.data.tfds` writes such, with the scalers of the data set they come from. Those of others are read too: records with
`stars`, a dict of named values [one a star], and `targets`, a dict of named values, in splits `train`, `val` (or `validation`)
and `test`; `run_id`, `time_myr` and `distance_pc` beside them if they are known. Values are physical ones. Scalers are then
fitted to the training split.
"""

import contextlib
import importlib
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from google.protobuf import json_format, message

from starjax import distributed, environment, errors, files
from starjax.data import bundle, dataset, shard
from starjax.data.dataset import DatasetError
from starjax.data.manifest import SPLITS

# Where, in the metadata of a data set, starjax has its own; and the form of that.
METADATA, METADATA_KEY, FORMAT = "metadata.json", "starjax", 1
FEATURES, INFO = "features.json", "dataset_info.json"
# Data sets of others: which features share one scale (those of configs/dataset.py), and what is done with all others.
FEATURE_SCALERS = (
    (("x", "y", "z"), "robust"),
    (("vx", "vy", "vz"), "robust"),
    (("lon_deg", "lat_deg"), "robust"),
    (("pm_lon_coslat_mas_yr", "pm_lat_mas_yr"), "robust"),
    (("log_L_L_sol",), "robust"),
)
OTHER_FEATURE_SCALER = "robust"
TARGET_SCALERS = (
    (("time",), "robust"),
    (("total_mass_within_2x_r_tidal",), "log10_standard"),
)
OTHER_TARGET_SCALER = "standard"

_NAME = re.compile(r"(?P<name>\w+)(/(?P<config>[\w.+-]+))?(:(?P<version>[\d.]+))?")
VERSION = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", re.ASCII)
# Names that others give to splits, by ours.
_ALSO_CALLED = {"val": "validation"}
# Features of these modules are part of TFDS; what else a file names would be imported, which runs it.
_KNOWN_FEATURES = "tensorflow_datasets.core.features."
# Snapshots that are read at a time.
_BATCH = 256
# What array_record, protobuf and TFDS raise of files that are damaged, or of others than they take them for.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    json_format.Error,
    message.Error,
)


def data_dir() -> Path:
    """The folder of all data sets, where TFDS looks for them."""
    return Path(environment.default("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()


def directory(name: str) -> Path:
    """The folder of the version that `name` means; where there is none, the one it would be in.

    Raises:
      DatasetError: it is no name of a data set of TFDS, or of several configs it names none.
    """
    given = name.removeprefix(dataset.TFDS)
    if given.startswith(("/", "~", ".")):
        return Path(given).expanduser()
    parts = _NAME.fullmatch(given)
    if parts is None:
        raise DatasetError(
            f"data.dataset={name!r} should be {dataset.TFDS}NAME, with /CONFIG and :VERSION (as 1.0.0) if they matter, or "
            f"{dataset.TFDS}/FOLDER/OF/THE/VERSION"
        )
    folder = data_dir() / parts["name"]
    if parts["config"]:
        folder = folder / parts["config"]
    elif not _versions(folder):
        configs = sorted(path.name for path in folder.glob("*") if _versions(path))
        if len(configs) > 1:
            raise DatasetError(
                f"data.dataset={name!r} has several configs: name one, as {dataset.TFDS}{parts['name']}/{configs[0]}; there are "
                f"{', '.join(configs)}"
            )
        folder = folder / configs[0] if configs else folder
    versions = _versions(folder)
    return folder / (parts["version"] or (versions[-1] if versions else ""))


def _versions(folder: Path) -> list[str]:
    """The versions in a folder, the newest last."""
    found = [path.name for path in folder.glob("*.*.*") if VERSION.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda version: [int(number) for number in version.split(".")])


def load(name: str, feature_keys: tuple[str, ...], target_keys: tuple[str, ...]) -> dataset.Dataset:
    """Loads a data set of TFDS, scaled, into memory, with only the columns named.

    Raises:
      DatasetError, shard.ShardError, scaler.ScalerError: it is not there, not whole, or none of star clusters.
    """
    folder = directory(name)
    missing = [file for file in (FEATURES, INFO) if not (folder / file).is_file()]
    if missing:
        raise DatasetError(
            f"data.dataset={name!r}: {folder} lacks {' and '.join(missing)} of a data set of TFDS: publish one there with "
            "python -m starjax.data.tfds, set TFDS_DATA_DIR, or name another"
        )
    digests = _digests(name, folder, sorted(folder.glob("*.json")))
    scalers = _stored_scalers(folder)
    builder = _open(name, folder)
    theirs = _splits(name, builder)
    digests += _digests(name, folder, _record_files(name, builder, theirs.values()))
    decoded = _decoded(name, builder, feature_keys, target_keys, with_mates=scalers is None)
    shards = {}
    for split in SPLITS:  # the training split first
        raw = _read(f"{name}, {theirs[split]}", builder, theirs[split], decoded)
        scalers = scalers or _fit(name, raw)
        shards[split] = dataset.prepare(raw, "raw", (feature_keys, target_keys), scalers)
    return dataset.Dataset(shards, *scalers, dataset.sha256_over(digests))


def _digests(name: str, folder: Path, paths: Sequence[Path]) -> list[str]:
    """The SHA-256 of files, which are to be those that were published, where that is known."""
    try:
        sums = files.read_sums(folder)
    except ValueError as error:
        raise DatasetError(
            f"{folder / files.SUMS} is damaged ({error}): restore it, or remove it, and no file of the data set is checked"
        ) from error
    lost = sorted({path for path in {*paths, *sums} if not path.is_file()})
    digests = [] if lost else files.sha256_of_all(paths)
    changed = [
        path for path, digest in zip(paths, digests, strict=False) if sums and sums.get(path) != digest
    ]
    if lost or changed:
        names = ", ".join(path.name for path in lost or changed)
        raise DatasetError(
            f"data.dataset={name!r}: {folder} {'lacks' if lost else 'was published with another'} {names}: restore it, or "
            f"publish the data set again; where that was changed on purpose, remove {folder / files.SUMS}"
        )
    return digests


def _stored_scalers(folder: Path) -> tuple[bundle.ScalerBundle, bundle.ScalerBundle] | None:
    """Those of the features and of the targets, if starjax wrote the data set."""
    path = folder / METADATA
    try:
        content = files.read_json(path)
        if METADATA_KEY not in content:
            return None
        own = content[METADATA_KEY]
        stored_format, plain = own["format"], [own["scalers"][of] for of in ("feature", "target")]
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError) as error:
        raise DatasetError(f"{path} is damaged ({error!r:.200}): publish the data set again") from error
    if stored_format != FORMAT:
        raise DatasetError(f"{path} has format {stored_format!r:.40}; this version of starjax reads {FORMAT}")
    feature_scalers, target_scalers = (bundle.from_plain(one, path) for one in plain)
    return feature_scalers, target_scalers


def package():
    """The module tensorflow_datasets, with what it reads records by.

    Raises:
      DatasetError: it is not installed.
    """
    missing = [
        one for one in ("tensorflow_datasets", "array_record") if importlib.util.find_spec(one) is None
    ]
    if missing:
        raise DatasetError(
            f"data sets of TFDS need {' and '.join(missing)}, which is not installed: pip install 'starjax[tfds]'"
        )
    return importlib.import_module("tensorflow_datasets")


def _open(name: str, folder: Path):
    """The builder of TFDS for a version, which has all that the files say of it."""
    tfds = package()
    with _telling(f"data.dataset={name!r}: {folder / FEATURES} or {INFO} cannot be read"):
        classes = set(_classes(files.read_json(folder / FEATURES)))
        unknown = sorted(one for one in classes if not str(one).startswith(_KNOWN_FEATURES))
        if unknown:
            raise DatasetError(
                f"{folder / FEATURES} names {unknown[0]!r:.80}, which is no feature of TFDS: nothing of it was imported"
            )
        builder = tfds.builder_from_directory(str(folder))
        if not isinstance(builder.info.features, Mapping):
            raise TypeError("records should be dicts")
        return builder


def _classes(content) -> Iterator:
    """The classes that a file of features names, wherever in it."""
    if isinstance(content, dict):
        yield from (
            value for key, value in content.items() if key in ("pythonClassName", "python_class_name")
        )
    for inner in (
        content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    ):
        yield from _classes(inner)


@contextlib.contextmanager
def _telling(what: str) -> Iterator[None]:
    """Makes errors of libraries ours, which begin with `what`."""
    try:
        yield
    except errors.StarjaxError:
        raise
    except _DAMAGE as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DatasetError(f"{what} ({reason:.300}): restore it, or publish the data set again") from error


def _splits(name: str, builder) -> dict[str, str]:
    """What each of our splits is called there."""
    there = list(builder.info.splits)
    found = {
        split: next((one for one in (split, _ALSO_CALLED.get(split)) if one in there), None)
        for split in SPLITS
    }
    missing = [split for split, one in found.items() if one is None]
    if missing:
        raise DatasetError(
            f"data.dataset={name!r} has no split {' and no '.join(missing)}; it has {', '.join(there) or 'none'}"
        )
    return found


def _record_files(name: str, builder, splits: Iterator[str]) -> list[Path]:
    """The files of records of some splits."""
    with _telling(f"data.dataset={name!r}: {INFO} does not say which files there are"):
        paths = [Path(path) for split in splits for path in builder.info.splits[split].filepaths]
    outside = [path for path in paths if path.parent != Path(builder.data_dir)]
    if outside:
        raise DatasetError(f"data.dataset={name!r}: {INFO} names a file in another folder, {outside[0]}")
    return paths


def _decoded(name: str, builder, feature_keys, target_keys, *, with_mates: bool) -> dict:
    """What is read of a record, as TFDS takes it for partial decoding.

    Args:
      with_mates: also features that share a scale with one of these, so that scalers are the same whichever are named.
    """
    with _telling(f"data.dataset={name!r}: its features cannot be told"):
        there = builder.info.features.get_tensor_info()
        stars, targets = there.get("stars"), there.get("targets")
        if not isinstance(stars, Mapping) or not isinstance(targets, Mapping):
            raise DatasetError(
                f"data.dataset={name!r} should have `stars` and `targets`, a dict of named values each; it has {', '.join(there)}"
            )
        columns = [key for key, one in stars.items() if _is_numbers(one, num_axis=1)]
        properties = [key for key, one in targets.items() if _is_numbers(one, num_axis=0)]
        beside = [key for key in shard.PROVENANCE if key in there]
    shard.check_keys(columns, feature_keys, "data.feature_keys")
    shard.check_keys(properties, target_keys, "data.target_keys")
    mates = {
        key for group, _ in FEATURE_SCALERS if set(group) & set(feature_keys) for key in group if with_mates
    }
    return {
        "stars": {key: True for key in columns if key in feature_keys or key in mates},
        # `time` is that of the snapshot, whether it is learned or not.
        "targets": {key: True for key in properties if key in target_keys or key == "time"},
        **dict.fromkeys(beside, True),
    }


def _is_numbers(one, num_axis: int) -> bool:
    return hasattr(one, "shape") and len(one.shape) == num_axis and np.dtype(one.np_dtype).kind in "iuf"


def _read(where: str, builder, split: str, decoded: dict) -> shard.Shard:
    """The raw shard of a split.

    Args:
      where: what it is called in an error.
      decoded: as `_decoded` gives it.
    """
    feature_keys, target_keys = tuple(decoded["stars"]), tuple(decoded["targets"])
    stars, targets, beside = [], [], {key: [] for key in shard.PROVENANCE if key in decoded}
    with _telling(f"{where} cannot be read"), np.errstate(over="ignore"):
        for number, record in enumerate(_records(builder, split, decoded)):
            columns = [record["stars"][key] for key in feature_keys]
            if len({np.shape(column) for column in columns}) != 1:
                raise DatasetError(
                    f"{where}: record {number} has not as many values of every feature of a star"
                )
            stars.append(np.stack(columns, axis=1, dtype=np.float32, casting="unsafe"))
            targets.append([record["targets"][key] for key in target_keys])
            for key, values in beside.items():
                values.append(record[key])
        ptr = np.cumsum([0, *map(len, stars)], dtype=np.int64)
        if not ptr[-1]:
            raise DatasetError(f"{where}: there are no stars in it")
        feature = np.concatenate(stars)
        del stars
        known = {key: _known(key, values) for key, values in beside.items()}
        read = shard.Shard(feature, feature_keys, np.array(targets, np.float32), target_keys, ptr, **known)
        shard.check(where, read)
    return read


def _records(builder, split: str, decoded: dict) -> Iterator[dict]:
    """The records of a split, in their order."""
    try:
        source = builder.as_data_source(split, decoders=package().decode.PartialDecoding(decoded))
    except NotImplementedError as error:
        raise DatasetError(
            f"{builder.info.full_name} is stored in a format that is not read without TensorFlow, "
            f"{builder.info.file_format}: prepare it with file_format='array_record'"
        ) from error
    for first in range(0, len(source), _BATCH):
        yield from source.__getitems__(range(first, min(first + _BATCH, len(source))))


def _known(key: str, values: list) -> np.ndarray:
    """What is told beside the targets of each snapshot: names of runs, or float32."""
    if key != "run_id":
        return np.array(values, np.float32)
    return np.array([value.decode() if isinstance(value, bytes) else str(value) for value in values])


def _fit(name: str, raw: shard.Shard) -> tuple[bundle.ScalerBundle, bundle.ScalerBundle]:
    """Scalers fitted to the training split of a data set that brings none."""
    fitted = []
    for keys, values, known, otherwise in (
        (raw.feature_keys, raw.feature, FEATURE_SCALERS, OTHER_FEATURE_SCALER),
        (raw.target_keys, raw.target, TARGET_SCALERS, OTHER_TARGET_SCALER),
    ):
        grouped = [key for group, _ in known for key in group]
        methods = (*known, *(((key,), otherwise) for key in keys if key not in grouped))
        fitted.append(bundle.fit(values, keys, methods))
    said = (f"{' '.join(keys)}: {one.method}" for of in fitted for keys, one in of.groups)
    distributed.say(f"{name} brings no scalers: fitted to its training split ({', '.join(said)})")
    return fitted[0], fitted[1]
