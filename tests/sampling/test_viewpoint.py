"""Circumstances of lists: directions and motions against astropy and the rotation of the disc."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from astropy import units as u
from astropy.coordinates import CartesianDifferential, CartesianRepresentation, Galactic, SkyCoord

from starjax.gaia.extinction import LAW_ERROR
from starjax.ops import random
from starjax.sampling import viewpoint
from starjax.sampling.observer_settings import Observer
from tests.sampling.observed_lists import SETTINGS

NUM_VIEW = 4000
DIRECTIONS = [(10.0, 3.0), (120.0, -20.0), (222.0, 40.0), (330.0, -1.0)]


@pytest.fixture(scope="module")
def views():
    """Return many views, in arrays."""

    def draw(number):
        salt = random.salts(jax.random.fold_in(jax.random.key(0), number), 1)[0]
        return viewpoint.draw_view(salt, SETTINGS)

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(draw))(jnp.arange(NUM_VIEW)))


def axes_at(lon, lat):
    return np.asarray(viewpoint.local_axes(jnp.radians(lon), jnp.radians(lat)), np.float64)


@pytest.mark.parametrize(("lon", "lat"), DIRECTIONS)
def test_axes_are_those_of_the_galactic_frame(lon, lat):
    def direction(lon, lat):
        return SkyCoord(lon, lat, unit="deg", frame="galactic").cartesian.xyz.value

    step = 1e-4
    along_lon = direction(lon + step, lat) - direction(lon - step, lat)
    along_lat = direction(lon, lat + step) - direction(lon, lat - step)
    expected = [direction(lon, lat), *(one / np.linalg.norm(one) for one in (along_lon, along_lat))]
    np.testing.assert_allclose(axes_at(lon, lat), expected, atol=1e-6)


@pytest.mark.parametrize(("lon", "lat"), DIRECTIONS)
def test_motion_is_that_of_a_rotating_disc(lon, lat):
    """Against exact circular orbits with the rotation and its slope that Oort's constants stand for."""
    radius, distance = 8000.0, 100.0
    speed = (viewpoint.OORT_A - viewpoint.OORT_B) * radius
    slope = -(viewpoint.OORT_A + viewpoint.OORT_B)
    axes = axes_at(lon, lat)
    # From the Galactic centre: x away from it at the Sun, y along the rotation.
    place = np.array([radius, 0, 0]) + distance * axes[0] * [-1, 1, 1]
    own_radius = np.hypot(*place[:2])
    circular = (speed + slope * (own_radius - radius)) * np.array([-place[1], place[0], 0]) / own_radius
    relative = (circular - [0, speed, 0]) * [-1, 1, 1]
    peculiar = np.array([3.0, -4.0, 5.0])
    expected = axes @ (relative + peculiar - viewpoint.SOLAR_MOTION)
    found = viewpoint.bulk_velocity(distance, jnp.asarray(axes, jnp.float32), jnp.asarray(peculiar))
    # The next order is the distance relative to the radius.
    np.testing.assert_allclose(found, expected, atol=0.04)


@pytest.mark.parametrize(("lon", "lat"), DIRECTIONS)
def test_the_suns_motion_is_taken_off_as_astropy_does(lon, lat):
    """A cluster at rest in the local standard of rest moves against the Sun's own motion."""
    place = SkyCoord(lon, lat, unit="deg", frame="galactic").cartesian.xyz.value * u.pc
    motion = CartesianDifferential(*(-np.array(viewpoint.SOLAR_MOTION) * u.km / u.s))
    seen = SkyCoord(Galactic(CartesianRepresentation(place, differentials=motion)))
    per_mas_yr = 4.740470463533348e-3
    expected = [
        seen.radial_velocity.to_value(u.km / u.s),
        per_mas_yr * seen.pm_l_cosb.to_value(u.mas / u.yr),
        per_mas_yr * seen.pm_b.to_value(u.mas / u.yr),
    ]
    found = viewpoint.bulk_velocity(0.0, jnp.asarray(axes_at(lon, lat), jnp.float32), jnp.zeros(3))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_line_of_sight_is_in_the_frame_of_simulations(views):
    """Whose x points away from the Galactic centre, y along the rotation, z to a pole, either of them."""
    np.testing.assert_allclose(
        np.einsum("nij,nkj->nik", views.axes, views.axes),
        np.broadcast_to(np.eye(3), views.axes.shape),
        atol=1e-5,
    )
    # The sense of rotation from longitude to latitude differs between mirror images.
    handed = np.linalg.det(views.axes)
    assert scipy.stats.binomtest(int((handed > 0).sum()), NUM_VIEW).pvalue > 1e-4
    # All longitudes are as likely.
    angle = np.arctan2(views.axes[:, 0, 1], views.axes[:, 0, 0])
    assert scipy.stats.kstest(angle, "uniform", (-np.pi, 2 * np.pi)).pvalue > 1e-4


def test_clusters_are_as_far_and_as_high_as_said(views):
    low, high = np.log(SETTINGS.distance_range_pc)
    assert scipy.stats.kstest(np.log(views.distance), "uniform", (low, high - low)).pvalue > 1e-4
    far = views.distance > 400
    # The third axis runs along latitude, and its component along the pole is the cosine of the latitude.
    height = np.abs(views.axes[far, 0, 2]) * views.distance[far]
    assert np.sqrt(np.mean(height**2)) == pytest.approx(SETTINGS.scale_height_pc, rel=0.06)


def test_ranges_are_kept(views):
    for values, bounds in (
        (views.extinction, SETTINGS.extinction_range_v_mag),
        (views.extinction_error, SETTINGS.extinction_error_range_v_mag),
        (views.faint_limit, SETTINGS.faint_limit_range_mag),
        (views.bright_limit, SETTINGS.bright_limit_range_mag),
        (views.missing_fraction, SETTINGS.missing_fraction_range),
        (views.radius, SETTINGS.radius_range_pc),
        (views.motion_cut, SETTINGS.motion_cut_range),
        (views.field_fraction, SETTINGS.field_fraction_range),
    ):
        low, high = bounds
        width = high - low
        assert low - 1e-5 <= values.min() < low + 0.01 * width
        assert high - 0.01 * width < values.max() <= high + 1e-4
    assert (views.extinction_estimate >= 0).all()
    expected = np.hypot(views.extinction_error, LAW_ERROR * views.extinction)
    clear = views.extinction > 4 * expected
    error = (views.extinction_estimate - views.extinction)[clear] / expected[clear]
    assert error.std() == pytest.approx(1, abs=0.05)
    assert views.zero_point.std() == pytest.approx(SETTINGS.zero_point_error_mas, rel=0.05)


def test_the_reader_knows_some_radial_velocities(views):
    known = np.isfinite(views.radial_velocity)
    share = SETTINGS.radial_velocity_probability
    assert known.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / NUM_VIEW))
    error = (views.radial_velocity - views.velocity[:, 0])[known]
    assert error.std() == pytest.approx(SETTINGS.radial_velocity_error_kms, rel=0.1)


def test_peculiar_motions_scatter_as_said():
    still = dataclasses.replace(SETTINGS, distance_range_pc=(1e-3, 2e-3), scale_height_pc=0.0)

    def draw(number):
        salt = random.salts(jax.random.fold_in(jax.random.key(1), number), 1)[0]
        view = viewpoint.draw_view(salt, still)
        # Back to the Galactic frame; of mirror images the same components.
        return view.velocity, view.axes

    velocity, axes = (np.asarray(one) for one in jax.jit(jax.vmap(draw))(jnp.arange(NUM_VIEW)))
    galactic = np.einsum("nij,ni->nj", axes, velocity) * [-1, 1, 1]
    for i, dispersion in enumerate(SETTINGS.velocity_dispersion_kms):
        handed = np.linalg.det(axes) < 0 if i == 2 else np.ones(NUM_VIEW, bool)
        assert galactic[handed, i].std() == pytest.approx(dispersion, rel=0.06)
        assert abs(galactic[handed, i].mean() + viewpoint.SOLAR_MOTION[i]) < 0.06 * dispersion


def test_parts_that_are_off_have_no_effect():
    view = viewpoint.draw_view(
        random.salts(jax.random.key(0), 1)[0], Observer(distance_range_pc=(100.0, 200.0))
    )
    assert view.extinction == view.extinction_error == view.extinction_estimate == 0
    assert view.faint_limit == view.radius == view.motion_cut == np.inf
    assert view.bright_limit == -np.inf
    assert view.missing_fraction == view.field_fraction == view.zero_point == 0
    assert view.radial_velocity == view.velocity[0]
