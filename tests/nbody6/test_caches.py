"""Real caches are read as specified; unusable ones are named."""

import joblib
import numpy as np
import pandas as pd
import pytest

from starjax.nbody6 import caches
from starjax.runtime import paths

RUN = "Rad12-zmet0002-M8-0088"
FEATURES = ("x", "vx", "log_L_L_sol")
TARGETS = ("time", "total_mass_within_2x_r_tidal")


def read(path, features=FEATURES, targets=TARGETS, min_stars=10, skip_bad=False, **bounds):
    return caches.read_simulation(
        path, RUN, caches.Selection(features, targets, min_stars, skip_bad, **bounds)
    )


@pytest.fixture
def cache(caches_folder):
    """Return the content of a real obs cache, which a test may change."""
    return joblib.load(caches_folder / f"{RUN}-obs.joblib")


def write(folder, content, kind="obs"):
    path = folder / f"{RUN}-{kind}.joblib"
    joblib.dump(content, path, compress=3)
    return path


def test_an_obs_cache_has_every_time_at_every_position(caches_folder, cache):
    shard = read(caches_folder / f"{RUN}-obs.joblib").shard
    snapshots = [snapshot for times in cache.values() for snapshot in times.values()]
    assert shard.num_snapshot == len(snapshots) == 15
    np.testing.assert_array_equal(np.unique(shard.distance_pc), [50, 200, 600])
    for i, snapshot in enumerate(snapshots):
        stars = snapshot["stars"].query("is_within_2x_r_tidal")
        rows = shard.feature[shard.ptr[i] : shard.ptr[i + 1]]
        np.testing.assert_array_equal(rows, stars[list(FEATURES)].to_numpy(np.float32))
        expected = [snapshot["header"]["time"], snapshot["header"]["total_mass_within_2x_r_tidal"]]
        np.testing.assert_array_equal(shard.target[i], np.float32(expected))


def test_a_raw_cache_has_no_position(caches_folder):
    shard = read(caches_folder / f"{RUN}-raw.joblib").shard
    assert shard.num_snapshot == 5
    assert np.isnan(shard.distance_pc).all()


def test_obs_is_preferred_to_raw_and_simulations_are_sorted(caches_folder):
    found = caches.find_caches(caches_folder)
    assert list(found) == sorted(found)
    assert len(found) == 6
    assert found[RUN].name == f"{RUN}-obs.joblib"


def test_a_simulation_with_two_caches_is_refused(tmp_path, cache):
    (tmp_path / "again").mkdir()
    write(tmp_path, cache), write(tmp_path / "again", cache)
    with pytest.raises(caches.CacheError, match=f"{RUN} has two caches"):
        caches.find_caches(tmp_path)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(caches.CacheError, match="contains no cache"):
        caches.find_caches(tmp_path)


def test_small_and_unflagged_snapshots_do_not_enter(tmp_path, cache):
    times = cache[50, 0, 0]
    first, second, third, *_ = times
    times[first]["stars"] = times[first]["stars"].head(9)
    times[second]["stars"] = times[second]["stars"].drop(columns="is_within_2x_r_tidal")
    times[third]["stars"] = times[third]["stars"].assign(is_within_2x_r_tidal=False)
    found = read(write(tmp_path, cache))
    assert found.num_too_few == 3
    assert found.shard.num_snapshot == 12


def spoil(name):
    def dropped(stars):
        return stars.drop(columns="vx")

    def nan(stars):
        return stars.assign(vx=stars["vx"].where(stars.index != stars.index[3]))

    def infinite(stars):
        return stars.assign(vx=np.inf)

    def too_large_for_float32(stars):
        return stars.assign(vx=1e300)

    def text(stars):
        return stars.assign(vx="fast")

    def twice(stars):
        return pd.concat([stars, stars["vx"]], axis=1)

    def flag_twice(stars):
        return pd.concat([stars, stars["is_within_2x_r_tidal"]], axis=1)

    return locals()[name]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("dropped", "no column vx"),
        ("nan", "1 values that are not finite in column vx"),
        ("infinite", "not finite in column vx"),
        ("too_large_for_float32", "not finite in column vx"),
        ("text", "instead of numbers in column vx"),
        ("twice", "more than one column vx"),
        ("flag_twice", "more than one column is_within_2x_r_tidal"),
    ],
)
def test_a_bad_column_is_named_with_file_and_snapshot(tmp_path, cache, how, said):
    time = list(cache[200, 0, 0])[2]
    snapshot = cache[200, 0, 0][time]
    snapshot["stars"] = spoil(how)(snapshot["stars"])
    path = write(tmp_path, cache)
    with pytest.raises(caches.CacheError, match=said) as caught:
        read(path)
    assert f"{path}: snapshot {time} Myr at position (200, 0, 0) pc" in str(caught.value)
    found = read(path, skip_bad=True)
    assert found.shard.num_snapshot == 14
    assert found.skipped == (str(caught.value),)


def test_a_membership_flag_that_is_not_boolean_is_refused(tmp_path, cache):
    stars = cache[50, 0, 0][next(iter(cache[50, 0, 0]))]["stars"]
    stars["is_within_2x_r_tidal"] = stars["is_within_2x_r_tidal"].astype(object).where(stars.index != 2)
    with pytest.raises(caches.CacheError, match="instead of booleans in column is_within_2x_r_tidal"):
        read(write(tmp_path, cache))


def test_a_nan_in_another_column_is_ignored(tmp_path, cache):
    for times in cache.values():
        for snapshot in times.values():
            snapshot["stars"]["rv_kms"] = np.nan
    assert read(write(tmp_path, cache)).shard.num_snapshot == 15


def test_a_bad_target_is_named(tmp_path, cache):
    time = next(iter(cache[50, 0, 0]))
    cache[50, 0, 0][time]["header"]["r_tidal"] = float("nan")
    path = write(tmp_path, cache)
    with pytest.raises(caches.CacheError, match="r_tidal=nan"):
        read(path, targets=("r_tidal",))
    with pytest.raises(caches.CacheError, match=r"density_center=\("):
        read(path, targets=("density_center",))
    with pytest.raises(caches.CacheError, match="has no metallicity in its header"):
        read(path, targets=("metallicity",))


@pytest.mark.parametrize(
    ("key", "value", "bound"),
    [
        ("total_mass_within_2x_r_tidal", 0.0, 0.0),
        ("total_mass_within_2x_r_tidal", -1.0, 0.0),
        ("total_mass_within_2x_r_tidal", 1e-60, 0.0),
        ("r_tidal", -1.0, -1.0),
    ],
)
def test_a_target_without_a_logarithm_is_named_or_left_out(tmp_path, cache, key, value, bound):
    time, snapshot = next(iter(cache[50, 0, 0].items()))
    snapshot["header"] = snapshot["header"] | {key: value}  # other positions share the header
    path = write(tmp_path, cache)
    with pytest.raises(caches.CacheError, match=rf"{key}={value} .* since its logarithm is taken$") as caught:
        read(path, targets=(key,), lower_bounds={key: bound})
    assert f"{path}: snapshot {time} Myr at position (50, 0, 0) pc" in str(caught.value)
    found = read(path, targets=(key,), skip_bad=True, lower_bounds={key: bound})
    assert found.skipped == (str(caught.value),)
    assert found.shard.num_snapshot == 14


@pytest.mark.parametrize("name", ["caf\udce9", "a\nb"])
def test_the_name_of_a_cache_that_no_table_can_contain_is_refused(tmp_path, name):
    (tmp_path / f"{name}-obs.joblib").touch()
    with pytest.raises(paths.PathError, match="rename it"):
        caches.find_caches(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "contains a list instead of a dict"),
        ({(50, 0, 0): [1]}, r"position \(50, 0, 0\) has a list instead of a dict of snapshots"),
        ({(50, 0, 0): {1.0: {"time": 1.0}}}, "should have a dict as header, has NoneType"),
        ({(50, 0, 0): {1.0: {"time": 1.0, "header": {}, "stars": 3}}}, "should have a DataFrame as stars"),
        ({(50, 0, 0): {1.0: {"time": None}}}, "should have a number as time"),
        ({(50, 0, 0): {1.0: 7}}, "should have a number as time"),
        ({"near": {}}, "a position should be three numbers"),
        ({}, "no snapshot is left of 0"),
        (
            {(50, 0, 0): {1.0: {"time": 1.0, "header": {}, "stars": pd.DataFrame({"x": [1.0]})}}},
            "no snapshot is left of 1",
        ),
    ],
)
def test_content_that_is_not_a_cache_is_refused_by_name(tmp_path, content, said):
    path = write(tmp_path, content)
    with pytest.raises(caches.CacheError, match=said) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_a_damaged_file_is_refused_by_name(tmp_path, caches_folder):
    whole = (caches_folder / f"{RUN}-obs.joblib").read_bytes()
    path = tmp_path / f"{RUN}-obs.joblib"
    for content in (b"", whole[:1000], whole[:-20], b"\0" * 100):
        path.write_bytes(content)
        with pytest.raises(caches.CacheError, match=RUN):
            read(path)
