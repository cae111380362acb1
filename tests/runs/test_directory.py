"""Run directories are reproduced and resumed to the bit, left alone, or refused; never overwritten."""

import itertools
import json
import os
import shutil
import signal

import numpy as np
import pandas as pd
import pytest

from starjax import errors
from starjax.datasets import shard
from starjax.datasets.shard_files import shard_path
from starjax.runs import directory
from starjax.runs.directory import RunDirectory, RunDirectoryError, locate_run, wait_until_visible
from starjax.runtime import memory, signals
from starjax.sampling import device_placement
from starjax.training import loop
from starjax.training.run import train_and_test


def deterministic_files(run_dir):
    """The files that two runs of one config share to the byte."""
    named = [run_dir.metrics, run_dir.test_table, run_dir.test_metrics, run_dir.config]
    return {path.name: path.read_bytes() for path in named}


@pytest.fixture(scope="module")
def uninterrupted(small_config, tmp_path_factory):
    """The files of an uninterrupted run of `config`."""
    return deterministic_files(train_and_test(small_config(tmp_path_factory.mktemp("uninterrupted"))))


@pytest.fixture
def stop_after(monkeypatch):
    """`(num_epoch) -> exception`: a run ends as if killed once that many epochs are logged."""

    class KilledError(Exception):
        pass

    def arrange(num_epoch):
        record = loop.MetricsLogger.log_epoch

        def record_and_stop(self, epoch, *rest):
            record(self, epoch, *rest)
            if epoch == num_epoch:
                raise KilledError

        monkeypatch.setattr(loop.MetricsLogger, "log_epoch", record_and_stop)
        return KilledError

    yield arrange
    monkeypatch.undo()


@pytest.mark.slow
def test_two_runs_of_one_config_give_identical_files(config, uninterrupted, tmp_path):
    assert deterministic_files(train_and_test(config)) == uninterrupted
    config.output_base, config.seed = str(tmp_path / "other"), 1
    assert deterministic_files(train_and_test(config))["metrics.csv"] != uninterrupted["metrics.csv"]


@pytest.mark.parametrize("num_epoch", [1, pytest.param(3, marks=pytest.mark.weekly)])
def test_a_killed_run_resumes_to_the_same_result(config, uninterrupted, stop_after, monkeypatch, num_epoch):
    killed = stop_after(num_epoch)
    with pytest.raises(killed):
        train_and_test(config)
    monkeypatch.undo()
    # The row of the epoch that was stopped before its checkpoint is there, and comes again only once.
    assert len(pd.read_csv(locate_run(config).metrics)) == num_epoch
    assert not locate_run(config).test_metrics.exists()
    assert deterministic_files(train_and_test(config)) == uninterrupted


@pytest.mark.parametrize("num_call", [2, *(pytest.param(n, marks=pytest.mark.weekly) for n in (3, 5))])
def test_a_run_asked_to_stop_keeps_the_steps_of_its_epoch(config, uninterrupted, monkeypatch, num_call):
    calls = itertools.count(1)

    def stop_requests(deferred, checkpoints):
        def stop_requested():
            deferred.number = signal.SIGTERM if next(calls) >= num_call else None
            return deferred.number is not None

        return stop_requested

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_stop_requests", stop_requests)
        with pytest.raises(signals.StoppedError) as stopped:
            train_and_test(config)
    assert stopped.value.status == os.EX_TEMPFAIL
    # An epoch is three calls of a step each, after which it is asked once more.
    num_epoch, num_step = divmod(num_call, 4)
    saved = f"{num_epoch} epochs and {num_step} of 3 steps of the next are saved;"
    if num_step not in (1, 2):
        saved = f"{num_epoch + (num_step == 3)} epochs are saved;"
    assert saved in str(stopped.value)
    resumed = []
    train_epoch = loop.train_epoch

    def note_and_train(trainer, epoch, *rest):
        resumed.append(epoch)
        return train_epoch(trainer, epoch, *rest)

    monkeypatch.setattr(loop, "train_epoch", note_and_train)
    assert deterministic_files(train_and_test(config)) == uninterrupted
    assert resumed[0].num_step == (num_step if num_step in (1, 2) else 0)
    assert not locate_run(config).interrupted.exists()


@pytest.mark.weekly
def test_a_resumed_run_keeps_its_placement(config, uninterrupted, stop_after, monkeypatch):
    killed = stop_after(2)
    with pytest.raises(killed):
        train_and_test(config)
    monkeypatch.undo()
    # There is less memory now.
    monkeypatch.setattr(device_placement, "choose", lambda *_: "streamed")
    assert deterministic_files(train_and_test(config)) == uninterrupted


@pytest.mark.slow
def test_a_run_is_not_resumed_with_other_batches(config, stop_after, monkeypatch):
    config.data.placement = "sharded"
    killed = stop_after(1)
    with pytest.raises(killed):
        train_and_test(config)
    monkeypatch.undo()
    run_dir = locate_run(config)
    record = json.loads(run_dir.config.read_text())
    assert record["layout"] == {
        "placement": "sharded",
        "num_share": 8,
        "num_step": 3,
        "micro_batch_size": 4,
    }
    record["layout"]["num_share"] = 4
    run_dir.config.write_text(json.dumps(record))
    with pytest.raises(RunDirectoryError, match=r"sharded among 4 device\(s\).*sharded among 8 device"):
        train_and_test(config)


@pytest.mark.weekly
def test_a_resumed_run_keeps_its_micro_batch_size(config, uninterrupted, stop_after, monkeypatch, capsys):
    killed = stop_after(2)
    with pytest.raises(killed):
        train_and_test(config)
    monkeypatch.undo()
    monkeypatch.setattr(memory, "CPU_MICRO_BATCH", 1)  # what would be chosen for a new run
    assert deterministic_files(train_and_test(config)) == uninterrupted
    printed = capsys.readouterr().out
    assert "resuming after epoch 1\n" in printed
    assert printed.count("4 at a time on each device") == 2


def test_a_finished_run_is_left_alone(config, capsys):
    run_dir = train_and_test(config)
    before = {path: path.stat().st_mtime_ns for path in run_dir.path.rglob("*")}
    train_and_test(config)
    assert {path: path.stat().st_mtime_ns for path in run_dir.path.rglob("*")} == before
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.slow
def test_another_config_is_refused_naming_the_fields(config):
    config.name = "run"
    train_and_test(config)
    config.optim.learning_rate, config.model.dropout = 1e-4, 0.2
    with pytest.raises(
        RunDirectoryError,
        match=r"config\.model\.dropout: stored 0\.1, given 0\.2; config\.optim\.learning_rate",
    ):
        train_and_test(config)
    config.resume = False
    assert locate_run(config).name == "run-2"
    locate_run(config).path.mkdir()
    assert locate_run(config).name == "run-3"


def test_other_data_are_refused(config, small, tmp_path):
    config.name = "run"
    train_and_test(config)
    changed = tmp_path / "changed"
    shutil.copytree(small, changed)
    path = shard_path(changed, "raw", "test")
    shard.save_shard(path, shard.load_shard(path).take(np.arange(3)))
    config.data.dataset = str(changed)
    with pytest.raises(RunDirectoryError, match=r"data\.dataset"):
        train_and_test(config)


def test_an_invalid_config_leaves_no_directory_behind(config):
    config.name = "run"
    config.model.pooling = "median"
    with pytest.raises(errors.ConfigError, match="median"):
        train_and_test(config)
    assert not locate_run(config).path.exists()


def test_a_process_waits_for_a_slow_file_server_but_not_for_ever(tmp_path, monkeypatch):
    run_dir = RunDirectory(tmp_path / "run")
    waited = []

    def a_file_server_catches_up(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            run_dir.path.mkdir()
            run_dir.config.touch()

    monkeypatch.setattr(directory.time, "sleep", a_file_server_catches_up)
    wait_until_visible(run_dir)
    assert len(waited) == 3
    monkeypatch.setattr(directory, "_SECONDS_UNTIL_VISIBLE", -1)
    with pytest.raises(RunDirectoryError, match=r"OUTPUT_BASE.* all of them share"):
        wait_until_visible(RunDirectory(tmp_path / "elsewhere"))


def test_a_folder_with_something_else_in_it_is_refused(config, tmp_path):
    config.workdir = str(tmp_path / "mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(RunDirectoryError, match="not empty and holds no run"):
        train_and_test(config)
