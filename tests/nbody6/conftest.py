"""What the tests of the build share: a config of it, of small real caches."""

import pytest

from starjax.nbody6 import caches


@pytest.fixture
def config(build_config):
    return build_config


@pytest.fixture
def runs_read(monkeypatch):
    """The runs whose caches are read, as they are (in this process)."""
    read, read_run = [], caches.read_simulation
    monkeypatch.setattr(
        caches, "read_simulation", lambda path, run_id, *a: read.append(run_id) or read_run(path, run_id, *a)
    )
    return read
