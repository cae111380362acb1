"""What all tests share: strict jax, eight virtual CPU devices, small real files."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# Before jax is imported, and for the commands that tests start too: tests compile a lot and compute little.
# Tests of the mathematics ask for `all_optimizations`.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Commands print as those of users do, who seldom set this.
os.environ.pop("PYTHONUNBUFFERED", None)
# Many tests, and commands that they start, compile the same programs; each is compiled once.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="starjax-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import hypothesis
import jax
import numpy as np
import pytest

from starjax.configs import common
from starjax.configs import dataset as dataset_config
from starjax.datasets import shard
from starjax.datasets.dataset import BUNDLES
from starjax.datasets.load import SAMPLE_DIRECTORY
from starjax.datasets.shard_files import shard_path
from starjax.runs.directory import RunDirectory
from starjax.training.run import train_and_test

# Before anything touches a device.
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

# In CI the same examples every time: a change is judged by what it changed. Elsewhere, new ones.
hypothesis.settings.register_profile("ci", derandomize=True)
if "CI" in os.environ:
    hypothesis.settings.load_profile("ci")


def pytest_collection_modifyitems(config, items):
    """Leave out the marked tests unless `-m` asks for their mark (of several, the first of these)."""

    def is_wanted(item):
        mark = next((mark for mark in ("chaos", "weekly", "slow") if mark in item.keywords), None)
        return mark is None or mark in config.option.markexpr

    config.hook.pytest_deselected(items=[item for item in items if not is_wanted(item)])
    items[:] = filter(is_wanted, items)


DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def member_list_file() -> Path:
    """A member list of 407 stars: a simulated cluster at 200 pc, 104 Myr old and of 224 Msun."""
    return DATA / "members.ecsv"


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
def all_optimizations():
    """What is compiled within a test is what users have."""
    name = "jax_disable_most_optimizations"
    before = jax.config.read(name)
    jax.config.update(name, False)
    yield
    jax.config.update(name, before)


@pytest.fixture
def float64():
    """64-bit arithmetic within one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A data set directory of 20 training snapshots of the packaged sample."""
    folder = tmp_path_factory.mktemp("small")
    for split, num in {"train": 20, "val": 6, "test": 7}.items():
        whole = shard.load_shard(shard_path(SAMPLE_DIRECTORY, "raw", split))
        # Every 30th snapshot, so that several runs and distances are there.
        chosen = np.arange(num) * 30
        shard.save_shard(shard_path(folder, "raw", split), whole.take(chosen))
    for name in BUNDLES.values():
        shutil.copy(SAMPLE_DIRECTORY / name, folder)
    return folder


@pytest.fixture(scope="session")
def answering_config(small):
    """`(output_base, **changes) -> config` of a small run that member lists can be answered by."""

    def config_of(output_base, **changes):
        config = common.get_config("deep_sets")
        config.output_base, config.data.dataset = str(output_base), str(small)
        config.data.feature_keys = ("x", "y", "z", "vx", "vy", "vz", "log_L_L_sol")
        config.data.hidden_keys, config.data.centred = ("x", "vx"), True
        config.data.target_keys = ("time", "total_mass_within_2x_r_tidal")
        config.data.num_sample_per_snapshot, config.data.num_star_per_sample = 4, 1024
        config.train.batch_size, config.train.max_epochs = 32, 2
        config.update_from_flattened_dict(changes)
        return config

    return config_of


@pytest.fixture(scope="session")
def mixture(answering_config, tmp_path_factory):
    """A run with a distribution over both targets that sees all stars."""
    base = tmp_path_factory.mktemp("mixture")
    return train_and_test(answering_config(base, name="mixture", head="mixture"))


@pytest.fixture
def copy_without(tmp_path):
    """`(run, name) -> run`, a copy that lacks a file or folder."""

    def copied(place, name):
        copy = RunDirectory(tmp_path / place.name)
        shutil.copytree(place.path, copy.path)
        path = copy.path / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        return copy

    return copied


@pytest.fixture(scope="session")
def small_config(small):
    """`(output_base) -> config` of a small run of three steps an epoch."""

    def config_of(output_base):
        config = common.get_config("deep_sets")
        config.output_base = str(output_base)
        config.data.dataset = str(small)
        config.data.num_sample_per_snapshot = 4
        config.data.num_star_per_sample = 32
        config.train.batch_size, config.train.max_epochs = 32, 4
        return config

    return config_of


@pytest.fixture
def config(small_config, tmp_path):
    return small_config(tmp_path)


@pytest.fixture
def build_config(tmp_path, caches_folder, golden_folder):
    config = dataset_config.get_config()
    config.caches = str(tmp_path / "caches")
    config.split_manifest = str(golden_folder / "split.json")
    config.out = str(tmp_path / "out")
    config.n_jobs = 1
    shutil.copytree(caches_folder, config.caches)
    return config
