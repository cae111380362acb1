"""The small data set, published in the format of TFDS."""

import shutil
from pathlib import Path

import pytest

from starjax.datasets import tfds_publisher


@pytest.fixture(scope="module")
def data_dir(small, tmp_path_factory):
    """Return a folder of data sets of TFDS that contains the small one."""
    folder = tmp_path_factory.mktemp("data_dir")
    tfds_publisher.publish_dataset(str(small), folder)
    return folder


@pytest.fixture(autouse=True)
def _in_data_dir(data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))


@pytest.fixture
def version(data_dir, tmp_path):
    """Return a copy of the published version, which a test may change."""
    return Path(shutil.copytree(data_dir / "star_clusters" / "1.0.0", tmp_path / "star_clusters" / "1.0.0"))
