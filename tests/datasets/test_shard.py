"""Shards are written completely, and checked when they are read."""

import dataclasses
import itertools

import numpy as np
import pytest

from starjax.datasets import shard
from starjax.datasets.dataset import BUNDLES, DatasetError
from starjax.datasets.load import PACKAGED, SAMPLE_DIRECTORY, load_dataset
from starjax.datasets.scalers import bundle
from starjax.datasets.scalers.fit import fit_scaler
from starjax.datasets.shard_files import shard_path

WHOLE = shard.Shard(
    feature=np.arange(10, dtype=np.float32).reshape(5, 2),
    feature_keys=("x", "y"),
    target=np.ones((2, 1), np.float32),
    target_keys=("time",),
    ptr=np.array([0, 3, 5]),
)


def test_a_shard_is_read_as_it_was_written(tmp_path):
    full = dataclasses.replace(WHOLE, run_id=np.array(["a", "b"]), time_myr=np.array([1.0, 2.0], np.float32))
    shard.save_shard(tmp_path / "s.npz", full)
    found = shard.load_shard(tmp_path / "s.npz")
    for field in dataclasses.fields(shard.Shard):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(full, field.name))
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]


def test_files_of_the_reference_implementation_are_read(golden_folder):
    found = shard.load_shard(golden_folder / "raw-train-shard.npz")
    assert found.num_snapshot == 48
    assert found.run_id is None


def test_select_orders_columns_as_named():
    chosen = WHOLE.select(("y", "x"), ("time",))
    np.testing.assert_array_equal(chosen.feature, WHOLE.feature[:, ::-1])
    with pytest.raises(shard.ShardError, match="no mass; it has time"):
        WHOLE.select(("x",), ("mass",))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"feature": np.ones((5, 3), np.float32)}, "feature should be"),
        ({"feature": np.ones((5, 2), int)}, "feature should be"),
        ({"target": np.ones((3, 1), np.float32)}, "target should be"),
        ({"ptr": np.array([0, 3, 4])}, "ptr should rise"),
        ({"ptr": np.array([0, 6, 5])}, "ptr should rise"),
        ({"ptr": np.array([0, 6, 5], np.uint64)}, "ptr should rise"),
        ({"target_keys": np.array("mass"), "target": np.ones((2, 2), np.float32)}, "target should be"),
        ({"ptr": np.array([1, 3, 5])}, "ptr should rise"),
        ({"feature_keys": np.array(["x", "x"])}, "feature_keys has a name more than once: x, x"),
        ({"ptr": np.array([0.0, 3.0, 5.0])}, "ptr should be"),
        ({"run_id": np.array(["a"])}, "run_id should be"),
        (
            {"feature": np.where(np.arange(10).reshape(5, 2) == 7, np.nan, 1).astype(np.float32)},
            "feature y is nan in row 3",
        ),
        ({"target": np.array([[1.0], [np.inf]], np.float32)}, "target time is inf in row 1"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(tmp_path, change, said):
    values = dataclasses.asdict(WHOLE) | change
    path = tmp_path / "s.npz"
    np.savez(path, **{name: value for name, value in values.items() if value is not None})
    with pytest.raises(shard.ShardError, match=said) as caught:
        shard.load_shard(path)
    assert str(path) in str(caught.value)


@pytest.mark.slow
def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "s.npz"
    shard.save_shard(path, WHOLE)
    whole = path.read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(shard.ShardError, match=r"s\.npz"):
            shard.load_shard(path)
    np.savez_compressed(path, **{name: getattr(WHOLE, name) for name in shard.ARRAYS})
    for position, bit in itertools.product(range(path.stat().st_size), range(8)):
        damaged = bytearray(path.read_bytes())
        damaged[position] ^= 1 << bit
        (tmp_path / "d.npz").write_bytes(damaged)
        try:
            shard.load_shard(tmp_path / "d.npz")
        except shard.ShardError as error:
            assert "d.npz" in str(error)  # noqa: PT017 - a flipped bit may also change nothing
    # An entry that says it is compressed by lzma, and a bare array instead of an archive.
    directory = whole.index(b"PK\x01\x02")
    path.write_bytes(whole[:8] + b"\x0e" + whole[9 : directory + 10] + b"\x0e" + whole[directory + 11 :])
    with pytest.raises(shard.ShardError, match=r"s\.npz"):
        shard.load_shard(path)
    np.save(tmp_path / "s.npy", np.ones(3))
    with pytest.raises(shard.ShardError, match=r"s\.npy"):
        shard.load_shard(tmp_path / "s.npy")
    np.savez(path, feature=np.ones(3))
    with pytest.raises(shard.ShardError, match="has no arrays feature_keys"):
        shard.load_shard(path)
    np.savez(path, feature=np.array([{}], dtype=object))
    with pytest.raises(shard.ShardError):
        shard.load_shard(path)


@pytest.mark.parametrize("mapped", [False, True])
def test_damaged_files_that_are_not_compressed_are_refused(tmp_path, mapped):
    path, damaged_path = tmp_path / "s.npz", tmp_path / "d.npz"
    shard.save_shard(path, WHOLE)
    whole = path.read_bytes()
    # In turn a bit of the byte, and all from it on: a header that breaks off is no Python any more.
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        damaged_path.write_bytes(damaged if position % 2 else whole[:position])
        try:
            shard.load_shard(damaged_path, mapped=mapped).feature[:]
        except shard.ShardError as error:
            assert "d.npz" in str(error)  # noqa: PT017 - a flipped bit may also change nothing


def test_the_packaged_sample_agrees_with_its_data_card():
    sample = load_dataset("sample", ("x", "vx"), ("time",))
    assert [sample.shards[s].num_snapshot for s in ("train", "val", "test")] == [1221, 264, 385]
    train, val, test = (set(sample.shards[s].run_id) for s in ("train", "val", "test"))
    assert [len(train), len(val), len(test)] == [74, 19, 20]
    assert not train & val | train & test | val & test
    card = (SAMPLE_DIRECTORY / "README.md").read_text()
    assert "CC-BY-4.0" in card


@pytest.mark.parametrize("folder", PACKAGED.values(), ids=PACKAGED)
def test_the_packaged_scalers_are_fitted_to_the_training_shard(folder):
    raw = shard.load_shard(shard_path(folder, "raw", "train"))
    packaged = bundle.load_bundle(folder / BUNDLES["feature"])
    assert packaged.keys == raw.feature_keys
    for keys, kept in packaged.groups:
        columns = [raw.feature_keys.index(key) for key in keys]
        assert fit_scaler(kept.method, raw.feature[:, columns]).params == pytest.approx(kept.params)


def test_a_missing_data_set_is_named():
    with pytest.raises(
        DatasetError, match=r"'nowhere': there is no folder /.*/nowhere: .*'sample' or 'clusters'"
    ):
        load_dataset("nowhere", ("x",), ("time",))
