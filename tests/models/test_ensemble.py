"""Ensembles: each member equals a run of its own; their tables, and the best member as a run."""

import json
import shutil

import jax
import numpy as np
import pandas as pd
import pytest
from ml_collections import ConfigDict

from starjax import errors
from starjax.models import factory
from starjax.runs import run_config
from starjax.runs.config_record import config_to_record
from starjax.runs.directory import RunDirectoryError, locate_run
from starjax.sampling import device_placement
from starjax.training import run as run_module
from starjax.training.run import train_and_test
from starjax.training.validate_config import check_config

SWEPT = {
    "learning_rate": (1e-2, 3e-3, 1e-3, 3e-2),
    "weight_decay": (0.0, 1e-2, 1e-1, 1.0),
    "dropout": (0.0, 0.1, 0.5, 0.2),
    "huber_delta": (0.5, 1.0, 2.0, 1.0),
}


def together(config, **swept):
    config.ensemble.size = 4
    for name, values in swept.items():
        config.sweep[name] = values
    config.name = "together"
    return config


def of_member(run_dir, member):
    table = pd.read_parquet(run_dir.test_table_of_members)
    return table[table["member"] == member].reset_index(drop=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "backend", "where"),
    [
        pytest.param("deep_sets", "cpu", "replicated", marks=pytest.mark.weekly),
        pytest.param("set_transformer", "cpu", "replicated", marks=pytest.mark.weekly),
        pytest.param("summary_stats", "gpu", "replicated", marks=pytest.mark.weekly),
        pytest.param("deep_sets", "gpu", "streamed", marks=pytest.mark.weekly),
    ],
)
def test_a_member_equals_a_run_of_its_own(config, monkeypatch, name, backend, where):
    """Members are trained one after another (cpu), or all at once (gpu)."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(device_placement, "BLOCK", 1)
    monkeypatch.setattr(device_placement, "CHUNK_BYTES", 6 * 4 * 600)
    config.data.placement = where
    config.model = ConfigDict({"name": name, **factory.hyperparameters(name)})
    run_dir = train_and_test(together(config, seed=(3, 1, 4, 1), **SWEPT))
    history = pd.read_csv(run_dir.metrics)
    member = 2
    alone = ConfigDict(run_config.member_config(config, member).to_dict())
    alone.name = "alone"
    lone_run_dir = train_and_test(alone.lock())
    expected = pd.read_parquet(lone_run_dir.test_table)["prediction_scaled"]
    np.testing.assert_allclose(
        of_member(run_dir, member)["prediction_scaled"], expected, rtol=1e-3, atol=1e-3
    )
    rows = history[history["member"] == member].assign(member=0).reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, pd.read_csv(lone_run_dir.metrics), rtol=1e-3, atol=1e-4)


@pytest.mark.weekly
def test_members_of_an_ensemble_differ_only_in_their_seeds(config):
    run_dir = train_and_test(together(config))
    predictions = [of_member(run_dir, i)["prediction_scaled"] for i in range(4)]
    assert all(np.abs(a - b).max() > 1e-2 for i, a in enumerate(predictions) for b in predictions[:i])
    table = pd.read_parquet(run_dir.test_table)
    np.testing.assert_allclose(table["prediction_scaled"], np.mean(predictions, axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        table["spread_scaled"], np.std(predictions, axis=0, ddof=1), rtol=1e-4, atol=1e-6
    )
    physical = [of_member(run_dir, i)["prediction_physical"] for i in range(4)]
    np.testing.assert_allclose(table["spread_physical"], np.std(physical, axis=0, ddof=1), rtol=1e-6)
    members = pd.read_csv(run_dir.members)
    assert sorted(members["seed"]) == [0, 1, 2, 3]
    assert members["val_loss"].is_monotonic_increasing
    history = pd.read_csv(run_dir.metrics)
    best = history.groupby("member")["val_loss"].min()
    np.testing.assert_allclose(members["val_loss"], best[members["member"]], rtol=1e-5)
    assert not run_dir.path.with_name("together-best").exists()  # none was looked for


@pytest.mark.weekly
def test_a_member_stops_when_its_patience_is_over(config):
    config.train.max_epochs, config.train.patience = 8, 2
    run_dir = train_and_test(together(config, learning_rate=(1e-2, 1e-12, 1e-2, 1e-12)))
    history = pd.read_csv(run_dir.metrics)
    members = pd.read_csv(run_dir.members).set_index("member")
    counts = history.groupby("member").size()
    assert counts.to_dict() == members["epochs"].to_dict()
    assert counts[0] > counts[1]
    assert (members["epochs"] - members["best_epoch"] <= 2).all()
    alone = ConfigDict(run_config.member_config(config, 1).to_dict())
    alone.name = "alone"
    expected = pd.read_parquet(train_and_test(alone.lock()).test_table)["prediction_scaled"]
    np.testing.assert_allclose(of_member(run_dir, 1)["prediction_scaled"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_best_member_of_a_sweep_is_a_finished_run(config, capsys):
    run_dir = train_and_test(together(config, learning_rate=SWEPT["learning_rate"]))
    best = int(pd.read_csv(run_dir.members)["member"].iloc[0])
    printed = capsys.readouterr().out
    assert "members by validation loss" in printed
    assert "together-best, a run of its own" in printed
    alone = ConfigDict(run_config.member_config(config, best).to_dict())
    alone.name = "together-best"
    again = train_and_test(alone.lock())
    assert "finished: nothing to do" in capsys.readouterr().out
    np.testing.assert_array_equal(
        pd.read_parquet(again.test_table)["prediction_scaled"], of_member(run_dir, best)["prediction_scaled"]
    )
    assert json.loads(again.test_metrics.read_text())["members"] == 1
    assert len(pd.read_csv(again.metrics)) == 4
    # Of the best, the sweep knows all but its config.
    content = again.metrics.read_bytes()
    again.metrics.write_bytes(content[:-7])
    train_and_test(together(config, learning_rate=SWEPT["learning_rate"]))
    assert again.metrics.read_bytes() == content
    again.config.unlink()
    with pytest.raises(RunDirectoryError, match=r"together-best.*config\.json.*restore"):
        train_and_test(together(config, learning_rate=SWEPT["learning_rate"]))
    assert run_dir.test_metrics.exists()


@pytest.mark.weekly
def test_a_sweep_of_one_member_has_no_run_of_the_best(config, capsys):
    config.sweep.log_uniform.learning_rate = (1e-3, 1e-2)
    run_dir = train_and_test(config)
    assert "best member" not in capsys.readouterr().out
    assert not run_dir.path.with_name(f"{run_dir.name}-best").exists()
    assert train_and_test(config).test_metrics.exists()


@pytest.mark.weekly
def test_the_best_member_of_another_sweep_is_not_replaced(config):
    run_dir = train_and_test(together(config, learning_rate=SWEPT["learning_rate"]))
    shutil.rmtree(run_dir.path)
    config.sweep.learning_rate = tuple(reversed(SWEPT["learning_rate"]))
    with pytest.raises(RunDirectoryError, match=r"together-best is the best member of another"):
        train_and_test(config)
    assert not run_dir.path.exists()


@pytest.mark.weekly
def test_the_last_active_member_may_diverge(config):
    """The others have stopped before, and are kept."""
    config.train.max_epochs, config.train.patience = 8, 1
    config.optim.warmup_epochs = 3
    run_dir = train_and_test(together(config, learning_rate=(1e-12, 1e-12, 1e-12, 1e30)))
    assert json.loads(run_dir.test_metrics.read_text())["members"] == 3


@pytest.mark.slow
def test_a_diverging_member_is_left_out(config, capsys):
    run_dir = train_and_test(together(config, learning_rate=(1e-2, 1e30, 3e-3, 1e-3)))
    printed = capsys.readouterr().out
    assert "member 1 is left out from now on, its learning rate was 1e+30: the loss is not finite" in printed
    members = pd.read_csv(run_dir.members)
    assert members["is_failed"].tolist() == [False, False, False, True]
    assert members["member"].iloc[-1] == 1
    assert set(pd.read_parquet(run_dir.test_table_of_members)["member"]) == {0, 2, 3}
    assert json.loads(run_dir.test_metrics.read_text())["members"] == 3
    assert np.isfinite(pd.read_parquet(run_dir.test_table)["prediction_physical"]).all()


@pytest.mark.slow
def test_a_run_ends_if_all_members_diverge(config):
    with pytest.raises(
        errors.StarjaxError, match=r"not finite in epoch 1.*config\.sweep\.learning_rate \(here 1e\+30\)"
    ):
        train_and_test(together(config, learning_rate=(1e30,) * 4))


@pytest.mark.weekly
def test_an_ensemble_resumes_where_it_was_stopped(config, monkeypatch):
    config.optim.name = "muon"
    whole = train_and_test(together(config))
    config.name = "in-two-parts"
    save = run_module.Checkpoints.save

    def stop_after_two(self, epoch, arrays, progress):
        save(self, epoch, arrays, progress)
        if epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_module.Checkpoints, "save", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            train_and_test(config)
    in_parts = train_and_test(config)
    assert in_parts.metrics.read_bytes() == whole.metrics.read_bytes()
    for one, other in (("test_table", "test_table"), ("test_table_of_members", "test_table_of_members")):
        pd.testing.assert_frame_equal(
            pd.read_parquet(getattr(in_parts, one)), pd.read_parquet(getattr(whole, other))
        )


def test_drawn_hyperparameters_are_within_their_bounds_and_reproducible(config):
    config.ensemble.size = 200
    config.sweep.log_uniform.learning_rate = (1e-4, 1e-1)
    values = np.array(run_config.members(config).hparams["learning_rate"])
    assert values.min() >= 1e-4
    assert values.max() <= 1e-1
    # Uniform in the logarithm: half of them below the geometric mean, within four standard deviations.
    assert abs((values < 10**-2.5).mean() - 0.5) < 4 * 0.5 / 200**0.5
    config.sweep.log_uniform.weight_decay = (1e-6, 1e-2)
    assert run_config.members(config).hparams["learning_rate"] == tuple(values)
    assert not np.allclose(np.argsort(values), np.argsort(run_config.members(config).hparams["weight_decay"]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ensemble.size": 0}, r"config.ensemble.size=0 should be at least 1"),
        ({"sweep.seed": (1, 2)}, r"config.sweep.seed=\(1, 2\) has 2 value\(s\) where config.ensemble.size=1"),
        (
            {"ensemble.size": 3, "sweep.dropout": (0.1, 0.2)},
            r"config.sweep.dropout=.* has 2 value\(s\) where config.ensemble.size=3",
        ),
        (
            {"ensemble.size": 2, "sweep.dropout": (0.1, 1.2)},
            r"member 1 of config.sweep: config.model.dropout=1.2 should be from 0 to 0.99",
        ),
        (
            {
                "ensemble.size": 2,
                "sweep.huber_delta": (1.0, 2.0),
                "sweep.log_uniform.huber_delta": (1.0, 2.0),
            },
            "give one of them",
        ),
        (
            {"ensemble.size": 2, "sweep.log_uniform.learning_rate": (1e-2, 1e-3)},
            "two positive numbers, the lower first",
        ),
        ({"ensemble.size": 2, "sweep.log_uniform.weight_decay": (0.0, 1e-3)}, "two positive numbers"),
        ({"ensemble.size": 2, "sweep.log_uniform.dropout": ("a", 1)}, "two positive numbers"),
        ({"ensemble.size": 2, "sweep.seed": (1.5, 2)}, "should be whole numbers"),
        ({"ensemble.size": 2, "sweep.seed": (True, 2)}, "should be whole numbers"),
        ({"ensemble.size": 2, "sweep.learning_rate": ("1e-3", 2)}, "should be numbers"),
    ],
)
def test_contradictory_sweeps_are_an_error(config, fields, message):
    with config.unlocked():
        for field, value in fields.items():
            config.update_from_flattened_dict({field: value})
    with pytest.raises(errors.ConfigError, match=message):
        check_config(config, 1)


def test_the_config_of_a_member_describes_a_single_run(config):
    plain = config_to_record(config)
    assert config_to_record(run_config.member_config(config, 0)) == plain
    assert locate_run(run_config.member_config(config, 0)) == locate_run(config)
