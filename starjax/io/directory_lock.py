"""A lock that lets one process at a time write to a directory, and says which one that is.

The operating system releases the lock when its owner ends, however it ends, on a file server as well. A lock
file that a killed process has left behind is therefore no obstacle, on whichever machine the next process
runs.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil

from starjax import errors
from starjax.io import files
from starjax.runtime import log

# The owner is named in a file of its own, since on Windows other processes cannot read a locked file.
LOCK, OWNER = ".lock", ".lock-owner.json"
# Errors of file systems without locks.
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
# An attempt fails if the previous owner removes the file between opening and locking; the next one succeeds.
_TIMEOUT_SECONDS = 0.2


class LockError(errors.StarjaxError):
    """A directory in use by another process; the message names the process."""


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory.

    The directory is created if it does not exist, and removed at the end if nothing was written to it.

    Raises:
      LockError: another process holds the lock.
      OSError: the directory cannot be written to.
    """
    existed = directory.exists()
    lock = _acquire(directory)
    try:
        if lock.is_locked and (left_by := _owner(directory)):
            log.info(f"{directory}: stale lock of {left_by}, which has ended: taken over")
        (directory / OWNER).write_text(files.json_text(_this_process()))
        yield
    finally:
        (directory / OWNER).unlink(missing_ok=True)
        # Removed while locked: a process that has opened it by then notices that it is gone and tries again.
        # Windows cannot remove an open file; there `release` removes it.
        with contextlib.suppress(PermissionError):
            (directory / LOCK).unlink(missing_ok=True)
        lock.release()
        if not existed:
            with contextlib.suppress(OSError):  # the directory is not empty
                directory.rmdir()


def remove_stale(directory: Path) -> None:
    """Remove the lock files of a killed process, if they can be removed; leave those in use."""
    if (directory / LOCK).exists():
        with contextlib.suppress(LockError, OSError), locked(directory):
            pass


def _acquire(directory: Path):
    """Return the lock of a directory, acquired, or not acquired where the file system has no locks."""
    import filelock  # slow to import, and only needed by commands that write to a directory

    # No fallback to a lock by the file's existence: that of a process killed on another machine would remain.
    lock = filelock.FileLock(directory / LOCK, timeout=_TIMEOUT_SECONDS, fallback_to_soft=False)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise LockError(
            f"{directory} is in use by {_owner(directory) or 'another process'}: wait until it ends, or name "
            "another directory"
        ) from error
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        log.warning(
            f"{directory}: this file system has no locks: make sure that no other process writes there"
        )
    return lock


def _this_process() -> dict:
    return {
        "user": psutil.Process().username(),  # the numeric id of a user without a name
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _owner(directory: Path) -> str:
    """Return a description of the owner of the lock; empty if its file is missing or cannot be read."""
    try:
        owner = files.read_json(directory / OWNER)
        return f"process {owner['process']} of {owner['user']} on {owner['host']}, since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
