"""Checkpoints of a run, one an epoch, written beside the training."""

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

# Where what is removed goes first.
_REMOVED = "removed"
# What orbax raises of files that are not what it wrote.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, jax.errors.JaxRuntimeError)


class CheckpointError(errors.StarjaxError):
    """Checkpoints of which none can be read, or one that cannot be written."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What was saved.

    Attributes:
      epoch: after which epoch.
      arrays: placed as asked.
      content: what was saved beside them, of plain numbers and text.
    """

    epoch: int
    arrays: dict
    content: Any


class _Manager(ocp.CheckpointManager):
    """Orbax's, but for two things.

    Attributes:
      failure: why the checkpoint that was saved last cannot be written.
    """

    failure: Exception | None = None

    def reached_preemption(self, step: int) -> bool:
        """No: jax agrees on a number that all processes count to, so that only the training may count."""
        return False

    def _wait_for_checkpointers(self):
        # In a thread, which then waits for those of the other processes: twenty minutes, where one of them failed.
        try:
            super()._wait_for_checkpointers()
        except (*_DAMAGE, RuntimeError) as error:
            self.failure = error
            raise


class Checkpoints:
    """The `checkpoints/` folder of a run, one step an epoch; use as a context manager.

    Kept are the last two epochs, each with the digests of its files, so that a damaged one is not taken for good.
    """

    def __init__(self, directory: Path, *, is_read_only: bool = False):
        self._directory = directory.absolute()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.LatestN(2), todelete_subdir=_REMOVED, create=not is_read_only
        )
        self._manager = _Manager(self._directory, options=options)
        self._is_read_only = is_read_only
        self._is_writer = not is_read_only and devices.is_main_process()
        self._without_digests: int | None = None
        if self._is_writer:
            # Of a process that was killed while it wrote them.
            for left in self._directory.glob(f"*/{files.temporary_name(Path(files.SUMS))}"):
                left.unlink()
            self._remove_for_good()

    def __enter__(self):
        return self

    def __exit__(self, _, error, *__):
        if error is not None and processes.is_loss_of_a_process(error):
            return  # what is under way waits for that process, too
        try:
            self.wait()
            with self._told():
                self._manager.close()
        except CheckpointError:
            if error is None:  # or that is what went wrong first
                raise

    @property
    def latest(self) -> int | None:
        """The last epoch saved."""
        return self._manager.latest_step()

    def clear(self) -> None:
        """Removes what was saved."""
        self.wait()
        for epoch in list(self._manager.all_steps()):
            self._manager.delete(epoch)
        self._remove_for_good()

    def save(self, epoch: int, arrays: dict, content) -> None:
        """Saves `arrays` and `content` (numbers and text) after `epoch`; returns before it is on disk.

        Raises:
          CheckpointError: this or the one before cannot be written.
        """
        self.wait()
        # Later ones are damaged, or this would not be saved now; orbax would keep to them.
        for later in [step for step in self._manager.all_steps() if step >= epoch]:
            self._manager.delete(later)
        args = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), progress=ocp.args.JsonSave(content))
        with self._told():
            self._manager.save(epoch, args=args)
        self._without_digests = epoch

    def wait(self) -> None:
        """Returns when what was saved is on disk, with its digests."""
        with self._told():
            while self._manager.is_saving_in_progress() and not self._manager.failure:
                time.sleep(0.01)
            if self._manager.failure:
                raise self._manager.failure
            self._manager.wait_until_finished()
            if self._without_digests is not None:
                self._write_digests(self._without_digests)
                self._remove_for_good()
        self._without_digests = None

    def _write_digests(self, epoch: int) -> None:
        """Of a checkpoint that is on disk."""
        if self._is_writer:
            folder = self._directory / str(epoch)
            files.write_sums(folder, [path for path in folder.rglob("*") if path.is_file()])

    def _remove_for_good(self) -> None:
        """What orbax has removed, which is no checkpoint any more from one moment to the next."""
        if self._is_writer:
            shutil.rmtree(self._directory / _REMOVED, ignore_errors=True)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Lets people know what orbax could not write."""
        try:
            yield
        except (*_DAMAGE, RuntimeError) as error:
            if processes.is_loss_of_a_process(error):
                raise
            self._without_digests = None
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(
                f"a checkpoint cannot be written to {self._directory} ({reason:.300}): make room there or mend what it says, and "
                "give the command again; it goes on from the checkpoint before"
            ) from error

    def restore(self, like: dict) -> Checkpoint | None:
        """The last of the checkpoints that is as it was saved; None where there is none at all.

        Args:
          like: arrays are placed as those of this are.

        Raises:
          CheckpointError: there are some, all of them damaged.
        """
        reasons = []
        for epoch in sorted(self._manager.all_steps(), reverse=True):
            found = self._read(epoch, like)
            if isinstance(found, Checkpoint):
                self._mend(epoch)
                return found
            reasons.append(found)
            log.warning(f"{found}: the checkpoint before it is taken, if there is one")
        if reasons:
            raise CheckpointError(f"{'; '.join(reasons)}: restore one, or remove {self._directory}")
        return None

    def _mend(self, epoch: int) -> None:
        """Does what a process left to do that was killed when it had just saved this epoch."""
        if self._is_read_only:
            return
        if self._is_writer and not (self._directory / str(epoch) / files.SUMS).exists():
            self._write_digests(epoch)
        for before in [step for step in sorted(self._manager.all_steps())[:-2] if step < epoch]:
            self._manager.delete(before)
        self._remove_for_good()

    def restore_last(self, like: dict) -> Checkpoint:
        """The last checkpoint and no other, for what was measured with it; see `restore`.

        Raises:
          CheckpointError: there is none, or it is damaged.
        """
        if self.latest is None:
            raise CheckpointError(
                f"{self._directory} holds no checkpoint: restore it, or remove the run and train it again"
            )
        found = self._read(self.latest, like)
        if isinstance(found, str):
            raise CheckpointError(f"{found}: restore it, or give the training command again")
        return found

    def is_asked_to_go(self, number: int) -> bool:
        """Whether a process of a run of many was told that its machine is taken away, which all then know at once.

        Args:
          number: how often this was called, the same in all processes.
        """
        is_over = self._manager.failure or not self._manager.is_saving_in_progress()
        if self._without_digests is not None and is_over:
            self.wait()  # it is on disk, or could not be written: its digests, or a word of it, at once
        return ocp.utils.reached_preemption(number)

    def _read(self, epoch: int, like: dict) -> "Checkpoint | str":
        """A checkpoint, or what is wrong with it."""
        folder = self._directory / str(epoch)
        found = files.damaged_files(folder)
        if not devices.min_over_processes(not found):
            return f"{found[0] if found else folder} is missing or not as it was saved"
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        args = ocp.args.Composite(arrays=ocp.args.StandardRestore(abstract), progress=ocp.args.JsonRestore())
        try:
            restored = self._manager.restore(epoch, args=args)
        except _DAMAGE as error:
            # Of files that are as they were saved it is no damage.
            if (folder / files.SUMS).is_file() or processes.is_loss_of_a_process(error):
                raise
            return f"{folder} cannot be read ({type(error).__name__}: {str(error).splitlines()[0]:.200})"
        return Checkpoint(epoch, restored["arrays"], restored["progress"])
