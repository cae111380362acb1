"""The run directory: where it lies, what describes it, and when it may be gone on with."""

import dataclasses
import os
import socket
import time
from pathlib import Path

from ml_collections import ConfigDict

from starjax import config as config_lib
from starjax import distributed, environment, errors, files, lock
from starjax.data import bundle
from starjax.data.dataset import BUNDLES, Dataset

# What this version writes, and what it reads: 6 has no digests of its files, and its checkpoints know members only.
FORMAT = 7
READABLE = (6, FORMAT)
# How long a file server's clients may go on believing that a file is not there, which another has made.
_SECONDS_UNTIL_SEEN = 90
_SHARED = "config.output_base (OUTPUT_BASE) should be a folder that all of them share"
# As many fields that differ are told in one line.
_MAX_DIFFERENCES = 6
# What file systems allow.
_MAX_BYTES_OF_NAME = 255


class ExperimentError(errors.StarjaxError):
    """A run directory that does not fit the run."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A run directory and what lies in it."""

    directory: Path

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def config(self) -> Path:
        return self.directory / "config.json"

    @property
    def metrics(self) -> Path:
        return self.directory / "metrics.csv"

    @property
    def timing(self) -> Path:
        return self.directory / "timing.csv"

    @property
    def events(self) -> Path:
        return self.directory / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.directory / "checkpoints"

    @property
    def interrupted(self) -> Path:
        return self.directory / "interrupted"

    def fold(self, number: int) -> "Experiment":
        """The run of the members that leave out a fold."""
        return Experiment(self.directory / f"fold-{number}")

    @property
    def whole(self) -> "Experiment | None":
        """The run of which this one is a fold, if it is one."""
        parent = Experiment(self.directory.parent)
        return parent if self.name.startswith("fold-") and parent.config.exists() else None

    @property
    def test_table(self) -> Path:
        return self.directory / f"{self.name}-test.parquet"

    @property
    def members(self) -> Path:
        return self.directory / "members.csv"

    @property
    def test_table_of_members(self) -> Path:
        return self.directory / f"{self.name}-test-members.parquet"

    @property
    def test_metrics(self) -> Path:
        return self.directory / "test_metrics.json"

    @property
    def snapshots(self) -> Path:
        return self.directory / f"{self.name}-test-snapshots.parquet"

    @property
    def calibration(self) -> Path:
        return self.directory / "calibration.json"

    @property
    def coverage(self) -> Path:
        return self.directory / "coverage.csv"

    @property
    def training_set(self) -> Path:
        return self.directory / "training_set.npz"

    @property
    def profile(self) -> Path:
        return self.directory / "profile"

    @property
    def figures(self) -> Path:
        return self.directory / "figures"


def locate(config: ConfigDict) -> Experiment:
    """The directory of the run that `config` describes.

    With `config.resume=False`, the first of `<name>`, `<name>-2`, `<name>-3` … that is not there yet.
    """
    targets = "+".join("mass" if key.startswith("total_mass") else key for key in config.data.target_keys)
    name = config.name or f"{config.model.name}-{targets}-{config_lib.digest(config)}"
    directory = Path(config.workdir or Path(config.output_base) / "experiments" / name)
    if not config.resume:
        number, wanted = 1, directory
        while directory.exists():
            number += 1
            directory = wanted.with_name(f"{wanted.name}-{number}")
    return Experiment(directory)


def find(experiment: Experiment) -> dict | None:
    """The record of the run that stands in the directory (see `read_record`); None where one can be made.

    Raises:
      ExperimentError: the directory holds something else, or the record cannot be read; or its name is so long that
        files could not be named after it.
    """
    too_long = len(os.fsencode(files.temporary_name(experiment.snapshots).name)) - _MAX_BYTES_OF_NAME
    if too_long > 0:
        raise ExperimentError(
            f"config.name={experiment.name!r} is too long by {too_long} bytes, as files are named after it"
        )
    if experiment.config.exists():
        try:
            return read_record(experiment)
        except ExperimentError as error:
            raise ExperimentError(f"{error}: restore it, or name another config.workdir") from error
    # What a process left that was killed while it described the run does no harm, nor that there is one now.
    harmless = {files.temporary_name(experiment.config), experiment.directory / lock.NAME}
    there = set(experiment.directory.glob("*")) - harmless
    if there:
        raise ExperimentError(
            f"{experiment.directory} is not empty and holds no run (it has no config.json): restore that, or name another config.workdir"
        )
    there = next(
        folder for folder in (experiment.directory, *experiment.directory.parents) if folder.exists()
    )
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise ExperimentError(
            f"{experiment.directory} cannot be made: {there} is no folder that can be written to; set config.output_base"
        )
    return None


def check_same(experiment: Experiment, record: dict, config: ConfigDict, data: Dataset) -> None:
    """Refuses to go on with a run of another config or of other data, naming what differs."""
    found = config_lib.differences(record["config"], config_lib.resolved(config))
    if record["dataset"]["fingerprint"] != data.fingerprint:
        found.insert(0, "config.data.dataset: the files differ from those of the stored run")
    if found:
        more = f"; and {len(found) - _MAX_DIFFERENCES} more" if len(found) > _MAX_DIFFERENCES else ""
        raise ExperimentError(
            f"{experiment.directory} holds a run of another config: {'; '.join(found[:_MAX_DIFFERENCES])}{more}. "
            "Give the same values, name another config.name or config.workdir, or set config.resume=False"
        )


def check_left_out(experiment: Experiment, record: dict, config: ConfigDict, data: Dataset) -> None:
    """Refuses a fold whose runs are parted in another way than when it began: it is scikit-learn that draws them."""
    if config.data.fold and record["dataset"]["left_out"] != data.shards["val"].runs:
        raise ExperimentError(
            f"{experiment.directory} left out other runs than scikit-learn draws now (its version then: "
            f"{record['versions']['scikit-learn']}): remove the folder, and give the training command again"
        )


def check_all_find(experiment: Experiment, *found: bool) -> None:
    """Refuses, in all processes, a run of which one finds what another does not: their folders are not the same one."""
    if not distributed.is_same(*found):
        raise ExperimentError(
            f"{experiment.directory} holds for one process of the run what it does not for another: {_SHARED}"
        )


def check_is_seen(experiment: Experiment) -> None:
    """Returns once this process sees the run directory, which the first one has made.

    Raises:
      ExperimentError: it does not, so that their folders are not the same one.
    """
    deadline = time.monotonic() + _SECONDS_UNTIL_SEEN
    while not experiment.config.exists():
        if time.monotonic() > deadline:
            raise ExperimentError(
                f"{experiment.directory} is there for the first process of the run, and not for this one on {socket.gethostname()}: {_SHARED}"
            )
        time.sleep(0.5)


def check_layout(experiment: Experiment, record: dict, layout: dict) -> None:
    """Refuses to go on with a run whose batches would be put together in another way (see `placement.Source`)."""
    if any(record["layout"][name] != value for name, value in layout.items()):
        said = (
            f"stars {one['placement']} among {one['num_share']} device(s), {one['num_step']} steps an epoch"
            for one in (record["layout"], layout)
        )
        stored, given = said
        raise ExperimentError(
            f"{experiment.directory} holds a run with {stored}; here it would go on with {given}. "
            "Give it as many devices, or set config.resume=False"
        )


def create(experiment: Experiment, config: ConfigDict, data: Dataset, layout: dict | None) -> None:
    """Describes a new run in its directory; ExperimentError where another one was begun meanwhile.

    Args:
      layout: how it lies on its devices (see `prepare.Setup`); None of one whose folds have layouts of their own.
    """
    if experiment.config.exists():
        raise ExperimentError(f"{experiment.directory} was taken by another run meanwhile: start again")
    left_out = data.shards["val"].runs if config.data.fold else None
    record = {
        "format": FORMAT,
        "config": config_lib.resolved(config),
        "dataset": {"name": config.data.dataset, "fingerprint": data.fingerprint, "left_out": left_out},
        "layout": layout,
        "versions": environment.versions(),
    }
    files.write_json(experiment.config, record)


def read_record(experiment: Experiment) -> dict:
    """What describes the run: `format`, `config` (resolved), `dataset` (`name`, `fingerprint`, `left_out`),
    `layout`, `versions`.

    The layout is None of a run whose folds have layouts of their own; `left_out` are the runs that validate a fold, and
    None of another run.

    Raises:
      ExperimentError: the record has another format, or cannot be read.
    """
    try:
        record = files.read_json(experiment.config)
        stored_format = record["format"]
        if stored_format in READABLE:
            _check_record(record)
    except (ValueError, KeyError, TypeError) as error:
        raise ExperimentError(f"{experiment.config} is damaged ({error})") from error
    if stored_format not in READABLE:
        raise ExperimentError(
            f"{experiment.config} has format {stored_format}; this version reads {READABLE[0]} to {FORMAT}: read it by the "
            "version of starjax that made it"
        )
    return record


def _check_record(record: dict) -> None:
    """KeyError or TypeError where something is missing that is counted on."""
    if not isinstance(record["config"], dict):
        raise TypeError("no config")
    # These are there:
    record["dataset"]["fingerprint"]
    if not record["config"]["ensemble"]["num_fold"]:
        [record["layout"][name] for name in ("placement", "num_share", "num_step", "micro_batch_size")]


def save_scalers(experiment: Experiment, data: Dataset) -> None:
    """Keeps with the run what it takes to prepare new data as its own were."""
    for name, scalers in zip(BUNDLES.values(), (data.feature_scalers, data.target_scalers), strict=True):
        bundle.save(experiment.directory / name, scalers)
