"""Data sets by name: the snapshots of a simulation belong to one split."""

import shutil

import pytest

from starjax.datasets.dataset import DatasetError
from starjax.datasets.load import load_dataset
from starjax.datasets.shard_files import shard_path


def test_a_simulation_in_two_splits_is_refused(small, tmp_path):
    """Also in a directory that starjax has not built."""
    folder = shutil.copytree(small, tmp_path / "mixed")
    shutil.copy(shard_path(folder, "raw", "train"), shard_path(folder, "raw", "test"))
    with pytest.raises(DatasetError, match=r"simulation .* is in train and in test, but all snapshots"):
        load_dataset(str(folder), ("x",), ("time",))
