"""What stands in a data set directory: a finished build, one under way, or files of others."""

import importlib.metadata
from pathlib import Path

from starjax import errors
from starjax.datasets import shard_files, split_manifest
from starjax.datasets.dataset import BUNDLES, CONFIG_FILE
from starjax.io import files
from starjax.runtime import log


class BuildError(errors.StarjaxError):
    """A build that cannot go on: what is wrong, where, and what to do."""


def is_built(out: Path, settings: dict) -> bool:
    """Whether `out` holds this very data set, whole; BuildError if it holds another one."""
    if not (out / CONFIG_FILE).exists():
        return False
    try:
        record = files.read_json(out / CONFIG_FILE)
        stored, digests = _flat(record["settings"]), dict(record["sha256"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildError(
            f"{out / CONFIG_FILE} is damaged or not a build's ({error!r}): name another config.out, or remove it"
        ) from error
    given = _flat(settings)
    # Data sets from before shards were cut: one file a split, whatever its size.
    stored.setdefault("max_part_bytes", given["max_part_bytes"])
    different = sorted(key for key in {*given, *stored} if given.get(key) != stored.get(key))
    if different:
        more = f" and {len(different) - 5} more" if len(different) > 5 else ""
        raise BuildError(
            f"{out} holds a data set with other {', '.join(different[:5])}{more} ({CONFIG_FILE}): name another config.out, or "
            "remove it"
        )
    damaged = [name for name, digest in digests.items() if not files.has_digest(out / name, digest)]
    if damaged:
        log.warning(f"{out}: {', '.join(damaged)} missing or changed since the build: building again")
    return not damaged


def record_version(out: Path) -> list[int] | None:
    """Tells finished builds in a directory apart without reading them; None where there is none."""
    return files.file_version(out / CONFIG_FILE) if (out / CONFIG_FILE).exists() else None


def check_writable(out: Path, is_raw_given: bool) -> None:
    """Refuses to write over files of others.

    A finished build has its record beside them, one under way its folder `parts`, with parts in it before
    the first raw shard.
    """
    is_under_way = (out / "parts").exists() if is_raw_given else any((out / "parts").glob("*.npz"))
    if (out / CONFIG_FILE).exists() or is_under_way:
        return
    there = [
        file.name
        for kind in (("scaled",) if is_raw_given else ("raw", "scaled"))
        for split in split_manifest.SPLITS
        for file in shard_files.existing_files(out, kind, split)
    ]
    there += [name for name in BUNDLES.values() if (out / name).exists()]
    if there:
        raise BuildError(
            f"{out} holds {', '.join(there)}, which no build under way wrote: name another config.out, or remove them"
            + ("" if is_raw_given else "; to scale raw shards that lie there, set config.caches=")
        )


def _flat(settings: dict) -> dict:
    """Settings with an entry of its own for each cache and each split."""
    flat = {}
    for name, value in settings.items():
        flat |= (
            {f"{name}.{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
        )
    return flat


def write_record(out: Path, settings: dict, counts: dict) -> None:
    written = [
        file
        for kind in ("raw", "scaled")
        for split in split_manifest.SPLITS
        for file in shard_files.find_shard_files(out, kind, split)
    ]
    written += [out / name for name in BUNDLES.values()]
    record = {
        "settings": settings,
        "counts": counts,
        "sha256": {file.name: files.sha256(file) for file in written},
        "versions": {
            name: importlib.metadata.version(name) for name in ("starjax", "numpy", "pandas", "scikit-learn")
        },
    }
    files.write_json(out / CONFIG_FILE, record)
