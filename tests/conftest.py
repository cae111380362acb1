"""What all tests share: strict jax, eight virtual CPU devices, small real files."""

import os
from pathlib import Path

import hypothesis
import jax
import numpy as np
import pytest

# Before anything touches a device.
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

# In CI the same examples every time: a change is judged by what it changed. Elsewhere, new ones.
hypothesis.settings.register_profile("ci", derandomize=True)
if "CI" in os.environ:
    hypothesis.settings.load_profile("ci")

DATA = Path(__file__).parent / "data"


@pytest.fixture
def caches_folder() -> Path:
    """Six real obs caches and one raw cache of NBODY6 runs."""
    return DATA / "caches"


@pytest.fixture
def golden_folder() -> Path:
    """Shards that the reference build made of the six caches, and its split manifest."""
    return DATA / "golden"


@pytest.fixture
def parity_folder() -> Path:
    """Weights, inputs, outputs and gradients of the reference models, and scaler tables."""
    return DATA / "parity"


@pytest.fixture(scope="session")
def tables() -> dict:
    """Values, and what each scaler of the reference makes of them, forward and inverse."""
    with np.load(DATA / "parity" / "scalers.npz", allow_pickle=False) as archive:
        return {name: archive[name] for name in archive}


@pytest.fixture
def float64():
    """64-bit arithmetic within one test."""
    with jax.enable_x64(True):
        yield
