"""Known space velocities and distances are recovered within their errors."""

import dataclasses

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.stats import mad_std

from starjax.catalogs.column_values import CatalogError
from starjax.catalogs.features import derive_features
from starjax.catalogs.stated.view import View

HYADES = {"num_star": 500, "distance": 47.0, "width": 4.0, "dispersion": 0.3}


def derive(table, view, keys=("y", "z", "vy", "vz")):
    return derive_features(table, keys, view)


def test_perspective_is_removed_and_gives_the_velocity(make_cluster):
    cluster = make_cluster(**HYADES)
    assert cluster.sky.separation(SkyCoord(*cluster.centre, unit="deg")).deg.max() > 10
    members = derive(cluster.table, View())
    assert len(members.feature) == HYADES["num_star"]
    # Three standard errors of a mean, of medians of places.
    np.testing.assert_allclose(members.space_velocity, cluster.velocity, atol=3 * 0.3 / np.sqrt(500) * 1.3)
    np.testing.assert_allclose(members.distance_pc, 47.0, atol=3 * 4 / np.sqrt(500))
    np.testing.assert_allclose(members.feature[:, 2:].std(axis=0), 0.3, rtol=0.1)
    # With perspective, as in proper motions about their mean, it would be several km/s.
    spread = np.std(cluster.sky.distance.pc * np.asarray(cluster.table["pmra"])) * 4.74e-3
    assert spread > 2


def test_velocity_errors_account_for_the_scatter(make_cluster):
    cluster = make_cluster(**HYADES, parallax_error=0.3, motion_error=1.0, radial_error=1.0)
    table = derive(cluster.table, View()).table
    for name in ("vy", "vz"):
        error = table[f"{name}_error"]
        assert np.median(error) > 0.15
        left = np.sqrt(np.mean(table[name] ** 2 - error**2))
        np.testing.assert_allclose(left, 0.3, rtol=0.2)


@pytest.mark.parametrize("source", ["given", "stars", "perspective"])
def test_radial_velocity_from_three_sources(make_cluster, source):
    cluster = make_cluster(**HYADES, parallax_error=0.05, motion_error=0.1, radial_error=0.5)
    table, view = cluster.table, View(centre=cluster.centre)
    away = SkyCoord(*cluster.centre, unit="deg").galactic.cartesian.xyz.value
    truth = float(cluster.velocity @ away)
    if source != "stars":
        table = table.copy()
        table.remove_column("radial_velocity")
    if source == "given":
        view = dataclasses.replace(view, radial_velocity_kms=truth)
    members = derive(table, view)
    np.testing.assert_allclose(
        members.radial_velocity_kms, truth, atol={"given": 1e-9, "stars": 0.15, "perspective": 0.7}[source]
    )
    np.testing.assert_allclose(members.feature[:, 2:].std(axis=0), 0.3, rtol=0.2)
    expected = {
        "given": "(given)",
        "stars": "median of 500 stars",
        "perspective": "from the convergence of proper motions",
    }
    assert any(expected[source] in note for note in members.notes if note.startswith("Radial velocity"))


def test_radial_velocity_of_far_and_small_clusters_is_unknown(make_cluster):
    cluster = make_cluster(num_star=60, distance=1500.0, width=2.0, dispersion=0.5)
    cluster.table.remove_column("radial_velocity")
    members = derive(cluster.table, View())
    assert np.isnan(members.radial_velocity_kms)
    assert any(note.startswith("Radial velocity unknown") for note in members.notes)
    np.testing.assert_allclose(members.feature[:, 2:].std(axis=0), 0.5, rtol=0.3)


def contaminated(make_cluster, share=0.1):
    """Return a cluster at 150 pc, and its catalogue with field stars added."""
    errors = {"parallax_error": 0.05, "motion_error": 0.1, "radial_error": 0.5}
    cluster = make_cluster(num_star=450, distance=150.0, width=3.0, dispersion=0.5, **errors)
    field = make_cluster(
        num_star=int(450 * share),
        distance=170.0,
        width=20.0,
        dispersion=25.0,
        velocity=(0, 0, 0),
        seed=7,
        **errors,
    )
    table = cluster.table.copy()
    for row in field.table:
        table.add_row(row)
    table["row"] = np.arange(1, len(table) + 1)
    return cluster, table


def test_ten_percent_of_field_stars_are_left_out(make_cluster):
    cluster, table = contaminated(make_cluster)
    members = derive(table, View())
    kept = members.table["row"].to_numpy() <= 450
    assert kept.sum() >= 448
    assert (~kept).sum() <= 2
    np.testing.assert_allclose(members.space_velocity, cluster.velocity, atol=0.15)
    np.testing.assert_allclose(members.distance_pc, 150, atol=0.6)
    (note,) = (note for note in members.notes if "non-members" in note)
    assert f"{len(table) - len(members.table)} stars (rows " in note


def test_field_stars_that_are_kept_change_the_fits_little(make_cluster):
    cluster, table = contaminated(make_cluster)
    members = derive(table, View(clip=False))
    assert len(members.table) == len(table)
    np.testing.assert_allclose(members.space_velocity, cluster.velocity, atol=0.3)
    np.testing.assert_allclose(members.distance_pc, 150, atol=1)
    np.testing.assert_allclose(members.table["vy"].median(), 0, atol=0.1)


def test_own_distances_are_between_parallax_and_cluster(make_cluster):
    near = make_cluster(**HYADES, parallax_error=0.05)
    members = derive(near.table, View())
    truth = near.sky.distance.pc
    assert np.std(members.table["dist_pc"] - truth) < 0.05 * np.std(truth)
    far = make_cluster(distance=300.0, num_star=500, parallax_error=0.5)
    members = derive(far.table, View())
    distance = members.table["dist_pc"]
    # 0.5 mas are 45 pc there, in a cluster 4 pc deep.
    assert np.std(distance) < 1
    np.testing.assert_allclose(members.distance_pc, 300, atol=4 * members.distance_error_pc)
    np.testing.assert_allclose(members.table["dist_error_pc"], 4, rtol=0.15)
    assert any("are broader than the cluster's" in note for note in members.notes)


@pytest.mark.parametrize("error", [0.3, 1.0, 3.0])
def test_errors_of_own_distances_are_their_scatter(make_cluster, error):
    cluster = make_cluster(num_star=4000, distance=100.0, parallax_error=error)
    table = derive(cluster.table, View(clip=False)).table
    pull = (table["dist_pc"] - cluster.sky.distance.pc) / table["dist_error_pc"]
    np.testing.assert_allclose(mad_std(pull), 1, rtol=0.1)


def test_distances_given_and_zero_points(make_cluster):
    cluster = make_cluster(distance=200.0, parallax_error=0.1)
    members = derive(cluster.table, View(distance_pc=190.0))
    assert (members.distance_pc, members.distance_error_pc) == (190.0, 0.0)
    shifted = cluster.table.copy()
    shifted["parallax"] -= 0.04
    plain = derive(cluster.table, View())
    corrected = derive(shifted, View(parallax_zero_point_mas=-0.04))
    np.testing.assert_allclose(corrected.feature, plain.feature, atol=1e-6)
    assert derive(shifted, View()).distance_pc > plain.distance_pc + 1


def test_the_error_of_a_stated_distance_keeps_members(make_cluster):
    cluster = make_cluster(distance=200.0, parallax_error=0.02, width=1.0)
    with pytest.raises(CatalogError, match="only 0 stars"):
        derive(cluster.table, View(distance_pc=185.0))
    uncertain = derive(cluster.table, View(distance_pc=185.0, distance_error_pc=10.0))
    assert uncertain.num_non_member == 0
    assert uncertain.distance_error_pc == pytest.approx(10)


def test_distances_of_stars_take_precedence_over_parallaxes_unless_only_these_have_errors(make_cluster):
    cluster = make_cluster(distance=100.0, parallax_error=1.0)
    table = cluster.table.copy()
    table["distance"] = cluster.sky.distance.pc
    members = derive(table, View())
    np.testing.assert_array_equal(members.feature, derive(cluster.table, View()).feature)
    assert any(
        "Distances of 400 stars are listed without errors, and not used" in note for note in members.notes
    )
    table["distance_error"] = 1e-9
    np.testing.assert_allclose(derive(table, View()).table["dist_pc"], cluster.sky.distance.pc, rtol=1e-9)
    table.remove_columns(["distance_error", "parallax_error"])
    members = derive(table, View())
    np.testing.assert_allclose(members.table["dist_pc"], cluster.sky.distance.pc, rtol=1e-9)
    assert any("listed without errors, and count as exact" in note for note in members.notes)


def test_catalogues_without_errors(make_cluster):
    cluster = make_cluster(**HYADES, parallax_error=1.0)
    truth = derive(cluster.table, View())
    table = cluster.table.copy()
    table.remove_columns([name for name in table.colnames if name.endswith("_error")])
    members = derive(table, View())
    assert sum("without errors" in note for note in members.notes) == 2
    np.testing.assert_allclose(members.table["dist_pc"], truth.table["dist_pc"], atol=1.5)


def test_stars_without_a_parallax_are_at_the_distance_of_the_cluster(make_cluster):
    cluster = make_cluster(**HYADES, parallax_error=0.05)
    cluster.table["parallax"][:3] = [np.nan, -0.2, 0.0]
    members = derive(cluster.table, View())
    np.testing.assert_allclose(members.table["dist_pc"][:3], members.distance_pc)
    assert any("Put at the cluster's distance" in note and "3 stars" in note for note in members.notes)


@pytest.mark.parametrize(("factor", "said"), [(1e-3, "across the line of sight"), (1e3, "would move at .*e")])
def test_proper_motions_in_another_unit_are_noticed(make_cluster, factor, said):
    table = make_cluster(distance=150.0, motion_error=0.1).table
    for name in ("pmra", "pmdec", "pmra_error", "pmdec_error"):
        table[name] *= factor
    table.remove_column("radial_velocity")
    with pytest.raises(CatalogError, match=f"{said}.*check that pmra and pmdec are in mas / yr"):
        derive(table, View())


@pytest.mark.parametrize("is_stated", [False, True])
def test_a_radial_velocity_that_proper_motions_contradict_is_flagged(make_cluster, is_stated):
    cluster = make_cluster(**HYADES, parallax_error=0.05, motion_error=0.1, radial_error=0.5)
    truth = derive(cluster.table, View())
    assert truth.caveats == ()
    if is_stated:
        members = derive(cluster.table, View(radial_velocity_kms=truth.radial_velocity_kms - 30))
    else:
        cluster.table["radial_velocity"] -= 30
        members = derive(cluster.table, View())
    [caveat] = members.caveats
    assert "where the convergence of proper motions gives" in caveat


def test_impossible_values_are_refused(make_cluster):
    cluster = make_cluster(**HYADES)
    for name, factor, said in (
        ("parallax", 1e-3, "parallax is in mas"),
        ("pmra", 1e3, "pmra and pmdec are in mas / yr"),
    ):
        table = cluster.table.copy()
        table[name] *= factor
        with pytest.raises(CatalogError, match=said):
            derive(table, View(clip=False))
    table = cluster.table.copy()
    table["parallax"] = -1.0
    with pytest.raises(CatalogError, match=r"only 0 stars have a parallax above zero.*state distance_pc"):
        derive(table, View())
    assert derive(table, View(distance_pc=47.0)).distance_pc == 47.0


@pytest.mark.parametrize(
    "stated",
    [
        {"distance_pc": -5.0},
        {"distance_pc": np.nan},
        {"centre": (10.0, 100.0)},
        {"distance_error_pc": -1.0},
        {"metallicity": np.nan},
        {"extinction_v_mag": -1.0},
        {"extinction_v_error_mag": -0.1},
        {"min_probability": 50},
        {"extinction_v_error_mag": np.inf},
    ],
)
def test_impossible_views_are_refused(stated):
    (name,) = stated
    with pytest.raises(CatalogError, match=name):
        View(**stated)


def test_stars_of_identical_motion_are_members(make_cluster):
    cluster = make_cluster(dispersion=0.0)
    members = derive(cluster.table, View())
    np.testing.assert_allclose(members.feature[:, 2:], 0, atol=1e-6)
    np.testing.assert_allclose(members.space_velocity, cluster.velocity, atol=1e-6)


@pytest.mark.parametrize("num_listed", [1, 4])
def test_few_radial_velocities_do_not_overrule_a_better_perspective(make_cluster, num_listed):
    """They may be those of binaries."""
    cluster = make_cluster(**HYADES, parallax_error=0.05, motion_error=0.1, radial_error=0.5)
    cluster.table["radial_velocity"][num_listed:] = np.nan
    cluster.table["radial_velocity"][:num_listed] += 25.0
    members = derive(cluster.table, View())
    np.testing.assert_allclose(members.space_velocity, cluster.velocity, atol=1)
    (note,) = (note for note in members.notes if note.startswith("Radial velocity"))
    assert "more precise than the listed ones of" in note


@pytest.mark.parametrize("distance", [300.0, 3000.0])
def test_negative_parallaxes_count_in_the_mean(make_cluster, distance):
    """Without them the distance of a far cluster would be too small."""
    cluster = make_cluster(num_star=2000, distance=distance, width=3.0, parallax_error=0.3)
    members = derive(cluster.table, View())
    assert abs(members.distance_pc - distance) < 4 * members.distance_error_pc
    assert members.distance_error_pc < 0.05 * distance
    assert (members.table["dist_pc"] > 0).all()


def test_a_distance_that_all_stars_share_is_that_of_the_cluster(make_cluster):
    cluster = make_cluster(**HYADES, parallax_error=0.05, motion_error=0.1)
    table = cluster.table.copy()
    table["distance"] = 47.0
    members, stated = derive(table, View()), derive(cluster.table, View(distance_pc=47.0))
    np.testing.assert_array_equal(members.feature, stated.feature)
    assert "Distance 47 pc (given)." in members.notes
    assert derive(table, View(distance_pc=50.0)).distance_pc == 50


def test_a_distance_of_few_stars_is_not_that_of_the_cluster(make_cluster):
    table = make_cluster(**HYADES, parallax_error=0.05, motion_error=0.1).table
    plain = derive(table, View())
    table["distance"] = np.where(np.arange(len(table)) < 2, 60.0, np.nan)
    np.testing.assert_allclose(derive(table, View()).distance_pc, plain.distance_pc, rtol=0.01)


def test_one_radial_velocity_is_enough_without_other_constraints(make_cluster):
    cluster = make_cluster(distance=1500.0, width=2.0, radial_error=0.5)
    cluster.table["radial_velocity"][1:] = np.nan
    members = derive(cluster.table, View())
    (note,) = (note for note in members.notes if note.startswith("Radial velocity"))
    assert "median of 1 star." in note
    np.testing.assert_allclose(members.space_velocity, cluster.velocity, atol=2)
