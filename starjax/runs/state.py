"""The state of a run directory: what it contains, and what may be done with it."""

import dataclasses
import enum
import os
from pathlib import Path

from ml_collections import ConfigDict

from starjax.datasets.dataset import Dataset
from starjax.io import directory_lock, files
from starjax.runs import integrity
from starjax.runs.config_record import config_differences, config_to_record
from starjax.runs.directory import (
    NOT_SHARED,
    RunDirectory,
    RunDirectoryError,
    create_record,
    read_record,
    save_scalers,
    wait_until_visible,
)
from starjax.runtime import devices, paths

# Differing fields that a message names at most.
_MAX_DIFFERENCES = 6
# Limit of most file systems, for the name of a file without its folder.
_MAX_BYTES_OF_NAME = 255


class RunStatus(enum.Enum):
    """The status of a run directory."""

    ABSENT = enum.auto()  # there is nothing yet
    UNFINISHED = enum.auto()  # a run has begun
    FINISHED = enum.auto()  # all files of a run are as it left them
    DAMAGED = enum.auto()  # a run has finished, and files are missing or have changed since
    UNREADABLE = enum.auto()  # the record of a run is damaged, or has another format
    OCCUPIED = enum.auto()  # there are other files, and no record of a run


@dataclasses.dataclass(frozen=True)
class RunState:
    """A run directory as `inspect` found it.

    Attributes:
      record: of the run (see `directory.read_record`); empty if there is no run, or its record is unreadable.
      damaged: files that are missing or have changed since the run ended.
      problem: why the record is unreadable.
    """

    run_dir: RunDirectory
    status: RunStatus
    record: dict = dataclasses.field(default_factory=dict)
    damaged: tuple[Path, ...] = ()
    problem: str = ""

    def finished_record(self) -> dict:
        """Return the record of a finished run; raise RunDirectoryError for every other status."""
        path = self.run_dir.path
        match self.status:
            case RunStatus.FINISHED:
                return self.record
            case RunStatus.ABSENT | RunStatus.OCCUPIED:
                raise RunDirectoryError(
                    f"{path} holds no run: name a run directory made by starjax train, such as "
                    "output/experiments/NAME"
                )
            case RunStatus.UNREADABLE:
                raise RunDirectoryError(self.problem)
            case RunStatus.UNFINISHED:
                raise RunDirectoryError(
                    f"{path} is not finished: give its training command again, which resumes it"
                )
            case RunStatus.DAMAGED:
                raise RunDirectoryError(
                    f"{path}: {self.describe_damage()}: restore it, or give the training command "
                    "again, which rebuilds it"
                )

    def is_finished_on(self, fingerprint: str) -> bool:
        """Return whether the run is finished, and was trained on the data set with this fingerprint."""
        return self.status is RunStatus.FINISHED and self.record["dataset"]["fingerprint"] == fingerprint

    def describe_damage(self) -> str:
        """Name the damaged files."""
        return integrity.describe_damage(self.run_dir, self.damaged)

    def check_trainable(self) -> None:
        """Raise RunDirectoryError or PathError unless a run can begin, resume or be rebuilt here."""
        path = self.run_dir.path
        # Orbax cannot write to others. The name may come from the current folder.
        paths.check(str(path.absolute()))
        # The longest of the names that are made of the name of the run.
        longest = os.fsencode(files.temporary_name(self.run_dir.snapshots).name)
        if len(longest) > _MAX_BYTES_OF_NAME:
            raise RunDirectoryError(
                f"config.name={path.name!r} is too long by {len(longest) - _MAX_BYTES_OF_NAME} bytes: names "
                "of files contain it"
            )
        match self.status:
            case RunStatus.UNREADABLE:
                raise RunDirectoryError(f"{self.problem}: restore it, or name another config.workdir")
            case RunStatus.OCCUPIED:
                raise RunDirectoryError(
                    f"{path} is not empty and holds no run (it has no config.json): restore that file, or "
                    "name another config.workdir"
                )
            case RunStatus.ABSENT:
                # The nearest folder that is there decides whether the others can be created in it.
                existing = next(folder for folder in (path, *path.parents) if folder.exists())
                if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
                    raise RunDirectoryError(
                        f"{path} cannot be created: {existing} is not a folder that can be written to; "
                        "set config.output_base"
                    )

    def check_shared(self) -> None:
        """Raise RunDirectoryError in every process if the processes see different run directories."""
        if not devices.all_processes_agree(self.status.value):
            raise RunDirectoryError(
                f"{self.run_dir.path} is not the same folder for all processes of the run: {NOT_SHARED}"
            )

    def check_same(self, config: ConfigDict, data: Dataset) -> None:
        """Raise RunDirectoryError, naming the differences, if the run has another config or data set."""
        if not self.record:
            return
        found = config_differences(self.record["config"], config_to_record(config))
        if self.record["dataset"]["fingerprint"] != data.fingerprint:
            found.insert(0, "config.data.dataset: the files differ from those of the stored run")
        if found:
            more = f"; and {len(found) - _MAX_DIFFERENCES} more" if len(found) > _MAX_DIFFERENCES else ""
            raise RunDirectoryError(
                f"{self.run_dir.path} holds a run of another config: "
                f"{'; '.join(found[:_MAX_DIFFERENCES])}{more}. Give the same values, name another "
                "config.name or config.workdir, or set config.resume=False"
            )

    def check_left_out(self, config: ConfigDict, data: Dataset) -> None:
        """Raise RunDirectoryError if the fold now leaves out other simulations than when the run began."""
        if not (self.record and config.data.fold):
            return
        # scikit-learn draws the folds, and versions of it may differ in that.
        if self.record["dataset"]["left_out"] != data.shards["val"].simulations:
            raise RunDirectoryError(
                f"{self.run_dir.path} left out other simulations than scikit-learn draws now (its version "
                f"then: {self.record['versions']['scikit-learn']}): remove the folder, and give the training "
                "command again"
            )

    def check_source(self, sha256: str | None) -> None:
        """Raise RunDirectoryError if the run that the parameters start from has changed since this one began.

        Args:
          sha256: what now identifies that run (see `directory.create_record`).
        """
        # Without a source there is nothing to compare, and records of earlier versions lack the digest.
        if self.record and sha256 is not None and self.record["init_from_sha256"] != sha256:
            raise RunDirectoryError(
                f"{self.run_dir.path} began from another state of config.init_from="
                f"{self.record['config']['init_from']!r}: restore that run, or set config.resume=False"
            )

    def check_layout(self, layout: dict) -> None:
        """Raise RunDirectoryError if batches would now contain other samples."""
        if not self.record:
            return
        stored = self.record["layout"]
        if any(stored[name] != value for name, value in layout.items()):
            raise RunDirectoryError(
                f"{self.run_dir.path} holds a run with {_describe(stored)}; here it would resume with "
                f"{_describe(layout)}. Use as many devices as before, or set config.resume=False"
            )

    def check_rebuildable(self, *, is_assembled: bool) -> None:
        """Raise RunDirectoryError if the directory has lost files that nothing else contains.

        Args:
          is_assembled: whether the run was put together from other runs, which have all but its config.
        """
        # Everything else is computed again from these, a checkpoint and the data set.
        unique = [self.run_dir.config] if is_assembled else [self.run_dir.config, self.run_dir.metrics]
        lost = [path.name for path in unique if path in self.damaged]
        if not is_assembled and self._lost_all_checkpoints():
            lost.append(self.run_dir.checkpoints.name)
        if lost:
            raise RunDirectoryError(
                f"{self.run_dir.path}: {', '.join(lost)} missing or changed since the run ended, and cannot "
                "be rebuilt from the other files: restore it, or remove the directory and train again, from "
                "the first epoch"
            )

    def _lost_all_checkpoints(self) -> bool:
        folder = self.run_dir.checkpoints
        damaged = {path.relative_to(folder).parts[0] for path in self.damaged if path.is_relative_to(folder)}
        return bool(damaged) and {path.name for path in folder.glob("[0-9]*")} <= damaged

    def write_record(
        self, config: ConfigDict, data: Dataset, layout: dict | None, source_sha256: str | None = None
    ) -> None:
        """Write the record of the run, unless it has one, and its scalers. Called by all processes.

        Args:
          layout, source_sha256: see `directory.create_record`.
        """
        if devices.is_main_process():
            if self.status is RunStatus.ABSENT:
                create_record(self.run_dir, config, data, layout, source_sha256)
            save_scalers(self.run_dir, data)
        devices.sync_processes("record of the run written")
        wait_until_visible(self.run_dir)


def _describe(layout: dict) -> str:
    where = f"stars {layout['placement']} among {layout['num_share']} device(s)"
    return f"{where}, {layout['num_step']} steps an epoch"


def inspect(run_dir: RunDirectory) -> RunState:
    """Return the state of a run directory; the files of a finished run are compared with their digests."""
    if not run_dir.config.exists():
        # A process killed while it wrote the record leaves a partial file, and this one may hold the lock.
        temporary = files.temporary_name(run_dir.config).name
        harmless = {temporary, directory_lock.LOCK, directory_lock.OWNER}
        is_free = {path.name for path in run_dir.path.glob("*")} <= harmless
        return RunState(run_dir, RunStatus.ABSENT if is_free else RunStatus.OCCUPIED)
    try:
        record = read_record(run_dir)
    except RunDirectoryError as error:
        return RunState(run_dir, RunStatus.UNREADABLE, problem=str(error))
    # Written last (see `integrity.mark_finished`).
    if not run_dir.test_metrics.exists():
        return RunState(run_dir, RunStatus.UNFINISHED, record)
    if damaged := integrity.damaged_files(run_dir):
        return RunState(run_dir, RunStatus.DAMAGED, record, damaged)
    return RunState(run_dir, RunStatus.FINISHED, record)


def read_finished_record(run_dir: RunDirectory) -> dict:
    """Return the record of a finished run.

    Raises:
      RunDirectoryError: the directory holds no run, or one that is unfinished, damaged or of another format.
    """
    return inspect(run_dir).finished_record()
