"""Caches of the NBODY6 pipeline, one per simulation: `<run_id>-obs.joblib` and `<run_id>-raw.joblib`.

An obs cache is `{(x, y, z) [pc]: {time [Myr]: snapshot}}`, where the outer key is the position of the cluster
relative to the observer; a raw cache has no outer level. A snapshot is a dict with `time`, `header` (a dict
of scalars) and `stars` (a data frame, one row per star).
"""

import dataclasses
import itertools
import math
import numbers
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from starjax import errors, quantities
from starjax.datasets.shard import Shard
from starjax.io import decompress, unpickle

SUFFIXES = ("-obs.joblib", "-raw.joblib")
MEMBER_FLAG = "is_within_2x_r_tidal"
# A snapshot takes at least this many bytes in a cache: three entries, one of which is a data frame.
_MIN_BYTES = 256
# Beyond it, values would be infinite in a shard.
_LARGEST = float(np.finfo(np.float32).max)


class CacheError(errors.StarjaxError):
    """A cache or a snapshot that cannot be used; the message names file, snapshot, column and reason."""


class Snapshot(NamedTuple):
    """One snapshot of a cache: its position [pc] (None in a raw cache), time [Myr] and content."""

    position: tuple[float, ...] | None
    time: float
    content: dict[str, Any]

    def __str__(self):
        position = "" if self.position is None else f" at position {self.position} pc"
        return f"snapshot {self.time} Myr{position}"


@dataclasses.dataclass(frozen=True)
class Selection:
    """The part of a cache that enters a data set.

    Attributes:
      feature_keys: columns of the stars.
      target_keys: values of the header, or `time`.
      min_stars: minimum number of rows in the `stars` of a snapshot.
      skip_bad: leave out unusable snapshots instead of raising an error.
    """

    feature_keys: tuple[str, ...]
    target_keys: tuple[str, ...]
    min_stars: int
    skip_bad: bool


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


def find_caches(root: Path) -> dict[str, Path]:
    """Return the cache of each simulation below `root`, in the order of the ids; obs caches are preferred.

    Raises:
      CacheError: the folder does not exist or contains no cache, or a simulation has two of the same kind.
    """
    if not Path(root).is_dir():
        raise CacheError(f"{root} is not a folder")
    found: dict[str, Path] = {}
    # obs caches last, so that they replace raw ones of the same simulation.
    for suffix in reversed(SUFFIXES):
        of_kind: dict[str, Path] = {}
        for path in sorted(filter(Path.is_file, Path(root).rglob(f"*{suffix}"))):
            run_id = path.name.removesuffix(suffix)
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
            raise CacheError(f"{path}: a position should be three numbers [pc], got {_shown(position)}")
        if not isinstance(times, dict):
            raise CacheError(
                f"{path}: position {_shown(position)} has a {type(times).__name__} instead of a dict of "
                "snapshots"
            )
        for time, snapshot in times.items():
            content = snapshot if isinstance(snapshot, dict) else {}
            for key, (kind, name) in kinds.items():
                if not isinstance(content.get(key), kind):
                    raise CacheError(
                        f"{path}: the snapshot at {_shown(time)} Myr should have a {name} as {key}, "
                        f"has {type(content.get(key)).__name__}"
                    )
            if not _is_finite(content["time"]):
                raise CacheError(f"{path}: the snapshot at {_shown(time)} Myr has an invalid `time`")
            yield Snapshot(position, float(content["time"]), content)


def _is_position(value) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(map(_is_finite, value))


def _is_finite(value: Any) -> bool:
    """Return whether a value is a number that is finite as float32."""
    # Not converted to a float: that fails for integers beyond its range.
    return isinstance(value, numbers.Real) and bool(-_LARGEST < cast(Any, value) < _LARGEST)


def _shown(value) -> str:
    """Return a value as text for a message; only the type of containers, which may be huge."""
    is_plain = isinstance(value, str | numbers.Number) or (
        isinstance(value, tuple) and all(isinstance(one, str | numbers.Number) for one in value)
    )
    return f"{value!r:.80}" if is_plain else f"a {type(value).__name__}"


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
        stars = snapshot.content["stars"]
        if (
            len(stars) < selection.min_stars
            or MEMBER_FLAG not in stars
            or not _may_have_members(stars[MEMBER_FLAG].to_numpy())
        ):
            num_too_few += 1
            continue
        try:
            feature, target, time = _read_snapshot(path, snapshot, selection)
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
    """Return False if no star is a member; a flag that is not boolean is an error of `_read_snapshot`."""
    return flag.dtype != bool or bool(flag.any())


def _read_snapshot(path, snapshot, selection):
    """Return the float32 features (n_star, F), the targets (T,) and the time [Myr] of one snapshot."""
    stars, header = snapshot.content["stars"], snapshot.content["header"]
    missing = [key for key in selection.feature_keys if key not in stars]
    if missing:
        hint = (
            ""
            if snapshot.position
            else " (raw caches have no sky coordinates: leave them out of feature_keys)"
        )
        raise CacheError(f"{path}: {snapshot} has no column {', '.join(missing)} in its stars{hint}")
    repeated = [key for key in (*selection.feature_keys, MEMBER_FLAG) if list(stars.columns).count(key) > 1]
    if repeated:
        raise CacheError(f"{path}: {snapshot} has more than one column {', '.join(repeated)} in its stars")
    # The header has the exact time, the snapshot rounds it to 0.01 Myr.
    targets = {"time": snapshot.time, **header}
    missing = [key for key in selection.target_keys if key not in targets]
    if missing:
        raise CacheError(f"{path}: {snapshot} has no {', '.join(missing)} in its header")
    is_member = stars[MEMBER_FLAG].to_numpy()
    if is_member.dtype != bool:
        raise CacheError(
            f"{path}: {snapshot} has {is_member.dtype} values instead of booleans in column {MEMBER_FLAG}"
        )
    feature = np.empty((int(is_member.sum()), len(selection.feature_keys)), dtype=np.float32)
    for column, key in enumerate(selection.feature_keys):
        values = stars[key].to_numpy()
        if values.dtype.kind not in "iuf":
            raise CacheError(
                f"{path}: {snapshot} has {values.dtype} values instead of numbers in column {key}"
            )
        with np.errstate(over="ignore"):  # checked below
            feature[:, column] = values[is_member]
        num_bad = int((~np.isfinite(feature[:, column])).sum())
        if num_bad:
            raise CacheError(f"{path}: {snapshot} has {num_bad} values that are not finite in column {key}")
    for key in (*selection.target_keys, "time"):
        if not _is_finite(targets[key]):
            raise CacheError(f"{path}: {snapshot} has {key}={_shown(targets[key])} in its header")
        # A single mass of 0, of which the logarithm is taken, would spoil the scaler of all.
        if key == quantities.MASS and targets[key] <= 0:
            raise CacheError(
                f"{path}: {snapshot} has {key}={_shown(targets[key])} in its header, which should be positive"
            )
    return feature, [targets[key] for key in selection.target_keys], targets["time"]
