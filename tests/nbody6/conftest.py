"""Fixtures for tests of the build: a config with small real caches."""

import pytest

from starjax.nbody6 import caches


@pytest.fixture
def config(build_config):
    return build_config


@pytest.fixture
def simulations_read(monkeypatch):
    """Return a list to which the id of each simulation is appended when its cache is read in this process."""
    read_ids, read = [], caches.read_simulation
    monkeypatch.setattr(
        caches, "read_simulation", lambda path, run_id, *a: read_ids.append(run_id) or read(path, run_id, *a)
    )
    return read_ids
