"""The packaged clusters are made as their data card says, and the card is up to date."""

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from starjax.datasets import shard_files
from starjax.datasets.load import CLUSTERS_DIRECTORY, load_dataset
from starjax.datasets.shard import Shard, ShardError
from starjax.datasets.split_manifest import SPLITS, load_manifest
from starjax.io import files
from tools import clusters_card, make_clusters_data_set

FEATURES = (
    *("x", "y", "z", "vx", "vy", "vz", "mass", "log_L_L_sol", "log_T_eff_K", "log_R_R_sol", "stellar_type"),
    *("abs_mag_g", "abs_mag_bp", "abs_mag_rp", "semi_major_axis_au"),
)
# Stars of the archive that the packaged files are from, with those that give no light.
NUM_SOURCE = 2_383_616


def archive(num_run=12, num_snapshot=3, num_star=40):
    """Return an archive of random stars; in each snapshot three binaries, one of them with a black hole."""
    random = np.random.default_rng(0)
    num_row = num_run * num_snapshot
    feature = random.normal(size=(num_row, num_star, len(FEATURES))).astype(np.float32)
    column = {key: feature[..., i] for i, key in enumerate(FEATURES)}
    companion = np.full((num_row, num_star), -1, np.int32)
    column["stellar_type"][:] = 1
    column["semi_major_axis_au"][:] = 0
    column["mass"][:] = random.uniform(0.1, 5, (num_row, num_star))
    for number, (one, other) in enumerate(((0, 5), (7, 2), (9, 3))):
        companion[:, one], companion[:, other] = other, one
        column["semi_major_axis_au"][:, [one, other]] = 1 + number
    column["stellar_type"][:, 3] = 14
    column["abs_mag_g"][:, 3] = 99
    column["stellar_type"][:, 20] = 13  # has a magnitude
    time = np.tile(10.0 * np.arange(num_snapshot), num_run)
    z = np.repeat(np.where(np.arange(num_run) % 2, 0.014, 0.02), num_snapshot)
    r_tidal = random.uniform(5, 10, num_row)
    return {
        "feature": feature.reshape(-1, len(FEATURES)),
        "feature_keys": np.array(FEATURES),
        "companion": companion.ravel(),
        "ptr": num_star * np.arange(num_row + 1),
        "target": np.stack([time, column["mass"].sum(1)], axis=1).astype(np.float32),
        "target_keys": np.array(["time", "total_mass_within_2x_r_tidal"]),
        "header": np.stack([r_tidal, z, np.full(num_row, 8.5)], axis=1).astype(np.float32),
        "header_keys": np.array(["r_tidal", "metallicity", "galactocentric_radius_kpc"]),
        "run_id": np.repeat([f"r{i}" for i in range(num_run)], num_snapshot),
    }


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9),
    st.sampled_from([(2**-8, 0.0), (0.0, 2**-10), (2**-8, 2**-10), (1.0, 0.0)]),
)
@example([5e-324], (0.0, 2**-10))
def test_rounding_errors_are_within_their_limits(values, limits):
    step, relative = limits
    values = np.array(values)
    rounded = make_clusters_data_set.round_values(values, step, relative)
    assert (np.abs(rounded - values) <= np.maximum(step / 2, relative * np.abs(values))).all()
    np.testing.assert_array_equal(make_clusters_data_set.round_values(rounded, step, relative), rounded)
    np.testing.assert_array_equal(make_clusters_data_set.round_values(-values, step, relative), -rounded)
    assert not np.signbit(rounded[rounded == 0]).any()


def test_stars_are_ordered_by_system():
    # Snapshot 0: a binary whose fainter star comes first, and a single star of a brightness between theirs;
    # snapshot 1: a binary of which one is dropped, and one of equal stars.
    magnitude = np.array([9.0, 5.0, 4.0, 1.0, 8.0, 3.0, 3.0])
    companion = np.array([2, -1, 0, 1, 0, 3, 2])
    is_kept = np.array([True, True, True, False, True, True, True])
    order, kind = make_clusters_data_set.order_stars(magnitude, companion, is_kept, np.array([0, 3, 7]))
    assert order.tolist() == [2, 0, 1, 5, 6, 4]
    assert kind.tolist() == [1, -1, 0, 1, -1, 0]


def test_a_shard_has_what_the_archive_has():
    source = archive()
    whole = make_clusters_data_set.make_shard(source)
    assert np.diff(whole.ptr).tolist() == [38] * 36
    assert whole.target_keys == ("time", "total_mass_within_2x_r_tidal", "r_tidal")
    np.testing.assert_array_equal(whole.target[:, :2], source["target"])
    np.testing.assert_array_equal(whole.target[:, 2], source["header"][:, 0])
    column = dict(zip(whole.feature_keys, whole.feature[:38].T, strict=True))
    assert np.count_nonzero(column["companion"]) == 4
    assert set(column["semi_major_axis_au"]) == {0, 1, 2}
    kept = np.delete(source["feature"][:40], [3, 20], axis=0)
    for key, position in (("abs_mag_g", 11), ("vx", 3)):
        assert np.sort(column[key]) == pytest.approx(np.sort(kept[:, position]), abs=0.008)
    assert np.sort(column["bp_rp_0"]) == pytest.approx(np.sort(kept[:, 12] - kept[:, 13]), abs=0.002)


def test_small_snapshots_are_left_out_and_bad_values_refused():
    source = archive(num_star=40)
    source["feature"][10:40, FEATURES.index("stellar_type")] = 14
    assert make_clusters_data_set.make_shard(source).num_snapshot == 35
    source["feature"][101, 0] = np.nan
    with pytest.raises(ShardError, match="the archive: feature x is nan"):
        make_clusters_data_set.make_shard(source)


def test_the_command_makes_the_same_bytes_each_time(tmp_path, capsys, monkeypatch):
    source = archive()
    source["target"][:, 0] *= 40  # the data card has a figure of clusters beyond 700 Myr
    np.savez(tmp_path / "source.npz", **source)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        make_clusters_data_set.main([f"--source={tmp_path / 'source.npz'}", f"--out={folder}"])
        assert "with 36 snapshots and 1368 stars" in capsys.readouterr().out
    names = sorted(path.name for path in folders[0].iterdir())
    assert names == sorted(path.name for path in CLUSTERS_DIRECTORY.iterdir())
    assert all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in names)
    manifest = load_manifest(folders[0] / "split.json")
    data = load_dataset(str(folders[0]), ("x", "companion"), ("time",))
    assert all(data.shards[split].simulations == manifest[split] for split in SPLITS)
    # Half of the simulations have each metallicity: so do those of each split, as far as possible.
    of_test = [int(run_id[1:]) % 2 for run_id in manifest["test"]]
    assert abs(2 * sum(of_test) - len(of_test)) <= 1
    monkeypatch.setattr(make_clusters_data_set, "MAX_BYTES", 10_000)
    with pytest.raises(SystemExit, match="more than 10000: round more coarsely"):
        make_clusters_data_set.main([f"--source={tmp_path / 'source.npz'}", f"--out={folders[0]}"])


@pytest.fixture(scope="module")
def packaged() -> dict[str, Shard]:
    """The packaged raw shards."""
    return {split: shard_files.load_split(CLUSTERS_DIRECTORY, "raw", split) for split in SPLITS}


def test_the_packaged_card_is_up_to_date(packaged):
    manifest = files.read_json(CLUSTERS_DIRECTORY / "split.json")
    card = clusters_card.make_card(packaged, manifest["simulations"], NUM_SOURCE)
    assert (CLUSTERS_DIRECTORY / "README.md").read_text(encoding="utf-8") == card


def test_the_packaged_splits_are_those_of_the_command(packaged):
    """The order of simulations in the archive does not matter."""
    manifest = files.read_json(CLUSTERS_DIRECTORY / "split.json")
    ones = list(packaged.values())
    whole = dataclasses.replace(
        ones[0],
        target=np.concatenate([one.target for one in ones]),
        run_id=np.concatenate([one.run_id for one in ones]),
    )
    found = make_clusters_data_set.make_manifest(whole, manifest["simulations"])
    # Processors differ in the last digit of logarithms.
    for split, of_split in found.pop("wasserstein_distance_from_train").items():
        assert of_split == pytest.approx(manifest["wasserstein_distance_from_train"][split], rel=1e-5)
    assert found.items() <= manifest.items()
