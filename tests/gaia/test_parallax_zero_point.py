"""Zero points of parallaxes are those of Lindegren et al. 2021, A&A 649, A4 and A2."""

import numpy as np
import pytest

from starjax.catalogs.column_values import CatalogError
from starjax.catalogs.features import derive_features
from starjax.catalogs.member_list import read_member_list
from starjax.catalogs.stated.view import View
from starjax.gaia import parallax_zero_point
from starjax.gaia.parallax_zero_point import effective_wavenumber, zero_points_mas

MISSING = np.nan


def test_wavenumbers_follow_from_colours():
    # Of a star without colour the constant, and the values about which A&A 649, A4 places its colour terms:
    # wavenumbers of 1.72, 1.48 and 1.24 are colours of 0.15, 1.14 and 3.0.
    found = effective_wavenumber(np.array([0.0, 0.15, 1.14, 3.0]))
    np.testing.assert_allclose(found, [1.76, 1.72, 1.48, 1.24], atol=0.005)


def test_zero_points_are_those_of_the_tables_in_the_paper():
    """From rows of tables 9 (Z5) and 10 (Z6), at a wavenumber of 1.48, where only q00 to q02 count."""
    z5_at_10_8 = {"q00": -27.23, "q01": -3.07, "q02": 23.04}
    expected = [
        z5_at_10_8["q00"] - z5_at_10_8["q02"] / 3,
        z5_at_10_8["q00"] + z5_at_10_8["q01"] / 2 + z5_at_10_8["q02"] * (1 / 4 - 1 / 3),
    ]
    number = len(expected)
    found = zero_points_mas(
        np.full(number, 10.8),
        np.full(number, 1.48),
        np.full(number, MISSING),
        np.array([0.0, 30.0]),
        np.full(number, 31.0),
    )
    np.testing.assert_allclose(1000 * found, expected, atol=1e-3)


def test_solutions_of_each_kind_and_stars_beyond_the_recipe():
    # Values of gaiadr3-zeropoint 0.1.0 [mas].
    g_mag, wavenumber, pseudocolour, latitude, solved, expected = np.transpose(
        [
            (12, 1.48, MISSING, 0, 31, -0.027367),
            (10, 1.5, MISSING, 30, MISSING, -0.030614),
            (18, 1.5, 1.5, -20, 95, -0.02061),
            (18, 1.5, 1.5, -20, MISSING, -0.02061),
            (5, 1.5, MISSING, 0, 31, MISSING),
            (12, 1.95, MISSING, 0, 31, MISSING),
            (12, MISSING, MISSING, 0, 31, MISSING),
            (12, 1.5, MISSING, 0, 3, MISSING),
        ]
    )
    found = zero_points_mas(g_mag, wavenumber, pseudocolour, latitude, solved)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_missing_package_and_other_names_are_said(monkeypatch):
    with pytest.raises(
        CatalogError, match="parallax_zero_point_mas=gaia should be a number, or lindegren2021"
    ):
        View(parallax_zero_point_mas="gaia")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(parallax_zero_point.ZeroPointError, match="pip install gaiadr3-zeropoint"):
        View(parallax_zero_point_mas="lindegren2021")


def test_members_have_zero_points_of_their_own(member_list_file):
    table = read_member_list(member_list_file)
    table["bp_rp"][3] = table["phot_g_mean_mag"][3] = MISSING
    by_star = View(parallax_zero_point_mas="lindegren2021")
    found, plain = (derive_features(table, ("y", "z"), view) for view in (by_star, View()))
    zero_points = found.table["parallax_zero_point"]
    is_reached = zero_points.notna()
    assert not is_reached[3]
    assert zero_points[is_reached].between(-0.06, 0.01).all()
    # Red dwarfs and bright stars are beyond the recipe.
    assert found.table["phot_g_mean_mag"][is_reached].between(6, 21).all()
    assert is_reached.mean() > 0.95
    shift = 1000 / found.distance_pc - 1000 / plain.distance_pc
    assert shift == pytest.approx(-zero_points.median(), abs=0.01)
    assert not any("DR2" in note for note in found.notes)
    table.meta["identities"] = "GaiaDR2"
    (warning,) = (note for note in derive_features(table, ("y", "z"), by_star).notes if "DR2" in note)
    assert "(lindegren2021) are those of Gaia EDR3 and DR3, but" in warning
    assert "those of DR2 (column GaiaDR2): if the parallaxes are DR2's, too, state a number" in warning
    (note,) = (note for note in found.notes if note.startswith("Distance"))
    assert "by star (lindegren2021), -0.0" in note
    assert f"and -0.04 mas where there is none: {(~is_reached).sum()} stars (rows 4, " in note
    # Gaia's own columns count first.
    table["nu_eff_used_in_astrometry"] = effective_wavenumber(np.asarray(table["bp_rp"]))
    table["ecl_lat"] = 0.0
    table["astrometric_params_solved"] = 31.0
    elsewhere = derive_features(table, ("y", "z"), by_star).table["parallax_zero_point"]
    assert (elsewhere - zero_points).abs().median() > 0.001
