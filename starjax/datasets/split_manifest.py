"""Split manifests: which simulation belongs to which split."""

import math
from pathlib import Path

from starjax import errors
from starjax.io import files

SPLITS = ("train", "val", "test")
# The name of the manifests of packaged data sets.
FILE = "split.json"
# Mass fraction of metals at which [Fe/H] is 0 in the simulations.
_SOLAR = 0.014


class SplitError(errors.StarjaxError):
    """A manifest that is invalid or does not fit the caches, or simulations that cannot be split."""


def load_manifest(path: Path) -> dict[str, list[str]]:
    """Return the simulation ids of each split; other keys of the file are ignored.

    Raises:
      SplitError: the file is not JSON; a split is missing, repeated, empty or not a list of ids; an id is
        repeated, or cannot be part of a file name.
    """
    try:
        content = files.read_json(Path(path), object_pairs_hook=_unique_splits)
    except FileNotFoundError as error:
        raise SplitError(
            f"split manifest {path} does not exist: create it with starjax splits, or name another"
        ) from error
    except (OSError, ValueError) as error:
        raise SplitError(f"split manifest {path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise SplitError(f"split manifest {path} should contain an object with {', '.join(SPLITS)}")
    split_of: dict[str, str] = {}
    for split in SPLITS:
        run_ids = content.get(split)
        if not isinstance(run_ids, list) or not run_ids or not all(isinstance(r, str) for r in run_ids):
            raise SplitError(
                f"split manifest {path}: {split!r} should be a list of simulation ids, got {run_ids!r:.80}"
            )
        for run_id in run_ids:
            # Files are named after the id.
            if not run_id.isprintable() or not run_id.strip(".") or "/" in run_id or "\\" in run_id:
                raise SplitError(
                    f"split manifest {path}: {run_id!r:.80} in {split} cannot be the id of a simulation"
                )
            if run_id in split_of:
                raise SplitError(
                    f"split manifest {path}: simulation {run_id} is in {split_of[run_id]} and in {split}"
                )
            split_of[run_id] = split
    return {split: content[split] for split in SPLITS}


def metallicity_range(path: Path) -> tuple[float, float] | None:
    """Return the least and the largest [Fe/H] of the training simulations; None if the manifest has none."""
    content = files.read_json(Path(path))
    if "simulations" not in content:
        return None
    found = [content["simulations"][name]["metallicity"] / _SOLAR for name in content["train"]]
    return math.log10(min(found)), math.log10(max(found))


def _unique_splits(pairs: list[tuple[str, object]]) -> dict:
    """Return a JSON object as a dict; raise ValueError for a repeated split (json takes the last)."""
    repeated = [split for split in SPLITS if [key for key, _ in pairs].count(split) > 1]
    if repeated:
        raise ValueError(f"it has {', '.join(repeated)} more than once")
    return dict(pairs)
