"""The state of a data set directory: what it contains, and whether a build may write to it."""

import dataclasses
import enum
import importlib.metadata
from pathlib import Path

from starjax import errors
from starjax.datasets import shard_files
from starjax.datasets.dataset import BUNDLES, CONFIG_FILE
from starjax.datasets.split_manifest import SPLITS
from starjax.io import files

# Subdirectory for the shards of single simulations while a build is running.
PARTS = "parts"


class BuildError(errors.StarjaxError):
    """A build that cannot continue; the message says what is wrong, where, and what to do."""


class BuildStatus(enum.Enum):
    """The status of a data set directory, as seen by a build with certain settings."""

    ABSENT = enum.auto()  # no build has begun
    UNFINISHED = enum.auto()  # a build has begun
    FINISHED = enum.auto()  # this data set is complete
    DAMAGED = enum.auto()  # this data set was complete, and files are missing or have changed since
    OCCUPIED = enum.auto()  # there is another data set, or there are files that no build wrote


@dataclasses.dataclass(frozen=True)
class BuildState:
    """A data set directory as `inspect` found it.

    Attributes:
      record_version: identifies the version of the record of a finished build; None if there is none.
      damaged: names of files that are missing or have changed since the build.
      problem: why the directory is occupied, and what to do.
    """

    status: BuildStatus
    record_version: list[int] | None = None
    damaged: tuple[str, ...] = ()
    problem: str = ""


def inspect(out: Path, settings: dict) -> BuildState:
    """Return the state of a directory for a build with these settings."""
    version = record_version(out)
    if version is not None:
        return _inspect_finished(out, settings, version)
    is_raw_given = "raw_shards" in settings
    # A build from caches creates a part before the first raw shard, a build from raw shards only an empty
    # folder.
    has_begun = (out / PARTS).exists() if is_raw_given else any((out / PARTS).glob("*.npz"))
    if has_begun:
        return BuildState(BuildStatus.UNFINISHED)
    kinds = ("scaled",) if is_raw_given else ("raw", "scaled")
    found = [
        path for kind in kinds for split in SPLITS for path in shard_files.existing_files(out, kind, split)
    ]
    found += [out / name for name in BUNDLES.values() if (out / name).exists()]
    if not found:
        return BuildState(BuildStatus.ABSENT)
    problem = (
        f"{out} contains {', '.join(path.name for path in found)}, which no unfinished build wrote: name "
        "another config.out, or remove them"
        + ("" if is_raw_given else "; to scale raw shards that are there, set config.caches=")
    )
    return BuildState(BuildStatus.OCCUPIED, problem=problem)


def _inspect_finished(out: Path, settings: dict, version: list[int]) -> BuildState:
    """Compare the record of a finished build with the settings and with the files."""
    try:
        record = files.read_json(out / CONFIG_FILE)
        recorded = _flat(record["settings"])
        digests = {out / name: digest for name, digest in record["sha256"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = (
            f"{out / CONFIG_FILE} is damaged, or not from a build ({error!r}): name another config.out, or "
            "remove it"
        )
        return BuildState(BuildStatus.OCCUPIED, version, problem=problem)
    # Settings first: the files of another data set need not be read.
    given = _flat(settings)
    different = sorted(key for key in {*given, *recorded} if given.get(key) != recorded.get(key))
    if different:
        problem = (
            f"{out} contains a data set with other {errors.first_of(different)} ({CONFIG_FILE}): name "
            "another config.out, or remove it"
        )
        return BuildState(BuildStatus.OCCUPIED, version, problem=problem)
    damaged = tuple(path.name for path in files.changed_files(digests))
    return BuildState(BuildStatus.DAMAGED if damaged else BuildStatus.FINISHED, version, damaged)


def record_version(out: Path) -> list[int] | None:
    """Return what identifies the version of the record of a finished build; None if there is none."""
    return files.file_version(out / CONFIG_FILE) if (out / CONFIG_FILE).exists() else None


def _flat(settings: dict) -> dict:
    """Return settings with an entry for each cache and each split, so that messages can name these."""
    flat: dict[str, object] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": one for key, one in value.items()}
        else:
            flat[name] = value
    return flat


def write_record(out: Path, settings: dict, counts: dict) -> None:
    """Write the record of a finished build: settings, counts, digests of files, versions of packages."""
    paths = [
        path
        for kind in ("raw", "scaled")
        for split in SPLITS
        for path in shard_files.find_shard_files(out, kind, split)
    ]
    paths += [out / name for name in BUNDLES.values()]
    record = {
        "settings": settings,
        "counts": counts,
        "sha256": {path.name: files.sha256(path) for path in paths},
        "versions": {
            name: importlib.metadata.version(name) for name in ("starjax", "numpy", "pandas", "scikit-learn")
        },
    }
    files.write_json(out / CONFIG_FILE, record)
