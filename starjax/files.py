"""Files that appear whole or not at all."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside `path`, and renames it to `path` when the block ends well.

    The temporary name is fixed, so that what a killed process left there is overwritten next time.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """What `path` is called while it is written."""
    # The suffix stays last: some writers append their own where it is missing.
    return path.with_name(f".{path.stem}.partial{path.suffix}")


def write_json(path: Path, content: dict) -> None:
    """Writes `content` as indented JSON."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def has_digest(path: Path, digest: str) -> bool:
    """Whether `path` is there with this SHA-256."""
    return path.exists() and sha256(path) == digest


def version(path: Path) -> list[int]:
    """Tells versions of a file apart without reading it: bytes, and time of its last change [ns]."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
