"""The out-of-distribution score: its false alarms, what it detects, and its file."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starjax.datasets import folds, shard
from starjax.datasets.load import SAMPLE_DIRECTORY, load_dataset
from starjax.datasets.shard_files import shard_path
from starjax.evaluation import calibration, out_of_distribution
from starjax.sampling import survey_selection

KEYS = ("y", "z", "vy", "vz", "log_L_L_sol")
TARGETS = ("time", "total_mass_within_2x_r_tidal")


@pytest.fixture(scope="module")
def sample():
    return load_dataset("sample", KEYS, TARGETS)


@pytest.fixture(scope="module")
def reference(sample):
    return out_of_distribution.fit_reference(
        sample.shards["train"], sample.shards["val"], sample.target_scalers, KEYS, 10.0
    )


def test_few_clusters_of_test_simulations_exceed_the_threshold(sample, reference):
    found = reference.novelty(out_of_distribution.describe_all(sample.shards["test"], KEYS, 10.0))
    assert 0.002 < np.mean(found > 1) < 0.15  # nominally 0.05, of twenty simulations


@pytest.mark.parametrize(
    "change",
    [
        lambda stars: stars * [3, 3, 1, 1, 1],  # three times wider
        lambda stars: stars * [1, 1, 5, 5, 1],  # five times as fast
        lambda stars: stars + np.array([0, 0, 0, 0, 1.5]),  # all stars brighter
        lambda stars: stars[stars[:, 4] > np.median(stars[:, 4])],  # the faint half is missing
    ],
    ids=["wide", "fast", "bright", "shallow"],
)
def test_clusters_unlike_the_training_set_exceed_the_threshold(sample, reference, change):
    test = sample.shards["test"]
    chosen = [i for i in range(0, test.num_snapshot, 5) if np.diff(test.ptr)[i] > 100]
    usual, changed = [], []
    for i in chosen:
        stars = test.feature[test.ptr[i] : test.ptr[i + 1]]
        usual.append(out_of_distribution.describe(stars, KEYS, 10.0))
        changed.append(out_of_distribution.describe(change(stars), KEYS, 10.0))
    before, after = reference.novelty(np.stack(usual)), reference.novelty(np.stack(changed))
    assert np.median(after) > max(1, 1.5 * np.median(before))


def test_summaries_depend_on_neither_order_nor_padding(sample):
    stars = sample.shards["val"].feature[:50]
    described = out_of_distribution.describe(stars, KEYS, 10.0)
    assert described.shape == (1 + 5 * len(out_of_distribution.QUANTILES),)
    np.testing.assert_allclose(out_of_distribution.describe(stars[::-1], KEYS, 10.0), described)
    assert described[0] == pytest.approx(np.log(50))
    mask = np.arange(80) % 2 == 0
    padded = np.full((80, 5), np.nan, np.float32)
    padded[mask] = stars[:40]
    expected = out_of_distribution.describe(stars[:40], KEYS, 10.0)
    for array in (np.asarray, jnp.asarray):
        found = out_of_distribution.describe(array(padded), KEYS, 10.0, array(mask))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_summaries_have_the_quantiles_of_numpy(sample):
    shift = np.array([True, True, True, True, False])
    for num in (1, 2, 7, 50):
        stars = sample.shards["val"].feature[:num].astype(np.float64)
        about_centre = np.clip(stars - np.where(shift, np.median(stars, axis=0), 0), -1.5, 1.5)
        expected = np.quantile(about_centre, out_of_distribution.QUANTILES, axis=0)
        found = out_of_distribution.describe(stars, KEYS, 1.5)[1:]
        np.testing.assert_allclose(found, expected.ravel(), rtol=1e-12, atol=1e-12)


def test_ranges_are_those_of_all_training_clusters(sample, reference, monkeypatch):
    monkeypatch.setattr(out_of_distribution, "MAX_REFERENCE", 100)
    few = out_of_distribution.fit_reference(
        sample.shards["train"], sample.shards["val"], sample.target_scalers, KEYS, 10.0
    )
    assert few.known.shape == (100, 36)
    raw = shard.load_shard(shard_path(SAMPLE_DIRECTORY, "raw", "train")).select(KEYS, TARGETS)
    # With a survey selection, of some of them: neighbours are among these, ranges are those of all.
    train = sample.shards["train"]
    selection = survey_selection.SurveySelection(KEYS.index("log_L_L_sol"), (-9.0, -9.0), (0.3, 0.3))
    selected = survey_selection.apply_to_shard(train, jax.random.key(0), selection, np.arange(100, 150))
    of_selected = out_of_distribution.fit_reference(
        selected, sample.shards["val"], sample.target_scalers, KEYS, 10.0, whole=train
    )
    assert of_selected.known.shape == (50, 36)
    for found in (few, of_selected, reference):
        assert found.range_of("num_star") == (np.diff(raw.ptr).min(), np.diff(raw.ptr).max())
        assert found.range_of("distance_pc") == (50, 600)
        for i, key in enumerate(TARGETS):
            assert found.range_of(key) == pytest.approx(
                (raw.target[:, i].min(), raw.target[:, i].max()), rel=1e-5, abs=1e-4
            )
    assert reference.range_of("metallicity") == (-np.inf, np.inf)


def test_snapshots_of_unknown_simulations_are_independent(sample):
    shards = {
        name: dataclasses.replace(s, run_id=None, distance_pc=None) for name, s in sample.shards.items()
    }
    found = out_of_distribution.fit_reference(
        shards["train"], shards["val"], sample.target_scalers, KEYS, 10.0
    )
    assert found.threshold > 0
    assert found.range_of("distance_pc") == (-np.inf, np.inf)


def test_with_folds_the_threshold_is_from_distances_to_other_folds(sample, monkeypatch):
    """Also if only some snapshots are kept."""
    monkeypatch.setattr(out_of_distribution, "MAX_REFERENCE", 150)
    whole = folds.all_folds(sample, 3, seed=0)
    train = whole.shards["train"]
    some = out_of_distribution.reference_snapshots(train.num_snapshot)
    selected = survey_selection.apply_to_shard(
        train, jax.random.key(0), survey_selection.SurveySelection(4, (-9.0, -9.0), (0.0, 0.0)), some
    )
    arguments = (train, sample.target_scalers, KEYS, 10.0)
    of_all, of_selected = (
        out_of_distribution.fit_reference(known, *arguments, whole=train, fold_N=whole.fold_N)
        for known in (train, selected)
    )
    assert of_selected.threshold == pytest.approx(of_all.threshold)
    # Distances to all other snapshots are smaller: those of the same simulation are near.
    nearest = np.sort(np.linalg.norm(of_all.known[:, None] - of_all.known, axis=-1), axis=1)
    among_all = nearest[:, 1 : 1 + out_of_distribution.NUM_NEIGHBOUR].mean(axis=1)
    threshold = calibration.quantile_of_groups(
        among_all, train.group[some], 1 - out_of_distribution.FALSE_ALARMS
    )
    assert of_all.threshold > threshold


def test_a_written_reference_is_read_back_and_a_damaged_one_is_an_error(reference, tmp_path, sample):
    path = tmp_path / "training_set.npz"
    out_of_distribution.save(path, reference)
    found = out_of_distribution.load(path)
    described = out_of_distribution.describe_all(sample.shards["val"], KEYS, 10.0, np.arange(3))
    np.testing.assert_array_equal(found.novelty(described), reference.novelty(described))
    assert found.range_keys == reference.range_keys
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"PK" + whole[2:200]):
        path.write_bytes(content)
        with pytest.raises(out_of_distribution.OutOfDistributionError, match=r"training_set\.npz.*restore"):
            out_of_distribution.load(path)
    path.unlink()
    with pytest.raises(out_of_distribution.OutOfDistributionError, match=r"training_set\.npz"):
        out_of_distribution.load(path)
