"""Checkpoints: damaged ones, and what a killed process leaves undone."""

import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from starjax.io import files
from starjax.runs.checkpoints import CheckpointError, Checkpoints


def arrays(epoch):
    return {"weights": jnp.full(3, float(epoch))}


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of epochs 2 and 3, and a copy of that of epoch 1."""
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        for epoch in (1, 2, 3):
            checkpoints.save(epoch, arrays(epoch), {"epoch": epoch})
            checkpoints.wait()
            if epoch == 1:
                shutil.copytree(tmp_path / "checkpoints/1", tmp_path / "1")
    return tmp_path / "checkpoints"


def test_the_last_two_are_kept_and_leftovers_of_a_killed_process_are_removed(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["2", "3"]
    # Killed between the third and the removal of the first, and as that was removed.
    shutil.copytree(folder.parent / "1", folder / "1")
    (folder / "3" / files.SUMS).unlink()
    (folder / "removed/0/arrays").mkdir(parents=True)
    with Checkpoints(folder, is_read_only=True) as checkpoints:
        assert checkpoints.restore(arrays(0)).epoch == 3
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2", "3", "removed"]
    with Checkpoints(folder) as checkpoints:
        found = checkpoints.restore(arrays(0))
    assert (found.epoch, found.content) == (3, {"epoch": 3})
    np.testing.assert_array_equal(found.arrays["weights"], arrays(3)["weights"])
    assert sorted(path.name for path in folder.iterdir()) == ["2", "3"]
    assert not files.damaged_files(folder / "3")
    assert (folder / "3" / files.SUMS).read_text().count("\n") > 5


def test_an_older_checkpoint_is_used_if_both_of_the_last_two_are_damaged(folder, capsys):
    shutil.copytree(folder.parent / "1", folder / "1")
    for epoch in (2, 3):
        (folder / str(epoch) / "progress/metadata").write_text("{}")
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore(arrays(0)).epoch == 1
        assert capsys.readouterr().out.count("the previous checkpoint is used") == 2
        checkpoints.save(2, arrays(2), {"epoch": 2})
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]
    (folder / "1" / files.SUMS).write_text("")
    (folder / "2" / files.SUMS).write_text("")
    with Checkpoints(folder) as checkpoints, pytest.raises(CheckpointError, match="restore one, or remove"):
        checkpoints.restore(arrays(0))


def test_an_error_without_a_message_is_named_by_its_kind(folder, monkeypatch):
    def fail(*args, **options):
        raise KeyError

    with Checkpoints(folder) as checkpoints:
        for epoch in (2, 3):
            (folder / str(epoch) / files.SUMS).unlink()
        monkeypatch.setattr(checkpoints._manager, "restore", fail)
        with pytest.raises(CheckpointError, match=r"3 cannot be read \(KeyError: KeyError\)"):
            checkpoints.restore(arrays(0))
