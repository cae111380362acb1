"""The parts of a data set, one a run: read by worker processes, kept until the build is done, then merged.

A worker imports this file and little more, so that it starts quickly.
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
    """The part of one run: where it lies, its SHA-256, how much it holds, what was left out."""

    path: Path
    sha256: str
    num_star: int
    num_snapshot: int
    num_too_few: int
    skipped: tuple[str, ...]
    error: str = ""


def make_shard(
    path: Path, run_id: str, identity: list, part_path: Path, wanted: caches.Selection
) -> SimulationShard:
    """Reads one run into its part, unless the part is there for this very cache and this very selection.

    Args:
      path: the cache of the run `run_id`.
      identity: what tells versions of the cache apart, as plain JSON.
      part_path: the part to write; its record lies beside it.
      wanted: what is read of the run.

    Raises:
      caches.CacheError: the run cannot be used; with `wanted.skip_bad` the part says so instead.
    """
    record_path = part_path.with_suffix(".json")
    # As JSON gives it back: lists for tuples.
    record = json.loads(json.dumps({"cache": identity, "wanted": dataclasses.asdict(wanted)}))
    if record_path.exists() and part_path.exists():
        known = _known(record_path)
        if record.items() <= known.items() and files.has_digest(part_path, known["sha256"]):
            return SimulationShard(part_path, known["sha256"], *known["counts"], tuple(known["skipped"]))
    try:
        run = caches.read_simulation(path, run_id, wanted)
    except caches.CacheError as error:
        if not wanted.skip_bad:
            raise
        return SimulationShard(part_path, "", 0, 0, 0, (), str(error))
    # In a folder of its own: workers outlive a build that is killed, and may be at the runs that those of the next are at.
    own = part_path.parent / str(os.getpid())
    shard.save_shard(own / part_path.name, run.shard)
    counts = (len(run.shard.feature), run.shard.num_snapshot, run.num_too_few)
    record |= {"sha256": files.sha256(own / part_path.name), "counts": counts, "skipped": run.skipped}
    files.write_json(own / record_path.name, record)
    for path in (part_path, record_path):
        os.replace(own / path.name, path)
    return SimulationShard(part_path, record["sha256"], *counts, run.skipped)


def _known(record_path: Path) -> dict:
    """The record of a part; nothing, where it is damaged, so that the part is made again."""
    try:
        return dict(files.read_json(record_path))
    except (ValueError, TypeError):
        return {}


def merge_shards(parts: Sequence[SimulationShard]) -> shard.Shard:
    """The shards of many runs as one, whose features stay on disk.

    Raises:
      shard.ShardError: a part is not what was made, but one of a worker that outlived another build.
    """
    paths = [part.path for part in parts]
    # From here on a file that is replaced is noticed where it is read.
    shards = [shard.load_shard(path, mapped=True) for path in paths]
    for part in parts:
        if not files.has_digest(part.path, part.sha256):
            raise shard.ShardError(f"{part.path} was changed by another process meanwhile: start again")
    return shard.join_shards(paths, shards)
