"""Shards: the stars and targets of many snapshots in one `.npz` file.

A shard has the arrays `feature feature_keys target target_keys ptr`; files of other tools with these arrays
can be read. It may have three more, with one value per snapshot: `run_id`, `time_myr`, `distance_pc`. A large
split is written to several files, each of which is a shard (see `shard_files`).
"""

import dataclasses
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from starjax.datasets.mapped_arrays import (
    MappedArray,
    MappedColumns,
    blocks,
    in_memory,
    map_member,
)
from starjax.datasets.mapped_arrays import ShardError as ShardError  # part of this module, too
from starjax.io import files, npz

ARRAYS = ("feature", "feature_keys", "target", "target_keys", "ptr")
PROVENANCE = ("run_id", "time_myr", "distance_pc")


@dataclasses.dataclass(frozen=True)
class Shard:
    """The stars and targets of many snapshots.

    Attributes:
      feature: float32 (n_star, n_feature), the stars of all snapshots, concatenated: an array, or other
        Columns such as MappedColumns.
      feature_keys: names of its columns.
      target: float32 (n_snapshot, n_target).
      target_keys: names of its columns.
      ptr: int64 (n_snapshot + 1,); the stars of snapshot i are the rows ptr[i]:ptr[i+1].
      run_id, time_myr, distance_pc: (n_snapshot,) each: the simulation, the time since its start [Myr] and
        the distance to the observer [pc]; None if unknown.
    """

    feature: Any
    feature_keys: tuple[str, ...]
    target: np.ndarray
    target_keys: tuple[str, ...]
    ptr: np.ndarray
    run_id: np.ndarray | None = None
    time_myr: np.ndarray | None = None
    distance_pc: np.ndarray | None = None

    @property
    def num_snapshot(self) -> int:
        return len(self.ptr) - 1

    @property
    def group(self) -> np.ndarray:
        """(n_snapshot,), equal for snapshots of one simulation; all different if simulations are unknown."""
        return np.arange(self.num_snapshot) if self.run_id is None else self.run_id

    @property
    def simulations(self) -> list[str]:
        """The sorted ids of the simulations; empty if unknown."""
        return [] if self.run_id is None else sorted(set(map(str, self.run_id)))

    def select(self, feature_keys: tuple[str, ...], target_keys: tuple[str, ...]) -> "Shard":
        """Return the same snapshots with only the named columns, in this order.

        Raises:
          ShardError: a name is not a column of this shard.
        """
        return dataclasses.replace(
            self,
            feature=_columns(self.feature, self.feature_keys, feature_keys, "data.feature_keys"),
            feature_keys=tuple(feature_keys),
            target=_columns(self.target, self.target_keys, target_keys, "data.target_keys"),
            target_keys=tuple(target_keys),
        )

    def take(self, snapshots: np.ndarray) -> "Shard":
        """Return the snapshots with these indices, in this order, in memory."""
        rows = [self.feature[self.ptr[i] : self.ptr[i + 1]] for i in snapshots]
        of_snapshot: dict[str, Any] = {name: getattr(self, name) for name in ("target", *PROVENANCE)}
        taken: dict[str, Any] = {
            name: value if value is None else value[snapshots] for name, value in of_snapshot.items()
        }
        return dataclasses.replace(
            self, feature=np.concatenate(rows), ptr=np.cumsum([0, *map(len, rows)]), **taken
        )


def count_shard(shard: Shard) -> dict[str, int | None]:
    """Return the number of simulations (None if unknown), snapshots and stars."""
    simulations = None if shard.run_id is None else len(shard.simulations)
    return {"simulations": simulations, "snapshots": shard.num_snapshot, "stars": len(shard.feature)}


def check_keys(present: Sequence[str], wanted: Sequence[str], field: str) -> None:
    """Raise ShardError for columns that a data set does not have; `field` is their config field."""
    missing = [key for key in wanted if key not in present]
    if missing:
        several = """; give more than one as '("a", "b")'""" if any("," in key for key in missing) else ""
        raise ShardError(
            f"{field}: the data set has no {', '.join(missing)}; it has {', '.join(present)}{several}"
        )


def _columns(array, present, wanted, field):
    check_keys(present, wanted, field)
    column = tuple(present.index(key) for key in wanted)
    if isinstance(array, MappedColumns):
        return array.select(column)
    if tuple(wanted) == tuple(present):
        return array
    return np.ascontiguousarray(array[:, column])


def save_shard(path: Path, shard: Shard, snapshots: slice = slice(None)) -> None:
    """Write a shard, or some of its snapshots; an existing file is replaced once the new one is complete.

    The features are read and written in blocks of rows.
    """
    first, last, _ = snapshots.indices(shard.num_snapshot)
    chosen = slice(first, last)
    ptr = shard.ptr[first : last + 1].astype(np.int64, copy=False)
    arrays = {
        "feature_keys": np.array(shard.feature_keys),
        "target": shard.target[chosen].astype(np.float32, copy=False),
        "target_keys": np.array(shard.target_keys),
        "ptr": ptr - ptr[0],
    }
    known = {name: getattr(shard, name) for name in PROVENANCE if getattr(shard, name) is not None}
    arrays |= {name: array[chosen] for name, array in known.items()}
    # The same bytes as from numpy.savez, which would need all features in memory.
    with files.atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as target:
        with target.open("feature.npy", "w", force_zip64=True) as file:
            shape = (int(ptr[-1] - ptr[0]), shard.feature.shape[1])
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for rows in blocks(int(ptr[-1]), int(ptr[0])):
                file.write(np.ascontiguousarray(shard.feature[rows], "<f4").data)
        for name, array in arrays.items():
            with target.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def load_shards(paths: Sequence[Path], *, mapped: bool = False) -> Shard:
    """Read and concatenate shards.

    Raises:
      FileNotFoundError, ShardError: see `load_shard`; or a file has other columns than the first.
    """
    if len(paths) == 1:
        return load_shard(paths[0], mapped=mapped)
    # Features are mapped even if they are to be in memory: the copy below then reads them, and they are in
    # memory only once.
    whole = join_shards(paths, (load_shard(path, mapped=mapped or is_mappable(path)) for path in paths))
    return whole if mapped else dataclasses.replace(whole, feature=in_memory(whole.feature))


def join_shards(paths: Sequence[Path | str], shards: Iterable[Shard]) -> Shard:
    """Return the concatenation of shards; the features are not copied.

    Args:
      paths: the name of each shard in errors.

    Raises:
      ShardError: a shard has other columns than the first.
    """
    shards = list(shards)
    first, num_star = shards[0], 0
    arrays: list[MappedArray | np.ndarray] = []
    ptr = [np.zeros(1, np.int64)]
    for path, shard in zip(paths, shards, strict=True):
        for name in ("feature_keys", "target_keys"):
            if getattr(shard, name) != getattr(first, name):
                raise ShardError(
                    f"{path}: {name} are {', '.join(getattr(shard, name))}; in {paths[0]} they are "
                    f"{', '.join(getattr(first, name))}: build the data set again"
                )
        # The file itself where possible: columns of columns would copy each slice twice.
        is_file = isinstance(shard.feature, MappedColumns) and shard.feature.is_one_array
        arrays.append(shard.feature.arrays[0] if is_file else shard.feature)
        ptr.append(num_star + shard.ptr[1:])
        num_star += len(shard.feature)
    # Known only if it is for every snapshot.
    known = [name for name in PROVENANCE if all(getattr(shard, name) is not None for shard in shards)]
    concatenated: dict[str, Any] = {
        name: np.concatenate([getattr(shard, name) for shard in shards]) for name in ("target", *known)
    }
    return Shard(
        feature=MappedColumns(arrays, list(map(str, paths)), tuple(range(len(first.feature_keys)))),
        feature_keys=first.feature_keys,
        target_keys=first.target_keys,
        ptr=np.concatenate(ptr),
        **concatenated,
    )


def is_mappable(path: Path) -> bool:
    """Return whether the features in a file are uncompressed; False if it is not a shard."""
    try:
        files.check_regular(path)
        with zipfile.ZipFile(path) as file:
            return file.getinfo("feature.npy").compress_type == zipfile.ZIP_STORED
    except npz.DAMAGE:
        return False


def load_shard(path: Path, *, mapped: bool = False) -> Shard:
    """Read and check a shard.

    Args:
      mapped: leave the features on disk, to be read (and checked to be finite) when they are sliced.

    Raises:
      FileNotFoundError: the file does not exist.
      ShardError: the file is damaged, not a shard, or too large for the memory.
    """
    names = [name for name in (*ARRAYS, *PROVENANCE) if name != "feature" or not mapped]
    # What the archive contains is believed only after `check_shard`: it may be from another tool.
    try:
        arrays: dict[str, Any] = dict(npz.read_npz(path, names))
        if mapped:
            with zipfile.ZipFile(path) as file:
                feature = map_member(path, file.getinfo("feature.npy"))
            arrays["feature"] = MappedColumns([feature], [str(path)], tuple(range(feature.shape[1])))
    except FileNotFoundError:  # not damage, although an OSError
        raise
    except MemoryError as error:
        raise ShardError(
            f"{path} does not fit into memory ({error}): free some, or set config.data.placement=streamed"
        ) from error
    except npz.DAMAGE as error:
        raise ShardError(
            f"{path} cannot be read ({error}): restore it or build the data set again"
        ) from error
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise ShardError(f"{path} is not a shard: it has no arrays {', '.join(missing)}")
    for name in ("feature_keys", "target_keys"):
        keys = np.atleast_1d(arrays[name])
        if keys.dtype.kind != "U" or keys.ndim != 1:
            raise ShardError(f"{path}: {name} should be text, got {keys.dtype} of shape {keys.shape}")
        arrays[name] = tuple(map(str, keys))
        # Columns are found by their name.
        if len(set(arrays[name])) < len(arrays[name]):
            raise ShardError(f"{path}: {name} has a name more than once: {', '.join(arrays[name])}")
    shard = Shard(**arrays)
    check_shard(path, shard)
    return dataclasses.replace(shard, ptr=shard.ptr.astype(np.int64, copy=False))


def check_shard(path: Path | str, shard: Shard) -> None:
    """Raise ShardError for arrays that do not fit together, or values that are not finite.

    Mapped features are checked when they are read.

    Args:
      path: the name of the shard in errors.
    """
    is_mapped = isinstance(shard.feature, MappedColumns)
    feature = shard.feature.arrays[0] if is_mapped else shard.feature
    if len(feature.shape) != 2 or shard.ptr.ndim != 1:
        raise ShardError(
            f"{path}: feature should have 2 axes and ptr 1, got {feature.shape} and {shard.ptr.shape}"
        )
    num_star, num_snapshot, ptr = len(shard.feature), len(shard.ptr) - 1, shard.ptr
    expected: dict[str, tuple[Any, tuple[int, ...], type]] = {
        "feature": (feature, (num_star, len(shard.feature_keys)), np.floating),
        "target": (shard.target, (num_snapshot, len(shard.target_keys)), np.floating),
        "ptr": (ptr, (num_snapshot + 1,), np.integer),
    }
    for name in PROVENANCE:
        if getattr(shard, name) is not None:
            expected[name] = (getattr(shard, name), (num_snapshot,), np.generic)
    for name, (array, shape, kind) in expected.items():
        if array.shape != shape or not np.issubdtype(array.dtype, kind):
            raise ShardError(
                f"{path}: {name} should be {kind.__name__} of shape {shape}, got {array.dtype} {array.shape}"
            )
    if num_snapshot < 1 or ptr[0] != 0 or ptr[-1] != num_star or (ptr[1:] < ptr[:-1]).any():
        raise ShardError(f"{path}: ptr should rise from 0 to the number of stars, {num_star}; got {ptr}")
    for name in ("target",) if is_mapped else ("feature", "target"):
        array = getattr(shard, name)
        if not np.isfinite(array).all():
            row, column = np.argwhere(~np.isfinite(array))[0]
            key = getattr(shard, f"{name}_keys")[column]
            raise ShardError(f"{path}: {name} {key} is {array[row, column]} in row {row}")
