"""Split manifests: which run belongs to which split."""

from pathlib import Path

from starjax import errors
from starjax.io import files

SPLITS = ("train", "val", "test")


class SplitError(errors.StarjaxError):
    """A manifest that contradicts itself or the caches, or runs that cannot be split; names the ids."""


def load_manifest(path: Path) -> dict[str, list[str]]:
    """The run ids of each split; other keys of the file are ignored.

    Raises:
      SplitError: not JSON, a split missing, there twice, empty or not a list of ids, an id twice, or one that
        is no name of a file.
    """
    try:
        content = files.read_json(Path(path), object_pairs_hook=_object)
    except FileNotFoundError as error:
        raise SplitError(
            f"split manifest {path} is not there: starjax splits makes one, or name another"
        ) from error
    except (OSError, ValueError) as error:
        raise SplitError(f"split manifest {path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise SplitError(f"split manifest {path} should hold an object with {', '.join(SPLITS)}")
    owner: dict[str, str] = {}
    for split in SPLITS:
        run_ids = content.get(split)
        if not isinstance(run_ids, list) or not run_ids or not all(isinstance(r, str) for r in run_ids):
            raise SplitError(
                f"split manifest {path}: {split!r} should be a list of run ids, got {run_ids!r:.80}"
            )
        for run_id in run_ids:
            if not run_id.isprintable() or not run_id.strip(".") or "/" in run_id or "\\" in run_id:
                raise SplitError(
                    f"split manifest {path}: {run_id!r:.80} in {split} cannot be the id of a run"
                )
            if run_id in owner:
                raise SplitError(
                    f"split manifest {path}: run {run_id} stands in {owner[run_id]} and in {split}"
                )
            owner[run_id] = split
    return {split: content[split] for split in SPLITS}


def _object(pairs: list[tuple[str, object]]) -> dict:
    """An object of JSON; of a split that stands there twice, json would take the last and drop the others."""
    found = dict(pairs)
    twice = [split for split in SPLITS if [key for key, _ in pairs].count(split) > 1]
    if twice:
        raise ValueError(f"it has {', '.join(twice)} more than once")
    return found
