"""Build of a data set directory from NBODY6 caches: raw shards, scalers, scaled shards.

Simulations are read in parallel, each into a shard of its own (a part). Then the parts of a split are copied
one after another to its shard, in several files if it is large, and scaled from there in blocks of rows. The
memory needed therefore grows with the number of snapshots, not of stars.

The same build, run again, resumes. A directory that already contains raw shards, whoever wrote them, is
scaled without caches.
"""

import importlib
import json
import shutil
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from starjax import quantities
from starjax.datasets import shard, shard_files, split_manifest
from starjax.datasets.dataset import BUNDLES, scale_lazily
from starjax.datasets.scalers import bundle, scaler
from starjax.datasets.split_manifest import SPLITS
from starjax.io import directory_lock, files
from starjax.nbody6 import build_state, caches, simulation_shards, star_columns
from starjax.nbody6.build_state import PARTS, BuildError, BuildStatus
from starjax.runtime import log, progress_bar, signals

# The fields that determine the content of a data set, together with the caches.
SETTINGS = (
    "feature_keys",
    "target_keys",
    "feature_scalers",
    "target_scalers",
    "min_stars",
    "on_bad",
    "max_part_bytes",
)
FIELDS = ("caches", "split_manifest", "out", "n_jobs", *SETTINGS)


def build_dataset(config: ConfigDict) -> Path:
    """Build the data set that `config` describes, or resume its build.

    Returns:
      The data set directory.

    Raises:
      BuildError, caches.CacheError, split_manifest.SplitError, scaler.ScalerError, shard.ShardError: the
        build cannot continue. Finished files are kept, and no file is incomplete.
    """
    check_config(config)
    out = Path(config.out)
    is_raw_given = not config.caches and any(shard_files.existing_files(out, "raw", s) for s in SPLITS)
    sources = _raw_sources(out) if is_raw_given else _cache_sources(config)
    # Through JSON, to compare with the record of a finished build: lists for tuples.
    settings = json.loads(json.dumps({**{name: config[name] for name in SETTINGS}, **sources}))
    state = build_state.inspect(out, settings)
    match state.status:
        case BuildStatus.FINISHED:
            log.info(f"{out} already contains this data set: nothing to do")
            # Left by a process that was killed after it had written the record.
            shutil.rmtree(out / PARTS, ignore_errors=True)
            directory_lock.remove_stale(out)
            return out
        case BuildStatus.OCCUPIED:
            raise BuildError(state.problem)
        case BuildStatus.DAMAGED:
            log.warning(
                f"{out}: {', '.join(state.damaged)} missing or changed since the build: building again"
            )
    with directory_lock.locked(out), signals.stop_message("simulations that were read are kept"):
        # Another process may have finished a build here before this one acquired the lock.
        if build_state.record_version(out) != state.record_version:
            raise BuildError(f"{out} was changed by another process meanwhile: start again")
        (out / PARTS).mkdir(parents=True, exist_ok=True)
        counts = {} if is_raw_given else _build_raw(config, out, sources)
        # The counts of a build from caches take precedence: they also contain what was left out.
        counts = _scale(config, out) | counts
        # Last, since the record marks the data set as finished.
        build_state.write_record(out, settings, counts)
        shutil.rmtree(out / PARTS, ignore_errors=True)
    return out


def check_config(config: ConfigDict) -> None:
    """Raise BuildError for a value that is invalid or contradicts another, naming the field."""
    missing = [name for name in FIELDS if name not in config]
    if missing:
        raise BuildError(
            f"the config has no {', '.join(missing)}: give one for a build, such as --config=dataset"
        )
    if not config.out:
        raise BuildError("config.out is empty: name the directory to build")
    if config.on_bad not in ("error", "skip"):
        raise BuildError(f"config.on_bad={config.on_bad!r} should be 'error' or 'skip'")
    if config.min_stars < 1:
        raise BuildError(f"config.min_stars={config.min_stars} should be at least 1")
    if config.max_part_bytes < 1:
        raise BuildError(f"config.max_part_bytes={config.max_part_bytes} should be at least 1")
    if config.n_jobs == 0:
        raise BuildError("config.n_jobs=0 should be a number of processes, or -1 for one per core")
    for field in ("feature", "target"):
        _check_columns(config, field)


def _check_columns(config: ConfigDict, field: str) -> None:
    keys, groups = config[f"{field}_keys"], config[f"{field}_scalers"]
    if not keys:
        raise BuildError(f"config.{field}_keys=() should name at least one column")
    grouped = [key for group, _ in groups for key in group]
    for key in keys:
        if list(keys).count(key) > 1:
            raise BuildError(f"config.{field}_keys names {key} twice")
        if grouped.count(key) != 1:
            raise BuildError(
                f"config.{field}_scalers should have {key} in one group; it is in {grouped.count(key)}"
            )
    for group, method in groups:
        if method not in scaler.METHODS:
            raise BuildError(
                f"config.{field}_scalers scales {', '.join(group)} by {method!r}; "
                f"known are {', '.join(scaler.METHODS)}"
            )


def _raw_sources(out: Path) -> dict:
    """Return the digests of the raw shards in the directory, which identify the data set."""
    raw = {split: shard_files.find_shard_files(out, "raw", split) for split in SPLITS}
    missing = [shard_files.shard_path(out, "raw", split).name for split, found in raw.items() if not found]
    if missing:
        raise BuildError(f"{out} has raw shards but lacks {', '.join(missing)}")
    return {"raw_shards": {path.name: files.sha256(path) for found in raw.values() for path in found}}


def _cache_sources(config: ConfigDict) -> dict:
    """Return the splits and the versions of the caches, which identify the data set."""
    if not config.caches:
        raise BuildError(
            "config.caches is empty: name the folder of NBODY6 caches (or set JOBLIB_ROOT), or name in "
            "config.out a directory of raw shards"
        )
    if not config.split_manifest:
        raise BuildError(
            "config.split_manifest is empty: name one (or set SPLIT_MFT_JSON); starjax splits creates it"
        )
    assigned = split_manifest.load_manifest(config.split_manifest)
    found = _find_caches(config)
    wanted = [run_id for run_ids in assigned.values() for run_id in run_ids]
    missing = [run_id for run_id in wanted if run_id not in found]
    if missing:
        raise BuildError(
            f"{len(missing)} simulations of {config.split_manifest} have no cache below {config.caches}: "
            f"{', '.join(missing[:10])}"
        )
    return {
        "split_manifest": assigned,
        "caches": {run_id: _cache_version(found[run_id]) for run_id in sorted(wanted)},
    }


def _find_caches(config: ConfigDict) -> dict[str, Path]:
    """Return the cache of each simulation, of the kind that suits the features."""
    return caches.find_caches(config.caches, prefer_raw=star_columns.need_components(config.feature_keys))


def _cache_version(path: Path) -> list:
    """Return what identifies a version of a cache, without reading it.

    The name tells an obs cache from a raw one; without the folder, caches can be moved.
    """
    return [path.name, *files.file_version(path)]


def _build_raw(config: ConfigDict, out: Path, sources: dict) -> dict:
    """Write the raw shards; return the counts for the record."""
    found = _find_caches(config)
    selection = caches.Selection(
        tuple(config.feature_keys),
        tuple(config.target_keys),
        config.min_stars,
        config.on_bad == "skip",
        _lower_bounds(config),
    )
    jobs = {
        run_id: (
            simulation_shards.make_shard,
            found[run_id],
            run_id,
            version,
            out / PARTS / f"{run_id}.npz",
            selection,
        )
        for run_id, version in sources["caches"].items()
    }
    try:
        parts = progress_bar.parallel(
            jobs, config.n_jobs, "reading simulations", meanwhile=_import_scikit_learn
        )
    except BrokenProcessPool as error:
        reason = str(error).splitlines()[0]
        raise BuildError(
            f"a process that read simulations was killed, perhaps because memory ran out ({reason:.200}): "
            f"lower config.n_jobs (here {config.n_jobs}), and run the command again; simulations that were "
            "read are kept"
        ) from error
    counts: dict[str, Any] = {"splits": {}, "skipped": [], "num_snapshot_with_too_few_stars": 0}
    for split, run_ids in sources["split_manifest"].items():
        # Sorted, so that the order of the ids in the manifest does not change the data set.
        usable = [parts[run_id] for run_id in sorted(run_ids) if not parts[run_id].error]
        if not usable:
            raise BuildError(f"no simulation is left in {split}: {parts[run_ids[0]].error}")
        merged = simulation_shards.merge_shards(usable)
        shard_files.write_shards(out, "raw", split, merged, config.max_part_bytes)
        counts["splits"][split] = shard.count_shard(merged)
    for part in parts.values():
        counts["skipped"] += [part.error] if part.error else list(part.skipped)
        counts["num_snapshot_with_too_few_stars"] += part.num_too_few
    return counts


def _lower_bounds(config: ConfigDict) -> dict[str, float]:
    """Return the values that targets must exceed, since a logarithm is taken of them."""
    curves = {key: scaler.METHODS[method][0] for group, method in config.target_scalers for key in group}
    bounds = {
        key: scaler.LOWER_BOUNDS[curve] for key, curve in curves.items() if curve in scaler.LOWER_BOUNDS
    }
    # Figures have logarithmic axes, too, whatever the scaler.
    return bounds | {key: 0.0 for key in config.target_keys if quantities.get(key).is_logarithmic}


def _check_targets(name: str, one: shard.Shard, lower_bounds: dict[str, float]) -> None:
    """Raise BuildError, naming the snapshot, if a target of a raw shard has no logarithm."""
    for key, values in zip(one.target_keys, one.target.T, strict=True):
        for number in np.flatnonzero(values <= lower_bounds.get(key, -np.inf))[:1]:
            raise BuildError(
                f"{name}: snapshot {number}, counted from 0, has {key}={values[number]:g}, which should be "
                f"greater than {lower_bounds[key]:g}, since its logarithm is taken"
            )


def _import_scikit_learn() -> None:
    """Import what scaling needs next, which takes a second."""
    importlib.import_module("sklearn.preprocessing")


def _scale(config: ConfigDict, out: Path) -> dict:
    """Fit the scalers to the raw training shard, write them and the scaled shards; return the counts."""
    # Features stay on disk, unless another tool compressed the shards.
    raw = {split: shard_files.load_split(out, "raw", split, mapped=True) for split in SPLITS}
    for split, one in raw.items():
        _check_targets(shard_files.shard_path(out, "raw", split).name, one, _lower_bounds(config))
    bundles = {
        field: bundle.fit_bundle(
            getattr(raw["train"], field), getattr(raw["train"], f"{field}_keys"), config[f"{field}_scalers"]
        )
        for field in BUNDLES
    }
    for split, one in raw.items():
        scaled = scale_lazily(one, bundles["feature"], bundles["target"])
        shard_files.write_shards(out, "scaled", split, scaled, config.max_part_bytes)
    for field, fitted in bundles.items():
        bundle.save_bundle(out / BUNDLES[field], fitted)
    counts = {split: shard.count_shard(one) for split, one in raw.items()}
    return {"splits": counts, "skipped": [], "num_snapshot_with_too_few_stars": 0}
