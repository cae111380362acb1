"""Shards: the stars and targets of many snapshots in one `.npz`.

Five arrays are fixed, `feature feature_keys target target_keys ptr`; files that other tools wrote
with them load here. Three more may stand beside them, one value a snapshot: `run_id`, `time_myr`,
`distance_pc`.
"""

import dataclasses
import lzma
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from starjax import errors, files

ARRAYS = ("feature", "feature_keys", "target", "target_keys", "ptr")
PROVENANCE = ("run_id", "time_myr", "distance_pc")


class ShardError(errors.StarjaxError):
    """A shard that is not what the format says, with the file and what to do."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """Many snapshots.

    Attributes:
      feature: float32 (n_star, n_feature), the stars of all snapshots, one after another.
      feature_keys: names of its columns.
      target: float32 (n_snapshot, n_target).
      target_keys: names of its columns.
      ptr: int64 (n_snapshot + 1,); snapshot i owns rows ptr[i]:ptr[i+1].
      run_id, time_myr, distance_pc: (n_snapshot,) each, or None where unknown: the simulation, the
        time in it [Myr], the distance it was observed from [pc].
    """

    feature: np.ndarray
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

    def select(self, feature_keys: tuple[str, ...], target_keys: tuple[str, ...]) -> "Shard":
        """The same snapshots with only the named columns, in the order named.

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


@dataclasses.dataclass(frozen=True)
class MappedColumns:
    """Some columns of an array on disk, read where they are sliced.

    Attributes:
      array: (n_star, n_column), mapped into memory.
      column: which of its columns, in which order.
      name: what it is called in an error.
    """

    array: np.memmap
    column: tuple[int, ...]
    name: str

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.array), len(self.column)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """The stars of a slice, float32, in memory.

        Raises:
          ShardError: a value is not finite.
        """
        values = self.array[rows]
        if self.column != tuple(range(values.shape[1])):
            values = values[:, self.column]
        values = np.asarray(values, np.float32)
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise ShardError(
                f"{self.name}: feature {self.column[column]} is {values[row, column]} in row {rows.start + row}"
            )
        return values


def _columns(array, present, wanted, field):
    missing = [key for key in wanted if key not in present]
    if missing:
        raise ShardError(f"{field}: the data set has no {', '.join(missing)}; it has {', '.join(present)}")
    column = tuple(present.index(key) for key in wanted)
    if isinstance(array, MappedColumns):
        return dataclasses.replace(array, column=tuple(array.column[i] for i in column))
    if tuple(wanted) == tuple(present):
        return array
    return np.ascontiguousarray(array[:, column])


def save(path: Path, shard: Shard) -> None:
    """Writes a shard; what stood at `path` is replaced once the new file is complete."""
    arrays = {
        "feature": shard.feature.astype(np.float32, copy=False),
        "feature_keys": np.array(shard.feature_keys),
        "target": shard.target.astype(np.float32, copy=False),
        "target_keys": np.array(shard.target_keys),
        "ptr": shard.ptr.astype(np.int64, copy=False),
    }
    known = {name: getattr(shard, name) for name in PROVENANCE if getattr(shard, name) is not None}
    with files.written_whole(path) as temporary:
        np.savez(temporary, **arrays, **known)


def load(path: Path, *, mapped: bool = False) -> Shard:
    """Reads and checks a shard.

    Args:
      mapped: leave the features on disk, to be read (and checked to be finite) where they are sliced.

    Raises:
      FileNotFoundError: there is no such file.
      ShardError: the file is damaged, or not a shard.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            names = [name for name in (*ARRAYS, *PROVENANCE) if name in archive]
            arrays = {name: archive[name] for name in names if name != "feature" or not mapped}
            if mapped and "feature" in names:
                feature = _map_member(path, archive.zip.getinfo("feature.npy"))
                arrays["feature"] = MappedColumns(feature, tuple(range(feature.shape[1])), str(path))
    except FileNotFoundError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        RuntimeError,  # zipfile, of an entry that says it is encrypted or compressed in some other way
        TypeError,  # a bare .npy under the name of an archive
        ValueError,
        EOFError,
        OSError,
    ) as error:
        raise ShardError(
            f"{path} cannot be read ({error}): restore it or build the data set again"
        ) from error
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise ShardError(f"{path} is not a shard: it lacks the arrays {', '.join(missing)}")
    for name in ("feature_keys", "target_keys"):
        arrays[name] = tuple(map(str, np.atleast_1d(arrays[name])))
    shard = Shard(**arrays)
    _check(path, shard)
    return shard


def _map_member(path: Path, entry: zipfile.ZipInfo) -> np.memmap:
    """An array of an archive as it lies in the file.

    Raises:
      ValueError: it is compressed, cut off, or not of two axes.
    """
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{entry.filename} is compressed and cannot be mapped; write it by numpy.savez")
    with open(path, "rb") as file:
        file.seek(entry.header_offset + 26)
        # Behind 30 bytes of fixed fields come the name and what else the entry of the archive says.
        len_name, len_extra = np.frombuffer(file.read(4), "<u2").astype(int)
        file.seek(entry.header_offset + 30 + len_name + len_extra)
        version = np.lib.format.read_magic(file)
        read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        shape, is_fortran, dtype = read_header(file)
        if len(shape) != 2 or dtype.hasobject:
            raise ValueError(f"{entry.filename} is {dtype} of shape {shape}, not numbers of two axes")
        if file.tell() + math.prod(shape) * dtype.itemsize > path.stat().st_size:
            raise ValueError(f"{entry.filename} is cut off")
        order = "F" if is_fortran else "C"
        return np.memmap(path, dtype, "r", offset=file.tell(), shape=shape, order=order)


def _check(path: Path, shard: Shard) -> None:
    is_mapped = isinstance(shard.feature, MappedColumns)
    feature = shard.feature.array if is_mapped else shard.feature
    if feature.ndim != 2 or shard.ptr.ndim != 1:
        raise ShardError(
            f"{path}: feature should have 2 axes and ptr 1, got {feature.shape} and {shard.ptr.shape}"
        )
    num_star, num_snapshot, ptr = len(shard.feature), len(shard.ptr) - 1, shard.ptr
    expected = {
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
