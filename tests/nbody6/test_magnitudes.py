"""Magnitudes agree with an independent calculation and with the Sun; no star lacks one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starjax.nbody6 import magnitudes

# Stars of simulations of all types, with magnitudes that the authors of the simulations computed from the
# same corrections by other code, before they rounded their values to 13 bits (CC-BY-4.0).
GOLDEN = Path(__file__).parents[1] / "data" / "magnitudes.csv"
QUANTITIES = ("mass", "log_L_L_sol", "log_T_eff_K", "log_R_R_sol")
NEUTRON_STAR, NO_REMNANT, BLACK_HOLE = 13, 9, 14


@pytest.fixture(scope="module")
def golden():
    return pd.read_csv(GOLDEN)


def of_stars(stars, metallicity):
    return magnitudes.absolute_magnitudes(*(stars[key].to_numpy() for key in QUANTITIES), metallicity)


def one(mass=1.0, log_luminosity=0.0, log_t_eff=3.7613, log_radius=0.0, metallicity=0.014):
    values = (np.array([value], np.float64) for value in (mass, log_luminosity, log_t_eff, log_radius))
    return np.array(magnitudes.absolute_magnitudes(*values, metallicity))[:, 0]


def test_equals_an_independent_calculation(golden):
    assert len(golden) == 60
    shining = golden[~golden["stellar_type"].isin([NEUTRON_STAR, NO_REMNANT, BLACK_HOLE])]
    for metallicity, stars in shining.groupby("metallicity"):
        found = of_stars(stars, metallicity)
        for band in magnitudes.Magnitudes._fields:
            np.testing.assert_allclose(getattr(found, band), stars[f"abs_mag_{band}"], rtol=0, atol=0.007)


def test_remnants_without_light_are_too_faint_to_be_seen(golden):
    dark = golden[golden["stellar_type"].isin([NEUTRON_STAR, NO_REMNANT, BLACK_HOLE])]
    assert len(dark) == 5
    for band in of_stars(dark, 0.014):
        np.testing.assert_array_equal(band, magnitudes.DARK)


def test_the_sun():
    g, bp, rp = one()
    # Casagrande & VandenBerg 2018, MNRAS 479, L102: M_G = 4.67, BP - RP = 0.82.
    np.testing.assert_allclose([g, bp - rp], [4.67, 0.82], atol=0.035)


def test_twice_the_light_is_0_75_mag():
    np.testing.assert_allclose(one() - one(log_luminosity=np.log10(2)), 2.5 * np.log10(2), atol=1e-12)


def test_outside_the_table_the_nearest_edge_counts():
    np.testing.assert_array_equal(one(log_t_eff=3.3), one(log_t_eff=np.log10(2500)))
    np.testing.assert_array_equal(one(log_t_eff=6.5), one(log_t_eff=6.0))
    # The log g of a giant of 1e5 solar radii is below the table, which ends at that of 16,500.
    np.testing.assert_array_equal(one(log_radius=5.0), one(log_radius=4.3))


@pytest.mark.parametrize("metallicity", [0.0, -0.01, 1e-5, 0.05, 1.0, np.nan])
def test_a_metallicity_outside_the_table_is_refused(metallicity):
    with pytest.raises(ValueError, match=r"Z of 4\.4e-05 to 0\.044, not"):
        one(metallicity=metallicity)


@pytest.mark.parametrize("fe_h", [-2.5, 0.5])
def test_the_ends_of_the_table_belong_to_it(fe_h):
    assert np.isfinite(one(metallicity=0.014 * 10**fe_h)).all()


@pytest.mark.parametrize(
    "changed", [{"mass": 0.0}, {"mass": -1.0}, {"log_t_eff": np.nan}, {"log_t_eff": np.inf}]
)
def test_what_no_star_has_is_nan(changed):
    assert np.isnan(one(**changed)).all()


def test_no_stars_have_no_magnitudes():
    found = magnitudes.absolute_magnitudes(*[np.zeros(0)] * 4, 0.014)
    assert [band.shape for band in found] == [(0,)] * 3


@given(
    st.floats(0.01, 150),
    st.floats(-12, 7),
    st.floats(3, 7),
    st.floats(-12, 4),
    st.floats(1e-4, 0.04),
)
def test_every_star_has_finite_magnitudes(mass, log_luminosity, log_t_eff, log_radius, metallicity):
    found = one(mass, log_luminosity, log_t_eff, log_radius, metallicity)
    assert np.isfinite(found).all()
    assert (found <= magnitudes.DARK).all()
