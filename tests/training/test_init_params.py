"""A run that starts from another one: what is copied, from which member, in which units, and when resumed."""

import dataclasses
import json
import logging
import shutil

import jax
import numpy as np
import pytest

from starjax.datasets import shard
from starjax.datasets.load import load_dataset
from starjax.datasets.scalers.bundle import fit_bundle
from starjax.errors import ConfigError
from starjax.inference.loading import load_predictor
from starjax.io import files
from starjax.models import factory
from starjax.runs import best_params, run_config
from starjax.runs.directory import RunDirectory, RunDirectoryError
from starjax.runs.state import inspect
from starjax.training import init_params, prepare
from starjax.training.run import train_and_test

NUM_SOURCE = 2
FEATURES = ("y", "z", "vy", "vz", "log_L_L_sol")


@pytest.fixture
def said(caplog, monkeypatch):
    """What was logged; the logger has a handler of its own, and passes nothing on."""
    monkeypatch.setattr(logging.getLogger("starjax"), "propagate", True)
    return lambda: "\n".join(caplog.messages)


@pytest.fixture
def config(answering_config, tmp_path):
    config = answering_config(tmp_path, head="mixture")
    config.ensemble.size, config.seed = 3, 1
    return config


@pytest.fixture
def source(config):
    """A run of two members of the same config, whose parameters are numbered."""
    shapes = best_params.flatten(factory.param_shapes(config.model, *run_config.model_shape(config)))
    params = {
        name: np.stack([np.full(one.shape, 10 * member + number, one.dtype) for member in range(NUM_SOURCE)])
        for number, (name, one) in enumerate(shapes.items())
    }
    own = type(config)(config.to_dict()).lock()
    scalers = [load_dataset(config.data.dataset, FEATURES, ("time",)).feature_scalers] * 2
    return init_params.SourceRun(RunDirectory(config.output_base), "digest", own, params, *scalers)


def copied_names(config, source):
    return set(init_params.initial_params(config, source, is_new=True))


def test_members_start_from_those_of_their_seed_in_turn(config, source):
    found = init_params.initial_params(config, source, is_new=True)
    assert set(found) == set(source.params)
    for name, array in found.items():
        np.testing.assert_array_equal(array, source.params[name][[1, 0, 1]])
        assert array.dtype == np.float32


def test_a_member_trained_alone_or_in_a_fold_starts_from_the_same(config, source):
    config.ensemble.size, config.ensemble.num_fold = 6, 3
    whole = init_params.initial_params(config, source, is_new=False)
    parts = [
        init_params.initial_params(run_config.fold_config(config, number), source, is_new=False)
        for number in range(3)
    ]
    alone = init_params.initial_params(run_config.member_config(config, 3), source, is_new=False)
    for name, array in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), array)
        np.testing.assert_array_equal(alone[name], array[3:4])


@pytest.mark.parametrize("keys", [("z", "y"), ("y", "z", "vy")])
def test_without_the_same_features_in_the_same_order_the_input_layer_is_random(config, source, keys, said):
    config.data.feature_keys, config.data.hidden_keys = keys, ()
    assert set(source.params) - copied_names(config, source) == {"params/phi/layers/0/kernel"}
    assert f"since the features are {' '.join(keys)}, there y z vy vz log_L_L_sol: phi/layers/0" in said()


@pytest.mark.parametrize(
    ("field", "value"), [("data.target_keys", ("total_mass_within_2x_r_tidal", "time")), ("head", "point")]
)
def test_without_the_same_outputs_the_last_layer_is_random(config, source, field, value, said):
    config.update_from_flattened_dict({field: value})
    last = {"params/rho/layers/2/kernel", "params/rho/layers/2/bias"}
    assert set(source.params) - copied_names(config, source) == last
    assert "since head and targets are" in said()


def test_arrays_of_another_shape_and_new_ones_are_random(config, source, said):
    config.model.phi_hidden_dims, config.model.rho_hidden_dims = (8, 5), (8, 4, 4)
    assert copied_names(config, source) == {
        *(f"params/phi/layers/0/{name}" for name in ("kernel", "bias")),
        *("params/rho/layers/0/bias", "params/rho/layers/1/kernel", "params/rho/layers/1/bias"),
    }
    assert "of shape (5, 8), there (4, 8): rho/layers/0/kernel" in said()
    assert "which it lacks: rho/layers/3/" in said()
    assert "5 of 12 arrays" in said()


def test_it_is_an_error_if_nothing_fits(config, source):
    config.model.phi_hidden_dims, config.model.rho_hidden_dims = (3,), ()
    with pytest.raises(ConfigError, match="none of its parameters fits"):
        init_params.initial_params(config, source, is_new=True)


def test_unknown_runs_and_other_models_are_refused_before_anything_is_read(config, mixture):
    config.data.dataset = "/nowhere"
    config.init_from = "nothing"
    with pytest.raises(ConfigError, match="'nothing': there is neither a packaged model nor a directory"):
        train_and_test(config)
    config.init_from = str(mixture.checkpoints)
    with pytest.raises(ConfigError, match="holds no run"):
        train_and_test(config)
    config.init_from = str(mixture.path)
    config.model = {"name": "soft_groups", **factory.hyperparameters("soft_groups")}
    with pytest.raises(ConfigError, match=r"its model is deep_sets, and config\.model\.name='soft_groups'"):
        train_and_test(config)


# ---- scalers


def scaled_otherwise(data, config):
    """Scalers of other methods than those of a data set."""
    train = data.shards["train"]
    physical = data.feature_scalers.inverse(train.feature.astype(float), train.feature_keys)
    return fit_bundle(physical, train.feature_keys, [(config.data.feature_keys, "standard")])


def test_a_data_set_is_brought_to_the_units_of_the_source(config, source):
    data = prepare.read_dataset(config)
    other = scaled_otherwise(data, config)
    source = dataclasses.replace(source, feature_scalers=other, target_scalers=data.target_scalers)
    found = init_params.rescale(config, data, source)
    assert found.feature_scalers == other
    for split, one in found.shards.items():
        before = data.shards[split]
        assert one.target is before.target
        assert one.feature.dtype == np.float32
        physical = other.inverse(one.feature.astype(float), one.feature_keys)
        expected = data.feature_scalers.inverse(before.feature.astype(float), before.feature_keys)
        np.testing.assert_allclose(physical, expected, rtol=1e-5, atol=1e-4)
    train = found.shards["train"].feature
    np.testing.assert_allclose(train.mean(), 0, atol=1e-4)


def test_features_on_disk_stay_there(config, source, tmp_path):
    data = prepare.read_dataset(config)
    whole = data.shards["train"]
    shard.save_shard(tmp_path / "train.npz", whole)
    on_disk = shard.load_shard(tmp_path / "train.npz", mapped=True)
    source = dataclasses.replace(
        source, feature_scalers=scaled_otherwise(data, config), target_scalers=data.target_scalers
    )
    found = init_params.rescale(config, dataclasses.replace(data, shards={"train": on_disk}), source)
    columns = found.shards["train"].feature
    assert not isinstance(columns, np.ndarray)
    assert (len(columns), columns.shape) == (len(whole.feature), whole.feature.shape)
    np.testing.assert_array_equal(
        columns[3:9], init_params.rescale(config, data, source).shards["train"].feature[3:9]
    )


def test_columns_that_the_source_has_no_scaler_for_keep_those_of_the_data_set(config, source, said):
    data = prepare.read_dataset(config)
    few = fit_bundle(np.arange(9.0)[:, None], ("y",), [(("y",), "standard")])
    source = dataclasses.replace(source, feature_scalers=few, target_scalers=data.target_scalers)
    assert init_params.rescale(config, data, source).feature_scalers == data.feature_scalers
    assert "that run has no scaler for x, z, vx, vy, vz, log_L_L_sol" in said()


# ---- whole runs


@pytest.fixture
def fine_tuning(answering_config, mixture, tmp_path):
    """A copy of a run, and the config of one that starts from it."""
    source = tmp_path / "source"
    shutil.copytree(mixture.path, source)
    config = answering_config(tmp_path, name="fine", head="mixture", init_from=str(source))
    return source, config


def test_a_run_starts_from_the_best_parameters_of_another(fine_tuning):
    source, config = fine_tuning
    read = init_params.read_source(config)
    stored = init_params.rescale(config, prepare.read_dataset(config), read)
    run = prepare.RunContext(config, inspect(RunDirectory(source.parent / "fine")), stored, read)
    state = prepare.prepare(run).trainer.initial_state
    expected = load_predictor(source).params
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(np.asarray, state["params"]), expected)
    # Momenta and averages are new.
    assert all(not np.asarray(leaf).any() for leaf in jax.tree.leaves(state["opt_state"]))


@pytest.mark.weekly
def test_a_run_that_resumes_goes_on_from_its_checkpoint_with_the_same_source(fine_tuning):
    source, config = fine_tuning
    run_dir = train_and_test(config)
    digest = files.sha256(source / files.SUMS)
    assert json.loads(run_dir.config.read_text())["init_from_sha256"] == digest
    trained, metrics = load_predictor(run_dir.path).params, run_dir.metrics.read_bytes()
    # As after a kill in the second epoch.
    shutil.rmtree(run_dir.checkpoints / "2")
    run_dir.test_metrics.unlink()
    train_and_test(config)
    jax.tree.map(np.testing.assert_array_equal, load_predictor(run_dir.path).params, trained)
    assert run_dir.metrics.read_bytes() == metrics
    # Another run at the path of the source.
    run_dir.test_metrics.unlink()
    (source / "metrics.csv").write_text("of another run")
    files.write_sums(source, files.read_sums(source))
    with pytest.raises(RunDirectoryError, match=r"began from another state of config\.init_from"):
        train_and_test(config)


def test_a_finished_run_does_not_need_its_source_any_more(fine_tuning, said):
    source, config = fine_tuning
    config.train.max_epochs, config.optim.warmup_epochs = 1, 0
    run_dir = train_and_test(config)
    shutil.rmtree(source)
    train_and_test(config)
    assert "finished: nothing to do" in said()
    run_dir.test_metrics.unlink()
    with pytest.raises(ConfigError, match=r"init_from=.*holds no run"):
        train_and_test(config)


@pytest.mark.weekly
def test_folds_and_sweeps_start_from_it_too(fine_tuning):
    _, config = fine_tuning
    config.train.max_epochs, config.optim.warmup_epochs, config.ensemble.size = 1, 0, 2
    config.optim.learning_rate = 1e-12
    config.ensemble.num_fold, config.name = 2, "folds"
    folds = load_predictor(train_and_test(config).path)
    config.ensemble.num_fold, config.name = 0, "sweep"
    config.sweep.huber_delta = (0.5, 1.0)
    sweep = train_and_test(config)
    assert json.loads(sweep.best_member.config.read_text())["init_from_sha256"]
    source = load_predictor(config.init_from).params
    for run in (folds, load_predictor(sweep.best_member.path)):
        jax.tree.map(
            lambda found, one: np.testing.assert_allclose(found, np.repeat(one, len(found), 0), rtol=1e-5),
            run.params,
            source,
        )
