"""Data sets in the format of TensorFlow Datasets (TFDS), read without TensorFlow.

    tfds:star_clusters                  the newest version in $TFDS_DATA_DIR, or ~/tensorflow_datasets
    tfds:star_clusters:1.0.0            that version
    tfds:star_clusters/CONFIG:1.0.0     of a data set with several configs
    tfds:/data/star_clusters/1.0.0      the directory of a version

Data sets written by `starjax publish` contain their scalers. Data sets of others can be read if they have the
splits `train`, `val` (or `validation`) and `test`, and records with two dicts of named values in physical
units: `stars`, with one value per star, and `targets`; optionally also `run_id`, `time_myr` and
`distance_pc`. Scalers are then fitted to the training split.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from starjax import quantities
from starjax.datasets import shard, tfds_directory
from starjax.datasets.dataset import Dataset, DatasetError, prepare_shard
from starjax.datasets.scalers import bundle
from starjax.datasets.split_manifest import SPLITS
from starjax.io import files
from starjax.runtime import devices

# File and key of starjax's part of the metadata of a data set, and its format.
METADATA, METADATA_KEY, FORMAT = "metadata.json", "starjax", 1
# Snapshots to read at a time.
_BATCH = 256


def load_tfds(name: str, feature_keys: tuple[str, ...], target_keys: tuple[str, ...]) -> Dataset:
    """Load a data set of TFDS into memory, scaled and with only the named columns.

    Raises:
      DatasetError, shard.ShardError, scaler.ScalerError: the data set is missing, damaged, or not one of star
        clusters.
    """
    folder = tfds_directory.find_version(name)
    digests = tfds_directory.verified_digests(name, folder, sorted(folder.glob("*.json")))
    # TFDS opens nothing before the digests of the descriptions are verified, and no records before theirs.
    scalers = _stored_scalers(folder)
    builder = tfds_directory.open_version(name, folder)
    split_names = tfds_directory.find_splits(name, builder)
    records = tfds_directory.record_files(name, builder, split_names.values())
    digests += tfds_directory.verified_digests(name, folder, records)
    wanted = _wanted_features(name, builder, feature_keys, target_keys, with_group=scalers is None)
    shards = {}
    for split in SPLITS:  # the training split first, to which scalers are fitted
        raw = _read_split(f"{name}, {split_names[split]}", builder, split_names[split], wanted)
        scalers = scalers or _fit_scalers(name, raw)
        shards[split] = prepare_shard(raw, "raw", (feature_keys, target_keys), scalers)
    assert scalers is not None  # SPLITS is not empty
    feature_scalers, target_scalers = scalers
    return Dataset(shards, feature_scalers, target_scalers, files.combine_digests(digests))


def _stored_scalers(folder: Path) -> tuple[bundle.ScalerBundle, bundle.ScalerBundle] | None:
    """Return the scalers of the features and of the targets, if starjax wrote the data set."""
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


def _wanted_features(name: str, builder, feature_keys, target_keys, *, with_group: bool) -> dict:
    """Return the parts of a record to read, as `tfds.features`.

    Args:
      with_group: also read the features that share a scale with a named one, so that the fitted scalers do
        not depend on which features are named.
    """
    features = tfds_directory.import_tfds().features
    with tfds_directory.translated_errors(f"data.dataset={name!r}: its features cannot be read"):
        # As they are stored: TFDS stores a Sequence of dicts of numbers as a dict of arrays, and reading that
        # takes a quarter of the time.
        stored = builder.info.features.get_serialized_info()
        found: list[Any] = [
            stored.get(key) if isinstance(stored, Mapping) else None for key in ("stars", "targets")
        ]
        if not all(isinstance(one, Mapping) for one in found):
            raise DatasetError(
                f"data.dataset={name!r} should have `stars` and `targets`, each a dict of named values; it "
                f"has {', '.join(sorted(stored))}"
            )
        stars, targets = (
            {key: one.np_dtype for key, one in of.items() if _is_numbers(one, num_axis)}
            for of, num_axis in zip(found, (1, 0), strict=True)
        )
        provenance = {
            key: features.Scalar(stored[key].np_dtype)
            for key in shard.PROVENANCE
            if _is_scalar(stored.get(key)) and (key == "run_id" or _is_numbers(stored[key], num_axis=0))
        }
    shard.check_keys(sorted(stars), feature_keys, "data.feature_keys")
    shard.check_keys(sorted(targets), target_keys, "data.target_keys")
    groups = [group for group, _ in quantities.scaler_groups(sorted(stars), "feature")]
    same_scale = [key for group in groups if set(group) & set(feature_keys) for key in group]
    # The order of the wanted columns; that of TFDS varies from call to call.
    chosen = (*feature_keys, *(key for key in same_scale if with_group and key in stars))
    return {
        "stars": {key: features.Tensor(shape=(None,), dtype=stars[key]) for key in chosen},
        # `time` is also the time of the snapshot, even if it is not a wanted target.
        "targets": {key: features.Scalar(targets[key]) for key in (*target_keys, "time") if key in targets},
        **provenance,
    }


def _is_scalar(one) -> bool:
    return getattr(one, "shape", None) == ()


def _is_numbers(one, num_axis: int) -> bool:
    return hasattr(one, "shape") and len(one.shape) == num_axis and np.dtype(one.np_dtype).kind in "iuf"


def _read_split(where: str, builder, split: str, wanted: dict) -> shard.Shard:
    """Return the raw shard of a split.

    Args:
      where: the name of the split in errors.
      wanted: the result of `_wanted_features`.
    """
    feature_keys, target_keys = tuple(wanted["stars"]), tuple(wanted["targets"])
    stars: list[np.ndarray] = []
    num_star: list[int] = [0]
    targets: list[list] = []
    provenance: dict[str, list] = {key: [] for key in shard.PROVENANCE if key in wanted}
    # Values beyond float32 become infinite, which `check_shard` reports.
    with tfds_directory.translated_errors(f"{where} cannot be read"), np.errstate(over="ignore"):
        for records in _batches(builder, split, wanted):
            counts = [[len(record["stars"][key]) for key in feature_keys] for record in records]
            uneven = [len(targets) + i for i, count in enumerate(counts) if len(set(count)) > 1]
            if uneven:
                raise DatasetError(
                    f"{where}: record {uneven[0]} has a different number of values for some features of stars"
                )
            columns = [np.concatenate([record["stars"][key] for record in records]) for key in feature_keys]
            stars.append(np.stack(columns, axis=1, dtype=np.float32, casting="unsafe"))
            num_star += [count[0] for count in counts]
            targets += [[record["targets"][key] for key in target_keys] for record in records]
            for key, values in provenance.items():
                values += [record[key] for record in records]
        if not sum(num_star):
            raise DatasetError(f"{where} contains no stars")
        feature, ptr = np.concatenate(stars), np.cumsum(num_star, dtype=np.int64)
        del stars  # so that they are in memory only once
        arrays = {key: _provenance_array(key, values) for key, values in provenance.items()}
        raw = shard.Shard(feature, feature_keys, np.array(targets, np.float32), target_keys, ptr, **arrays)
        shard.check_shard(where, raw)
    return raw


def _batches(builder, split: str, wanted: dict) -> Iterator[list[dict]]:
    """Yield the records of a split in order, in batches."""
    tfds = tfds_directory.import_tfds()
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
        yield [features.deserialize_example_np(record) for record in stored]


def _provenance_array(key: str, values: list) -> np.ndarray:
    """Return the simulation ids as text, or other values as float32."""
    if key != "run_id":
        return np.array(values, np.float32)
    return np.array([value.decode() if isinstance(value, bytes) else str(value) for value in values])


def _fit_scalers(name: str, raw: shard.Shard) -> tuple[bundle.ScalerBundle, bundle.ScalerBundle]:
    """Fit scalers to the training split of a data set that contains none."""
    fitted = (
        bundle.fit_bundle(raw.feature, raw.feature_keys, _scaler_groups(raw.feature_keys, "feature")),
        bundle.fit_bundle(raw.target, raw.target_keys, _scaler_groups(raw.target_keys, "target")),
    )
    methods = (f"{' '.join(keys)}: {one.method}" for scalers in fitted for keys, one in scalers.groups)
    devices.log_on_main_process(
        f"{name} contains no scalers: fitted to its training split ({', '.join(methods)})"
    )
    return fitted


def _scaler_groups(keys: Sequence[str], kind: quantities.Kind):
    """Return the default groups in a fixed order, so that a fit does not depend on the order of `keys`."""
    order = {key: position for position, key in enumerate(quantities.QUANTITIES)}
    return quantities.scaler_groups(sorted(keys, key=lambda key: order.get(key, len(order))), kind)
