"""Luminosities of well-known stars are recovered, and the main sequence inverts them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starjax.gaia import photometry


def test_the_sun():
    # Casagrande & VandenBerg 2018: M_G = 4.67, BP-RP = 0.82.
    np.testing.assert_allclose(photometry.log_luminosity(4.67, 0.82, 10.0), 0, atol=0.02)


@pytest.mark.parametrize(
    ("magnitude", "bp_rp", "parallax", "log_luminosity"),
    [
        (8.985, 3.80, 768.07, -2.81),  # Proxima Centauri
        (8.195, 2.83, 546.98, -2.46),  # Barnard's star
        (4.77, 1.50, 286.0, -0.82),  # 61 Cygni A
        (5.33, 0.82, 70.7, 0.025),  # 18 Scorpii
    ],
)
def test_well_known_stars(magnitude, bp_rp, parallax, log_luminosity):
    found = photometry.log_luminosity(magnitude, bp_rp, 1000 / parallax)
    np.testing.assert_allclose(found, log_luminosity, atol=0.04)


@settings(deadline=None)
@given(st.floats(-4, 4), st.floats(1, 1e4))
def test_main_sequence_inverts_luminosities(log_luminosity, distance):
    absolute, bp_rp = photometry.on_main_sequence(log_luminosity)
    apparent = absolute + 5 * np.log10(distance / 10)
    assert photometry.COLOUR_RANGE[0] <= bp_rp <= photometry.COLOUR_RANGE[1]
    np.testing.assert_allclose(
        photometry.log_luminosity(apparent, bp_rp, distance), log_luminosity, atol=1e-9
    )


def test_fainter_dwarfs_are_redder():
    absolute, bp_rp = photometry.on_main_sequence(np.linspace(1.8, -3.1, 200))
    assert (np.diff(bp_rp) > 0).all()
    assert (np.diff(absolute) > 0).all()


def test_extinction_is_corrected():
    seen = photometry.log_luminosity(10 + 0.83627 * 2, 1.5 + (1.08337 - 0.63439) * 2, 100.0, 2.0)
    np.testing.assert_allclose(seen, photometry.log_luminosity(10, 1.5, 100.0), atol=1e-12)


def test_correction_is_constant_beyond_the_known_colours():
    ends = photometry.bolometric_correction(np.array(photometry.COLOUR_RANGE))
    np.testing.assert_array_equal(photometry.bolometric_correction(np.array([-1.0, 6.0])), ends)
