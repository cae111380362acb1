"""Errors are those of pygaia, in numpy as well as compiled by jax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pygaia.errors import astrometric, photometric

from starjax.gaia import uncertainties

MAGNITUDES = np.linspace(4, 20.5, 3301)
# Errors of the zero points of EDR3 [mag], as in the notes of the catalogue I/350 at CDS.
FLOORS = {"g": 0.0027553202, "bp": 0.0027901700, "rp": 0.0037793818}


def errors_of_one_magnitude(mag):
    """Return the errors [mag] by band of stars that are equally bright in all bands."""
    return dict(zip(FLOORS, uncertainties.photometric_errors_mag(mag, mag, mag), strict=True))


def test_parallaxes():
    expected_mas = astrometric.parallax_uncertainty(MAGNITUDES, release="dr3") / 1000
    np.testing.assert_allclose(uncertainties.parallax_error_mas(MAGNITUDES), expected_mas, rtol=1e-12)


def test_proper_motions():
    expected = np.array(astrometric.proper_motion_uncertainty(MAGNITUDES, release="dr3")) / 1000
    np.testing.assert_allclose(uncertainties.proper_motion_error_mas_yr(MAGNITUDES), expected, rtol=1e-12)


def test_errors_of_dr2():
    """The medians at G = 17 and 20 in the abstract of Lindegren et al. 2018 (A&A 616, A2)."""
    errors = uncertainties.astrometric_errors(np.array([17.0, 20.0]), uncertainties.DR2_MONTHS)
    np.testing.assert_allclose(errors["parallax_error"], [0.1, 0.7], rtol=0.15)
    np.testing.assert_allclose(errors["pmra_error"], [0.2, 1.2], rtol=0.3)


@pytest.mark.parametrize("band", FLOORS)
def test_magnitudes(band):
    formal = photometric.magnitude_uncertainty(band, MAGNITUDES, release="dr3") / 1000
    errors = errors_of_one_magnitude(MAGNITUDES)[band]
    np.testing.assert_allclose(errors, np.hypot(formal, FLOORS[band]), rtol=0.002)
    # The same without the floor, which hides a deviation at the bright end.
    np.testing.assert_allclose(np.log10(np.sqrt(errors**2 - FLOORS[band] ** 2) / formal), 0, atol=0.005)


@pytest.mark.parametrize("band", FLOORS)
def test_no_magnitude_is_better_than_its_zero_point(band):
    assert errors_of_one_magnitude(np.linspace(-2, 25, 500))[band].min() >= FLOORS[band]


@pytest.mark.parametrize("band", FLOORS)
def test_fainter_stars_have_larger_errors(band):
    # Brighter, errors hardly change, and the splines waver.
    mag = np.linspace(14, 23.9, 500)
    assert (np.diff(errors_of_one_magnitude(mag)[band]) > 0).all()
    assert (np.diff(uncertainties.parallax_error_mas(mag)) > 0).all()


@pytest.mark.parametrize("band", FLOORS)
def test_beyond_the_published_range(band):
    errors = errors_of_one_magnitude(np.array([-5.0, 4.0, 21.0, 23.5, 24.0, 99.0]))[band]
    assert errors[0] == errors[1]
    assert errors[5] == errors[4]
    # A constant error of the flux is 10^(0.4 * 2.5) = 10 times as much of a flux that is 2.5 mag fainter.
    formal = np.sqrt(errors**2 - FLOORS[band] ** 2)
    np.testing.assert_allclose(formal[3], 10 * formal[2], rtol=1e-3)


def test_a_missing_magnitude_has_no_error():
    missing = np.array([np.nan, 15.0])
    for errors in (
        uncertainties.parallax_error_mas(missing),
        *uncertainties.proper_motion_error_mas_yr(missing),
        *uncertainties.photometric_errors_mag(missing, missing, missing),
    ):
        np.testing.assert_array_equal(np.isnan(errors), [True, False])


def test_compiled_is_the_same():
    def all_errors(mag):
        return (
            uncertainties.parallax_error_mas(mag),
            *uncertainties.proper_motion_error_mas_yr(mag),
            *uncertainties.photometric_errors_mag(mag, mag + 0.5, mag - 0.5),
        )

    # Magnitudes that float32 holds exactly, but none at a step of the table.
    mag = np.arange(3, 25, 1 / 64).reshape(4, -1) + 1 / 128
    compiled = jax.jit(jax.vmap(all_errors))(jnp.asarray(mag, jnp.float32))
    for found, expected in zip(compiled, all_errors(mag), strict=True):
        assert found.shape == mag.shape
        np.testing.assert_allclose(found, expected, rtol=2e-5)
