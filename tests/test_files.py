"""Files that appear whole or not at all."""

import os

from starjax import files


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
    with files.written_whole(tmp_path / "table.csv") as temporary:
        temporary.write_text("seven\n!")
    assert made == ["7 bytes", "named table.csv", "folder"]
