"""Columns of arrays on disk, read where they are sliced."""

import bisect
import dataclasses
import functools
import math
import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from starjax import errors
from starjax.io import npz

# Rows read, scaled or written at a time, so that copies stay small beside the shards.
ROWS_PER_BLOCK = 2**16


class ShardError(errors.StarjaxError):
    """A shard that is not what the format says, with the file and what to do."""


def blocks(num_row: int, first: int = 0) -> Iterator[slice]:
    """The rows from `first` up to `num_row`, some at a time."""
    for start in range(first, num_row, ROWS_PER_BLOCK):
        yield slice(start, min(start + ROWS_PER_BLOCK, num_row))


def in_memory(columns) -> np.ndarray:
    """All rows of anything that has `shape` and can be sliced, float32."""
    values = np.empty(columns.shape, np.float32)
    for rows in blocks(len(values)):
        values[rows] = columns[rows]
    return values


@dataclasses.dataclass(frozen=True)
class MappedArray:
    """An array of two axes as it lies in a file, opened for each slice: thousands may be at hand at once.

    Rows that lie together are read; page by page through a map they took three times as long. Columns that lie
    together (order 'F') are mapped.

    Attributes:
      path, offset, dtype, shape, order: what and where it is.
      version: tells versions of the file apart.
    """

    path: Path
    offset: int
    dtype: np.dtype
    shape: tuple[int, int]
    order: str
    version: tuple[int, int, int]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Rows, valid for as long as they are held.

        Raises:
          ShardError: the file is gone, or is not the one it was.
        """
        try:
            with open(self.path, "rb") as file:
                if _version(file) != self.version:
                    raise ShardError(f"{self.path} was changed while it was in use: start again")
                if self.order == "F":
                    return np.memmap(file, self.dtype, "r", self.offset, self.shape, self.order)[rows]
                start, stop, _ = rows.indices(len(self))
                shape = (max(stop - start, 0), self.shape[1])
                before = self.offset + start * self.shape[1] * self.dtype.itemsize
                return np.fromfile(file, self.dtype, math.prod(shape), offset=before).reshape(shape)
        except OSError as error:
            raise ShardError(f"{self.path} cannot be read any more ({error}): restore it") from error


def map_member(path: Path, entry: zipfile.ZipInfo) -> MappedArray:
    """An array of an archive as it lies in the file.

    Raises:
      one of archive.DAMAGE: it is compressed, cut off, or not of two axes.
    """
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{entry.filename} is compressed and cannot be mapped; write it by numpy.savez")
    with open(path, "rb") as file:
        file.seek(entry.header_offset + 26)
        # Behind 30 bytes of fixed fields come the name and what else the entry of the archive says,
        # such as sizes beyond 4 GiB.
        len_name, len_extra = struct.unpack("<HH", file.read(4))
        file.seek(entry.header_offset + 30 + len_name + len_extra)
        shape, is_fortran, dtype = npz.read_header(file, entry.filename)
        if len(shape) != 2:
            raise ValueError(f"{entry.filename} is of shape {shape}, not of two axes")
        if file.tell() + math.prod(shape) * dtype.itemsize > path.stat().st_size:
            raise ValueError(f"{entry.filename} is cut off")
        order = "F" if is_fortran else "C"
        return MappedArray(path, file.tell(), dtype, shape, order, _version(file))


def _version(file) -> tuple[int, int, int]:
    status = os.fstat(file.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns


@dataclasses.dataclass(frozen=True)
class MappedColumns:
    """Some columns of arrays that follow one another, most often on disk, read where they are sliced.

    Attributes:
      arrays: (n_star, n_column) each.
      names: what each is called in an error.
      column: which of their columns, in which order.
    """

    arrays: Sequence[MappedArray | np.ndarray]
    names: Sequence[str]
    column: tuple[int, ...]

    @functools.cached_property
    def _ends(self) -> list[int]:
        """The row behind the last one of each array."""
        return np.cumsum([len(array) for array in self.arrays], dtype=np.int64).tolist()

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), len(self.column)

    @property
    def is_one_array(self) -> bool:
        """Whether these are all columns of a single array, in their order."""
        return len(self.arrays) == 1 and self.column == tuple(range(self.arrays[0].shape[1]))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """The stars of a slice, float32, in memory.

        Raises:
          ShardError: a value is not finite, or a file is not what it was.
        """
        if not isinstance(rows, slice):
            raise IndexError(f"columns on disk are read by slices of rows, not by {rows!r}")
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise IndexError(f"columns on disk are read row after row, not in steps of {step}")
        values = np.empty((max(stop - start, 0), len(self.column)), np.float32)
        done = 0
        while done < len(values):
            number = bisect.bisect_right(self._ends, start + done)
            array = self.arrays[number]
            first = start + done - (self._ends[number] - len(array))
            piece = array[first : first + len(values) - done]
            self._copy(piece, values[done : done + len(piece)], self.names[number], first)
            done += len(piece)
        return values

    def _copy(self, piece, values, name, first) -> None:
        is_whole = self.column == tuple(range(piece.shape[1]))
        values[:] = piece if is_whole else piece[:, self.column]
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise ShardError(
                f"{name}: feature {self.column[column]} is {values[row, column]} in row {first + row}"
            )

    def astype(self, dtype) -> np.ndarray:
        """All of it, in memory."""
        return in_memory(self).astype(dtype, copy=False)

    def select(self, column: tuple[int, ...]) -> "MappedColumns":
        """Some of these columns."""
        return dataclasses.replace(self, column=tuple(self.column[i] for i in column))
