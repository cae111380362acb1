"""Files are written atomically; pipes and devices are refused."""

import os
import stat
from pathlib import Path

import pytest

from starjax.catalogs import member_list
from starjax.io import files, npz, unpickle
from starjax.nbody6 import caches


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("pipe.json", files.read_json),
        ("pipe.npz", lambda path: npz.read_npz(path, ["ptr"])),
        ("pipe.joblib", lambda path: unpickle.load_pickle(path, unpickle.PLAIN)),
        ("pipe.csv", member_list.read_member_list),
        ("pipe.dat", files.sha256),
    ],
)
def test_pipes_and_devices_are_not_waited_for(tmp_path, name, read):
    for mode, device in ((stat.S_IFIFO, 0), (stat.S_IFCHR, os.makedev(1, 5))):  # /dev/zero
        path = tmp_path / name
        try:
            os.mknod(path, mode | 0o600, device)
        except PermissionError:
            continue  # only root may create devices
        with pytest.raises(files.NotAFileError, match=rf"{name} is a pipe or a device"):
            read(path)
        path.unlink()


def test_a_pipe_is_not_a_cache(tmp_path):
    os.mkfifo(tmp_path / "a-obs.joblib")
    with pytest.raises(caches.CacheError, match="contains no cache"):
        caches.find_caches(tmp_path)


def test_json_has_the_same_bytes_on_every_system(tmp_path, monkeypatch):
    """The digest of a result is written before the result is."""

    def write_as_on_windows(path, text, encoding=None, errors=None, newline=None):
        path.write_bytes(text.replace("\n", "\r\n" if newline is None else newline).encode())

    monkeypatch.setattr(Path, "write_text", write_as_on_windows)
    files.write_json(tmp_path / "a.json", {"epoch": 1})
    assert (tmp_path / "a.json").read_bytes() == files.json_text({"epoch": 1}).encode()


def test_content_and_name_are_on_the_disk_in_this_order(tmp_path, monkeypatch):
    """A power failure cannot be tested, but the order of the calls on which its result depends can."""
    made = []

    def on_disk(descriptor, fsync=os.fsync):
        status = os.fstat(descriptor)
        made.append("folder" if os.path.samestat(status, tmp_path.stat()) else f"{status.st_size} bytes")
        fsync(descriptor)

    def renamed(source, target, replace=os.replace):
        made.append(f"named {target.name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", on_disk)
    monkeypatch.setattr(os, "replace", renamed)
    with files.atomic_write(tmp_path / "table.csv") as temporary:
        temporary.write_text("seven\n!")
    assert made == ["7 bytes", "named table.csv", "folder"]
