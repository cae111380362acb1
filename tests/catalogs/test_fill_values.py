"""Values that no star has count as missing, and are named; those that a star may have stay."""

import numpy as np
import pytest
from astropy.table import Table

from starjax.catalogs import fill_values, member_list
from starjax.catalogs.features import derive_features
from starjax.catalogs.stated.view import View


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("phot_g_mean_mag", -999),
        ("phot_g_mean_mag", 99.999),
        ("phot_g_mean_mag", 0),
        ("phot_g_mean_mag", np.float32(99.99)),
        ("phot_g_mean_mag", 1e20),
        ("phot_g_mean_mag", -1),
        ("bp_rp", -1),
        ("bp_rp", -9.99),
        ("bp_rp", 99),
        ("parallax", 0),
        ("parallax", -99.99),
        ("parallax", 999),
        ("parallax_error", -1),
        ("parallax_error", 0),
        ("parallax_error", 99.99),
        ("pmra", -9999),
        ("pmdec", 2147483648),
        ("pmra_error", -999.9),
        ("radial_velocity", 9999.99),
        ("radial_velocity", -32768),
        ("radial_velocity_error", 999),
        ("distance", 0),
        ("distance", -99),
        ("log_L_L_sol", -99.9),
        ("membership_probability", -1),
    ],
)
def test_fill_values_are_missing(column, value):
    plain = {"parallax_error": 0.1, "pmra_error": 0.1, "radial_velocity_error": 0.1}.get(column, 1.5)
    table = Table({"ra": np.arange(12.0), "dec": np.arange(12.0), column: np.full(12, plain)})
    assert not fill_values.describe(member_list.check_member_list(table, "here"))
    table[column][[3, 7]] = value
    found = member_list.check_member_list(table, "here")
    assert np.flatnonzero(np.isnan(found[column])).tolist() == [3, 7]
    assert fill_values.describe(found) == f"Counted as missing values: {column} of {value:g} (rows 4, 8)."
    assert fill_values.describe(found[:3]) == ""


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("phot_g_mean_mag", 9.99),
        ("bp_rp", 0),
        ("pmra", 99.9),
        ("pmra", 0),
        ("radial_velocity", 99),
        ("distance", 999),
        ("membership_probability", 0),
    ],
)
def test_values_of_stars_stay(column, value):
    values = np.r_[value, np.linspace(0.1, 0.9, 11)]
    table = Table({"ra": np.arange(12.0), "dec": np.arange(12.0), column: values})
    np.testing.assert_array_equal(member_list.check_member_list(table, "here")[column], values)


def test_velocities_of_zero_are_measured_if_they_have_an_error():
    table = Table({"ra": np.arange(4.0), "dec": np.arange(4.0), "radial_velocity": [0.0, 0, 0, 5]})
    table["pmra"], table["pmdec"] = [0.0, 0, 1, 0], [0.0, 0, 0, 1]
    table["radial_velocity_error"] = table["pmra_error"] = [0.5, 0, np.nan, 0]
    found = member_list.check_member_list(table, "here")
    assert np.flatnonzero(np.isnan(found["radial_velocity"])).tolist() == [1, 2]
    assert np.flatnonzero(np.isnan(found["pmra"])).tolist() == [1]
    assert np.flatnonzero(np.isnan(found["pmdec"])).tolist() == [1]


def test_rounded_velocities_without_errors_may_be_zero():
    velocities = np.round(np.random.default_rng(0).normal(0, 1, 400))
    table = Table({"ra": np.arange(400) / 400, "dec": np.zeros(400), "radial_velocity": velocities})
    np.testing.assert_array_equal(member_list.check_member_list(table, "here")["radial_velocity"], velocities)


def test_a_colour_of_zero_in_many_rows_is_missing():
    colours = np.r_[np.zeros(6), np.linspace(0.1, 3, 50)]
    table = Table({"ra": np.arange(56.0), "dec": np.arange(56.0), "bp_rp": colours})
    assert np.isnan(member_list.check_member_list(table, "here")["bp_rp"]).sum() == 6
    table["bp_rp"] = np.round(colours * 3) / 10  # many are equal, as in a list with one digit
    assert not np.isnan(member_list.check_member_list(table, "here")["bp_rp"]).any()


def test_fill_values_are_named_where_stars_are_left_out(cluster, view):
    columns = {name: cluster.table[name] for name in cluster.table.colnames if name != "row"}
    table = Table({**columns, "phot_g_mean_mag": np.full(400, 10.0), "bp_rp": np.full(400, 1.0)})
    table["phot_g_mean_mag"][50:55] = 99.999
    members = derive_features(member_list.check_member_list(table, "here"), ("y", "abs_mag_g"), view)
    assert (len(members.table), members.num_left_out) == (395, 5)
    assert "Counted as missing values: phot_g_mean_mag of 99.999 (rows 51, 52, 53, 54, 55)." in members.notes


def test_zeros_do_not_make_a_radial_velocity(make_cluster):
    cluster = make_cluster(distance=150.0, motion_error=0.1, radial_error=0.5)
    columns = {name: cluster.table[name] for name in cluster.table.colnames if name != "row"}
    table = Table(columns)
    whole = derive_features(cluster.table, ("y", "z", "vy", "vz"), View())
    for name in ("radial_velocity", "radial_velocity_error"):
        table[name][80:] = 0
    found = derive_features(member_list.check_member_list(table, "here"), ("y", "z", "vy", "vz"), View())
    np.testing.assert_allclose(found.radial_velocity_kms, whole.radial_velocity_kms, atol=0.4)
    assert any("radial_velocity of 0 (rows 81, 82, 83, 84, 85 and 315 more)" in note for note in found.notes)
