"""Checkpoints of a run, one per epoch, written while the training continues."""

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from starjax import errors
from starjax.io import files
from starjax.runtime import devices, log, processes

# Number of checkpoints that are kept: if the last one is damaged, the one before it is used.
_NUM_KEPT = 2
# Orbax moves deleted checkpoints here in one step, so that a killed process does not leave half a checkpoint.
_REMOVED = "removed"
# Errors that orbax raises for files other than it wrote.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, jax.errors.JaxRuntimeError)


class CheckpointError(errors.StarjaxError):
    """Checkpoints that cannot be read or written."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A restored checkpoint.

    Attributes:
      epoch: after which it was saved.
      arrays: placed on the devices.
      content: numbers and text saved beside them.
    """

    epoch: int
    arrays: dict
    content: Any


class _Manager(ocp.CheckpointManager):
    """Orbax's checkpoint manager, changed in two respects (see the methods).

    Attributes:
      failure: why the last checkpoint cannot be written.
    """

    failure: Exception | None = None

    def reached_preemption(self, step: int) -> bool:
        """Return False: jax lets processes agree on a stop by one common counter, which the training has."""
        return False

    def _wait_for_checkpointers(self):
        # Runs in a thread. After a failure here it would wait for the other processes, for twenty minutes;
        # `failure` lets the training notice at once.
        try:
            super()._wait_for_checkpointers()
        except (*_DAMAGE, RuntimeError) as error:
            self.failure = error
            raise


class Checkpoints:
    """The folder of a run's checkpoints; use as a context manager.

    The last two epochs are kept, each with the digests of its files, by which damage is noticed.
    """

    def __init__(self, directory: Path, *, is_read_only: bool = False):
        self._directory = directory.absolute()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.LatestN(_NUM_KEPT), todelete_subdir=_REMOVED, create=not is_read_only
        )
        self._manager = _Manager(self._directory, options=options)
        self._is_read_only = is_read_only
        self._is_writer = not is_read_only and devices.is_main_process()
        self._without_digests: int | None = None
        if self._is_writer:
            # Left by a process that was killed while it wrote digests, or removed a checkpoint.
            for left in self._directory.glob(f"*/{files.temporary_name(Path(files.SUMS))}"):
                left.unlink()
            self._empty_removed()

    def __enter__(self):
        return self

    def __exit__(self, _, error, *__):
        if error is not None and processes.is_loss_of_a_process(error):
            return  # a checkpoint being written waits for the lost process, too
        try:
            self.wait()
            with self._convert_errors():
                self._manager.close()
        except CheckpointError:
            if error is None:  # otherwise the first error is the one to report
                raise

    @property
    def latest(self) -> int | None:
        """The last epoch saved; None if there is none."""
        return self._manager.latest_step()

    def clear(self) -> None:
        """Remove all checkpoints."""
        self.wait()
        for epoch in list(self._manager.all_steps()):
            self._manager.delete(epoch)
        self._empty_removed()

    def save(self, epoch: int, arrays: dict, content) -> None:
        """Save `arrays` and `content` (numbers and text) after `epoch`; return before they are on disk.

        Raises:
          CheckpointError: this checkpoint, or the one before it, cannot be written.
        """
        self.wait()
        # Later checkpoints are damaged, or this epoch would not be trained again; orbax would not write this
        # one beside them.
        for later in [step for step in self._manager.all_steps() if step >= epoch]:
            self._manager.delete(later)
        args = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), progress=ocp.args.JsonSave(content))
        with self._convert_errors():
            self._manager.save(epoch, args=args)
        self._without_digests = epoch

    def wait(self) -> None:
        """Wait until the last checkpoint is on disk, with its digests.

        Raises:
          CheckpointError: it cannot be written.
        """
        with self._convert_errors():
            # Polled, so that a `failure` is noticed at once (see `_Manager`).
            while self._manager.is_saving_in_progress() and not self._manager.failure:
                time.sleep(0.01)
            if self._manager.failure:
                raise self._manager.failure
            self._manager.wait_until_finished()
            if self._without_digests is not None:
                self._write_digests(self._without_digests)
                self._empty_removed()
        self._without_digests = None

    def stop_requested(self, number: int) -> bool:
        """Return whether a machine of this run is to be preempted; the same in all processes.

        Args:
          number: larger with every call, and the same in all processes.

        Raises:
          CheckpointError: the last checkpoint could not be written.
        """
        is_over = self._manager.failure or not self._manager.is_saving_in_progress()
        if self._without_digests is not None and is_over:
            # It is on disk, or could not be written: write its digests, or report that, without delay.
            self.wait()
        return ocp.utils.reached_preemption(number)

    def restore(self, like: dict) -> Checkpoint | None:
        """Return the last undamaged checkpoint; None if there are none at all.

        Args:
          like: arrays, or shapes and shardings; determines where the restored arrays are placed.

        Raises:
          CheckpointError: all checkpoints are damaged.
        """
        reasons = []
        for epoch in sorted(self._manager.all_steps(), reverse=True):
            found = self._read(epoch, like)
            if isinstance(found, Checkpoint):
                self._tidy_up(epoch)
                return found
            reasons.append(found)
            log.warning(f"{found}: the previous checkpoint is used, if there is one")
        if reasons:
            raise CheckpointError(f"{'; '.join(reasons)}: restore one, or remove {self._directory}")
        return None

    def restore_last(self, like: dict) -> Checkpoint:
        """Return the last checkpoint and no other, since results of the run belong to it.

        Args:
          like: see `restore`.

        Raises:
          CheckpointError: there is none, or it is damaged.
        """
        if self.latest is None:
            raise CheckpointError(
                f"{self._directory} contains no checkpoint: restore it, or remove the run and train it again"
            )
        found = self._read(self.latest, like)
        if isinstance(found, str):
            raise CheckpointError(f"{found}: restore it, or give the training command again")
        return found

    def _read(self, epoch: int, like: dict) -> "Checkpoint | str":
        """Return a checkpoint, or a description of its damage."""
        folder = self._directory / str(epoch)
        # Damaged for one process is damaged for all: they have to go on with the same checkpoint.
        damaged = files.damaged_files(folder)
        if not devices.min_over_processes(not damaged):
            return f"{damaged[0] if damaged else folder} is missing, or has changed since it was saved"
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        args = ocp.args.Composite(arrays=ocp.args.StandardRestore(abstract), progress=ocp.args.JsonRestore())
        try:
            restored = self._manager.restore(epoch, args=args)
        except _DAMAGE as error:
            # With correct digests this is not damage, but an error to be seen.
            if (folder / files.SUMS).is_file() or processes.is_loss_of_a_process(error):
                raise
            return f"{folder} cannot be read ({type(error).__name__}: {_first_line(error):.200})"
        return Checkpoint(epoch, restored["arrays"], restored["progress"])

    def _tidy_up(self, epoch: int) -> None:
        """Do what a process that was killed after it saved `epoch` has left undone."""
        if self._is_read_only:
            return
        if self._is_writer and not (self._directory / str(epoch) / files.SUMS).exists():
            self._write_digests(epoch)
        for before in [step for step in sorted(self._manager.all_steps())[:-_NUM_KEPT] if step < epoch]:
            self._manager.delete(before)
        self._empty_removed()

    def _write_digests(self, epoch: int) -> None:
        """Write the digests of a checkpoint that is on disk."""
        if self._is_writer:
            folder = self._directory / str(epoch)
            files.write_sums(folder, [path for path in folder.rglob("*") if path.is_file()])

    def _empty_removed(self) -> None:
        """Delete the checkpoints that orbax has moved away."""
        if self._is_writer:
            shutil.rmtree(self._directory / _REMOVED, ignore_errors=True)

    @contextlib.contextmanager
    def _convert_errors(self) -> Iterator[None]:
        """Convert errors of orbax to CheckpointError."""
        try:
            yield
        except (*_DAMAGE, RuntimeError) as error:
            if processes.is_loss_of_a_process(error):
                raise
            self._without_digests = None
            raise CheckpointError(
                f"a checkpoint cannot be written to {self._directory} ({_first_line(error):.300}): make room "
                "there or remove the cause, and give the command again; it resumes from the previous one"
            ) from error


def _first_line(error: Exception) -> str:
    """Return the first of the many lines of a message of orbax; the kind of the error if it is empty."""
    return (str(error).splitlines() or [type(error).__name__])[0]
