"""Finished runs: what says that one is, and whether its files are as it left them."""

import hashlib
from pathlib import Path

from starjax import experiment, files, log
from starjax.data.dataset import BUNDLES
from starjax.experiment import Experiment, ExperimentError

# The format whose runs have digests.
DIGESTS_SINCE = 7


def mark(place: Experiment, test_metrics: dict) -> None:
    """Writes the digests of all files that tell of the run, and last its test metrics, whose presence says that it is finished."""
    there = {path for path in _of_a_run(place) if path.is_file() and path.name != files.SUMS}
    digest = hashlib.sha256(files.json_text(test_metrics).encode()).hexdigest()
    files.write_sums(place.directory, there, {place.test_metrics: digest})
    files.write_json(place.test_metrics, test_metrics)


def _of_a_run(place: Experiment) -> list[Path]:
    """All that a run writes, but for what only tells of its course, and the runs of its folds."""
    files_of_it = [
        place.config,
        place.metrics,
        place.members,
        place.test_table,
        place.test_table_of_members,
        place.snapshots,
        place.calibration,
        place.coverage,
        place.training_set,
        *(place.directory / name for name in BUNDLES.values()),
    ]
    return [*files_of_it, *place.figures.glob("*.png"), *place.checkpoints.rglob("*")]


def is_whole(place: Experiment) -> bool:
    """Whether the run is finished and its files are as it left them; says which are not."""
    if not (place.test_metrics.exists() and place.config.exists()):
        return False
    found = damage(place)
    if found:
        log.warning(f"{place.directory}: {found}")
    return not found


def damage(place: Experiment) -> str:
    """Which files of a finished run are not as it left them: of few each by name, of many the folders; empty where all are."""
    if (
        not (place.directory / files.SUMS).is_file()
        and experiment.read_record(place)["format"] >= DIGESTS_SINCE
    ):
        return f"{files.SUMS} missing"
    names = [str(path.relative_to(place.directory)) for path in files.damaged(place.directory)]
    if len(names) > 3:
        names = sorted({name.split("/")[0] for name in names})
    if not names:
        return ""
    return f"{', '.join(names)} missing or changed since the run ended ({files.SUMS})"


def check_can_be_made_anew(place: Experiment, *, is_of_others: bool) -> None:
    """Refuses a finished run that has lost what nothing else knows; its files stay as they are.

    Args:
      is_of_others: whether it is put together of other runs, which know all but its config.

    Raises:
      ExperimentError: names the files, and what to do.
    """
    if not place.test_metrics.exists():
        return
    found = files.damaged(place.directory)
    kept = (place.config,) if is_of_others else (place.config, place.metrics)
    lost = [path.name for path in kept if path in found]
    epochs = {path.name for path in place.checkpoints.glob("[0-9]*")}
    of_checkpoints = [path for path in found if path.is_relative_to(place.checkpoints)]
    damaged = {path.relative_to(place.checkpoints).parts[0] for path in of_checkpoints}
    if not is_of_others and of_checkpoints and epochs <= damaged:
        lost.append(place.checkpoints.name)
    if lost:
        raise ExperimentError(
            f"{place.directory}: {', '.join(lost)} missing or changed since the run ended, and cannot be made from the rest: "
            "restore it, or remove the directory and train again, from the first epoch"
        )


def read(place: Experiment) -> dict:
    """The record of a run that is finished (see `experiment.read_record`).

    Raises:
      ExperimentError: the directory holds no run, or one that is not finished or not whole; see also `read_record`.
    """
    if not place.config.exists():
        raise ExperimentError(
            f"{place.directory} holds no run: name a folder that starjax.main made, such as output/experiments/NAME"
        )
    record = experiment.read_record(place)
    if not place.test_metrics.exists():
        raise ExperimentError(
            f"{place.directory} is not finished: give its training command again, it goes on"
        )
    if found := damage(place):
        raise ExperimentError(
            f"{place.directory}: {found}: restore it, or give the training command again, which makes it anew"
        )
    return record


def is_on(place: Experiment, fingerprint: str) -> bool:
    """Whether the directory holds a finished run, whole, on the data set of that fingerprint."""
    try:
        return is_whole(place) and experiment.read_record(place)["dataset"]["fingerprint"] == fingerprint
    except ExperimentError:
        return False
