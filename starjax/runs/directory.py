"""The run directory: where it lies, what describes it, and when it may be gone on with."""

import dataclasses
import os
import socket
import time
from pathlib import Path

from ml_collections import ConfigDict

from starjax import errors, quantities
from starjax.datasets.dataset import BUNDLES, Dataset
from starjax.datasets.scalers import bundle
from starjax.io import directory_lock, files
from starjax.runs.config_record import config_differences, config_digest, config_to_record
from starjax.runtime import devices, environment

# Format of the record and of the files beside it; another format is refused.
FORMAT = 8
# How long a file server's clients may go on believing that a file is not there, which another has made.
_SECONDS_UNTIL_SEEN = 90
_SHARED = "config.output_base (OUTPUT_BASE) should be a folder that all of them share"
# As many fields that differ are told in one line.
_MAX_DIFFERENCES = 6
# What file systems allow.
_MAX_BYTES_OF_NAME = 255


class RunDirectoryError(errors.StarjaxError):
    """A run directory that does not fit the run."""


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """A run directory and what lies in it."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def timing(self) -> Path:
        return self.path / "timing.csv"

    @property
    def events(self) -> Path:
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def interrupted(self) -> Path:
        return self.path / "interrupted"

    def fold(self, number: int) -> "RunDirectory":
        """The run of the members that leave out a fold."""
        return RunDirectory(self.path / f"fold-{number}")

    @property
    def whole(self) -> "RunDirectory | None":
        """The run of which this one is a fold, if it is one."""
        parent = RunDirectory(self.path.parent)
        return parent if self.name.startswith("fold-") and parent.config.exists() else None

    @property
    def test_table(self) -> Path:
        return self.path / f"{self.name}-test.parquet"

    @property
    def members(self) -> Path:
        return self.path / "members.csv"

    @property
    def test_table_of_members(self) -> Path:
        return self.path / f"{self.name}-test-members.parquet"

    @property
    def test_metrics(self) -> Path:
        return self.path / "test_metrics.json"

    @property
    def snapshots(self) -> Path:
        return self.path / f"{self.name}-test-snapshots.parquet"

    @property
    def calibration(self) -> Path:
        return self.path / "calibration.json"

    @property
    def coverage(self) -> Path:
        return self.path / "coverage.csv"

    @property
    def training_set(self) -> Path:
        return self.path / "training_set.npz"

    @property
    def profile(self) -> Path:
        return self.path / "profile"

    @property
    def figures(self) -> Path:
        return self.path / "figures"


def locate_run(config: ConfigDict) -> RunDirectory:
    """The directory of the run that `config` describes.

    With `config.resume=False`, the first of `<name>`, `<name>-2`, `<name>-3` … that is not there yet.
    """
    named = quantities.sets("target")
    targets = "+".join(quantities.set_name((key,), named) for key in config.data.target_keys)
    name = config.name or f"{config.model.name}-{targets}-{config_digest(config)}"
    directory = Path(config.workdir or Path(config.output_base) / "experiments" / name)
    if not config.resume:
        number, wanted = 1, directory
        while directory.exists():
            number += 1
            directory = wanted.with_name(f"{wanted.name}-{number}")
    return RunDirectory(directory)


def find_record(run_dir: RunDirectory) -> dict | None:
    """The record of the run that stands in the directory (see `read_record`); None where one can be made.

    Raises:
      ExperimentError: the directory holds something else, or the record cannot be read; or its name is so long that
        files could not be named after it.
    """
    too_long = len(os.fsencode(files.temporary_name(run_dir.snapshots).name)) - _MAX_BYTES_OF_NAME
    if too_long > 0:
        raise RunDirectoryError(
            f"config.name={run_dir.name!r} is too long by {too_long} bytes, as files are named after it"
        )
    if run_dir.config.exists():
        try:
            return read_record(run_dir)
        except RunDirectoryError as error:
            raise RunDirectoryError(f"{error}: restore it, or name another config.workdir") from error
    # What a process left that was killed while it described the run does no harm, nor that there is one now.
    harmless = {files.temporary_name(run_dir.config), run_dir.path / directory_lock.NAME}
    there = set(run_dir.path.glob("*")) - harmless
    if there:
        raise RunDirectoryError(
            f"{run_dir.path} is not empty and holds no run (it has no config.json): restore that, or name another config.workdir"
        )
    there = next(folder for folder in (run_dir.path, *run_dir.path.parents) if folder.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise RunDirectoryError(
            f"{run_dir.path} cannot be made: {there} is no folder that can be written to; set config.output_base"
        )
    return None


def check_same(run_dir: RunDirectory, record: dict, config: ConfigDict, data: Dataset) -> None:
    """Refuses to go on with a run of another config or of other data, naming what differs."""
    found = config_differences(record["config"], config_to_record(config))
    if record["dataset"]["fingerprint"] != data.fingerprint:
        found.insert(0, "config.data.dataset: the files differ from those of the stored run")
    if found:
        more = f"; and {len(found) - _MAX_DIFFERENCES} more" if len(found) > _MAX_DIFFERENCES else ""
        raise RunDirectoryError(
            f"{run_dir.path} holds a run of another config: {'; '.join(found[:_MAX_DIFFERENCES])}{more}. "
            "Give the same values, name another config.name or config.workdir, or set config.resume=False"
        )


def check_left_out(run_dir: RunDirectory, record: dict, config: ConfigDict, data: Dataset) -> None:
    """Refuses a fold whose runs are parted in another way than when it began: it is scikit-learn that draws them."""
    if config.data.fold and record["dataset"]["left_out"] != data.shards["val"].simulations:
        raise RunDirectoryError(
            f"{run_dir.path} left out other runs than scikit-learn draws now (its version then: "
            f"{record['versions']['scikit-learn']}): remove the folder, and give the training command again"
        )


def check_all_find(run_dir: RunDirectory, *found: bool) -> None:
    """Refuses, in all processes, a run of which one finds what another does not: their folders are not the same one."""
    if not devices.all_processes_agree(*found):
        raise RunDirectoryError(
            f"{run_dir.path} holds for one process of the run what it does not for another: {_SHARED}"
        )


def check_is_seen(run_dir: RunDirectory) -> None:
    """Returns once this process sees the run directory, which the first one has made.

    Raises:
      ExperimentError: it does not, so that their folders are not the same one.
    """
    deadline = time.monotonic() + _SECONDS_UNTIL_SEEN
    while not run_dir.config.exists():
        if time.monotonic() > deadline:
            raise RunDirectoryError(
                f"{run_dir.path} is there for the first process of the run, and not for this one on {socket.gethostname()}: {_SHARED}"
            )
        time.sleep(0.5)


def check_layout(run_dir: RunDirectory, record: dict, layout: dict) -> None:
    """Refuses to go on with a run whose batches would be put together in another way (see `placement.Source`)."""
    if any(record["layout"][name] != value for name, value in layout.items()):
        said = (
            f"stars {one['placement']} among {one['num_share']} device(s), {one['num_step']} steps an epoch"
            for one in (record["layout"], layout)
        )
        stored, given = said
        raise RunDirectoryError(
            f"{run_dir.path} holds a run with {stored}; here it would go on with {given}. "
            "Give it as many devices, or set config.resume=False"
        )


def create(run_dir: RunDirectory, config: ConfigDict, data: Dataset, layout: dict | None) -> None:
    """Describes a new run in its directory; ExperimentError where another one was begun meanwhile.

    Args:
      layout: how it lies on its devices (see `prepare.Setup`); None of one whose folds have layouts of their own.
    """
    if run_dir.config.exists():
        raise RunDirectoryError(f"{run_dir.path} was taken by another run meanwhile: start again")
    left_out = data.shards["val"].simulations if config.data.fold else None
    record = {
        "format": FORMAT,
        "config": config_to_record(config),
        "dataset": {"name": config.data.dataset, "fingerprint": data.fingerprint, "left_out": left_out},
        "layout": layout,
        "versions": environment.package_versions(),
    }
    files.write_json(run_dir.config, record)


def read_record(run_dir: RunDirectory) -> dict:
    """What describes the run: `format`, `config` (resolved), `dataset` (`name`, `fingerprint`, `left_out`),
    `layout`, `versions`.

    The layout is None of a run whose folds have layouts of their own; `left_out` are the runs that validate a fold, and
    None of another run.

    Raises:
      ExperimentError: the record has another format, or cannot be read.
    """
    try:
        record = files.read_json(run_dir.config)
        stored_format = record["format"]
        if stored_format == FORMAT:
            _check_record(record)
    except (ValueError, KeyError, TypeError) as error:
        raise RunDirectoryError(f"{run_dir.config} is damaged ({error})") from error
    if stored_format != FORMAT:
        raise RunDirectoryError(
            f"{run_dir.config} has format {stored_format}; this version reads {FORMAT}: read it with the "
            "version of starjax that wrote it"
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


def save_scalers(run_dir: RunDirectory, data: Dataset) -> None:
    """Keeps with the run what it takes to prepare new data as its own were."""
    for name, scalers in zip(BUNDLES.values(), (data.feature_scalers, data.target_scalers), strict=True):
        bundle.save_bundle(run_dir.path / name, scalers)
