"""Run directories: the same every time, resumed, left alone, or refused, never overwritten."""

import json
import shutil

import pandas as pd
import pytest

from starjax import errors, main, memory, train
from starjax.data import dataset, placement, shard
from starjax.experiment import ExperimentError, locate


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

        def record_and_stop(self, epoch, *told):
            record(self, epoch, *told)
            if epoch == num_epoch:
                raise KilledError

        monkeypatch.setattr(train.Recorder, "epoch", record_and_stop)
        return KilledError

    yield arrange
    monkeypatch.undo()


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


def test_a_run_goes_on_with_the_placement_that_was_chosen_when_it_began(
    config, tmp_path, stop_after, monkeypatch
):
    uninterrupted = deterministic_files(main.run(config))
    config.output_base = str(tmp_path / "stopped")
    killed = stop_after(2)
    with pytest.raises(killed):
        main.run(config)
    monkeypatch.undo()
    # There is less memory now.
    monkeypatch.setattr(placement, "choose", lambda *_: "streamed")
    assert deterministic_files(main.run(config)) == uninterrupted


def test_a_run_whose_batches_would_be_others_is_refused(config, stop_after, monkeypatch):
    config.data.placement = "sharded"
    killed = stop_after(1)
    with pytest.raises(killed):
        main.run(config)
    monkeypatch.undo()
    place = locate(config)
    record = json.loads(place.config.read_text())
    assert record["layout"] == {
        "placement": "sharded",
        "num_share": 8,
        "num_step": 3,
        "micro_batch_size": 4,
    }
    record["layout"]["num_share"] = 4
    place.config.write_text(json.dumps(record))
    with pytest.raises(ExperimentError, match=r"sharded among 4 device\(s\).*sharded among 8 device"):
        main.run(config)


def test_a_run_goes_on_with_the_micro_batches_it_began_with(
    config, tmp_path, stop_after, monkeypatch, capsys
):
    uninterrupted = deterministic_files(main.run(config))
    config.output_base = str(tmp_path / "stopped")
    killed = stop_after(2)
    with pytest.raises(killed):
        main.run(config)
    monkeypatch.undo()
    monkeypatch.setattr(memory, "CPU_MICRO_BATCH", 1)  # what would be chosen for a new run
    assert deterministic_files(main.run(config)) == uninterrupted
    printed = capsys.readouterr().out
    assert "going on after epoch 1\n" in printed
    assert printed.count("4 at a time on each device") == 3


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
    assert locate(config).name == "run-3"


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
