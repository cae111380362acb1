"""Training and validation simulations are partitioned into folds."""

import dataclasses
import shutil

import numpy as np
import pytest

from starjax.datasets import folds, shard
from starjax.datasets.dataset import DatasetError
from starjax.datasets.load import load_dataset
from starjax.datasets.mapped_arrays import MappedColumns
from starjax.datasets.shard_files import shard_path


@pytest.fixture(scope="module")
def sample():
    return load_dataset("sample", ("x", "log_L_L_sol"), ("time",))


def stars_by_snapshot(shard):
    """Return the stars of each snapshot, by simulation, time and distance."""
    key = zip(shard.run_id.tolist(), shard.target[:, 0].tolist(), shard.distance_pc.tolist(), strict=True)
    return dict(zip(key, np.split(shard.feature, shard.ptr[1:-1]), strict=True))


def test_each_simulation_is_in_one_fold_with_all_its_snapshots(sample):
    before = stars_by_snapshot(sample.shards["train"]) | stars_by_snapshot(sample.shards["val"])
    validated = {}
    for number in range(5):
        found = folds.one_fold(sample, number, 5, seed=3).shards
        train, val = (stars_by_snapshot(found[split]) for split in ("train", "val"))
        assert {run_id for run_id, *_ in train}.isdisjoint(run_id for run_id, *_ in val)
        assert len({run_id for run_id, *_ in val}) in (18, 19)
        assert {*train, *val} == {*before}
        assert validated.keys().isdisjoint(val)
        validated |= val
        assert found["test"] is sample.shards["test"]
        for key, stars in {**train, **val}.items():
            np.testing.assert_array_equal(stars, before[key])
    assert validated.keys() == before.keys()


def test_all_folds_are_the_concatenation_of_each_fold(sample):
    whole = folds.all_folds(sample, 4, seed=1)
    assert whole.shards["train"] is whole.shards["val"]
    for number in range(4):
        fold = folds.one_fold(sample, number, 4, seed=1).shards["val"]
        rows = np.flatnonzero(whole.fold_N == number)
        assert np.ptp(rows) == len(rows) - 1
        np.testing.assert_array_equal(whole.shards["val"].run_id[rows], fold.run_id)
        np.testing.assert_array_equal(whole.shards["val"].take(rows).feature, fold.feature)


def test_the_seed_determines_the_partition(sample):
    first, again, other = (folds.one_fold(sample, 0, 5, seed).shards["val"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.run_id, again.run_id)
    assert {*first.run_id} != {*other.run_id}


@pytest.mark.parametrize("split", ["train", "val"])
def test_unknown_simulations_are_refused(sample, split):
    """Snapshots of one simulation might otherwise both train and validate."""
    nameless = dataclasses.replace(sample.shards[split], run_id=None)
    data = dataclasses.replace(sample, shards=sample.shards | {split: nameless})
    with pytest.raises(DatasetError, match=f"the {split} shard does not name the simulation"):
        folds.all_folds(data, 5, seed=0)


def test_folds_of_mapped_columns_are_the_same(tmp_path, small):
    for path in small.iterdir():
        shutil.copy(path, tmp_path)
    raw = load_dataset(str(small), ("x", "y", "log_L_L_sol"), ("time",))
    for split, one in raw.shards.items():
        shard.save_shard(shard_path(tmp_path, "scaled", split), one)
    mapped = load_dataset(str(tmp_path), ("log_L_L_sol", "x"), ("time",), mapped=True)
    assert isinstance(mapped.shards["train"].feature, MappedColumns)
    found = folds.one_fold(mapped, 1, 4, seed=0).shards
    expected = folds.one_fold(raw, 1, 4, seed=0).shards
    for split in ("train", "val"):
        np.testing.assert_array_equal(found[split].feature, expected[split].feature[:, [2, 0]])


def test_more_folds_than_simulations_are_refused(small):
    data = load_dataset(str(small), ("x",), ("time",))
    num_simulation = len({*data.shards["train"].run_id, *data.shards["val"].run_id})
    with pytest.raises(DatasetError, match=f"{num_simulation} simulations, too few for 99 folds"):
        folds.one_fold(data, 0, 99, seed=0)
