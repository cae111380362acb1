"""Files that appear whole or not at all."""

import os
import stat

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
    ],
)
def test_pipes_and_devices_are_not_waited_for(tmp_path, name, read):
    for mode, device in ((stat.S_IFIFO, 0), (stat.S_IFCHR, os.makedev(1, 5))):  # /dev/zero
        path = tmp_path / name
        try:
            os.mknod(path, mode | 0o600, device)
        except PermissionError:
            continue  # of devices, unless root asks
        with pytest.raises(files.NotAFileError, match=rf"{name} is a pipe or a device"):
            read(path)
        path.unlink()


def test_a_pipe_is_no_cache(tmp_path):
    os.mkfifo(tmp_path / "a-obs.joblib")
    with pytest.raises(caches.CacheError, match="holds no cache"):
        caches.find_caches(tmp_path)


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_it_is_said_to_stand(
    tmp_path, monkeypatch
):
    """What a power cut leaves cannot be tried here; the order of the calls that decide it can."""
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
