"""Classical masses of a shard are those of the same stars in physical units, in either set of coordinates."""

import dataclasses

import numpy as np
import pytest

from starjax.datasets.load import load_dataset
from starjax.dynamics import cluster_masses, mass_estimators

CARTESIAN = ("x", "y", "z", "vx", "vy", "vz")
SKY = ("lon_deg", "lat_deg", "pm_lon_coslat_mas_yr", "pm_lat_mas_yr")
TARGETS = ("total_mass_within_2x_r_tidal",)


@pytest.fixture(scope="module")
def both(small):
    """The same snapshots with positions in pc and velocities in km/s, and as angles."""
    return [load_dataset(str(small), keys, TARGETS) for keys in (CARTESIAN, SKY)]


def test_masses_are_those_of_the_stars_in_physical_units(both):
    data = both[0]
    shard = data.shards["test"]
    found = cluster_masses.masses_of_shard(shard, data.feature_scalers)
    assert set(found) == {f"mass_{name}" for name in mass_estimators.ESTIMATORS}
    physical = data.feature_scalers.inverse(shard.feature.astype(np.float64), CARTESIAN)
    for number in (0, shard.num_snapshot - 1):
        stars = physical[shard.ptr[number] : shard.ptr[number + 1]]
        of_one = mass_estimators.estimate_masses(
            *(stars[:, CARTESIAN.index(key)] for key in ("y", "z", "vy", "vz"))
        )
        for name, estimate in of_one.mass.items():
            assert found[f"mass_{name}"][number] == pytest.approx(estimate.value, nan_ok=True)


def test_masses_from_angles_and_distances_agree(both):
    """Except for the curvature of the sky and the depth of clusters, as seen from 50 pc."""
    cartesian, sky = (
        cluster_masses.masses_of_shard(data.shards["test"], data.feature_scalers) for data in both
    )
    far = both[0].shards["test"].distance_pc >= 200
    for name in cartesian:
        ratio = (sky[name] / cartesian[name])[far]
        assert np.nanmedian(ratio) == pytest.approx(1, abs=0.1), name


def test_without_velocities_across_the_line_of_sight_there_is_no_mass(both):
    cartesian, sky = both
    along = cartesian.shards["test"]
    hidden = dataclasses.replace(along, feature=along.feature[:, :3], feature_keys=CARTESIAN[:3])
    assert cluster_masses.masses_of_shard(hidden, cartesian.feature_scalers) == {}
    nowhere = dataclasses.replace(sky.shards["test"], distance_pc=None)
    assert cluster_masses.masses_of_shard(nowhere, sky.feature_scalers) == {}
