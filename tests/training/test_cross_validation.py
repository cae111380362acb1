"""Cross-validation: members as if trained alone, calibrated on out-of-fold outputs, tested together."""

import contextlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from ml_collections import ConfigDict

import starjax
from starjax import errors
from starjax.catalogs import member_list
from starjax.evaluation import calibration, out_of_distribution
from starjax.evaluation.posterior import MemberOutputs, fit_calibration
from starjax.io import files
from starjax.predictions import prediction_summary
from starjax.runs import integrity, run_config
from starjax.runs.checkpoints import Checkpoints
from starjax.runs.directory import RunDirectoryError
from starjax.runs.state import inspect, read_finished_record
from starjax.runtime import devices
from starjax.training import cross_validation, prepare
from starjax.training.run import train_and_test
from starjax.training.trainer import abstract_arrays

NUM_FOLD, SIZE = 2, 4


@pytest.fixture(scope="module")
def crossed_config(answering_config, tmp_path_factory):
    changes = {"head": "mixture", "ensemble.size": SIZE, "ensemble.num_fold": NUM_FOLD, "seed": 5}
    return answering_config(tmp_path_factory.mktemp("crossed"), name="crossed", **changes).lock()


@pytest.fixture(scope="module")
def crossed(crossed_config):
    return train_and_test(crossed_config)


def read_fold(config, run_dir):
    """The members of the run of a fold."""
    return cross_validation.read_fold(
        prepare.RunContext(config, inspect(run_dir), prepare.read_dataset(config))
    )


def splits(config):
    """The data set of a run, with its folds."""
    return prepare.split_dataset(config, prepare.read_dataset(config))


@pytest.mark.slow
def test_every_simulation_is_left_out_by_one_fold(crossed_config, crossed):
    left_out = [set(inspect(crossed.fold(i)).record["dataset"]["left_out"]) for i in range(NUM_FOLD)]
    data = prepare.read_dataset(crossed_config)
    known = {*data.shards["train"].simulations, *data.shards["val"].simulations}
    assert left_out[0] | left_out[1] == known
    assert not left_out[0] & left_out[1]
    assert set(pd.read_parquet(crossed.test_table_of_members)["member"]) == set(range(SIZE))


@pytest.mark.slow
def test_each_fold_is_a_run_and_each_member_as_if_trained_alone(crossed_config, crossed):
    tested = pd.read_parquet(crossed.test_table_of_members)
    history = pd.read_csv(crossed.metrics)
    assert set(history["member"]) == set(range(SIZE))
    for number in range(NUM_FOLD):
        assert read_finished_record(crossed.fold(number))["config"]["data"]["fold"] == [
            number,
            NUM_FOLD,
            5,
        ]
    alone = ConfigDict(run_config.member_config(crossed_config, 3).to_dict())
    assert alone.data.fold == (1, NUM_FOLD, 5)
    assert alone.seed == 8
    alone.name = "alone"
    run_dir = train_and_test(alone.lock())
    of_member = tested[tested["member"] == 3].reset_index(drop=True)
    expected = pd.read_parquet(run_dir.test_table)
    np.testing.assert_allclose(
        of_member["prediction_scaled"], expected["prediction_scaled"], rtol=1e-3, atol=1e-3
    )
    rows = history[history["member"] == 3].assign(member=0).reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, pd.read_csv(run_dir.metrics), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_intervals_are_calibrated_on_out_of_fold_outputs(crossed_config, crossed):
    outputs, targets, runs = [], [], []
    for number in range(NUM_FOLD):
        config = run_config.fold_config(crossed_config, number)
        fold, held_out = read_fold(config, crossed.fold(number)), splits(config).shards["val"]
        by_member = fold.output_MxNxO["val"]
        assert by_member.shape[0] == SIZE // NUM_FOLD
        outputs.append(by_member.reshape(len(by_member), held_out.num_snapshot, 4, -1))
        targets.append(held_out.target)
        runs.append(held_out.run_id)
    together = MemberOutputs(np.concatenate(outputs, axis=1), run_config.head(crossed_config))
    found = fit_calibration(together, np.concatenate(targets), np.concatenate(runs))
    stored = calibration.load(crossed.calibration, crossed_config.data.target_keys)
    assert stored.num_simulation == len(np.unique(np.concatenate(runs))) == found.num_simulation
    np.testing.assert_allclose(stored.stretch, found.stretch, rtol=1e-5)
    np.testing.assert_allclose(stored.sigma, found.sigma, rtol=1e-5)


@pytest.mark.slow
def test_all_members_predict_together(crossed):
    run = starjax.load(crossed.path)
    assert len(run.epochs) == SIZE
    members = pd.read_csv(crossed.members)
    assert sorted(members["member"]) == list(range(SIZE))
    assert sorted(members["seed"]) == list(range(5, 5 + SIZE))
    assert list(members["fold"]) == [0, 0, 1, 1]
    by_member = pd.read_parquet(crossed.test_table_of_members)
    mean = by_member.groupby(["target_key", "snapshot_id", "sample_id"])["prediction_scaled"].mean()
    table = pd.read_parquet(crossed.test_table).set_index(["target_key", "snapshot_id", "sample_id"])
    np.testing.assert_allclose(table["prediction_scaled"], mean.loc[table.index], rtol=1e-5, atol=1e-6)
    for member, epoch in enumerate(run.epochs):
        assert members.set_index("member").loc[member, "best_epoch"] == epoch


@pytest.mark.slow
def test_all_simulations_are_known_and_the_threshold_is_from_other_folds(crossed_config, crossed):
    reference = out_of_distribution.load(crossed.training_set)
    data = splits(crossed_config)
    train, num_fold = data.shards["train"], len(np.unique(data.fold_N))
    assert len(reference.known) == train.num_snapshot == 26
    assert num_fold == NUM_FOLD
    run = starjax.load(crossed.path)
    description = out_of_distribution.describe_all(train, run.feature_keys, crossed_config.data.feature_clip)
    # Each training cluster is its own nearest neighbour: a threshold from those distances would be too small.
    among_known = reference.novelty(description)
    whitened = (description - reference.center) @ reference.whitening
    away = []
    for fold in range(NUM_FOLD):
        others = whitened[data.fold_N != fold]
        for one in whitened[data.fold_N == fold]:
            away.append(
                np.sort(np.linalg.norm(others - one, axis=1))[: out_of_distribution.NUM_NEIGHBOUR].mean()
            )
    threshold = calibration.quantile_of_groups(
        np.array(away), train.group, 1 - out_of_distribution.FALSE_ALARMS
    )
    assert reference.threshold == pytest.approx(threshold)
    assert among_known.max() < max(away) / threshold


@pytest.mark.weekly
def test_a_run_with_folds_resumes(crossed_config, crossed, capsys):
    train_and_test(crossed_config)
    assert "finished: nothing to do" in capsys.readouterr().out
    before = json.loads(crossed.test_metrics.read_text())
    answering = starjax.load(crossed.path).params
    crossed.test_metrics.unlink()
    crossed.fold(1).test_metrics.unlink()
    # As if the folds had been trained again since.
    with Checkpoints(crossed.checkpoints) as checkpoints:
        found = checkpoints.restore_last(abstract_arrays(crossed_config, devices.make_mesh()))
        checkpoints.clear()
        checkpoints.save(1, jax.tree.map(jnp.zeros_like, found.arrays), found.content)
    train_and_test(crossed_config)
    jax.tree.map(np.testing.assert_array_equal, starjax.load(crossed.path).params, answering)
    printed = capsys.readouterr().out
    assert printed.count("finished: nothing to do") == 1
    assert "fold 2 of 2 is left out (fold-1)" in printed
    assert json.loads(crossed.test_metrics.read_text()) == before
    other = ConfigDict(crossed_config.to_dict())
    other.optim.learning_rate = 0.1
    with pytest.raises(errors.StarjaxError, match=r"learning_rate: stored 0.003, given 0.1"):
        train_and_test(other.lock())


@pytest.mark.weekly
def test_a_damaged_whole_is_rebuilt_from_undamaged_folds(crossed_config, crossed, capsys):
    answering = starjax.load(crossed.path).params
    for path in (crossed.metrics, max(crossed.checkpoints.rglob("d/*"))):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    fold = crossed.fold(1).metrics
    content = fold.read_bytes()
    fold.write_bytes(content[:-1])
    with pytest.raises(RunDirectoryError, match=r"fold-1: metrics\.csv missing or changed"):
        train_and_test(crossed_config)
    assert crossed.test_metrics.exists()
    fold.write_bytes(content)
    train_and_test(crossed_config)
    assert capsys.readouterr().out.count("finished: nothing to do") == NUM_FOLD
    jax.tree.map(np.testing.assert_array_equal, starjax.load(crossed.path).params, answering)


@contextlib.contextmanager
def rewritten(run_dir, path, content):
    """A file of a finished run has other content within this block, and digests that agree with it."""
    before = {path: path.read_bytes() for path in [path, *run_dir.path.rglob(files.SUMS)]}
    path.write_text(content)
    for folder in run_dir.checkpoints.iterdir():
        files.write_sums(
            folder, [one for one in folder.rglob("*") if one.is_file() and one.name != files.SUMS]
        )
    integrity.mark_finished(run_dir, json.loads(run_dir.test_metrics.read_text()))
    try:
        yield
    finally:
        for one, original in before.items():
            one.write_bytes(original)


@pytest.mark.slow
def test_a_fold_that_left_out_other_simulations_than_now_is_refused(crossed_config, crossed):
    config, run_dir = run_config.fold_config(crossed_config, 0), crossed.fold(0)
    record, data = json.loads(run_dir.config.read_text()), splits(config)
    assert record["dataset"]["left_out"] == sorted(set(data.shards["val"].run_id))
    assert not set(record["dataset"]["left_out"]) & set(data.shards["train"].run_id)
    record["dataset"]["left_out"].pop()
    with (
        rewritten(run_dir, run_dir.config, json.dumps(record)),
        pytest.raises(RunDirectoryError, match="fold-0 left out other simulations"),
    ):
        read_fold(config, run_dir)


@pytest.mark.slow
def test_folds_with_a_failed_member_are_not_combined(crossed_config, crossed):
    config, run_dir = run_config.fold_config(crossed_config, 0), crossed.fold(0)
    last = max(run_dir.checkpoints.iterdir(), key=lambda folder: int(folder.name))
    path = last / "progress/metadata"
    content = path.read_text().replace('"is_failed": false', '"is_failed": true', 1)
    message = "fold-0: the loss of its member 0 was not finite"
    with (
        rewritten(run_dir, path, content),
        pytest.raises(cross_validation.CrossValidationError, match=message),
    ):
        read_fold(config, run_dir)


@pytest.mark.weekly
def test_a_prediction_of_a_fold_names_the_whole_run(crossed, capsys):
    for run_dir, is_part in ((crossed.fold(1), True), (crossed, False)):
        run = starjax.load(run_dir.path)
        prediction_summary.print_prediction(run.predict(member_list.EXAMPLE_FILE), run)
        said = f"one fold of {crossed.path}, with a part of its members"
        assert (said in capsys.readouterr().out) == is_part
