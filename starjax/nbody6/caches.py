"""Caches of the NBODY6 pipeline, one per simulation: `<run_id>-obs.joblib` and `<run_id>-raw.joblib`.

An obs cache is `{(x, y, z) [pc]: {time [Myr]: snapshot}}`, where the outer key is the position of the cluster
relative to the observer; a raw cache has no outer level. A snapshot is a dict with `time`, `header` (a dict
of scalars), `stars` (a data frame, one row per star) and `binary_systems` (one row per binary). `snapshot.py`
reads single snapshots, `star_columns.py` their features.
"""

import dataclasses
import itertools
import math
import numbers
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from starjax.datasets.shard import Shard
from starjax.io import decompress, unpickle
from starjax.nbody6 import star_columns
from starjax.nbody6.snapshot import MEMBER_FLAG, CacheError, Snapshot, is_finite, read_targets, shown
from starjax.runtime import paths

__all__ = ["CacheError", "CachedSimulation", "Selection", "find_caches", "load_cache", "read_simulation"]

SUFFIXES = ("-obs.joblib", "-raw.joblib")
# A snapshot takes at least this many bytes in a cache: three entries, one of which is a data frame.
_MIN_BYTES = 256


@dataclasses.dataclass(frozen=True)
class Selection:
    """The part of a cache that enters a data set.

    Attributes:
      feature_keys: columns of the stars, and what `star_columns` derives.
      target_keys: values of the header, or `time`.
      min_stars: minimum number of rows in the `stars` of a snapshot.
      skip_bad: leave out unusable snapshots instead of raising an error.
      lower_bounds: values that targets must exceed, by key, since a logarithm is taken of them: a single mass
        of 0 would spoil the scaler of all.
    """

    feature_keys: tuple[str, ...]
    target_keys: tuple[str, ...]
    min_stars: int
    skip_bad: bool
    lower_bounds: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class CachedSimulation:
    """One simulation, as read from its cache.

    Attributes:
      shard: its snapshots.
      num_too_few: number of snapshots that were left out for too few stars, a missing membership flag, or no
        member.
      skipped: why unusable snapshots were left out (with `on_bad='skip'`).
    """

    shard: Shard
    num_too_few: int
    skipped: tuple[str, ...]


def find_caches(root: Path, *, prefer_raw: bool = False) -> dict[str, Path]:
    """Return the cache of each simulation below `root`, in the order of the ids.

    Of a simulation that has both, it is the obs cache, or else, with `prefer_raw`, the raw one.

    Raises:
      CacheError: the folder does not exist or contains no cache, or a simulation has two of the same kind.
      PathError: the name of a cache is not in UTF-8, or has a control character.
    """
    if not Path(root).is_dir():
        raise CacheError(f"{root} is not a folder")
    found: dict[str, Path] = {}
    # The preferred kind last, so that it replaces the other one of the same simulation.
    for suffix in SUFFIXES if prefer_raw else reversed(SUFFIXES):
        of_kind: dict[str, Path] = {}
        for path in sorted(filter(Path.is_file, Path(root).rglob(f"*{suffix}"))):
            run_id = path.name.removesuffix(suffix)
            paths.check(run_id)  # tables contain it
            if run_id in of_kind:
                raise CacheError(
                    f"simulation {run_id} has two caches, {of_kind[run_id]} and {path}: remove one"
                )
            of_kind[run_id] = path
        found.update(of_kind)
    if not found:
        raise CacheError(
            f"{root} contains no cache, that is no file named <run_id>{SUFFIXES[0]} or <run_id>{SUFFIXES[1]}"
        )
    return dict(sorted(found.items()))


def load_cache(path: Path) -> list[Snapshot]:
    """Return all snapshots of a cache, in its order.

    Raises:
      CacheError: the file is unreadable, damaged or not a cache.
    """
    try:
        cache = unpickle.load_pickle(path, unpickle.TABLES)
    except (OSError, unpickle.UnpickleError) as error:
        raise CacheError(f"{path}: {error}" if isinstance(error, OSError) else str(error)) from error
    # A pickle can refer to one snapshot many times, so that a small file may contain any number of them.
    max_snapshots = _max_bytes(path) // _MIN_BYTES
    snapshots = list(itertools.islice(_snapshots(path, cache), max_snapshots))
    if len(snapshots) == max_snapshots:
        raise CacheError(
            f"{path} contains {max_snapshots} snapshots or more, which no real file of its size does"
        )
    return snapshots


def _max_bytes(path: Path) -> int:
    """Return the limit for the content of a cache."""
    return decompress.max_decompressed(path.stat().st_size)


def _snapshots(path: Path, cache) -> Iterator[Snapshot]:
    import pandas as pd  # slow to import, and not needed by a process that only lists caches

    kinds = {"time": (numbers.Real, "number"), "header": (dict, "dict"), "stars": (pd.DataFrame, "DataFrame")}
    if not isinstance(cache, dict):
        raise CacheError(f"{path} is not a cache: it contains a {type(cache).__name__} instead of a dict")
    is_observed = path.name.endswith(SUFFIXES[0])
    levels = cache.items() if is_observed else [(None, cache)]
    for position, times in levels:
        if position is not None and not _is_position(position):
            raise CacheError(f"{path}: a position should be three numbers [pc], got {shown(position)}")
        if not isinstance(times, dict):
            raise CacheError(
                f"{path}: position {shown(position)} has a {type(times).__name__} instead of a dict of "
                "snapshots"
            )
        for time, snapshot in times.items():
            content = snapshot if isinstance(snapshot, dict) else {}
            for key, (kind, name) in kinds.items():
                if not isinstance(content.get(key), kind):
                    raise CacheError(
                        f"{path}: the snapshot at {shown(time)} Myr should have a {name} as {key}, "
                        f"has {type(content.get(key)).__name__}"
                    )
            if not is_finite(content["time"]):
                raise CacheError(f"{path}: the snapshot at {shown(time)} Myr has an invalid `time`")
            yield Snapshot(path, position, float(content["time"]), content)


def _is_position(value) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(map(is_finite, value))


def read_simulation(path: Path, run_id: str, selection: Selection) -> CachedSimulation:
    """Read the snapshots of one cache that enter a data set.

    A snapshot enters if its `stars` has at least `selection.min_stars` rows, the membership flag, and a
    member. Of its stars, the members enter, those within twice the tidal radius.

    Raises:
      CacheError: the cache is unusable, no snapshot is left, or (unless `selection.skip_bad`) a snapshot
        lacks a selected column or has a value in it that is not finite.
    """
    snapshots = load_cache(path)
    features, targets, times, distances, skipped = [], [], [], [], []
    num_too_few, num_bytes = 0, 0
    for snapshot in snapshots:
        stars = snapshot.stars
        if (
            len(stars) < selection.min_stars
            or MEMBER_FLAG not in stars
            or not _may_have_members(stars[MEMBER_FLAG].to_numpy())
        ):
            num_too_few += 1
            continue
        try:
            target, time = read_targets(snapshot, selection.target_keys, selection.lower_bounds)
            feature = star_columns.read_features(snapshot, run_id, selection.feature_keys)
        except CacheError as error:
            if not selection.skip_bad:
                raise
            skipped.append(str(error))
            continue
        # A pickle can also refer to one table from many snapshots, each of which is copied.
        num_bytes += feature.nbytes
        if num_bytes > _max_bytes(path):
            raise CacheError(f"{path} has the same table in many snapshots, too many for a file of its size")
        features.append(feature)
        targets.append(target)
        times.append(time)
        distances.append(math.nan if snapshot.position is None else math.hypot(*snapshot.position))
    if not features:
        raise CacheError(
            f"{path}: no snapshot is left of {len(snapshots)}: {num_too_few} have fewer than "
            f"{selection.min_stars} stars or no "
            f"{MEMBER_FLAG}, {len(skipped)} are unusable" + (f", the first: {skipped[0]}" if skipped else "")
        )
    shard = Shard(
        feature=np.concatenate(features),
        feature_keys=selection.feature_keys,
        target=np.array(targets, dtype=np.float32),
        target_keys=selection.target_keys,
        ptr=np.cumsum([0, *map(len, features)], dtype=np.int64),
        run_id=np.full(len(features), run_id),
        time_myr=np.array(times, dtype=np.float32),
        distance_pc=np.array(distances, dtype=np.float32),
    )
    return CachedSimulation(shard, num_too_few, tuple(skipped))


def _may_have_members(flag: np.ndarray) -> bool:
    """Return False if no star is a member; a flag that is not boolean is an error of `read_members`."""
    return flag.dtype != bool or bool(flag.any())
