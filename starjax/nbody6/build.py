"""From NBODY6 caches to a data set directory: raw shards, scalers, scaled shards.

    starjax build --config=dataset --config.caches=DIR \\
        --config.split_manifest=split.json --config.out=DIR

    --config.caches=DIR           folder of NBODY6 caches [$JOBLIB_ROOT]
    --config.split_manifest=FILE  which run is in which split [$SPLIT_MFT_JSON]
    --config.out=DIR              data set to write [OUTPUT_BASE/dataset]
    --config.on_bad=skip          leave out what cannot be used, and count it
    --config.n_jobs=4             processes that read [-1: one a core]

The same command, given again, goes on where it stands. A directory that holds
raw shards already, whoever wrote them, is scaled without caches.
"""

# Runs are read in parallel, each into a part of its own; then the parts of a split are copied one after another into its
# shard, in several files if it is large, and scaled from there, some rows at a time: what is in memory at once grows with the
# number of snapshots, not of stars.

import importlib
import json
import shutil
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from ml_collections import ConfigDict

from starjax.datasets import shard, shard_files, split_manifest
from starjax.datasets.dataset import BUNDLES, scale_lazily
from starjax.datasets.scalers import bundle, scaler
from starjax.io import directory_lock, files
from starjax.nbody6 import build_state, caches, simulation_shards
from starjax.nbody6.build_state import BuildError
from starjax.runtime import log, progress_bar, signals

# What decides a data set and its files, beside the caches.
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
    """Builds the data set that `config` describes, or goes on where an earlier call stopped.

    Returns:
      The data set directory.

    Raises:
      BuildError, caches.CacheError, manifest.SplitError, scaler.ScalerError, shard.ShardError: what was
        done before stays, and no file is half-written.
    """
    check_config(config)
    out = Path(config.out)
    is_raw_given = not config.caches and any(
        shard_files.existing_files(out, "raw", split) for split in split_manifest.SPLITS
    )
    sources = _raw_sources(out) if is_raw_given else _cache_sources(config)
    settings = json.loads(json.dumps({**{name: config[name] for name in SETTINGS}, **sources}))
    described = build_state.record_version(out)
    if build_state.is_built(out, settings):
        log.info(f"{out} holds this data set already, whole: nothing to do")
        shutil.rmtree(out / "parts", ignore_errors=True)
        directory_lock.remove_stale(out)
        return out
    build_state.check_writable(out, is_raw_given)
    with directory_lock.locked(out), signals.stop_message("runs that were read stand"):
        # Before the lock, another process may have been at work here.
        if build_state.record_version(out) != described:
            raise BuildError(f"{out} was changed by another process meanwhile: start again")
        (out / "parts").mkdir(parents=True, exist_ok=True)
        counts = {} if is_raw_given else _build_raw(config, out, sources)
        counts = _scale(config, out) | counts
        build_state.write_record(out, settings, counts)
        shutil.rmtree(out / "parts", ignore_errors=True)
    return out


def check_config(config) -> None:
    """Refuses contradictory or unknown values, naming field, value and what is allowed."""
    missing = [name for name in FIELDS if name not in config]
    if missing:
        raise BuildError(
            f"the config has no {', '.join(missing)}: one for a build, such as --config=dataset, is needed"
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
        raise BuildError("config.n_jobs=0 should be a number of processes, or -1 for one a core")
    for field in ("feature", "target"):
        keys = config[f"{field}_keys"]
        if not keys:
            raise BuildError(f"config.{field}_keys=() should name at least one")
        grouped = [key for group, _ in config[f"{field}_scalers"] for key in group]
        for key in keys:
            if list(keys).count(key) > 1:
                raise BuildError(f"config.{field}_keys names {key} twice")
            if grouped.count(key) != 1:
                raise BuildError(
                    f"config.{field}_scalers should have {key} in one group; it is in {grouped.count(key)}"
                )
        for group, method in config[f"{field}_scalers"]:
            if method not in scaler.METHODS:
                raise BuildError(
                    f"config.{field}_scalers scales {', '.join(group)} by {method!r}; "
                    f"known are {', '.join(scaler.METHODS)}"
                )


def _raw_sources(out: Path) -> dict:
    raw = {split: shard_files.find_shard_files(out, "raw", split) for split in split_manifest.SPLITS}
    missing = [shard_files.shard_path(out, "raw", split).name for split, found in raw.items() if not found]
    if missing:
        raise BuildError(f"{out} has raw shards but lacks {', '.join(missing)}")
    return {"raw_shards": {path.name: files.sha256(path) for found in raw.values() for path in found}}


def _cache_sources(config) -> dict:
    if not config.caches:
        raise BuildError(
            "config.caches is empty: name the folder of NBODY6 caches (or set JOBLIB_ROOT), or name in "
            "config.out a directory of raw shards"
        )
    if not config.split_manifest:
        raise BuildError(
            "config.split_manifest is empty: name one (or set SPLIT_MFT_JSON); starjax splits makes it"
        )
    assigned = split_manifest.load_manifest(config.split_manifest)
    found = caches.find_caches(config.caches)
    wanted = [run_id for run_ids in assigned.values() for run_id in run_ids]
    missing = [run_id for run_id in wanted if run_id not in found]
    if missing:
        raise BuildError(
            f"{len(missing)} runs of {config.split_manifest} have no cache below {config.caches}: {', '.join(missing[:10])}"
        )
    return {
        "split_manifest": assigned,
        "caches": {run_id: _identity(found[run_id]) for run_id in sorted(wanted)},
    }


def _identity(path: Path) -> list:
    """Tells versions of a cache apart without reading it."""
    return [path.name, *files.file_version(path)]


def _build_raw(config, out: Path, sources: dict) -> dict:
    """Writes the raw shards; returns the counts for the record."""
    found = caches.find_caches(config.caches)
    wanted = caches.Selection(
        tuple(config.feature_keys), tuple(config.target_keys), config.min_stars, config.on_bad == "skip"
    )
    jobs = {
        run_id: (
            simulation_shards.make_shard,
            found[run_id],
            run_id,
            identity,
            out / "parts" / f"{run_id}.npz",
            wanted,
        )
        for run_id, identity in sources["caches"].items()
    }
    try:
        made = progress_bar.parallel(jobs, config.n_jobs, "reading runs", meanwhile=_import_scikit_learn)
    except BrokenProcessPool as error:
        reason = str(error).splitlines()[0]
        raise BuildError(
            f"a worker that read runs was ended, perhaps for want of memory ({reason:.200}): lower config.n_jobs (here "
            f"{config.n_jobs}), and give the command again; runs that were read stand"
        ) from error
    counts = {"splits": {}, "skipped": [], "num_snapshot_with_too_few_stars": 0}
    for split, run_ids in sources["split_manifest"].items():
        good = [made[run_id] for run_id in sorted(run_ids) if not made[run_id].error]
        if not good:
            raise BuildError(f"no run is left in {split}: {made[run_ids[0]].error}")
        merged = simulation_shards.merge_shards(good)
        shard_files.write_shards(out, "raw", split, merged, config.max_part_bytes)
        counts["splits"][split] = shard.count_shard(merged)
    for part in made.values():
        counts["skipped"] += [part.error] if part.error else list(part.skipped)
        counts["num_snapshot_with_too_few_stars"] += part.num_too_few
    return counts


def _import_scikit_learn() -> None:
    """Imports what scaling needs next, which takes a second."""
    importlib.import_module("sklearn.preprocessing")


def _scale(config, out: Path) -> dict:
    """Fits the scalers on the raw training shard, writes them and the scaled shards; returns the counts."""
    raw = {split: _open_raw(out, split) for split in split_manifest.SPLITS}
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


def _open_raw(out: Path, split: str) -> shard.Shard:
    """The raw shard of a split, on disk; in memory only if others compressed it."""
    return shard_files.load_split(out, "raw", split, mapped=True)
