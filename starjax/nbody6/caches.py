"""Caches of the NBODY6 pipeline: `<run_id>-obs.joblib` and `<run_id>-raw.joblib`.

An obs cache is `{(x, y, z) [pc]: {time [Myr]: snapshot}}`, the key being where the cluster stands
seen from the observer; a raw cache has no outer level. A snapshot is a dict with `time`, `header`
(a dict of scalars) and `stars` (a data frame, one row a star).
"""

import dataclasses
import itertools
import math
import numbers
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from starjax import errors
from starjax.datasets.shard import Shard
from starjax.io import decompress, unpickle

SUFFIXES = ("-obs.joblib", "-raw.joblib")
MEMBER_FLAG = "is_within_2x_r_tidal"
# Bytes that a snapshot takes in a cache, at least.
_LEAST_BYTES = 256
_LARGEST = float(np.finfo(np.float32).max)


class CacheError(errors.StarjaxError):
    """A cache, or a snapshot of one, that cannot be used: file, snapshot, column and reason."""


class Snapshot(NamedTuple):
    """One snapshot as a cache holds it; `coordinate` [pc] is None in a raw cache, `time` is in Myr."""

    coordinate: tuple[float, ...] | None
    time: float
    content: dict[str, Any]

    def __str__(self):
        seen_from = "" if self.coordinate is None else f" seen from {self.coordinate} pc"
        return f"snapshot {self.time} Myr{seen_from}"


@dataclasses.dataclass(frozen=True)
class Selection:
    """What a data set takes of a cache.

    Attributes:
      feature_keys: columns of the stars.
      target_keys: values of the header.
      min_stars: rows that the stars of a snapshot need to have.
      skip_bad: leave bad snapshots out instead of refusing the cache.
    """

    feature_keys: tuple[str, ...]
    target_keys: tuple[str, ...]
    min_stars: int
    skip_bad: bool


@dataclasses.dataclass(frozen=True)
class CachedSimulation:
    """What one cache gives to a data set.

    Attributes:
      shard: its snapshots.
      num_too_few: snapshots left out because they have too few stars or no membership flag.
      skipped: the reasons of bad snapshots left out (`on_bad='skip'`).
    """

    shard: Shard
    num_too_few: int
    skipped: tuple[str, ...]


def find_caches(root: Path) -> dict[str, Path]:
    """The cache of each run below `root`, by run id, in the order of the ids; obs before raw.

    Raises:
      CacheError: there is no such folder, it holds no cache, or a run has two of one kind.
    """
    if not Path(root).is_dir():
        raise CacheError(f"{root} is not a folder")
    found: dict[str, Path] = {}
    for suffix in reversed(SUFFIXES):
        of_kind: dict[str, Path] = {}
        for path in sorted(filter(Path.is_file, Path(root).rglob(f"*{suffix}"))):
            run_id = path.name.removesuffix(suffix)
            if run_id in of_kind:
                raise CacheError(f"run {run_id} has two caches, {of_kind[run_id]} and {path}: remove one")
            of_kind[run_id] = path
        found.update(of_kind)
    if not found:
        raise CacheError(
            f"{root} holds no cache: files are named <run_id>{SUFFIXES[0]} or <run_id>{SUFFIXES[1]}"
        )
    return dict(sorted(found.items()))


def load_cache(path: Path) -> list[Snapshot]:
    """All snapshots of a cache in the order it lists them.

    Raises:
      CacheError: the file is unreadable, damaged or not a cache.
    """
    try:
        cache = unpickle.load_pickle(path, unpickle.TABLES)
    except (OSError, unpickle.UnpickleError) as error:
        raise CacheError(f"{path}: {error}" if isinstance(error, OSError) else str(error)) from error
    # One snapshot may stand in many places of a pickle, and many times many.
    snapshots = list(itertools.islice(_snapshots(path, cache), _most(path) // _LEAST_BYTES))
    if len(snapshots) == _most(path) // _LEAST_BYTES:
        raise CacheError(f"{path} holds {len(snapshots)} snapshots or more, which no file of its size does")
    return snapshots


def _most(path: Path) -> int:
    """The bytes that a cache may hold."""
    return decompress.max_decompressed(path.stat().st_size)


def _snapshots(path: Path, cache) -> Iterator[Snapshot]:
    import pandas as pd  # slow to import, and not needed by the process that only lists caches

    kinds = {"time": numbers.Real, "header": dict, "stars": pd.DataFrame}
    levels = cache.items() if isinstance(cache, dict) else None
    if levels is None:
        raise CacheError(f"{path} is not a cache: it holds a {type(cache).__name__} instead of a dict")
    if not path.name.endswith(SUFFIXES[0]):
        levels = [(None, cache)]
    for coordinate, times in levels:
        if coordinate is not None and not _is_place(coordinate):
            raise CacheError(f"{path}: a place should be three numbers [pc], got {_shown(coordinate)}")
        if not isinstance(times, dict):
            raise CacheError(
                f"{path}: under {_shown(coordinate)} stands a {type(times).__name__} instead of snapshots"
            )
        for time, snapshot in times.items():
            content = snapshot if isinstance(snapshot, dict) else {}
            for key, kind in kinds.items():
                if not isinstance(content.get(key), kind):
                    raise CacheError(
                        f"{path}: the snapshot at {_shown(time)} Myr should have a {kind.__name__} as {key}, "
                        f"has {type(content.get(key)).__name__}"
                    )
            if not _is_finite(content["time"]):
                raise CacheError(f"{path}: the snapshot at {_shown(time)} Myr has an impossible time")
            yield Snapshot(coordinate, float(content["time"]), content)


def _is_place(coordinate) -> bool:
    return isinstance(coordinate, tuple) and len(coordinate) == 3 and all(map(_is_finite, coordinate))


def _is_finite(value) -> bool:
    """Whether a value is a number of the size of those in nature."""
    return isinstance(value, numbers.Real) and bool(abs(value) < _LARGEST)


def _shown(value) -> str:
    """A value as a message shows it; of containers the kind only, since they may be endless."""
    is_plain = isinstance(value, str | numbers.Number) or (
        isinstance(value, tuple) and all(isinstance(one, str | numbers.Number) for one in value)
    )
    return f"{value!r:.80}" if is_plain else f"a {type(value).__name__}"


def read_simulation(path: Path, run_id: str, wanted: Selection) -> CachedSimulation:
    """Reads the snapshots of one cache that enter a data set.

    A snapshot enters when its `stars` has at least `wanted.min_stars` rows and the membership flag; of its
    stars, those within twice the tidal radius.

    Raises:
      CacheError: the cache is unusable, no snapshot is left, or (unless `wanted.skip_bad`) a snapshot lacks a
        wanted column or holds a value in it that is not finite.
    """
    snapshots = load_cache(path)
    features, targets, times, distances, skipped = [], [], [], [], []
    num_too_few, num_byte = 0, 0
    for snapshot in snapshots:
        stars = snapshot.content["stars"]
        if (
            len(stars) < wanted.min_stars
            or MEMBER_FLAG not in stars
            or not _may_have_members(stars[MEMBER_FLAG].to_numpy())
        ):
            num_too_few += 1
            continue
        try:
            feature, target, time = _read_snapshot(path, snapshot, wanted)
        except CacheError as error:
            if not wanted.skip_bad:
                raise
            skipped.append(str(error))
            continue
        num_byte += feature.nbytes
        if num_byte > _most(path):
            raise CacheError(f"{path} holds one table under many snapshots, too many for a file of its size")
        features.append(feature)
        targets.append(target)
        times.append(time)
        distances.append(math.nan if snapshot.coordinate is None else math.hypot(*snapshot.coordinate))
    if not features:
        raise CacheError(
            f"{path}: no snapshot is left of {len(snapshots)}: {num_too_few} have fewer than {wanted.min_stars} stars or no "
            f"{MEMBER_FLAG}, {len(skipped)} are bad" + (f", first {skipped[0]}" if skipped else "")
        )
    shard = Shard(
        feature=np.concatenate(features),
        feature_keys=wanted.feature_keys,
        target=np.array(targets, dtype=np.float32),
        target_keys=wanted.target_keys,
        ptr=np.cumsum([0, *map(len, features)], dtype=np.int64),
        run_id=np.full(len(features), run_id),
        time_myr=np.array(times, dtype=np.float32),
        distance_pc=np.array(distances, dtype=np.float32),
    )
    return CachedSimulation(shard, num_too_few, tuple(skipped))


def _may_have_members(flag: np.ndarray) -> bool:
    return flag.dtype != bool or bool(flag.any())


def _read_snapshot(path, snapshot, wanted):
    """The float32 features (n_star, F), the targets (T,) and the time [Myr] of one snapshot."""
    stars, header = snapshot.content["stars"], snapshot.content["header"]
    missing = [key for key in wanted.feature_keys if key not in stars]
    if missing:
        hint = (
            ""
            if snapshot.coordinate
            else " (raw caches have none of the sky: leave them out of feature_keys)"
        )
        raise CacheError(f"{path}: {snapshot} has no column {', '.join(missing)} in its stars{hint}")
    repeated = [key for key in (*wanted.feature_keys, MEMBER_FLAG) if list(stars.columns).count(key) > 1]
    if repeated:
        raise CacheError(f"{path}: {snapshot} has more than one column {', '.join(repeated)} in its stars")
    # The header has the time in full, the snapshot rounded to 0.01 Myr.
    targets = {"time": snapshot.time, **header}
    missing = [key for key in wanted.target_keys if key not in targets]
    if missing:
        raise CacheError(f"{path}: {snapshot} has no {', '.join(missing)} in its header")
    is_member = stars[MEMBER_FLAG].to_numpy()
    if is_member.dtype != bool:
        raise CacheError(
            f"{path}: {snapshot} holds {is_member.dtype} values instead of booleans in column {MEMBER_FLAG}"
        )
    feature = np.empty((int(is_member.sum()), len(wanted.feature_keys)), dtype=np.float32)
    for column, key in enumerate(wanted.feature_keys):
        values = stars[key].to_numpy()
        if values.dtype.kind not in "iuf":
            raise CacheError(
                f"{path}: {snapshot} holds {values.dtype} values instead of numbers in column {key}"
            )
        with np.errstate(over="ignore"):
            feature[:, column] = values[is_member]
        num_bad = int((~np.isfinite(feature[:, column])).sum())
        if num_bad:
            raise CacheError(f"{path}: {snapshot} holds {num_bad} values that are not finite in column {key}")
    for key in (*wanted.target_keys, "time"):
        if not _is_finite(targets[key]):
            raise CacheError(f"{path}: {snapshot} has {key}={_shown(targets[key])} in its header")
    return feature, [targets[key] for key in wanted.target_keys], targets["time"]
