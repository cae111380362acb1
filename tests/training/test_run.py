"""A whole run on a small data set: all its files."""

import json

import jax
import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from starjax.datasets import shard
from starjax.datasets.scalers import bundle
from starjax.datasets.shard_files import shard_path
from starjax.evaluation import metrics
from starjax.models import heads
from starjax.runs.checkpoints import Checkpoints
from starjax.runs.directory import locate_run
from starjax.runs.state import inspect
from starjax.training import prepare
from starjax.training.run import train_and_test

MASS = "total_mass_within_2x_r_tidal"


def test_a_run_writes_all_files(config, small, capsys):
    config.data.target_keys = ("time", MASS)
    run_dir = train_and_test(config)
    assert run_dir.path == locate_run(config).path
    described = json.loads(run_dir.config.read_text())
    assert described["config"]["optim"]["learning_rate"] == 3e-3
    assert set(described["versions"]) >= {"jax", "flax", "optax"}
    assert len(described["dataset"]["fingerprint"]) == 64
    assert bundle.load_bundle(run_dir.path / "feature_scaler_bundle.joblib").of("x").method == "robust"

    table = pd.read_parquet(run_dir.test_table)
    assert len(table) == 7 * 4 * 2
    first = table[table["target_key"] == "time"]
    np.testing.assert_array_equal(first["snapshot_id"], np.repeat(np.arange(7), 4))
    np.testing.assert_array_equal(first["sample_id"], np.tile(np.arange(4), 7))
    test = shard.load_shard(shard_path(small, "raw", "test"))
    np.testing.assert_array_equal(first["run_id"], np.repeat(test.run_id, 4))
    np.testing.assert_array_equal(first["distance_pc"], np.repeat(test.distance_pc, 4))
    np.testing.assert_array_equal(first["time_myr"], np.repeat(test.target[:, 0], 4))
    np.testing.assert_allclose(
        first["target_physical"], np.repeat(test.target[:, 0], 4), rtol=1e-4, atol=1e-3
    )

    found = json.loads(run_dir.test_metrics.read_text())["test"]
    for key, rows in table.groupby("target_key"):
        for units in ("scaled", "physical"):
            expected = metrics.regression(
                rows[f"prediction_{units}"].to_numpy(), rows[f"target_{units}"].to_numpy()
            )
            assert found[key][units] == pytest.approx(expected)

    history = pd.read_csv(run_dir.metrics)
    assert list(history["epoch"]) == [1, 2, 3, 4]
    assert {"train_loss", "val_loss", f"val_{MASS}_physical_mae", "val_time_scaled_r2"} <= set(history)
    assert set(pd.read_csv(run_dir.timing)) == {"epoch", "seconds", "samples_per_s", "device_memory_bytes"}
    events = EventAccumulator(str(run_dir.events)).Reload().Tags()["scalars"]
    assert {"train/loss", "val/loss", "timing/samples_per_s", "learning_rate"} <= set(events)
    assert {path.suffix for path in run_dir.figures.iterdir()} == {".png"}
    assert not list(run_dir.path.rglob("*partial*"))
    printed = capsys.readouterr().out
    assert "epoch   4/4" in printed
    assert str(run_dir.path) in printed
    assert "3 steps an epoch of 32 samples" in printed


@pytest.mark.weekly
def test_the_averaged_parameters_of_the_best_epoch_are_validated_and_tested(config):
    config.optim.average_decay = 0.9
    run_dir = train_and_test(config)
    best_epoch = json.loads(run_dir.test_metrics.read_text())["best_epoch"]
    history = pd.read_csv(run_dir.metrics).set_index("epoch")

    setup = prepare.prepare(prepare.RunContext(config, inspect(run_dir), prepare.read_dataset(config)))
    with Checkpoints(run_dir.checkpoints) as checkpoints:
        state = setup.trainer.initial_state
        arrays = checkpoints.restore(like={"state": state, "best": state["params"]}).arrays
    evaluator = setup.evaluator
    found = pd.read_parquet(run_dir.test_table)["prediction_scaled"]
    np.testing.assert_allclose(
        found, evaluator.predict(arrays["best"], "test")[0][0, :, 0], rtol=1e-5, atol=1e-6
    )
    assert np.abs(found - evaluator.predict(arrays["state"]["params"], "test")[0][0, :, 0]).max() > 1e-3
    prediction, target = evaluator.predict(arrays["best"], "val")
    loss = heads.huber(prediction[0], target, config.optim.huber_delta).mean()
    assert history.loc[best_epoch, "val_loss"] == pytest.approx(float(loss), rel=1e-5)


def test_eight_devices_are_used_here():
    assert jax.device_count() == 8  # or the tests of device counts compare one with one
