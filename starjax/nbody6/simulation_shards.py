"""Shards of single simulations: written by worker processes, kept until the build is finished, then merged.

Workers start quickly because this module imports little.
"""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

from starjax.datasets import shard
from starjax.io import files
from starjax.nbody6 import caches


@dataclasses.dataclass(frozen=True)
class SimulationShard:
    """The shard of one simulation.

    Attributes:
      path, sha256: the file and its digest.
      num_star, num_snapshot: its content.
      num_too_few, skipped: snapshots that were left out (see `caches.CachedSimulation`).
      error: why the simulation cannot be used; then there is no file.
    """

    path: Path
    sha256: str
    num_star: int
    num_snapshot: int
    num_too_few: int
    skipped: tuple[str, ...]
    error: str = ""


def make_shard(
    path: Path, run_id: str, cache_version: list, shard_path: Path, selection: caches.Selection
) -> SimulationShard:
    """Read one simulation and write its shard, unless the shard of this cache and selection exists already.

    Args:
      path: the cache of the simulation `run_id`.
      cache_version: identifies the version of the cache, as JSON.
      shard_path: the shard to write; a record with the same name and the suffix .json is written beside it.
      selection: what to read.

    Raises:
      caches.CacheError: the simulation cannot be used; with `selection.skip_bad` the result says so instead.
    """
    record_path = shard_path.with_suffix(".json")
    # Through JSON, to compare with the stored record: lists for tuples.
    record = json.loads(json.dumps({"cache": cache_version, "wanted": dataclasses.asdict(selection)}))
    if record_path.exists() and shard_path.exists():
        stored = _read_record(record_path)
        if record.items() <= stored.items() and files.has_digest(shard_path, stored["sha256"]):
            num_star, num_snapshot, num_too_few = stored["counts"]
            return SimulationShard(
                shard_path,
                stored["sha256"],
                num_star,
                num_snapshot,
                num_too_few,
                tuple(stored["skipped"]),
            )
    try:
        simulation = caches.read_simulation(path, run_id, selection)
    except caches.CacheError as error:
        if not selection.skip_bad:
            raise
        return SimulationShard(shard_path, "", 0, 0, 0, (), str(error))
    # Written to a folder per process, since the workers of a killed build may still run and write the same
    # shards.
    folder = shard_path.parent / str(os.getpid())
    shard.save_shard(folder / shard_path.name, simulation.shard)
    counts = (len(simulation.shard.feature), simulation.shard.num_snapshot, simulation.num_too_few)
    sha256 = files.sha256(folder / shard_path.name)
    record |= {"sha256": sha256, "counts": counts, "skipped": simulation.skipped}
    files.write_json(folder / record_path.name, record)
    # The record last: it describes a shard that is there.
    for target in (shard_path, record_path):
        os.replace(folder / target.name, target)
    return SimulationShard(shard_path, sha256, *counts, simulation.skipped)


def _read_record(path: Path) -> dict:
    """Return the record of a shard; an empty dict if it is damaged, so that the shard is written again."""
    try:
        return dict(files.read_json(path))
    except (ValueError, TypeError):
        return {}


def merge_shards(parts: Sequence[SimulationShard]) -> shard.Shard:
    """Return the shards of several simulations as one, whose features stay on disk.

    Raises:
      shard.ShardError: a file is not the one that was written, but from a worker of another build.
    """
    paths = [part.path for part in parts]
    # Opened before the digests are compared: files that are replaced later are noticed when they are read.
    shards = [shard.load_shard(path, mapped=True) for path in paths]
    for part in parts:
        if not files.has_digest(part.path, part.sha256):
            raise shard.ShardError(f"{part.path} was changed by another process meanwhile: start again")
    return shard.join_shards(paths, shards)
