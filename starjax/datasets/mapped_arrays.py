"""Columns of arrays on disk, read when they are sliced."""

import bisect
import dataclasses
import functools
import math
import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from starjax import errors
from starjax.io import npz

# Rows to read, scale or write at a time, so that copies stay small compared with the shards.
ROWS_PER_BLOCK = 2**16


class ShardError(errors.StarjaxError):
    """A shard that does not have the format of shards; the message names the file and what to do."""


class Columns(Protocol):
    """Columns of rows that are read when they are sliced, such as an array or MappedColumns."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


def blocks(num_row: int, first: int = 0) -> Iterator[slice]:
    """Yield slices that cover the rows from `first` to `num_row`."""
    for start in range(first, num_row, ROWS_PER_BLOCK):
        yield slice(start, min(start + ROWS_PER_BLOCK, num_row))


def in_memory(columns) -> np.ndarray:
    """Return all rows of anything that has a `shape` and can be sliced, as float32."""
    values = np.empty(columns.shape, np.float32)
    for rows in blocks(len(values)):
        values[rows] = columns[rows]
    return values


@dataclasses.dataclass(frozen=True)
class MappedArray:
    """A two-dimensional array in a file.

    The file is opened for each slice, so that thousands of arrays can be in use without as many open files.
    In C order the rows of a slice are adjacent and are read; mapping them into memory takes three times as
    long, since they are then loaded page by page. In Fortran order they are mapped.

    Attributes:
      path, offset, dtype, shape, order: position and format of the array.
      version: identifies the version of the file.
    """

    path: Path
    offset: int
    dtype: np.dtype
    shape: tuple[int, int]
    order: Literal["C", "F"]
    version: tuple[int, int, int]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return some rows.

        Raises:
          ShardError: the file is missing or was changed.
        """
        try:
            with open(self.path, "rb") as file:
                if _version(file) != self.version:
                    raise ShardError(f"{self.path} was changed while in use: start again")
                if self.order == "F":
                    return np.memmap(file, self.dtype, "r", self.offset, self.shape, self.order)[rows]
                start, stop, _ = rows.indices(len(self))
                shape = (max(stop - start, 0), self.shape[1])
                before = self.offset + start * self.shape[1] * self.dtype.itemsize
                return np.fromfile(file, self.dtype, math.prod(shape), offset=before).reshape(shape)
        except OSError as error:
            raise ShardError(f"{self.path} cannot be read any more ({error}): restore it") from error


def map_member(path: Path, entry: zipfile.ZipInfo) -> MappedArray:
    """Return an array of an archive without reading its values.

    Raises:
      one of npz.DAMAGE: it is compressed or truncated, or does not have two axes.
    """
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{entry.filename} is compressed and cannot be mapped: write it with numpy.savez")
    with open(path, "rb") as file:
        file.seek(entry.header_offset + 26)
        # The local header of a zip member has 30 bytes, the last four of which are the lengths of its name
        # and of its extra fields (such as sizes beyond 4 GiB). Both follow it, and then the content.
        len_name, len_extra = struct.unpack("<HH", file.read(4))
        file.seek(entry.header_offset + 30 + len_name + len_extra)
        shape, is_fortran, dtype = npz.read_header(file, entry.filename)
        if len(shape) != 2:
            raise ValueError(f"{entry.filename} has shape {shape} instead of two axes")
        if file.tell() + math.prod(shape) * dtype.itemsize > path.stat().st_size:
            raise ValueError(f"{entry.filename} is truncated")
        order: Literal["C", "F"] = "F" if is_fortran else "C"
        return MappedArray(path, file.tell(), dtype, shape, order, _version(file))


def _version(file) -> tuple[int, int, int]:
    # The inode as well: a file that was replaced by a rename may have the same size and time.
    status = os.fstat(file.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns


@dataclasses.dataclass(frozen=True)
class MappedColumns:
    """A selection of columns of concatenated arrays, usually on disk, read when they are sliced.

    Attributes:
      arrays: (n_star, n_column) each.
      names: the name of each array in errors.
      column: the indices of the selected columns, in order.
    """

    arrays: Sequence[MappedArray | np.ndarray]
    names: Sequence[str]
    column: tuple[int, ...]

    @functools.cached_property
    def _ends(self) -> list[int]:
        """The row after the last one of each array."""
        return np.cumsum([len(array) for array in self.arrays], dtype=np.int64).tolist()

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), len(self.column)

    @property
    def is_one_array(self) -> bool:
        """True if these are all columns of a single array, in the same order."""
        return len(self.arrays) == 1 and self.column == tuple(range(self.arrays[0].shape[1]))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return the rows of a slice, float32.

        Raises:
          ShardError: a value is not finite, or a file was changed.
        """
        if not isinstance(rows, slice):
            raise IndexError(f"columns on disk can only be sliced by rows, not by {rows!r}")
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise IndexError(f"columns on disk can only be sliced in steps of 1, not {step}")
        values = np.empty((max(stop - start, 0), len(self.column)), np.float32)
        done = 0
        while done < len(values):
            number = bisect.bisect_right(self._ends, start + done)
            array = self.arrays[number]
            first = start + done - (self._ends[number] - len(array))
            # At most to the end of this array, from where the next round goes on.
            piece = array[first : first + len(values) - done]
            self._copy(piece, values[done : done + len(piece)], self.names[number], first)
            done += len(piece)
        return values

    def _copy(self, piece, values, name, first) -> None:
        is_whole = self.column == tuple(range(piece.shape[1]))
        with np.errstate(over="ignore"):  # values beyond float32 become infinite: see below
            values[:] = piece if is_whole else piece[:, self.column]
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise ShardError(
                f"{name}: feature {self.column[column]} is {values[row, column]} in row {first + row}"
            )

    def astype(self, dtype) -> np.ndarray:
        """Return all rows, in memory."""
        return in_memory(self).astype(dtype, copy=False)

    def select(self, column: tuple[int, ...]) -> "MappedColumns":
        """Return a selection of these columns."""
        return dataclasses.replace(self, column=tuple(self.column[i] for i in column))
