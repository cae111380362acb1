"""What the tests of the build share: a config of it, of small real caches."""

import shutil

import pytest

from starjax.configs import dataset
from starjax.nbody6 import caches


@pytest.fixture
def config(tmp_path, caches_folder, golden_folder):
    config = dataset.get_config()
    config.caches = str(tmp_path / "caches")
    config.split_manifest = str(golden_folder / "split.json")
    config.out = str(tmp_path / "out")
    config.n_jobs = 1
    shutil.copytree(caches_folder, config.caches)
    return config


@pytest.fixture
def runs_read(monkeypatch):
    """The runs whose caches are read, as they are (in this process)."""
    read, read_run = [], caches.read_simulation
    monkeypatch.setattr(
        caches, "read_run", lambda path, run_id, *a: read.append(run_id) or read_run(path, run_id, *a)
    )
    return read
