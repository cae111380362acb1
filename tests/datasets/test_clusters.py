"""The packaged clusters: order of rows, values of the simulations, splits, and loading by name."""

import json

import numpy as np
import pytest

from starjax import quantities
from starjax.datasets import shard, shard_files
from starjax.datasets.load import CLUSTERS_DIRECTORY, load_dataset
from starjax.datasets.split_manifest import SPLITS, load_manifest

KEYS = (
    *("x", "y", "z", "vx", "vy", "vz", "mass", "log_L_L_sol", "log_T_eff_K", "log_R_R_sol"),
    *("abs_mag_g", "bp_rp_0", "abs_mag_rp", "semi_major_axis_au", "companion"),
)
# Largest errors of rounding (absolute, relative) by the data card; the larger one counts.
ERRORS = {
    **dict.fromkeys(("x", "y", "z"), (0.002, 1 / 1024)),
    **dict.fromkeys(("vx", "vy", "vz"), (0.0079, 0)),
    **dict.fromkeys(("mass",), (0, 1 / 1024)),
    **dict.fromkeys(("log_L_L_sol", "log_R_R_sol", "abs_mag_g", "bp_rp_0", "abs_mag_rp"), (0.002, 0)),
    **dict.fromkeys(("log_T_eff_K",), (0.0005, 0)),
    **dict.fromkeys(("semi_major_axis_au",), (0, 1 / 128)),
    **dict.fromkeys(("companion",), (0, 0)),
}
# Of three snapshots, as in the archive of the simulations: split, simulation, number of the snapshot, number
# of stars; targets; the brightest star, its companion, and a faint single star.
GOLDEN = [
    (
        ("train", "r105", 22, 167),
        (200.444397, 91.517998, 5.248210),
        (
            *(-0.609741, 0.0931702, 1.43616, -2.58569, 2.84863, 0.146805, 3.99097, 2.96191, 3.67993, 1.64001),
            *(-2.61035, -2.10547 + 3.26733, -3.26733, 13.4453, 1),
        ),
        (
            *(-0.609802, 0.093132, 1.43604, 5.6543, -5.94775, 0.113075, 1.83801, 1.13, 3.94409, 0.197006),
            *(1.9563, 1.98401 - 1.9054, 1.9054, 13.4453, -1),
        ),
        (
            *(0.384827, -1.56677, 0.569885, 0.120354, -0.29776, -0.0313034, 0.0920029, -3.1499, 3.39795),
            *(-0.851013, 15.0225, 18.5898 - 13.4873, 13.4873, 0, 0),
        ),
    ),
    (
        ("val", "r126", 2, 211),
        (35.296597, 114.172997, 6.397481),
        (
            *(
                0.0434036,
                -0.170044,
                -0.027668,
                2.78491,
                3.88208,
                0.392365,
                8.66113,
                4.18506,
                4.03223,
                1.54895,
            ),
            *(-5.30811, -5.33789 + 5.26416, -5.26416, 13.918, 1),
        ),
        (
            *(0.043354, -0.169983, -0.0276165, -6.24316, -10.582, 0.586304, 3.19702, 2.08911, 4.13379),
            *(0.296997, 0.475647, 0.409576 - 0.599609, 0.599609, 13.918, -1),
        ),
        (
            *(-1.79956, -0.846069, 1.88452, 0.097908, -0.0981064, -0.24823, 0.0849991, -3.26196, 3.36206),
            *(-0.835999, 15.2031, 18.8047 - 13.6787, 13.6787, 0, 0),
        ),
    ),
    (
        ("test", "r112", 2, 357),
        (19.387640, 214.701004, 8.005508),
        (
            *(-0.0644836, 0.0599632, -0.0442772, -1.13306, 0.354309, 1.83069, 12.5449, 4.98291, 3.55811),
            *(2.89502, -6.86963, -5.80029 + 7.88037, -7.88037, 52.5469, 1),
        ),
        (
            *(-0.064888, 0.0597076, -0.044239, -0.433289, -0.680725, -1.85803, 5.27979, 2.88599, 4.26123),
            *(0.441986, -0.777466, -0.881348 + 0.581787, -0.581787, 52.5469, -1),
        ),
        (
            *(-1.42493, -0.591248, -0.780945, -0.0751419, 0.38562, -0.375031, 0.112, -2.84399, 3.4751),
            *(-0.85199, 13.1904, 15.1357 - 11.8945, 11.8945, 0, 0),
        ),
    ),
]


@pytest.fixture(scope="module")
def raw():
    """The raw shard of each split."""
    return {split: shard_files.load_split(CLUSTERS_DIRECTORY, "raw", split) for split in SPLITS}


@pytest.fixture(scope="module", params=SPLITS)
def split(raw, request):
    """The raw shard of a split, and its columns by name."""
    one = raw[request.param]
    return one, dict(zip(one.feature_keys, one.feature.T, strict=True))


def snapshot_of_rows(ptr):
    return np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))


def test_it_takes_at_most_30_megabytes():
    assert sum(path.stat().st_size for path in CLUSTERS_DIRECTORY.iterdir()) <= 30_000_000


def test_columns_are_those_of_an_observer(split):
    whole, _ = split
    assert whole.feature_keys == KEYS
    assert whole.target_keys == ("time", "total_mass_within_2x_r_tidal", "r_tidal")
    assert set(KEYS) <= set(quantities.QUANTITIES)
    np.testing.assert_array_equal(whole.time_myr, whole.target[:, 0])
    assert np.diff(whole.ptr).min() >= quantities.MIN_STARS


def test_a_brighter_star_is_followed_by_its_companion(split):
    whole, column = split
    companion, snapshot = column["companion"], snapshot_of_rows(whole.ptr)
    assert set(np.unique(companion)) == {-1, 0, 1}
    brighter = np.flatnonzero(companion == 1)
    np.testing.assert_array_equal(brighter + 1, np.flatnonzero(companion == -1))
    np.testing.assert_array_equal(snapshot[brighter], snapshot[brighter + 1])
    assert (column["abs_mag_g"][brighter] <= column["abs_mag_g"][brighter + 1]).all()
    axis = column["semi_major_axis_au"]
    np.testing.assert_array_equal(axis[brighter], axis[brighter + 1])
    np.testing.assert_array_equal(axis > 0, companion != 0)
    # Wider binaries than 0.1 pc, half a tidal radius of the smallest clusters, would be no binaries.
    assert axis.max() < 0.1 * 206_265
    separation = np.linalg.norm(whole.feature[brighter, :3] - whole.feature[brighter + 1, :3], axis=1)
    assert np.quantile(separation, 0.99) < 0.01


def test_systems_are_sorted_by_brightness(split):
    whole, column = split
    leads = column["companion"] >= 0
    snapshot, magnitude = snapshot_of_rows(whole.ptr)[leads], column["abs_mag_g"][leads]
    same = snapshot[1:] == snapshot[:-1]
    assert (np.diff(magnitude)[same] >= 0).all()


def test_values_are_finite_and_possible(split):
    whole, column = split
    assert np.isfinite(whole.feature).all()
    assert np.isfinite(whole.target).all()
    assert -9 < column["abs_mag_g"].min() < column["abs_mag_g"].max() < 17  # no dark remnants
    assert 0.079 < column["mass"].min() < column["mass"].max() < 41
    assert (whole.target[:, 1:] > 0).all()
    distance = np.linalg.norm(whole.feature[:, :3], axis=1)
    assert (distance < 2.01 * whole.target[snapshot_of_rows(whole.ptr), 2]).all()


def test_luminosities_temperatures_and_radii_agree(split):
    """Stefan and Boltzmann's law, with the nominal temperature of the Sun (IAU 2015 resolution B3)."""
    _, column = split
    law = 2 * column["log_R_R_sol"] + 4 * (column["log_T_eff_K"] - np.log10(5772))
    np.testing.assert_allclose(column["log_L_L_sol"], law, atol=0.02)


def test_the_stars_add_up_to_the_mass_of_the_cluster(split):
    """Except for neutron stars and black holes, which the target includes."""
    whole, column = split
    ratio = np.add.reduceat(column["mass"].astype(np.float64), whole.ptr[:-1]) / whole.target[:, 1]
    assert ratio.max() < 1.001
    assert np.quantile(ratio, 0.5) > 0.999
    assert ratio.min() > 0.8


@pytest.mark.parametrize(("where", "target", "brightest", "companion", "faint"), GOLDEN)
def test_rows_are_those_of_the_simulations(raw, where, target, brightest, companion, faint):
    split, run_id, number, num_star = where
    whole = raw[split]
    snapshot = np.flatnonzero(whole.run_id == run_id)[number]
    np.testing.assert_allclose(whole.target[snapshot], target, rtol=1e-6)
    stars = whole.feature[whole.ptr[snapshot] : whole.ptr[snapshot + 1]]
    assert len(stars) == num_star
    nearest = np.linalg.norm(stars[:, :3] - np.array(faint[:3]), axis=1).argmin()
    for star, expected in ((stars[0], brightest), (stars[1], companion), (stars[nearest], faint)):
        for key, found, value in zip(KEYS, star, expected, strict=True):
            absolute, relative = ERRORS[key]
            # The values above have six digits.
            assert abs(found - value) <= max(absolute, relative * abs(value)) + 2e-5, key


def test_the_manifest_has_the_simulations_of_the_shards(raw):
    path = CLUSTERS_DIRECTORY / "split.json"
    manifest = load_manifest(path)
    assert [len(manifest[split]) for split in SPLITS] == [95, 14, 27]
    simulations = json.loads(path.read_text())["simulations"]
    for split in SPLITS:
        assert raw[split].simulations == manifest[split] == sorted(manifest[split])
    assert set(simulations) == set().union(*manifest.values())
    assert {one["metallicity"] for one in simulations.values()} == {0.006, 0.01, 0.014, 0.02, 0.028}
    assert all(6.5 < one["galactocentric_radius_kpc"] < 10.5 for one in simulations.values())


def test_it_loads_by_name():
    keys, targets = ("vy", "abs_mag_g", "companion"), ("time", "total_mass_within_2x_r_tidal")
    data = load_dataset("clusters", keys, targets, mapped=True)  # compressed, so read into memory
    assert [data.shards[split].num_snapshot for split in SPLITS] == [2242, 308, 652]
    train = data.shards["train"]
    assert (train.feature_keys, train.target_keys) == (keys, targets)
    assert train.feature.flags.c_contiguous
    magnitude = data.feature_scalers.of("abs_mag_g").inverse(train.feature[:, 1].astype(np.float64))
    assert 10 < np.median(magnitude) < 11
    assert np.median(train.target, axis=0) == pytest.approx(0, abs=0.3)


def test_its_files_cannot_be_mapped():
    path = shard_files.shard_path(CLUSTERS_DIRECTORY, "raw", "val")
    assert not shard.is_mappable(path)
    with pytest.raises(shard.ShardError, match=r"raw-val-shard\.npz .*feature\.npy is compressed"):
        shard.load_shard(path, mapped=True)
