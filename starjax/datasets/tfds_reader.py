"""Data sets in the form of TensorFlow Datasets (TFDS), read without TensorFlow.

    tfds:star_clusters                  the newest version in $TFDS_DATA_DIR, or ~/tensorflow_datasets
    tfds:star_clusters:1.0.0            that version
    tfds:star_clusters/CONFIG:1.0.0     of a data set that has several configs
    tfds:/data/star_clusters/1.0.0      the folder of a version

`starjax publish` writes such, with the scalers of the data set they come from. Those of others are read too: records with
`stars`, a dict of named values [one a star], and `targets`, a dict of named values, in splits `train`, `val` (or `validation`)
and `test`; `run_id`, `time_myr` and `distance_pc` beside them if they are known. Values are physical ones. Scalers are then
fitted to the training split.
"""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from starjax import quantities
from starjax.datasets import shard, tfds_directory
from starjax.datasets.dataset import Dataset, DatasetError, prepare_shard
from starjax.datasets.scalers import bundle
from starjax.datasets.split_manifest import SPLITS
from starjax.io import files
from starjax.runtime import devices

# Where, in the metadata of a data set, starjax has its own; and the form of that.
METADATA, METADATA_KEY, FORMAT = "metadata.json", "starjax", 1
# Snapshots that are read at a time.
_BATCH = 256


def load_tfds(name: str, feature_keys: tuple[str, ...], target_keys: tuple[str, ...]) -> Dataset:
    """Loads a data set of TFDS, scaled, into memory, with only the columns named.

    Raises:
      DatasetError, shard.ShardError, scaler.ScalerError: it is not there, not whole, or none of star clusters.
    """
    folder = tfds_directory.find_version(name)
    digests = tfds_directory.digests(name, folder, sorted(folder.glob("*.json")))
    scalers = _stored_scalers(folder)
    builder = tfds_directory.open_version(name, folder)
    theirs = tfds_directory.splits(name, builder)
    digests += tfds_directory.digests(
        name, folder, tfds_directory.record_files(name, builder, theirs.values())
    )
    wanted = _wanted(name, builder, feature_keys, target_keys, with_mates=scalers is None)
    shards = {}
    for split in SPLITS:  # the training split first
        raw = _read(f"{name}, {theirs[split]}", builder, theirs[split], wanted)
        scalers = scalers or _fit(name, raw)
        shards[split] = prepare_shard(raw, "raw", (feature_keys, target_keys), scalers)
    _check_runs(name, shards)
    return Dataset(shards, *scalers, files.combine_digests(digests))


def _check_runs(name: str, shards: Mapping[str, shard.Shard]) -> None:
    """Refuses a run in two splits: its snapshots are much alike, so that a test would tell of what was learned by heart."""
    for one, other in itertools.combinations(SPLITS, 2):
        if shared := sorted(set(shards[one].simulations) & set(shards[other].simulations)):
            raise DatasetError(
                f"data.dataset={name!r}: run {', '.join(shared[:3])}{' …' if len(shared) > 3 else ''} stands in {one} and in "
                f"{other}: snapshots of a run belong to one split, all of them; prepare the data set so"
            )


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


def _wanted(name: str, builder, feature_keys, target_keys, *, with_mates: bool) -> dict:
    """What is read of a record, in the words of `tfds.features`.

    Args:
      with_mates: also features that share a scale with one of these, so that scalers are the same whichever are named.
    """
    features = tfds_directory.package().features
    with tfds_directory.telling(f"data.dataset={name!r}: its features cannot be told"):
        # As they are stored: a Sequence of dicts of numbers as a dict of arrays is, and read so in a quarter of the time.
        there = builder.info.features.get_serialized_info()
        found = [there.get(key) if isinstance(there, Mapping) else None for key in ("stars", "targets")]
        if not all(isinstance(one, Mapping) for one in found):
            raise DatasetError(
                f"data.dataset={name!r} should have `stars` and `targets`, a dict of named values each; it has {', '.join(sorted(there))}"
            )
        stars, targets = (
            {key: one.np_dtype for key, one in of.items() if _is_numbers(one, num_axis)}
            for of, num_axis in zip(found, (1, 0), strict=True)
        )
        beside = {
            key: features.Scalar(there[key].np_dtype)
            for key in shard.PROVENANCE
            if _is_scalar(there.get(key)) and (key == "run_id" or _is_numbers(there[key], num_axis=0))
        }
    shard.check_keys(sorted(stars), feature_keys, "data.feature_keys")
    shard.check_keys(sorted(targets), target_keys, "data.target_keys")
    groups = [group for group, _ in quantities.scaler_groups(sorted(stars), "feature")]
    mates = [key for group in groups if set(group) & set(feature_keys) for key in group]
    # In this order, in which they are wanted: TFDS gives them in another one every time.
    chosen = (*feature_keys, *(key for key in mates if with_mates and key in stars))
    return {
        "stars": {key: features.Tensor(shape=(None,), dtype=stars[key]) for key in chosen},
        # `time` is that of the snapshot, whether it is learned or not.
        "targets": {key: features.Scalar(targets[key]) for key in (*target_keys, "time") if key in targets},
        **beside,
    }


def _is_scalar(one) -> bool:
    return getattr(one, "shape", None) == ()


def _is_numbers(one, num_axis: int) -> bool:
    return hasattr(one, "shape") and len(one.shape) == num_axis and np.dtype(one.np_dtype).kind in "iuf"


def _read(where: str, builder, split: str, wanted: dict) -> shard.Shard:
    """The raw shard of a split.

    Args:
      where: what it is called in an error.
      wanted: as `_wanted` gives it.
    """
    feature_keys, target_keys = tuple(wanted["stars"]), tuple(wanted["targets"])
    stars, num_star, targets, beside = [], [0], [], {key: [] for key in shard.PROVENANCE if key in wanted}
    with tfds_directory.telling(f"{where} cannot be read"), np.errstate(over="ignore"):
        for records in _batches(builder, split, wanted):
            counts = [[len(record["stars"][key]) for key in feature_keys] for record in records]
            uneven = [len(targets) + i for i, count in enumerate(counts) if len(set(count)) > 1]
            if uneven:
                raise DatasetError(
                    f"{where}: record {uneven[0]} has not as many values of every feature of a star"
                )
            columns = [np.concatenate([record["stars"][key] for record in records]) for key in feature_keys]
            stars.append(np.stack(columns, axis=1, dtype=np.float32, casting="unsafe"))
            num_star += [count[0] for count in counts]
            targets += [[record["targets"][key] for key in target_keys] for record in records]
            for key, values in beside.items():
                values += [record[key] for record in records]
        if not sum(num_star):
            raise DatasetError(f"{where}: there are no stars in it")
        feature, ptr = np.concatenate(stars), np.cumsum(num_star, dtype=np.int64)
        del stars
        known = {key: _known(key, values) for key, values in beside.items()}
        read = shard.Shard(feature, feature_keys, np.array(targets, np.float32), target_keys, ptr, **known)
        shard.check_shard(where, read)
    return read


def _batches(builder, split: str, wanted: dict) -> Iterator[list[dict]]:
    """The records of a split in their order, some at a time."""
    tfds = tfds_directory.package()
    features = tfds.features.FeaturesDict(wanted)
    try:
        source = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
    except NotImplementedError as error:
        raise DatasetError(
            f"{builder.info.full_name} is stored in a format that is not read without TensorFlow, "
            f"{builder.info.file_format}: prepare it with file_format='array_record'"
        ) from error
    for first in range(0, len(source), _BATCH):
        stored = source.__getitems__(range(first, min(first + _BATCH, len(source))))
        yield [features.deserialize_example_np(one) for one in stored]


def _known(key: str, values: list) -> np.ndarray:
    """What is told beside the targets of each snapshot: names of runs, or float32."""
    if key != "run_id":
        return np.array(values, np.float32)
    return np.array([value.decode() if isinstance(value, bytes) else str(value) for value in values])


def _fit(name: str, raw: shard.Shard) -> tuple[bundle.ScalerBundle, bundle.ScalerBundle]:
    """Scalers fitted to the training split of a data set that brings none."""
    fitted = [
        bundle.fit_bundle(values, keys, quantities.scaler_groups(keys, of))
        for values, keys, of in (
            (raw.feature, raw.feature_keys, "feature"),
            (raw.target, raw.target_keys, "target"),
        )
    ]
    said = (f"{' '.join(keys)}: {one.method}" for of in fitted for keys, one in of.groups)
    devices.log_on_main_process(f"{name} brings no scalers: fitted to its training split ({', '.join(said)})")
    return fitted[0], fitted[1]
