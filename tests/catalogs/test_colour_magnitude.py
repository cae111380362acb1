"""Magnitudes, colours and probabilities of membership are features of a catalogue."""

import dataclasses

import numpy as np
import pytest
from astropy.table import MaskedColumn

from starjax import quantities
from starjax.catalogs.column_values import CatalogError
from starjax.catalogs.dropped_stars import Reason
from starjax.catalogs.features import derive_features

KEYS = (*quantities.PHOTOMETRY, "membership_probability")


@pytest.fixture
def photometric(cluster):
    """Return a catalogue with magnitudes and colours, all stars at one distance."""
    table = cluster.table.copy()
    table.remove_columns([name for name in ("distance", "distance_error") if name in table.colnames])
    table["phot_g_mean_mag"] = np.linspace(6, 17, len(table))
    table["bp_rp"] = np.linspace(0.1, 2.2, len(table))
    return table


def column(found, name):
    return found.feature[:, KEYS.index(name)]


def test_extinction_is_taken_from_magnitudes_and_colours(photometric, view):
    clear = derive_features(photometric, KEYS, view)
    dusty = derive_features(photometric, KEYS, dataclasses.replace(view, extinction_v_mag=1.0))
    # dustapprox's coefficients for (BP-RP)_0 = 0.82; see tests/gaia/test_extinction.py.
    is_solar = np.abs(column(dusty, "bp_rp_0") - 0.82) < 0.02
    assert is_solar.any()
    magnitude = column(clear, "abs_mag_g") - column(dusty, "abs_mag_g")
    colour = column(clear, "bp_rp_0") - column(dusty, "bp_rp_0")
    np.testing.assert_allclose(magnitude[is_solar], 0.84604, rtol=0.005)
    np.testing.assert_allclose(colour[is_solar], 1.05642 - 0.64095, rtol=0.005)


def test_errors_contain_that_of_the_extinction(photometric, view):
    stated = {
        error: derive_features(
            photometric,
            KEYS,
            dataclasses.replace(view, extinction_v_mag=0.0, extinction_v_error_mag=error),
        )
        for error in (0.0, 0.5)
    }
    added = np.sqrt(column(stated[0.5], "bp_rp_0_error") ** 2 - column(stated[0.0], "bp_rp_0_error") ** 2)
    np.testing.assert_allclose(added, 0.5 * (1.08337 - 0.63439), rtol=1e-3)
    assert any("0 ± 0.5 mag (given)" in note for note in stated[0.5].notes)
    assert not any("state extinction_v_mag" in note for note in stated[0.5].notes)
    clear, dusty = (
        derive_features(
            photometric,
            KEYS,
            dataclasses.replace(view, extinction_v_mag=extinction_v, extinction_v_error_mag=0.0),
        )
        for extinction_v in (0.0, 2.0)
    )
    # The same magnitudes have the same errors, but for that of the law.
    added = np.sqrt(column(dusty, "bp_rp_0_error") ** 2 - column(clear, "bp_rp_0_error") ** 2)
    np.testing.assert_allclose(added, 0.06 * 2 * (1.08337 - 0.63439), rtol=1e-3)


def test_an_extinction_that_is_not_stated_is_assumed_and_said(photometric, view):
    found = derive_features(photometric, KEYS, view)
    assert any("0 ± 0.1 mag (assumed, with an assumed error)" in note for note in found.notes)
    assert any("state extinction_v_mag" in note for note in found.notes)
    assert (found.extinction.v_mag, found.extinction.v_error_mag) == (0, 0.1)
    assert found.extinction.source == "assumed"


def test_the_error_of_a_stated_distance_counts_in_absolute_magnitudes_only(photometric, view):
    exact = derive_features(photometric, KEYS, view)
    found = derive_features(photometric, KEYS, dataclasses.replace(view, distance_error_pc=0.94))
    assert (exact.distance_error_pc, found.distance_error_pc) == (0, pytest.approx(0.94))
    added = np.sqrt(column(found, "abs_mag_g_error") ** 2 - column(exact, "abs_mag_g_error") ** 2)
    # Of 2 % of the distance; stars are at distances of their own.
    np.testing.assert_allclose(added, 0.02 * 5 / np.log(10), rtol=0.5)
    np.testing.assert_allclose(np.median(added), 0.02 * 5 / np.log(10), rtol=0.02)
    for name in ("v_lon_error", "dist_error_pc", "bp_rp_0_error"):
        np.testing.assert_array_equal(found.table[name], exact.table[name])
    assert "Distance 47 ± 0.94 pc (given)." in found.notes
    assert any("in the errors of absolute magnitudes" in note for note in found.notes)
    unused = derive_features(photometric, ("y", "z"), dataclasses.replace(view, distance_error_pc=0.94))
    assert any("in none of the features" in note for note in unused.notes)


def test_probabilities_are_listed_or_one(photometric, view):
    assert (column(derive_features(photometric, KEYS, view), "membership_probability") == 1).all()
    photometric["membership_probability"] = 0.7
    photometric["membership_probability"][3] = np.nan
    found = column(derive_features(photometric, KEYS, view), "membership_probability")
    assert sorted(set(found)) == [0.7, 1.0]


def test_stars_without_a_colour_are_left_out_and_lists_without_colours_refused(photometric, view):
    photometric["bp_rp"] = MaskedColumn(photometric["bp_rp"].astype(float))
    photometric["bp_rp"][:5] = np.nan
    found = derive_features(photometric, KEYS, view)
    assert [len(one.rows) for one in found.dropped if one.reason is Reason.NO_VALUE and one.rows] == [5]
    photometric.remove_column("bp_rp")
    with pytest.raises(
        CatalogError, match="needs phot_g_mean_mag and bp_rp; for lists without colours train a model"
    ):
        derive_features(photometric, KEYS, view)
