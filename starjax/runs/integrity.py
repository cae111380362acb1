"""Finished runs: what says that one is, and whether its files are as it left them."""

import hashlib
from pathlib import Path

from starjax.datasets.dataset import BUNDLES
from starjax.io import files
from starjax.runs.directory import RunDirectory, RunDirectoryError, read_record
from starjax.runtime import log


def mark_finished(run_dir: RunDirectory, test_metrics: dict) -> None:
    """Writes the digests of all files that tell of the run, and last its test metrics, whose presence says that it is finished."""
    there = {path for path in _result_files(run_dir) if path.is_file() and path.name != files.SUMS}
    digest = hashlib.sha256(files.json_text(test_metrics).encode()).hexdigest()
    files.write_sums(run_dir.path, there, {run_dir.test_metrics: digest})
    files.write_json(run_dir.test_metrics, test_metrics)


def _result_files(run_dir: RunDirectory) -> list[Path]:
    """All that a run writes, but for what only tells of its course, and the runs of its folds."""
    files_of_it = [
        run_dir.config,
        run_dir.metrics,
        run_dir.members,
        run_dir.test_table,
        run_dir.test_table_of_members,
        run_dir.snapshots,
        run_dir.calibration,
        run_dir.coverage,
        run_dir.training_set,
        *(run_dir.path / name for name in BUNDLES.values()),
    ]
    return [*files_of_it, *run_dir.figures.glob("*.png"), *run_dir.checkpoints.rglob("*")]


def is_intact(run_dir: RunDirectory) -> bool:
    """Whether the run is finished and its files are as it left them; says which are not."""
    if not (run_dir.test_metrics.exists() and run_dir.config.exists()):
        return False
    found = describe_damage(run_dir)
    if found:
        log.warning(f"{run_dir.path}: {found}")
    return not found


def describe_damage(run_dir: RunDirectory) -> str:
    """Which files of a finished run are not as it left them: of few each by name, of many the folders; empty where all are."""
    if not (run_dir.path / files.SUMS).is_file():
        return f"{files.SUMS} missing"
    names = [str(path.relative_to(run_dir.path)) for path in files.damaged_files(run_dir.path)]
    if len(names) > 3:
        names = sorted({name.split("/")[0] for name in names})
    if not names:
        return ""
    return f"{', '.join(names)} missing or changed since the run ended ({files.SUMS})"


def check_can_be_rebuilt(run_dir: RunDirectory, *, is_of_others: bool) -> None:
    """Refuses a finished run that has lost what nothing else knows; its files stay as they are.

    Args:
      is_of_others: whether it is put together of other runs, which know all but its config.

    Raises:
      ExperimentError: names the files, and what to do.
    """
    if not run_dir.test_metrics.exists():
        return
    found = files.damaged_files(run_dir.path)
    kept = (run_dir.config,) if is_of_others else (run_dir.config, run_dir.metrics)
    lost = [path.name for path in kept if path in found]
    epochs = {path.name for path in run_dir.checkpoints.glob("[0-9]*")}
    of_checkpoints = [path for path in found if path.is_relative_to(run_dir.checkpoints)]
    damaged = {path.relative_to(run_dir.checkpoints).parts[0] for path in of_checkpoints}
    if not is_of_others and of_checkpoints and epochs <= damaged:
        lost.append(run_dir.checkpoints.name)
    if lost:
        raise RunDirectoryError(
            f"{run_dir.path}: {', '.join(lost)} missing or changed since the run ended, and cannot be made from the rest: "
            "restore it, or remove the directory and train again, from the first epoch"
        )


def read_finished_record(run_dir: RunDirectory) -> dict:
    """The record of a run that is finished (see `experiment.read_record`).

    Raises:
      ExperimentError: the directory holds no run, or one that is not finished or not whole; see also `read_record`.
    """
    if not run_dir.config.exists():
        raise RunDirectoryError(
            f"{run_dir.path} holds no run: name a folder that starjax train made, such as output/experiments/NAME"
        )
    record = read_record(run_dir)
    if not run_dir.test_metrics.exists():
        raise RunDirectoryError(
            f"{run_dir.path} is not finished: give its training command again, it goes on"
        )
    if found := describe_damage(run_dir):
        raise RunDirectoryError(
            f"{run_dir.path}: {found}: restore it, or give the training command again, which makes it anew"
        )
    return record


def is_finished_on(run_dir: RunDirectory, fingerprint: str) -> bool:
    """Whether the directory holds a finished run, whole, on the data set of that fingerprint."""
    try:
        return is_intact(run_dir) and read_record(run_dir)["dataset"]["fingerprint"] == fingerprint
    except RunDirectoryError:
        return False
