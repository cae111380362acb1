"""Atomic writing of files, reading of JSON, and SHA-256 digests."""

import contextlib
import errno
import hashlib
import json
import os
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from starjax import errors

# The digests of the files of a folder, in the format of sha256sum: `sha256sum -c SHA256SUMS` checks them.
SUMS = "SHA256SUMS"
_NO_DIGESTS: Mapping[Path, str] = types.MappingProxyType({})
# What to do about errors of the file system.
REMEDIES = {
    errno.ENOENT: "find out what has removed it, or name another folder",
    errno.EEXIST: "there is a file where a folder belongs: name another folder",
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "make room within your quota there",
    errno.EFBIG: "this file system takes no file that large: write elsewhere",
    errno.EROFS: "this file system is read-only: write elsewhere",
    errno.EACCES: "allow this user to read and write there, or name another folder",
    errno.EPERM: "allow this user to read and write there, or name another folder",
    errno.EIO: "the disk fails: have it checked, and restore the file",
    errno.EISDIR: "there is a folder where a file belongs: name another file, or move the folder away",
    errno.ENOTDIR: "there is a file where a folder belongs: name another folder, or move the file away",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.EMFILE: "allow more open files (ulimit -n)",
}


class NotAFileError(errors.StarjaxError):
    """A pipe or a device instead of a file: reading it might never end, or wait for a writer forever."""


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` if the block raises nothing.

    Content and name are on the disk when this returns, so that a power failure loses nothing that was
    reported as written. The temporary name is fixed, so that the next attempt overwrites the remains of a
    killed process.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        yield temporary
        _fsync(temporary)  # before the renaming, which may reach the disk earlier than the content
        os.replace(temporary, path)
        _fsync(path.parent)
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)  # `write` raises without the name of the file
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":
        return  # Windows does not open folders
    # Windows writes a file to the disk only through a descriptor that may write.
    descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems do not support this for folders.
        if not (is_folder and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)


def temporary_name(path: Path) -> Path:
    """Return the path of a file while it is written."""
    # The suffix stays last, since some writers append theirs if it is missing.
    return path.with_name(f".{path.stem}.partial{path.suffix}")


def write_json(path: Path, content: dict) -> None:
    """Write `content` as indented JSON."""
    with atomic_write(path) as temporary:
        # Windows would write another line end, and the digest of `json_text` would not be that of the file.
        temporary.write_text(json_text(content), encoding="utf-8", newline="\n")


def check_regular(path: Path) -> None:
    """Raise NotAFileError if the path is a pipe or a device, before anything waits for it."""
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise NotAFileError(
            f"{path} is a pipe or a device instead of a file: name another one, or copy it to a file first"
        )


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
      NotAFileError, OSError: it cannot be read.
    """
    check_regular(path)
    return Path(path).read_bytes()


def read_json(path: Path, **options):
    """Return the content of a JSON file; `options` are those of `json.loads`.

    Raises:
      ValueError: it is not JSON, or is nested deeper than Python's recursion limit.
      NotAFileError, OSError: it cannot be read.
    """
    try:
        return json.loads(read_bytes(path).decode(), **options)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def json_text(content: dict) -> str:
    """Return the text that `write_json` writes; it is ASCII."""
    return json.dumps(content, indent=2) + "\n"


def sha256(path: Path) -> str:
    """Return the SHA-256 digest of a file, in hexadecimal digits.

    Raises:
      NotAFileError, OSError: it cannot be read.
    """
    check_regular(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_all(paths: Sequence[Path]) -> list[str]:
    """Return the SHA-256 digest of each of the files."""
    with ThreadPoolExecutor() as pool:  # hashing releases the global interpreter lock
        return list(pool.map(sha256, paths))


def combine_digests(digests: Iterable[str]) -> str:
    """Return one SHA-256 digest for a sequence of files with these digests; it depends on their order."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def has_digest(path: Path, digest: str) -> bool:
    """Return whether `path` is a file with this SHA-256 digest."""
    return path.is_file() and sha256(path) == digest


def changed_files(digests: Mapping[Path, str]) -> list[Path]:
    """Return the files that are missing or have another digest than the given one."""
    return [path for path, digest in digests.items() if not has_digest(path, digest)]


def write_sums(folder: Path, paths: Iterable[Path], known: Mapping[Path, str] = _NO_DIGESTS) -> None:
    """Write the digests of files in a folder to its `SUMS`.

    Args:
      known: digests of files that are still to be written.
    """
    digests = {path: sha256(path) for path in paths} | dict(known)
    lines = [f"{digests[path]}  {path.relative_to(folder).as_posix()}\n" for path in sorted(digests)]
    with atomic_write(folder / SUMS) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8", newline="\n")


def read_sums(folder: Path) -> dict[Path, str]:
    """Return the digest of each file in the `SUMS` of a folder; an empty dict if there is no `SUMS`.

    Raises:
      ValueError: it is empty, or not a list of digests.
    """
    path = folder / SUMS
    if not path.is_file():
        return {}
    # A line without two spaces is one value instead of two, and a ValueError below.
    lines = [line.split("  ", 1) for line in path.read_text(encoding="utf-8").splitlines()]
    if not lines:
        raise ValueError("it is empty")
    return {folder / name: digest for digest, name in lines}


def damaged_files(folder: Path) -> list[Path]:
    """Return the files in a folder that are missing or changed according to its `SUMS`.

    `SUMS` itself is among them if it cannot be read. If there is no `SUMS`, no file counts as damaged.
    """
    try:
        return changed_files(read_sums(folder))
    except ValueError:
        return [folder / SUMS]


def file_version(path: Path) -> list[int]:
    """Return the size [bytes] and the time of the last change [ns], which differ between versions.

    Unlike a digest this takes no time for large files, and need not notice damage.
    """
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
