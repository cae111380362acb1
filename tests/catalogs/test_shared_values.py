"""What a catalogue repeats for many stars is the cluster's, or fills gaps; rounded values stay."""

import numpy as np
import pytest

from starjax.catalogs.features import derive_features
from starjax.catalogs.stated.view import View

KEYS = ("y", "z", "vy", "vz")


@pytest.fixture
def table(make_cluster):
    return make_cluster(distance=150.0, motion_error=0.1, radial_error=0.5).table


def test_a_radial_velocity_in_most_rows_is_not_measured(table):
    whole = derive_features(table, KEYS, View())
    table["radial_velocity"][80:] = 12.0
    found = derive_features(table, KEYS, View())
    np.testing.assert_allclose(found.radial_velocity_kms, whole.radial_velocity_kms, atol=0.4)
    [note] = [note for note in found.notes if "exactly 12 km/s" in note]
    assert note.endswith("rows 81, 82, 83, 84, 85 and 315 more: counted as missing.")


@pytest.mark.parametrize("stated", [None, 11.0])
def test_a_radial_velocity_in_all_rows_is_that_of_the_cluster(table, stated):
    table["radial_velocity"] = 12.0
    found = derive_features(table, KEYS, View(radial_velocity_kms=stated))
    assert found.radial_velocity_kms == (stated or 12.0)
    assert any("taken to be the cluster's" in note for note in found.notes)


def test_rounded_radial_velocities_are_measured(table):
    table["radial_velocity"] = np.round(table["radial_velocity"])
    found = derive_features(table, KEYS, View())
    assert not any("exactly" in note for note in found.notes)


def test_a_radial_velocity_in_all_rows_but_few_is_measured(table):
    whole = derive_features(table, KEYS, View())
    table["radial_velocity"] = round(whole.radial_velocity_kms)
    table["radial_velocity"][3] = -30.0
    found = derive_features(table, KEYS, View())
    np.testing.assert_allclose(found.radial_velocity_kms, whole.radial_velocity_kms, atol=0.6)
    assert not any("exactly" in note for note in found.notes)


def test_a_distance_in_all_rows_is_that_of_the_cluster(table):
    table["distance"] = 140.0
    found = derive_features(table, KEYS, View())
    assert (found.distance_pc, found.distance_error_pc) == (140.0, 0.0)
    table["distance_error"] = 3.0
    assert derive_features(table, KEYS, View()).distance_error_pc == pytest.approx(3)
    assert any("same distance of 140 pc" in note for note in found.notes)
