"""One process at a time in a directory, and who that is.

The lock is the kernel's (`flock`), which lets go of it when its holder ends, however it ends, on a file server too: so that a
lock that a killed process left is no obstacle to the next, on whichever machine. The file says who holds it.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil

from starjax import errors
from starjax.runtime import log

NAME = ".lock"
# What file systems say that have no such locks.
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class LockError(errors.StarjaxError):
    """A directory that another process is at work in, and which."""


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the lock of a directory, which is made if it is not there, and removed if nothing was put into it then.

    Raises:
      LockError: another process holds it.
      OSError: the directory cannot be written to.
    """
    was_there, path = directory.exists(), directory / NAME
    file = _locked(path)
    try:
        left_by = _owner(file)
        if left_by:
            log.info(f"{directory}: stale lock of {left_by}, which has ended: taken over")
        file.seek(0)
        file.truncate()
        file.write(json.dumps(_self(), indent=2) + "\n")
        file.flush()
        yield
    finally:
        # While it is held: who waits for this file finds that it is not the one of that name any more.
        path.unlink(missing_ok=True)
        file.close()
        if not was_there:
            with contextlib.suppress(OSError):  # it holds something
                directory.rmdir()


def remove_stale(directory: Path) -> None:
    """Removes the lock that a process left which was killed as it ended; one that is held stays, and one that cannot be removed."""
    if (directory / NAME).exists():
        with contextlib.suppress(LockError, OSError), locked(directory):
            pass


def _locked(path: Path):
    """The file, open and locked."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = open(path, "a+")  # noqa: SIM115, to stay open while it is held
        except FileNotFoundError:
            continue  # whoever made the folder has just removed it
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = _owner(file) or "another process"
            file.close()
            raise LockError(
                f"{path.parent} is in use by {owner}: wait for its end, or name another directory (config.name, config.out)"
            ) from error
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            log.warning(
                f"{path.parent}: no locks on this file system: see to it that no other process writes there"
            )
            file.truncate(0)  # who it names may be at work, or gone
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # its holder has just removed it


def _self() -> dict:
    return {
        "user": psutil.Process().username(),  # its number, where it has no name
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _owner(file) -> str:
    """Who a lock file names; nobody, where it says nothing that can be read."""
    file.seek(0)
    try:
        owner = json.loads(file.read())
        return f"process {owner['process']} of {owner['user']} on {owner['host']}, since {owner['since']}"
    except (ValueError, KeyError, TypeError):
        return ""
