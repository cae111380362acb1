"""Files that appear whole or not at all."""

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

# The digests of the files of a folder, in the form of sha256sum: `sha256sum -c SHA256SUMS` checks them without starjax.
SUMS = "SHA256SUMS"
NOTHING = types.MappingProxyType({})
# What a file system refuses, and what to do.
REMEDIES = {
    errno.ENOENT: "see what has removed it, or name another place",
    errno.EEXIST: "a file stands where a folder belongs: name another place",
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "make room within the quota there",
    errno.EFBIG: "the file system there takes no file that large: write elsewhere",
    errno.EROFS: "nothing can be written there: write elsewhere",
    errno.EACCES: "allow this user to read and write there, or name another place",
    errno.EPERM: "allow this user to read and write there, or name another place",
    errno.EIO: "the disk there fails: look after it, and restore the file",
    errno.EISDIR: "a folder stands where a file belongs: name another place, or move it away",
    errno.ENOTDIR: "a file stands where a folder belongs: name another place, or move it away",
    errno.ENAMETOOLONG: "name a shorter path",
    errno.EMFILE: "allow more open files (ulimit -n)",
}


class NotAFileError(errors.StarjaxError):
    """A pipe or a device, where a file belongs: it may have no end, or nobody who writes into it."""


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside `path`, and renames it to `path` when the block ends well.

    Both are on the disk when this returns, so that a machine that loses its power loses nothing that was said to stand.
    The temporary name is fixed, so that what a killed process left there is overwritten next time.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        yield temporary
        _fsync(temporary)  # or its name could get there before what is in it
        os.replace(temporary, path)
        _fsync(path.parent)
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)  # of a write, which does not tell what was open
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    """Returns when a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems of networks do not know that of folders.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)


def temporary_name(path: Path) -> Path:
    """What `path` is called while it is written."""
    # The suffix stays last: some writers append their own where it is missing.
    return path.with_name(f".{path.stem}.partial{path.suffix}")


def write_json(path: Path, content: dict) -> None:
    """Writes `content` as indented JSON."""
    with atomic_write(path) as temporary:
        temporary.write_text(json_text(content))


def check_regular(path: Path) -> None:
    """Refuses what is there and neither a file nor a folder, before it is waited for.

    Raises:
      NoFileError: names it.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise NotAFileError(
            f"{path} is a pipe or a device, where a file belongs: name another, or copy it first"
        )


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
      NoFileError, OSError: it cannot be read.
    """
    check_regular(path)
    return Path(path).read_bytes()


def read_json(path: Path, **options):
    """The content of a JSON file; `options` are those of `json.loads`.

    Raises:
      ValueError: it is no JSON, or has lists in lists deeper than Python goes.
      NoFileError, OSError: it cannot be read.
    """
    try:
        return json.loads(read_bytes(path).decode(), **options)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def json_text(content: dict) -> str:
    """What `write_json` writes."""
    return json.dumps(content, indent=2) + "\n"


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_all(paths: Sequence[Path]) -> list[str]:
    """The SHA-256 of each of the files."""
    with ThreadPoolExecutor() as pool:  # hashing lets go of the interpreter
        return list(pool.map(sha256, paths))


def has_digest(path: Path, digest: str) -> bool:
    """Whether `path` is there, a file, with this SHA-256."""
    return path.is_file() and sha256(path) == digest


def write_sums(folder: Path, paths: Iterable[Path], known: Mapping[Path, str] = NOTHING) -> None:
    """Writes the digests of files of a folder into its `SUMS`.

    Args:
      known: digests of files that are not there yet.
    """
    digests = {path: sha256(path) for path in paths} | known
    lines = [f"{digests[path]}  {path.relative_to(folder)}\n" for path in sorted(digests)]
    with atomic_write(folder / SUMS) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def read_sums(folder: Path) -> dict[Path, str]:
    """The digests that the `SUMS` of a folder gives, by file; none, where there is no such file.

    Raises:
      ValueError: it is no list of digests, or an empty one.
    """
    path = folder / SUMS
    if not path.is_file():
        return {}
    lines = [line.split("  ", 1) for line in path.read_text(encoding="utf-8").splitlines()]
    if not lines:
        raise ValueError("it is empty")
    return {folder / name: digest for digest, name in lines}


def damaged_files(folder: Path) -> list[Path]:
    """The files that are not as the `SUMS` of their folder says, or not there; none, where it says nothing.

    Its own file is among them where that cannot be read.
    """
    try:
        return [path for path, digest in read_sums(folder).items() if not has_digest(path, digest)]
    except ValueError:
        return [folder / SUMS]


def file_version(path: Path) -> list[int]:
    """Tells versions of a file apart without reading it: bytes, and time of its last change [ns]."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def sha256_over(digests: Iterable[str]) -> str:
    """The fingerprint of files with these digests."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()
