"""What was not measured of single stars is the cluster's, a separation, or a typical error of Gaia."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table

from starjax.catalogs import member_list
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
    assert any("same distance of 140 pc" in note for note in found.notes)


ERRORS = ("parallax_error", "pmra_error", "pmdec_error")
# Of ESA's "Gaia Science Performance", for DR3 at G = 17 [mas, mas/yr].
TYPICAL = {"parallax_error": 0.0792, "pmra_error": 0.0816, "pmdec_error": 0.0705}


@pytest.mark.parametrize("lacks", [np.arange(400), np.array([3, 7])])
@pytest.mark.parametrize("missing", [np.nan, 0.0, "absent"])
def test_missing_errors_are_typical_of_the_magnitude(make_cluster, lacks, missing):
    stars = make_cluster(distance=150.0, parallax_error=0.1, motion_error=0.1).table
    table = Table({name: stars[name] for name in stars.colnames if name != "row"})
    table["phot_g_mean_mag"] = 17.0
    for name in ERRORS:
        table[name][lacks] = np.nan if missing == "absent" else missing
        if missing == "absent" and len(lacks) == 400:
            table.remove_column(name)
    found = derive_features(member_list.check_member_list(table, "here"), KEYS, View(clip=False))
    for name, typical in TYPICAL.items():
        np.testing.assert_allclose(found.table[name][lacks], typical, rtol=0.002)
        np.testing.assert_allclose(np.delete(found.table[name].to_numpy(), lacks), 0.1)
    counted = "all 400 stars" if len(lacks) == 400 else "2 stars (rows 4, 8)"
    note = (
        f"typical ones at the magnitude of each star: parallax_error, pmra_error, pmdec_error of {counted}."
    )
    assert sum(one.endswith(note) for one in found.notes) == 1
    assert not any("count as exact" in one or "their scatter" in one for one in found.notes)


def test_errors_without_a_magnitude_are_the_median_and_positive_ones_stay(table):
    table["phot_g_mean_mag"] = np.where(np.arange(400) == 5, np.nan, 17.0)
    table["pmra_error"][[5, 6]] = np.nan
    found = derive_features(table, KEYS, View(clip=False))
    assert found.table["pmra_error"][6] == pytest.approx(TYPICAL["pmra_error"], rel=0.002)
    assert (found.table["pmra_error"].drop([5, 6]) == 0.1).all()
    assert (
        "Proper motions in row 6 lack an error and a magnitude: their error is the others' median."
        in found.notes
    )


@pytest.mark.parametrize("is_stated", [False, True])
def test_errors_of_dr2_are_larger(table, is_stated):
    table["phot_g_mean_mag"] = 17.0
    table["pmra_error"] = np.nan
    table["GaiaDR2"] = np.arange(1, 401)
    stated = {"source_id": "GaiaDR2"} if is_stated else {}
    table = member_list.check_member_list(table, "here", stated)
    found = derive_features(table, KEYS, View(clip=False))
    np.testing.assert_allclose(
        found.table["pmra_error"], TYPICAL["pmra_error"] * (34 / 22) ** 1.5, rtol=0.002
    )


@pytest.mark.parametrize(("per_degree", "unit"), [(1, "degrees"), (60, "arcmin"), (3600, "arcsec")])
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_separations_of_a_cone_search_are_no_distances(table, per_degree, unit, offset):
    plain = derive_features(table, KEYS, View())
    stars = SkyCoord(table["ra"], table["dec"], unit="deg")
    centre = SkyCoord(np.median(table["ra"]) + offset, np.median(table["dec"]), unit="deg")
    table["distance"] = per_degree * stars.separation(centre).deg
    table["parallax_error"] = np.nan  # with these, distances without errors would not be used
    plain_without = derive_features(table[[n for n in table.colnames if n != "distance"]], KEYS, View())
    found = derive_features(table, KEYS, View())
    np.testing.assert_array_equal(found.feature, plain_without.feature)
    assert f"Not used: distance is the separation from a centre, in {unit}." in found.notes
    np.testing.assert_allclose(found.distance_pc, plain.distance_pc, rtol=0.02)


def test_distances_of_a_near_cluster_are_no_separations(make_cluster):
    cluster = make_cluster(distance=47.0, width=10.0)
    table = cluster.table
    table["distance"] = cluster.sky.distance.pc
    table["parallax_error"] = np.nan
    found = derive_features(table, KEYS, View(clip=False))
    np.testing.assert_allclose(found.table["dist_pc"], cluster.sky.distance.pc, rtol=1e-6)
