"""A split in several files reads the same as in one; missing, left-over and damaged files are named."""

import dataclasses
import os
import shutil
import tracemalloc
import zipfile

import numpy as np
import pytest

from starjax.datasets import mapped_arrays, shard, shard_files
from starjax.datasets.dataset import scale_lazily
from starjax.datasets.scalers import bundle
from starjax.datasets.shard_files import load_split

NUM_STAR = np.array([3, 0, 40, 1, 50, 25, 7, 2])
RANDOM = np.random.default_rng(5)
WHOLE = shard.Shard(
    feature=RANDOM.normal(size=(NUM_STAR.sum(), 3)).astype(np.float32),
    feature_keys=("x", "y", "z"),
    target=RANDOM.normal(size=(len(NUM_STAR), 2)).astype(np.float32),
    target_keys=("time", "mass"),
    ptr=np.cumsum([0, *NUM_STAR]),
    run_id=np.array([f"run{i // 3}" for i in range(len(NUM_STAR))]),
    time_myr=np.arange(len(NUM_STAR), dtype=np.float32),
)
# Limit for which WHOLE is cut into four files, of three, one, one and three snapshots.
MAX_BYTES = shard_files.HEADER_BYTES + 45 * 12 + 3 * 36


@pytest.fixture
def four(tmp_path):
    files = shard_files.write_shards(tmp_path, "raw", "train", WHOLE, MAX_BYTES)
    assert [file.name for file in files] == [f"raw-train-shard-0000{i}-of-00004.npz" for i in (1, 2, 3, 4)]
    return files


def check_equal(found, expected):
    for field in dataclasses.fields(shard.Shard):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        one = one[:] if isinstance(one, mapped_arrays.MappedColumns) else one
        np.testing.assert_array_equal(one, other)
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None)


def test_a_small_shard_is_one_file_as_numpy_writes_it(tmp_path):
    (file,) = shard_files.write_shards(tmp_path, "raw", "train", WHOLE, 2**20)
    assert file.name == "raw-train-shard.npz"
    arrays = {name: np.asarray(value) for name, value in vars(WHOLE).items() if value is not None}
    order = (*shard.ARRAYS, "run_id", "time_myr")
    np.savez(tmp_path / "numpy.npz", **{name: arrays[name] for name in order})
    assert file.read_bytes() == (tmp_path / "numpy.npz").read_bytes()


@pytest.mark.parametrize("mapped", [False, True])
def test_several_files_read_as_one_shard(tmp_path, four, mapped):
    assert all(file.stat().st_size <= MAX_BYTES for file in four)
    found = load_split(tmp_path, "raw", "train", mapped=mapped)
    assert isinstance(found.feature, mapped_arrays.MappedColumns) == mapped
    check_equal(found, WHOLE)


def test_slices_across_files(four):
    feature = shard.load_shards(four, mapped=True).select(("z", "x"), ("mass",)).feature
    expected = WHOLE.feature[:, [2, 0]]
    assert feature.shape == expected.shape
    for start in range(0, len(expected), 4):
        for stop in range(0, len(expected) + 1, 3):
            np.testing.assert_array_equal(feature[np.int64(start) : stop], expected[start:stop])
    np.testing.assert_array_equal(feature[-9:-2], expected[-9:-2])
    np.testing.assert_array_equal(feature.astype(np.float32), expected)
    for rows in (slice(0, 9, 2), 3, (slice(None), 0)):
        with pytest.raises(IndexError, match="on disk"):
            feature[rows]


def test_a_snapshot_larger_than_the_limit_has_its_own_file(tmp_path):
    files = shard_files.write_shards(tmp_path, "raw", "train", WHOLE, 1)
    assert len(files) == len(NUM_STAR)
    check_equal(shard.load_shards(files), WHOLE)


@pytest.mark.parametrize("mapped", [False, True])
def test_a_missing_file_is_named(tmp_path, four, mapped):
    four[1].unlink()
    with pytest.raises(shard.ShardError, match=r"lacks raw-train-shard-00002-of-00004\.npz, of 4 files"):
        load_split(tmp_path, "raw", "train", mapped=mapped)


@pytest.mark.parametrize("stale", ["raw-train-shard.npz", "raw-train-shard-00005-of-00005.npz"])
def test_files_of_different_builds_are_refused(tmp_path, four, stale):
    shutil.copy(four[0], tmp_path / stale)
    with pytest.raises(shard.ShardError, match=f"do not belong together.*{stale}"):
        load_split(tmp_path, "raw", "train")


@pytest.mark.parametrize("max_bytes", [1, 2**20])
def test_writing_removes_files_of_an_earlier_build(tmp_path, four, max_bytes):
    shutil.copy(four[0], tmp_path / "raw-train-shard-copy.npz")
    files = shard_files.write_shards(tmp_path, "raw", "train", WHOLE, max_bytes)
    assert {*tmp_path.glob("*.npz")} == {*files, tmp_path / "raw-train-shard-copy.npz"}


def test_damaged_files_are_named(four):
    whole = four[2].read_bytes()
    for mapped in (False, True):
        four[2].write_bytes(whole[: len(whole) // 2])
        with pytest.raises(shard.ShardError, match="00003-of-00004"):
            shard.load_shards(four, mapped=mapped)
        np.savez(
            four[2], **{name: vars(WHOLE)[name] for name in shard.ARRAYS} | {"feature_keys": ["x", "y", "u"]}
        )
        with pytest.raises(shard.ShardError, match=r"00003-of-00004.*feature_keys are x, y, u; in .*00001"):
            shard.load_shards(four, mapped=mapped)
    one = shard.load_shard(four[0])
    np.savez_compressed(four[2], **{name: vars(one)[name] for name in shard.ARRAYS})
    assert shard.load_shards(four).num_snapshot == len(NUM_STAR) - 1 + 3
    with pytest.raises(shard.ShardError, match=r"00003-of-00004.*compressed"):
        shard.load_shards(four, mapped=True)


def test_a_file_that_changes_in_use_is_noticed(four):
    feature = shard.load_shards(four, mapped=True).feature
    shard.save_shard(four[3], WHOLE)
    with pytest.raises(shard.ShardError, match=r"00004-of-00004.*changed"):
        feature[:]
    four[3].unlink()
    with pytest.raises(shard.ShardError, match=r"00004-of-00004.*cannot be read any more"):
        feature[:]


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "raw-train-shard.npz")
    with pytest.raises(shard.ShardError, match="is a pipe or a device"):
        load_split(tmp_path, "raw", "train", mapped=True)


def test_a_value_beyond_float32_is_named():
    columns = mapped_arrays.MappedColumns([np.array([[1e300]])], ["a.npz"], (0,))
    with pytest.raises(shard.ShardError, match=r"a\.npz: feature 0 is inf in row 0"):
        columns[:]


def test_a_value_that_is_not_finite_is_named_with_its_row(four):
    feature = np.array(WHOLE.feature)
    feature[50, 1] = np.nan  # row 6 of the third file
    shard.save_shard(four[2], dataclasses.replace(WHOLE, feature=feature), slice(4, 5))
    with pytest.raises(shard.ShardError, match=r"00003-of-00004.*feature 1 is nan in row 6"):
        shard.load_shards(four, mapped=True).feature[:]


def sparse_shard(path, num_star):
    """Write a shard of zeros, the last value 7, as a sparse file that takes hardly any disk space."""
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("feature.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "<f4", "fortran_order": False, "shape": (num_star, 1)}
            )
            archive.fp.seek(4 * num_star - 4, 1)
            archive.fp.write(np.float32(7).tobytes())
            file._file_size += 4 * num_star
        arrays = {"feature_keys": ["x"], "target": np.ones((2, 1), np.float32), "target_keys": ["time"]}
        arrays["ptr"] = np.array([0, num_star - 3, num_star])
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array))


def test_beyond_32_bits(tmp_path):
    files, num_star = [tmp_path / "a.npz", tmp_path / "b.npz"], 2**31 + 5
    for file in files:
        sparse_shard(file, num_star)
        assert file.stat().st_blocks * 512 < 2**20 < file.stat().st_size
    found = shard.load_shards(files, mapped=True)
    assert found.feature.shape == (2 * num_star, 1)
    assert found.ptr.tolist() == [0, num_star - 3, num_star, 2 * num_star - 3, 2 * num_star]
    for first in (found.ptr[1], found.ptr[3]):
        assert found.feature[first : first + 3].ravel().tolist() == [0, 0, 7]
    around = found.feature[num_star - 2 : num_star + 2]
    assert around.ravel().tolist() == [0, 7, 0, 0]
    cuts = shard_files.cut_shard(found, 2**33)
    assert [(c.start, c.stop) for c in cuts] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    shard.save_shard(tmp_path / "end.npz", found, slice(3, 4))
    assert shard.load_shard(tmp_path / "end.npz").feature.ravel().tolist() == [0, 0, 7]


def peak_bytes(folder, num_star):
    """Return the peak memory of fitting, scaling and writing a split in several files [bytes]."""
    folder.mkdir()
    feature = RANDOM.normal(size=(num_star, 6)).astype(np.float32)
    whole = shard.Shard(
        feature, tuple("xyzuvw"), np.ones((num_star // 1000, 1)), ("time",), np.arange(0, num_star + 1, 1000)
    )
    files = shard_files.write_shards(folder, "raw", "train", whole, feature.nbytes // 3)
    del feature, whole
    tracemalloc.start()
    raw = shard.load_shards(files, mapped=True)
    groups = [(("x", "y", "z"), "robust"), (("u", "v"), "quantile"), (("w",), "standard")]
    scalers = bundle.fit_bundle(raw.feature, raw.feature_keys, groups)
    targets = bundle.fit_bundle(raw.target, raw.target_keys, [(("time",), "minmax")])
    scaled = scale_lazily(raw, scalers, targets)
    assert len(shard_files.write_shards(folder, "scaled", "train", scaled, 3 * num_star)) > 3
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_is_bounded_by_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped_arrays, "ROWS_PER_BLOCK", 2**12)
    peak_bytes(tmp_path / "first", 20_000)  # imports
    small, large = peak_bytes(tmp_path / "small", 100_000), peak_bytes(tmp_path / "large", 500_000)
    # The data take 12 MB and would take 24 MB in float64; most of the peak are the counts of the quantiles.
    assert large < 1.1 * small + 2**20
