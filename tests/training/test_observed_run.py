"""A run on lists of the observer is trained, and predicts a list."""

import shutil

import jax
import numpy as np
import pytest

from starjax import quantities
from starjax.configs import gaia
from starjax.datasets import shard
from starjax.datasets.dataset import BUNDLES
from starjax.datasets.load import CLUSTERS_DIRECTORY
from starjax.datasets.shard_files import shard_path
from starjax.inference.loading import load_predictor
from starjax.training.run import train_and_test
from tests.sampling.observed_lists import compiled, rows, snapshots, to_catalogue

TARGETS = ("time", "total_mass_within_2x_r_tidal")


@pytest.fixture(scope="module")
def observable(tmp_path_factory):
    """A data set directory of three snapshots, several times."""
    folder = tmp_path_factory.mktemp("observable")
    whole = snapshots().select(quantities.OBSERVER, ("time",))
    target = np.array([[113, 150], [46, 160], [426, 40]], np.float32)
    for split, num in {"train": 4, "val": 2, "test": 2}.items():
        ptr = np.concatenate([[0], *(whole.ptr[1:] + i * whole.ptr[-1] for i in range(num))])
        run_id = np.array([f"{split}{i // 3}" for i in range(3 * num)])
        feature, targets = np.tile(whole.feature, (num, 1)), np.tile(target, (num, 1))
        made = shard.Shard(feature, quantities.OBSERVER, targets, TARGETS, ptr, run_id, targets[:, 0])
        shard.save_shard(shard_path(folder, "raw", split), made)
    for name in BUNDLES.values():
        shutil.copy(CLUSTERS_DIRECTORY / name, folder)
    return folder


@pytest.fixture(scope="module")
def config(observable, tmp_path_factory):
    config = gaia.get_config()
    with config.unlocked():
        config.output_base, config.data.dataset = str(tmp_path_factory.mktemp("runs")), str(observable)
        config.data.num_star_per_sample, config.data.num_sample_per_snapshot = 64, 4
        config.train.batch_size, config.train.max_epochs, config.train.micro_batch_size = 16, 2, "1"
        config.ensemble.size, config.ensemble.num_fold = 1, 0
    return config


@pytest.mark.weekly
def test_it_is_trained_and_predicts_a_list(config):
    run = train_and_test(config)
    predictor = load_predictor(run.path)
    *_, sources, _, _ = compiled()(jax.random.key(2), *rows(0))
    table, _ = to_catalogue(sources, 122.93, 5.0)
    prediction = predictor.predict(table)
    assert len(prediction.table) == 1
    for key in TARGETS:
        columns = [name for name in prediction.table if name.startswith(key)]
        assert columns
        assert np.isfinite(prediction.table[columns].to_numpy(float)).all()
