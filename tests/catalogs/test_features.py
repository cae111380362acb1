"""Features are those of the simulations: known positions and velocities are recovered, star by star."""

import dataclasses

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import CartesianDifferential, CartesianRepresentation, Galactic, SkyCoord
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from starjax import quantities
from starjax.catalogs import feature_notes, member_list
from starjax.catalogs.column_values import CatalogError
from starjax.catalogs.features import derive_features
from starjax.catalogs.stated.view import View
from starjax.nbody6 import caches
from starjax.quantities import Quantity

ALL = ("x", "y", "z", "vx", "vy", "vz")
PROJECTED = ("y", "z", "vy", "vz")
SKY = ("lon_deg", "lat_deg", "pm_lon_coslat_mas_yr", "pm_lat_mas_yr")


def test_all_six_are_along_the_axes_of_the_galaxy(cluster, view):
    members = derive_features(cluster.table, ALL, view)
    np.testing.assert_allclose(members.feature[:, :3], cluster.position, atol=1e-4)
    # The cluster's mean motion is a mean of these stars: with them it is off by 0.3 km/s / sqrt(400).
    offset = members.feature[:, 3:] - cluster.motion
    np.testing.assert_allclose(offset, 0, atol=0.06)
    np.testing.assert_allclose(offset, offset[:1].repeat(400, axis=0), atol=1e-6)


def test_positions_alone_need_no_proper_motion(cluster, view):
    table = cluster.table.copy()
    table.remove_columns(["pmra", "pmdec", "radial_velocity"])
    members = derive_features(table, ("z", "x", "lon_deg"), view)
    np.testing.assert_allclose(members.feature[:, :2], cluster.position[:, [2, 0]], atol=1e-4)
    assert np.isnan(members.radial_velocity_kms)
    assert np.isnan(members.space_velocity).all()
    with pytest.raises(CatalogError, match="vy need pmra and pmdec, which the catalogue does not have"):
        derive_features(table, ("y", "vy"), view)


def test_unused_columns_are_named_in_errors_and_notes(cluster, view):
    table = cluster.table.copy()
    table.rename_columns(["parallax", "pmra"], ["Plx", "pmRA"])
    table.meta["unused"] = ["Plx", "pmRA"]
    view = dataclasses.replace(view, distance_pc=None)
    said = r"Columns not used: Plx, pmRA \(if one is meant, name it by"
    with pytest.raises(CatalogError, match=f"need pmra, which the catalogue does not have. {said}"):
        derive_features(table, PROJECTED, view)
    with pytest.raises(
        CatalogError, match=f"no parallaxes and no distances: name their column, or state distance_pc. {said}"
    ):
        derive_features(table, ("lon_deg", "lat_deg"), view)
    cluster.table.meta["unused"] = [f"column {i}" for i in range(150)]
    assert "column 11 and 138 more (if one is meant" in feature_notes.describe_unused(cluster.table)


def test_positions_in_hours_are_refused(cluster, view):
    cluster.table["ra"] /= 15
    with pytest.raises(CatalogError, match="the column for ra seems to be in hours"):
        derive_features(cluster.table, PROJECTED, view)


@pytest.mark.parametrize("distance", [50.0, 200.0])
def test_the_simulations_own_columns(caches_folder, distance):
    """The stars of a cache, observed by astropy, have the columns that the pipeline wrote for them."""
    snapshot = next(
        one
        for one in caches.load_cache(caches_folder / "Rad12-zmet0002-M8-0088-obs.joblib")
        if one.position == (distance, 0, 0)
    )
    stars = snapshot.content["stars"].query("is_within_2x_r_tidal")
    stars = stars.drop_duplicates(["x", "y", "z"])
    table = seen_from_the_sun(stars, distance)
    view = View(centre=at_anticentre(), distance_pc=distance, radial_velocity_kms=0.0, clip=False)
    keys = (*SKY, "dist_pc", "rv_kms", *PROJECTED)
    members = derive_features(table, keys, view)
    offset = members.table[list(SKY)].to_numpy() - stars[list(SKY)].to_numpy()
    np.testing.assert_allclose(offset[:, :2], 0, atol=1e-6)
    np.testing.assert_allclose(members.table["dist_pc"], stars["dist_pc"], rtol=1e-6)
    # The pipeline does not subtract the mean motion of the stars.
    motion = members.space_velocity @ np.array([[-1, 0, 0], [0, -1, 0], [0, 0, 1]])
    assert np.abs(motion).max() < 0.2
    lon, lat = np.radians(stars["lon_deg"]), np.radians(stars["lat_deg"])
    along_lon = motion[1] * np.cos(lon) - motion[0] * np.sin(lon)
    expected = stars["pm_lon_coslat_mas_yr"] - along_lon / (4.740470463e-3 * stars["dist_pc"])
    np.testing.assert_allclose(members.table["pm_lon_coslat_mas_yr"], expected, atol=1e-4)
    np.testing.assert_allclose(members.table[["y", "z"]], stars[["y", "z"]], atol=1e-4)
    across = stars["vy"] - motion[1]
    # Seen from 50 pc, directions across differ by some degrees from star to star.
    assert np.corrcoef(members.table["vy"], across)[0, 1] > 0.97
    assert lat.abs().max() < 0.5


def at_anticentre():
    centre = SkyCoord(180, 0, unit="deg", frame="galactic").icrs
    return float(centre.ra.deg), float(centre.dec.deg)


def seen_from_the_sun(stars, distance):
    """Return the stars as a catalogue, the simulation's x towards the anticentre and its z to the pole."""
    position = (stars[["x", "y", "z"]].to_numpy(float) + np.array([distance, 0, 0])) * [-1, -1, 1]
    motion = CartesianDifferential(*(stars[["vx", "vy", "vz"]].to_numpy(float) * [-1, -1, 1]).T * u.km / u.s)
    sky = SkyCoord(Galactic(CartesianRepresentation(*position.T * u.pc, differentials=motion))).icrs
    columns = {"ra": sky.ra, "dec": sky.dec, "distance": sky.distance, "radial_velocity": sky.radial_velocity}
    return member_list.check_member_list(
        Table(columns | {"pmra": sky.pm_ra_cosdec, "pmdec": sky.pm_dec}), "simulated"
    )


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_order_of_stars_changes_nothing(make_cluster, seed):
    cluster = make_cluster(num_star=60, parallax_error=0.3, motion_error=0.5, radial_error=1.0)
    order = np.random.default_rng(seed).permutation(60)
    keys = (*SKY, *PROJECTED, "dist_pc", "rv_kms")
    plain = derive_features(cluster.table, keys, View())
    permuted = derive_features(cluster.table[order], keys, View())
    rows = permuted.table["row"].to_numpy()
    assert sorted(rows) == sorted(plain.table["row"])
    by_row = dict(zip(plain.table["row"], plain.feature, strict=True))
    np.testing.assert_allclose(permuted.feature, [by_row[row] for row in rows], atol=1e-8)


@settings(max_examples=3, deadline=None)
@given(scale=st.floats(0.3, 20))
def test_a_larger_cluster_at_a_larger_distance_looks_the_same(make_cluster, scale):
    cluster = make_cluster(num_star=60, parallax_error=0.3, motion_error=0.5, radial_error=1.0)
    larger = cluster.table.copy()
    for name in ("parallax", "parallax_error"):
        larger[name] /= scale
    for name in ("radial_velocity", "radial_velocity_error"):
        larger[name] *= scale
    keys = (*SKY, *PROJECTED, "dist_pc", "rv_kms")
    one, other = (derive_features(table, keys, View()) for table in (cluster.table, larger))
    np.testing.assert_allclose(other.feature[:, :4], one.feature[:, :4], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(other.feature[:, 4:], scale * one.feature[:, 4:], rtol=1e-6, atol=1e-6)


def test_features_are_in_the_requested_order(cluster, view):
    members = derive_features(cluster.table, ("vz", "lon_deg", "y"), view)
    np.testing.assert_array_equal(members.feature, members.table[["vz", "lon_deg", "y"]])
    assert members.feature.dtype == np.float64
    with pytest.raises(CatalogError, match="mass, ra cannot be derived from a member catalogue; x, y, z"):
        derive_features(cluster.table, ("y", "mass", "ra"), view)


@pytest.mark.parametrize("keys", [ALL, ("vx",), ("x", "vy"), ("rv_kms", "y")])
def test_missing_radial_velocities_are_counted_and_alternatives_named(cluster, view, keys):
    cluster.table["radial_velocity"][5:30] = np.nan
    cluster.table["parallax"][:2] = np.nan
    with pytest.raises(
        CatalogError, match=r"of 400 members 25 have no radial velocity.*trained on y z vy vz"
    ):
        derive_features(cluster.table, keys, view)
    assert len(derive_features(cluster.table, PROJECTED, view).feature) == 400
    assert len(derive_features(cluster.table, SKY, view).feature) == 400
    with pytest.raises(CatalogError, match=r"^x need.* 0 have no radial velocity, and 2 no parallax"):
        derive_features(cluster.table, ("x", "y"), view)


def test_luminosities_from_photometry_and_as_listed(cluster, view):
    table = cluster.table
    keys = (*PROJECTED, "log_L_L_sol")
    with pytest.raises(CatalogError, match="log_L_L_sol needs phot_g_mean_mag and bp_rp"):
        derive_features(table, keys, view)
    # A Sun at the position of each star, behind 0.5 mag of extinction.
    distance = cluster.sky.distance.pc
    table["phot_g_mean_mag"] = 4.67 + 5 * np.log10(distance / 10) + 0.83627 * 0.5
    table["bp_rp"] = 0.82 + (1.08337 - 0.63439) * 0.5
    table["bp_rp"][[4, 5, 6]] = [np.nan, 6.0, -0.5]
    table["phot_g_mean_mag"][7] = np.nan
    members = derive_features(table, keys, dataclasses.replace(view, extinction_v_mag=0.5))
    usual = ~members.table["row"].isin([6, 7])
    np.testing.assert_allclose(members.feature[usual, 4], 0, atol=0.02)
    assert 8 not in members.table["row"].to_numpy()
    assert members.num_left_out == 1
    unplaced = table.copy()
    unplaced["dec"][20:50] = np.nan
    assert derive_features(unplaced, keys, view).num_left_out == 31
    assert any("luminosity and magnitude are missing: 1 star (row 8)" in note for note in members.notes)
    assert any("on the main sequence: 1 star (row 5)" in note for note in members.notes)
    assert any("of the nearer end was used: 2 stars (rows 6, 7)" in note for note in members.notes)
    table["log_L_L_sol"] = np.linspace(-3, 2, 400)
    listed = derive_features(table, keys, view)
    np.testing.assert_array_equal(listed.feature[:, 4], np.linspace(-3, 2, 400))


@pytest.fixture
def listed_quantities(monkeypatch):
    """Two columns that catalogues list under their own names."""
    rows = (
        Quantity("log_g", "feature", "log10 cm/s2", catalogue="listed"),
        Quantity("spin", "feature", "km/s", catalogue="listed", is_velocity=True),
    )
    for row in rows:
        monkeypatch.setitem(quantities.QUANTITIES, row.key, row)


def test_listed_columns_are_features(cluster, view, listed_quantities):
    listed = cluster.table.to_pandas().drop(columns="row")
    listed = Table.from_pandas(listed.assign(log_g=np.linspace(3, 5, 400), spin=np.linspace(0, 9e3, 400)))
    listed["spin"].unit = "m/s"
    listed["log_g"][[2, 3]] = np.nan
    listed["spin"][[3, 4]] = np.nan
    members = derive_features(member_list.check_member_list(listed, "here"), ("y", "spin", "log_g"), view)
    np.testing.assert_allclose(members.feature[:, 1], np.delete(np.linspace(0, 9, 400), [2, 3, 4]))
    np.testing.assert_array_equal(members.feature[:, 2], np.delete(np.linspace(3, 5, 400), [2, 3, 4]))
    # A star that lacks both is counted once.
    assert members.num_left_out == 3
    assert "Left out because spin is missing: 2 stars (rows 4, 5)." in members.notes
    assert "Left out because log_g is missing: 1 star (row 3)." in members.notes


def test_a_listed_velocity_needs_no_proper_motion(cluster, view, listed_quantities):
    table = cluster.table.copy()
    table.remove_columns(["pmra", "pmdec"])
    table["spin"] = 1.0
    assert len(derive_features(table, ("z", "spin"), view).feature) == 400


def test_a_listed_column_that_is_absent_is_named(cluster, view, listed_quantities):
    cluster.table.meta["unused"] = ["logg"]
    with pytest.raises(CatalogError, match=r"^log_g needs a column log_g\. Columns not used: logg"):
        derive_features(cluster.table, ("y", "log_g"), view)
    cluster.table["spin"] = np.nan
    with pytest.raises(CatalogError, match=r"^spin needs a column spin"):
        derive_features(cluster.table, ("y", "spin"), view)


def test_unresolved_depth_is_noted(make_cluster):
    cluster = make_cluster(distance=300.0, parallax_error=0.5)
    noted = derive_features(cluster.table, ALL, View()).notes
    assert any("line of sight is not resolved" in note for note in noted)
    assert not any("not resolved" in note for note in derive_features(cluster.table, PROJECTED, View()).notes)


def test_errors_of_velocities_are_their_scatter(make_cluster):
    cluster = make_cluster(num_star=2000, motion_error=2.0, radial_error=0.5)
    members = derive_features(cluster.table, ALL, View(centre=cluster.centre, clip=False))
    for i, name in enumerate(("vx_error", "vy_error", "vz_error")):
        pull = (members.feature[:, 3 + i] - cluster.motion[:, i]) / members.table[name]
        np.testing.assert_allclose(pull.std(), 1, rtol=0.1)
