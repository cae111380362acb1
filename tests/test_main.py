"""Whole runs on a small data set: files, resuming, refusing, several processes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from configs import common
from starjax import distributed, errors, main, metrics, train
from starjax.data import bundle, dataset, shard
from starjax.experiment import ExperimentError, locate

MASS = "total_mass_within_2x_r_tidal"


@pytest.fixture(scope="session")
def small(tmp_path_factory, request):
    """A data set directory of 20 training snapshots of the packaged sample."""
    folder = tmp_path_factory.mktemp("small")
    for split, num in {"train": 20, "val": 6, "test": 7}.items():
        whole = shard.load(dataset.shard_path(dataset.SAMPLE_DIRECTORY, "raw", split))
        # Every 30th snapshot, so that several runs and distances are there.
        chosen = np.arange(num) * 30
        rows = np.concatenate([np.arange(whole.ptr[i], whole.ptr[i + 1]) for i in chosen])
        part = shard.Shard(
            feature=whole.feature[rows],
            feature_keys=whole.feature_keys,
            target=whole.target[chosen],
            target_keys=whole.target_keys,
            ptr=np.cumsum([0, *np.diff(whole.ptr)[chosen]]),
            run_id=whole.run_id[chosen],
            distance_pc=whole.distance_pc[chosen],
        )
        shard.save(dataset.shard_path(folder, "raw", split), part)
    for name in dataset.BUNDLES.values():
        shutil.copy(dataset.SAMPLE_DIRECTORY / name, folder)
    return folder


@pytest.fixture
def config(small, tmp_path):
    config = common.get_config("deep_sets")
    config.output_base = str(tmp_path)
    config.data.dataset = str(small)
    config.data.num_sample_per_snapshot = 4
    config.data.num_star_per_sample = 32
    config.train.batch_size, config.train.max_epochs = 32, 4
    return config


def deterministic_files(place):
    """What two runs of one config share to the byte."""
    named = [place.metrics, place.test_table, place.test_metrics, place.config]
    return {path.name: path.read_bytes() for path in named}


@pytest.fixture
def stop_after(monkeypatch):
    """Makes a run end as if killed, once so many epochs are recorded."""

    class KilledError(Exception):
        pass

    def arrange(num_epoch):
        record = train.Recorder.epoch

        def record_and_stop(self, progress, **values):
            record(self, progress, **values)
            if progress.epoch == num_epoch:
                raise KilledError

        monkeypatch.setattr(train.Recorder, "epoch", record_and_stop)
        return KilledError

    yield arrange
    monkeypatch.undo()


def test_a_run_leaves_what_the_contract_says(config, small, capsys):
    config.data.target_keys = ("time", MASS)
    place = main.run(config)
    assert place.directory == locate(config).directory
    described = json.loads(place.config.read_text())
    assert described["config"]["optim"]["learning_rate"] == 3e-3
    assert set(described["versions"]) >= {"jax", "flax", "optax"}
    assert len(described["dataset"]["fingerprint"]) == 64
    assert bundle.load(place.directory / "feature_scaler_bundle.joblib").of("x").method == "robust"

    table = pd.read_parquet(place.test_table)
    assert len(table) == 7 * 4 * 2
    first = table[table["target_key"] == "time"]
    np.testing.assert_array_equal(first["snapshot_id"], np.repeat(np.arange(7), 4))
    np.testing.assert_array_equal(first["sample_id"], np.tile(np.arange(4), 7))
    test = shard.load(dataset.shard_path(small, "raw", "test"))
    np.testing.assert_array_equal(first["run_id"], np.repeat(test.run_id, 4))
    np.testing.assert_array_equal(first["distance_pc"], np.repeat(test.distance_pc, 4))
    np.testing.assert_allclose(
        first["target_physical"], np.repeat(test.target[:, 0], 4), rtol=1e-4, atol=1e-3
    )

    found = json.loads(place.test_metrics.read_text())["test"]
    for key, rows in table.groupby("target_key"):
        for units in ("scaled", "physical"):
            expected = metrics.regression(
                rows[f"prediction_{units}"].to_numpy(), rows[f"target_{units}"].to_numpy()
            )
            assert found[key][units] == pytest.approx(expected)

    history = pd.read_csv(place.metrics)
    assert list(history["epoch"]) == [1, 2, 3, 4]
    assert {"train_huber", "val_huber", f"val_{MASS}_physical_mae", "val_time_scaled_r2"} <= set(history)
    assert set(pd.read_csv(place.timing)) == {"epoch", "seconds", "samples_per_s", "device_memory_bytes"}
    events = EventAccumulator(str(place.events)).Reload().Tags()["scalars"]
    assert {"train/huber", "val/huber", "timing/samples_per_s", "learning_rate"} <= set(events)
    assert {path.suffix for path in place.figures.iterdir()} == {".png"}
    assert not list(place.directory.rglob("*partial*"))
    printed = capsys.readouterr().out
    assert "epoch   4/4" in printed
    assert str(place.directory) in printed
    assert "3 steps an epoch, the last of 16 samples" in printed


def test_two_runs_of_one_config_give_identical_files(config, tmp_path):
    first = deterministic_files(main.run(config))
    config.output_base = str(tmp_path / "again")
    assert deterministic_files(main.run(config)) == first
    config.output_base, config.seed = str(tmp_path / "other"), 1
    assert deterministic_files(main.run(config))["metrics.csv"] != first["metrics.csv"]


@pytest.mark.parametrize("num_epoch", [1, 3])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    config, tmp_path, stop_after, monkeypatch, num_epoch
):
    uninterrupted = deterministic_files(main.run(config))
    config.output_base = str(tmp_path / "stopped")
    killed = stop_after(num_epoch)
    with pytest.raises(killed):
        main.run(config)
    monkeypatch.undo()
    # The row of the epoch that was stopped before its checkpoint is there, and comes again only once.
    assert len(pd.read_csv(locate(config).metrics)) == num_epoch
    assert not locate(config).test_metrics.exists()
    assert deterministic_files(main.run(config)) == uninterrupted


def command(dataset_folder, base, *more):
    """A small run of its own process, named `run` below `base`."""
    return [
        sys.executable,
        "-m",
        "starjax.main",
        "--config=configs/deep_sets.py",
        f"--config.data.dataset={dataset_folder}",
        f"--config.output_base={base}",
        "--config.name=run",
        "--config.train.batch_size=32",
        *more,
    ]


@pytest.mark.slow
def test_a_killed_process_goes_on_as_if_it_had_not_been(small, tmp_path):
    long = "--config.train.max_epochs=60"
    subprocess.run(command(small, tmp_path / "a", long), check=True, capture_output=True)
    killed = subprocess.Popen(command(small, tmp_path / "b", long), stdout=subprocess.PIPE, text=True)
    for line in killed.stdout:
        if line.startswith("epoch  20/"):
            killed.send_signal(signal.SIGKILL)
            break
    killed.wait()
    killed.stdout.close()
    done = subprocess.run(command(small, tmp_path / "b", long), check=True, capture_output=True, text=True)
    first_epoch = next(
        int(line.split("/")[0].split()[1]) for line in done.stdout.splitlines() if line.startswith("epoch")
    )
    assert 15 <= first_epoch <= 30
    for name in ("metrics.csv", "run-test.parquet", "test_metrics.json"):
        paths = [tmp_path / base / "experiments" / "run" / name for base in "ab"]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_finished_run_is_left_alone(config, capsys):
    place = main.run(config)
    before = {path: path.stat().st_mtime_ns for path in place.directory.rglob("*")}
    main.run(config)
    assert {path: path.stat().st_mtime_ns for path in place.directory.rglob("*")} == before
    assert "nothing to do" in capsys.readouterr().out


def test_a_contradicting_config_is_refused_naming_the_fields(config):
    config.name = "run"
    main.run(config)
    config.optim.learning_rate, config.model.dropout = 1e-4, 0.2
    with pytest.raises(
        ExperimentError,
        match=r"config\.model\.dropout: stored 0\.1, given 0\.2; config\.optim\.learning_rate",
    ):
        main.run(config)
    config.resume = False
    assert main.run(config).directory.name == "run-2"
    assert main.run(config).directory.name == "run-3"


def test_other_data_are_refused(config, small, tmp_path):
    config.name = "run"
    main.run(config)
    changed = tmp_path / "changed"
    shutil.copytree(small, changed)
    one = shard.load(dataset.shard_path(small, "raw", "val"))
    shard.save(dataset.shard_path(changed, "raw", "test"), one)
    config.data.dataset = str(changed)
    with pytest.raises(ExperimentError, match=r"data\.dataset"):
        main.run(config)


def test_a_config_that_cannot_be_leaves_no_directory_behind(config):
    config.name = "run"
    config.model.pooling = "median"
    with pytest.raises(errors.ConfigError, match="median"):
        main.run(config)
    config.model.pooling = "sum"
    assert main.run(config).test_metrics.exists()


def test_a_folder_with_something_else_in_it_is_refused(config, tmp_path):
    config.workdir = str(tmp_path / "mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(ExperimentError, match="not empty and holds no run"):
        main.run(config)


def test_training_stops_when_validation_does_not_get_better(config):
    config.optim.learning_rate, config.train.max_epochs, config.train.patience = 1e-12, 30, 3
    config.optim.warmup_epochs = 0
    content = json.loads(main.run(config).test_metrics.read_text())
    assert content["epochs"] < 30
    assert content["epochs"] == content["best_epoch"] + 3


def test_the_best_epoch_is_the_one_tested_not_the_last():
    progress = train.Progress()
    for loss in (3.0, 1.0, 1.0, 2.0):
        progress = progress.after(loss)
    assert progress == train.Progress(epoch=4, best_epoch=2, best_loss=1.0)
    assert not progress.is_over(max_epochs=10, patience=3)
    assert progress.is_over(max_epochs=10, patience=2)
    assert progress.is_over(max_epochs=4, patience=3)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(config, monkeypatch):
    real, calls = train.losses.huber, []

    def evaluate_nan_in_third_epoch(prediction, target, delta):
        if isinstance(prediction, np.ndarray):
            calls.append(1)
        return real(prediction, target, delta) * (np.nan if len(calls) == 3 else 1)

    monkeypatch.setattr(train.losses, "huber", evaluate_nan_in_third_epoch)
    with pytest.raises(errors.StarjaxError, match="not finite in epoch 3"):
        main.run(config)
    place = locate(config)
    assert {path.name for path in place.checkpoints.iterdir() if path.name.isdigit()} >= {"2"}
    assert list(pd.read_csv(place.metrics)["epoch"]) == [1, 2]
    assert not place.test_metrics.exists()


def test_a_diverging_run_ends_non_zero_with_one_line(small, tmp_path):
    command = [
        sys.executable,
        "-m",
        "starjax.main",
        "--config=configs/deep_sets.py",
        f"--config.data.dataset={small}",
        f"--config.output_base={tmp_path}",
        "--config.optim.learning_rate=1e30",
        "--config.train.batch_size=32",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the loss is not finite in epoch 1" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["summary_stats", "deep_sets", "set_transformer"])
def test_one_golden_step(name, small):
    """The loss of the first step at seed 0; if it changed on purpose, write down the new value and say why."""
    config = common.get_config(name)
    config.data.dataset, config.train.batch_size = str(small), 32
    config.data.num_star_per_sample = 32
    data = dataset.load(
        config.data.dataset, config.data.feature_keys, config.data.target_keys, config.data.feature_clip
    )
    mesh = distributed.make_mesh()
    trainer = train.create(config, data, mesh)
    stars = distributed.replicate(main.sampler.place(data.shards["train"]), mesh)
    _, sums = trainer.train_steps(trainer.initial_state, stars, 0, 0, 1)
    golden = {"summary_stats": 0.5213718, "deep_sets": 0.3997640, "set_transformer": 0.4105398}
    assert float(sums["huber"] / sums["num_sample"]) == pytest.approx(golden[name], rel=1e-4)


def test_metrics_are_those_of_scikit_learn():
    from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score, root_mean_squared_error

    rng = np.random.default_rng(0)
    target, prediction = rng.normal(size=(2, 100))
    expected = {
        "mae": mean_absolute_error(target, prediction),
        "mse": mean_squared_error(target, prediction),
        "rmse": root_mean_squared_error(target, prediction),
        "r2": r2_score(target, prediction),
    }
    assert metrics.regression(prediction, target) == pytest.approx(expected)
    assert np.isnan(metrics.regression(prediction, np.ones(100))["r2"])


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.slow
def test_two_processes_give_the_result_of_one(small, tmp_path):
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
    short = "--config.train.max_epochs=3"
    subprocess.run(command(small, tmp_path / "one", short), check=True, capture_output=True)
    port = free_port()
    pair = [
        subprocess.Popen(
            command(
                small,
                tmp_path / "two",
                short,
                f"--coordinator_address=127.0.0.1:{port}",
                "--num_processes=2",
                f"--process_id={i}",
            ),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    deadline = time.monotonic() + 240
    printed = [process.communicate(timeout=deadline - time.monotonic())[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], printed
    assert "4 device(s)" in printed[0]
    assert "epoch" not in printed[1]
    tables = [
        pd.read_parquet(tmp_path / base / "experiments/run/run-test.parquet") for base in ("one", "two")
    ]
    pd.testing.assert_frame_equal(*tables, rtol=1e-4, atol=1e-4)


def test_eight_devices_are_used_here():
    assert jax.device_count() == 8  # or the tests of device counts compare one with one


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config=configs/deep_sets.py", "--config.optim.learning_rat=1"], 'Did you mean "learning_rate"'),
        (["--config=configs/deep_sets.py", "--config.train.patience=0"], "config.train.patience=0"),
        (
            ["--config=configs/deep_sets.py", "--config.data.dataset=/nowhere"],
            "data.dataset='/nowhere' lacks",
        ),
        (["--config=configs/set_transformer.py", "--config.model.num_heads=4"], "model.num_heads=4"),
        (["--config=configs/deep_sets.py", "--config.data.target_keys=('age',)"], "no age; it has time"),
    ],
)
def test_what_the_command_cannot_do_it_says_in_one_line(arguments, said, tmp_path):
    command = [sys.executable, "-m", "starjax.main", *arguments, f"--config.output_base={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
