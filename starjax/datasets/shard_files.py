"""The shard of a split in one file, or in several if it is large.

    raw-train-shard.npz                    a shard in one file
    raw-train-shard-00001-of-00004.npz     the first of four files, each a shard

All stars of a snapshot are in the same file.
"""

import itertools
import re
from pathlib import Path

import numpy as np

from starjax import errors
from starjax.datasets import shard

# Bytes reserved in each file for headers and column names, which take less.
HEADER_BYTES = 2**13
_NUMBERS = re.compile(r".*-(\d+)-of-(\d+)\.npz")


def shard_path(directory: Path, kind: str, split: str, number: int = 1, count: int = 1) -> Path:
    """Return the path of the `number`th of `count` files of a split; `kind` is 'raw' or 'scaled'."""
    suffix = "" if count == 1 else f"-{number:05d}-of-{count:05d}"
    return Path(directory) / f"{kind}-{split}-shard{suffix}.npz"


def existing_files(directory: Path, kind: str, split: str) -> list[Path]:
    """Return all files of a split, even if they do not belong together."""
    single = shard_path(directory, kind, split)
    several = sorted(single.parent.glob(f"{single.stem}-*-of-*.npz"))
    return [single] * single.exists() + [file for file in several if _NUMBERS.fullmatch(file.name)]


def find_shard_files(directory: Path, kind: str, split: str) -> list[Path]:
    """Return the files of a split in order; an empty list if there are none.

    Raises:
      shard.ShardError: some files are missing, or belong to different builds.
    """
    files = existing_files(directory, kind, split)
    numbers = [_NUMBERS.fullmatch(file.name) for file in files]
    counts = [int(number[2]) if number else 1 for number in numbers]
    if len(set(counts)) > 1:
        examples = ", ".join(files[counts.index(count)].name for count in sorted(set(counts)))
        raise shard.ShardError(
            f"{directory} has files of the {kind} {split} shard that do not belong together, such as "
            f"{examples}: remove those of another build"
        )
    expected = (
        [shard_path(directory, kind, split, i + 1, counts[0]) for i in range(counts[0])] if files else []
    )
    missing = [file.name for file in expected if file not in files]
    if missing:
        raise shard.ShardError(
            f"{directory} lacks {errors.first_of(missing)}, of {counts[0]} files of the {kind} {split} "
            "shard: restore them or build the data set again"
        )
    return expected


def load_split(directory: Path, kind: str, split: str, *, mapped: bool = False) -> shard.Shard:
    """Read the shard of a split from all its files.

    Args:
      mapped: leave the features on disk, unless a file is compressed.

    Raises:
      FileNotFoundError, shard.ShardError: a file is missing, damaged, or belongs to another build.
    """
    paths = find_shard_files(directory, kind, split) or [shard_path(directory, kind, split)]
    return shard.load_shards(paths, mapped=mapped and all(map(shard.is_mappable, paths)))


def cut_shard(whole: shard.Shard, max_bytes: int) -> list[slice]:
    """Return the snapshots of each file: as many as fit into `max_bytes`, but at least one."""
    columns = [getattr(whole, name) for name in shard.PROVENANCE]
    bytes_per_snapshot = whole.ptr.itemsize + 4 * whole.target.shape[1]
    bytes_per_snapshot += sum(column.itemsize for column in columns if column is not None)
    bytes_before = 4 * whole.feature.shape[1] * whole.ptr + bytes_per_snapshot * np.arange(len(whole.ptr))
    # Greedily, by a search for the last snapshot that ends before the limit.
    edges = [0]
    while edges[-1] < whole.num_snapshot:
        limit = bytes_before[edges[-1]] + max_bytes - HEADER_BYTES
        edges.append(max(int(np.searchsorted(bytes_before, limit, "right")) - 1, edges[-1] + 1))
    return [slice(first, last) for first, last in itertools.pairwise(edges)]


def write_shards(directory: Path, kind: str, split: str, whole: shard.Shard, max_bytes: int) -> list[Path]:
    """Write a split to as many files as needed, then remove other files that an earlier build left of it."""
    # The number of files is part of their names, so that all cuts come first.
    cuts = cut_shard(whole, max_bytes)
    files = [shard_path(directory, kind, split, i + 1, len(cuts)) for i in range(len(cuts))]
    for file, snapshots in zip(files, cuts, strict=True):
        shard.save_shard(file, whole, snapshots)
    for file in existing_files(directory, kind, split):
        if file not in files:
            file.unlink()
    return files
