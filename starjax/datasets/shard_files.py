"""The files of a split: one, or several where one would be too large.

    raw-train-shard.npz                    a shard that fits
    raw-train-shard-00001-of-00004.npz     the first of four files, each a shard of its own

A snapshot is never cut over two files.
"""

import itertools
import re
from pathlib import Path

import numpy as np

from starjax.datasets import shard

# Bytes of a file beside its stars and snapshots: more than headers and names of columns take.
HEADER_BYTES = 2**13
_NUMBERS = re.compile(r".*-(\d+)-of-(\d+)\.npz")


def shard_path(directory: Path, kind: str, split: str, number: int = 1, count: int = 1) -> Path:
    """Where the `number`th of `count` files of a split lies; `kind` is 'raw' or 'scaled'."""
    part = "" if count == 1 else f"-{number:05d}-of-{count:05d}"
    return Path(directory) / f"{kind}-{split}-shard{part}.npz"


def existing_files(directory: Path, kind: str, split: str) -> list[Path]:
    """All files of a split that are there, be they whole or left of different builds."""
    single = shard_path(directory, kind, split)
    several = sorted(single.parent.glob(f"{single.stem}-*-of-*.npz"))
    return [single] * single.exists() + [file for file in several if _NUMBERS.fullmatch(file.name)]


def find_shard_files(directory: Path, kind: str, split: str) -> list[Path]:
    """The files of a split in order; none, if none is there.

    Raises:
      shard.ShardError: some are missing, or there are files of more than one cut.
    """
    files = existing_files(directory, kind, split)
    numbers = [_NUMBERS.fullmatch(file.name) for file in files]
    counts = [int(number[2]) if number else 1 for number in numbers]
    if len(set(counts)) > 1:
        examples = ", ".join(files[counts.index(count)].name for count in sorted(set(counts)))
        raise shard.ShardError(
            f"{directory} holds files of the {kind} {split} shard that do not belong together, such as {examples}: "
            "remove those of another build"
        )
    expected = (
        [shard_path(directory, kind, split, i + 1, counts[0]) for i in range(counts[0])] if files else []
    )
    missing = [file.name for file in expected if file not in files]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise shard.ShardError(
            f"{directory} lacks {', '.join(missing[:5])}{more}, of {counts[0]} files of the {kind} {split} shard: "
            "restore them or build the data set again"
        )
    return expected


def cut_shard(whole: shard.Shard, max_bytes: int) -> list[slice]:
    """The snapshots of each file: as many as fit into `max_bytes`, and at least one."""
    columns = [getattr(whole, name) for name in shard.PROVENANCE]
    bytes_of_snapshot = whole.ptr.itemsize + 4 * whole.target.shape[1]
    bytes_of_snapshot += sum(column.itemsize for column in columns if column is not None)
    up_to = 4 * whole.feature.shape[1] * whole.ptr + bytes_of_snapshot * np.arange(len(whole.ptr))
    edges = [0]
    while edges[-1] < whole.num_snapshot:
        end = up_to[edges[-1]] + max_bytes - HEADER_BYTES
        edges.append(max(int(np.searchsorted(up_to, end, "right")) - 1, edges[-1] + 1))
    return [slice(first, last) for first, last in itertools.pairwise(edges)]


def write_shards(directory: Path, kind: str, split: str, whole: shard.Shard, max_bytes: int) -> list[Path]:
    """Writes a split into as many files as it takes, then removes what an earlier cut left of it."""
    cuts = cut_shard(whole, max_bytes)
    files = [shard_path(directory, kind, split, i + 1, len(cuts)) for i in range(len(cuts))]
    for file, snapshots in zip(files, cuts, strict=True):
        shard.save_shard(file, whole, snapshots)
    for file in existing_files(directory, kind, split):
        if file not in files:
            file.unlink()
    return files
