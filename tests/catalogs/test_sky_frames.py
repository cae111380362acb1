"""The offset frame is centred, and along Galactic longitude and latitude, as that of the simulations."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from starjax.catalogs import sky_frames
from starjax.quantities import KMS_PER_PC_MAS_YR

CENTRES = st.tuples(st.floats(0, 359.9), st.floats(-89, 89))


def around(centre, num_star=50, degrees=8, seed=0):
    """Return positions (ra, dec) [deg] scattered about a centre."""
    random = np.random.default_rng(seed)
    middle = SkyCoord(*centre, unit="deg")
    stars = middle.directional_offset_by(
        random.uniform(0, 360, num_star) * u.deg, random.uniform(0, degrees, num_star) * u.deg
    )
    return stars.ra.deg, stars.dec.deg


@settings(max_examples=5, deadline=None)
@given(CENTRES)
def test_offsets_keep_separations_and_point_along_the_galaxy(centre):
    ra, dec = around(centre)
    lon, lat = sky_frames.offsets(ra, dec, centre)
    stars, middle = SkyCoord(ra, dec, unit="deg").galactic, SkyCoord(*centre, unit="deg").galactic
    from_centre = np.arccos(np.clip(np.cos(lat) * np.cos(lon), -1, 1))
    np.testing.assert_allclose(from_centre, stars.separation(middle).rad, atol=1e-7)
    direction = np.arctan2(np.cos(lat) * np.sin(lon), np.sin(lat))
    np.testing.assert_allclose(
        np.exp(1j * direction), np.exp(1j * middle.position_angle(stars).rad), atol=1e-6
    )


@settings(max_examples=5, deadline=None)
@given(CENTRES)
def test_axes_rotation_is_orthogonal_and_follows_the_stars(centre):
    ra, dec = around(centre)
    rotation = sky_frames.axes_rotation(ra, dec, centre)
    np.testing.assert_allclose(
        rotation @ np.swapaxes(rotation, 1, 2), np.broadcast_to(np.eye(2), rotation.shape), atol=1e-9
    )
    # A small step north, seen in both frames.
    step = 1e-4
    before, after = sky_frames.offsets(ra, dec, centre), sky_frames.offsets(ra, dec + step, centre)
    moved = np.column_stack([(after[0] - before[0]) * np.cos(before[1]), after[1] - before[1]])
    np.testing.assert_allclose(np.degrees(moved) / step, rotation[:, :, 1], atol=1e-4)


def test_local_axes_are_right_handed_and_orthonormal():
    lon, lat = np.random.default_rng(0).uniform(-1.5, 1.5, (2, 100))
    axes = sky_frames.local_axes(lon, lat)
    np.testing.assert_allclose(
        axes @ np.swapaxes(axes, 1, 2), np.broadcast_to(np.eye(3), axes.shape), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(axes), 1)
    away = SkyCoord(lon, lat, unit="rad").cartesian.xyz.value.T
    np.testing.assert_allclose(axes[:, 0], away, atol=1e-12)


@settings(max_examples=5, deadline=None)
@given(CENTRES, st.integers(0, 5))
def test_centre_is_the_median_everywhere_on_the_sky(centre, seed):
    ra, dec = around(centre, num_star=301, seed=seed)
    found = sky_frames.median_centre(ra, dec)
    np.testing.assert_allclose([np.median(one) for one in sky_frames.offsets(ra, dec, found)], 0, atol=1e-9)


def test_ten_percent_of_outliers_do_not_move_the_centre():
    ra, dec = around((359.99, 30.0), num_star=900, degrees=2)
    far = around((359.99, 30.0), num_star=100, degrees=40, seed=1)
    found = SkyCoord(*sky_frames.median_centre(*np.concatenate([(ra, dec), far], axis=1)), unit="deg")
    truth = SkyCoord(*sky_frames.median_centre(ra, dec), unit="deg")
    assert found.separation(truth).deg < 0.05


@pytest.mark.parametrize("centre", [(10.0, 40.0), (266.0, -29.0)])
def test_galactic_vectors(centre):
    still, away = 0 * u.mas / u.yr, 30 * u.km / u.s
    position = {"ra": centre[0] * u.deg, "dec": centre[1] * u.deg, "distance": 1 * u.pc}
    star = SkyCoord(**position, pm_ra_cosdec=still, pm_dec=still, radial_velocity=away).galactic
    expected = star.velocity.d_xyz.to_value(u.km / u.s)
    np.testing.assert_allclose(sky_frames.to_galactic(np.array([30.0, 0, 0]), centre), expected, atol=1e-9)
    # The tilt preserves the angle to the Galactic pole.
    tilted = sky_frames.galactic_tilt(centre) @ [1, 0, 0]
    np.testing.assert_allclose(tilted, [np.cos(star.b.rad), 0, np.sin(star.b.rad)], atol=1e-12)


def test_a_circle_has_the_dispersion_of_its_normal_distribution():
    lon, lat = np.random.default_rng(0).normal(0, 0.01, (2, 20_000))
    np.testing.assert_allclose(sky_frames.angular_dispersion(lon + 0.1, lat), 0.01, rtol=0.05)


def test_dispersion_includes_tails_but_not_outliers():
    random = np.random.default_rng(0)
    lon, lat = random.normal(0, 0.01, (2, 20_000))
    lon[:2000] *= 3
    lat[:2000] *= 3
    expected = 0.01 * np.sqrt(0.9 + 0.1 * 9)
    np.testing.assert_allclose(sky_frames.angular_dispersion(lon, lat), expected, rtol=0.05)
    lon[-1000:] += 0.5
    np.testing.assert_allclose(sky_frames.angular_dispersion(lon, lat), expected, rtol=0.1)


def test_the_velocity_of_a_proper_motion_is_that_of_astropy():
    tangential = (1 * u.pc * u.mas / u.yr).to(u.km / u.s, equivalencies=u.dimensionless_angles())
    assert pytest.approx(tangential.value, rel=1e-14) == KMS_PER_PC_MAS_YR
