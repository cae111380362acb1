"""What Gaia measures of simulated stars, against astropy, pygaia and plain numpy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import CartesianDifferential, CartesianRepresentation, SkyCoord
from pygaia.errors import astrometric

from starjax.gaia import extinction, uncertainties
from starjax.ops import random
from starjax.sampling import measured_stars, viewpoint
from starjax.sampling.observer_settings import Observer
from tests.sampling.observed_lists import SETTINGS, compiled, rows

EXACT = Observer(distance_range_pc=(100.0, 200.0))


def measured(settings, number=0, seed=0):
    """Return the circumstances, the true stars and what is measured of them."""
    view_salt, *salts = random.salts(jax.random.key(seed), 1 + measured_stars.NUM_SALT)
    view = viewpoint.draw_view(view_salt, settings)
    stars = measured_stars.to_stars(*rows(number))
    return view, stars, measured_stars.measure(jnp.stack(salts), stars, view, settings)


@pytest.mark.parametrize("seed", range(3))
def test_positions_and_motions_are_those_of_astropy(seed):
    view, stars, found = measured(EXACT, seed=seed)
    position = np.asarray(view.axes, float) @ np.asarray(stars.position, float)
    position[0] += float(view.distance)
    velocity = np.asarray(view.axes, float) @ np.asarray(stars.velocity, float)
    velocity += np.asarray(view.velocity, float)[:, None]
    differential = CartesianDifferential(velocity * u.km / u.s)
    sky = SkyCoord(CartesianRepresentation(position * u.pc, differentials=differential), frame="icrs")
    mask = np.asarray(stars.mask)
    expected = {
        "lon": sky.ra.wrap_at("180d").rad,
        "lat": sky.dec.rad,
        "parallax": 1000 / sky.distance.pc,
        "pm_lon": sky.pm_ra_cosdec.to_value(u.mas / u.yr),
        "pm_lat": sky.pm_dec.to_value(u.mas / u.yr),
    }
    for name, values in expected.items():
        close = 1e-5 * np.abs(values[mask]).max()
        np.testing.assert_allclose(
            np.asarray(getattr(found, name))[mask], values[mask], atol=close, rtol=1e-5
        )


def test_magnitudes_have_distance_modulus_and_extinction():
    settings = dataclasses.replace(EXACT, extinction_range_v_mag=(1.0, 1.0))
    view, stars, found = measured(settings)
    colour = np.asarray(measured_stars.correct_colour(stars.bp_rp, view.colour_error), float)
    modulus = 5 * np.log10(100 / np.asarray(found.parallax, float))
    g, bp_rp = extinction.reddened(np.asarray(stars.g, float) + modulus, colour, 1.0)
    mask = np.asarray(stars.mask)
    np.testing.assert_allclose(np.asarray(found.g)[mask], g[mask], atol=2e-5)
    np.testing.assert_allclose(np.asarray(found.bp_rp)[mask], bp_rp[mask], atol=2e-5)


def test_errors_scatter_as_gaias_do():
    settings = dataclasses.replace(EXACT, gaia_errors=True)
    _, stars, exact = measured(EXACT)
    deviations = {name: [] for name in ("parallax", "pm_lon", "pm_lat", "g", "bp_rp")}
    for seed in range(40):
        view_salt, *_ = random.salts(jax.random.key(0), 1 + measured_stars.NUM_SALT)
        view = viewpoint.draw_view(view_salt, settings)
        salts = random.salts(jax.random.key(1000 + seed), measured_stars.NUM_SALT)
        noisy = measured_stars.measure(salts, stars, view, settings)
        for name, values in deviations.items():
            values.append(np.asarray(getattr(noisy, name) - getattr(exact, name))[np.asarray(stars.mask)])
    g = np.asarray(exact.g, float)[np.asarray(stars.mask)]
    parallax = astrometric.parallax_uncertainty(g, release="dr3") / 1000
    pm_lon, pm_lat = (one / 1000 for one in astrometric.proper_motion_uncertainty(g, release="dr3"))
    colour = np.asarray(exact.bp_rp, float)[np.asarray(stars.mask)]
    expected = {
        "parallax": parallax,
        "pm_lon": pm_lon,
        "pm_lat": pm_lat,
        "g": uncertainties.magnitude_error_mag(g),
        "bp_rp": uncertainties.colour_error_mag(g, colour),
    }
    for name, values in deviations.items():
        scaled = np.stack(values) / expected[name]
        # Of 40 draws of some 360 stars the standard deviation is known within 0.6 %; magnitudes of float32
        # are rounded.
        assert scaled.std() == pytest.approx(1, abs=0.03), name
        assert abs(scaled.mean()) < 0.03, name


def test_pairs_that_are_close_are_one_source():
    settings = dataclasses.replace(EXACT, resolution_arcsec=0.65)
    view, stars, found = measured(settings)
    companion, distance = np.asarray(stars.companion), float(view.distance)
    axis, g = np.asarray(stars.semi_major_axis, float), np.asarray(stars.g, float)
    is_primary = companion > 0
    is_hidden = ~np.asarray(found.mask) & np.asarray(stars.mask)
    assert not is_hidden[~(companion < 0)].any()
    is_merged = np.roll(is_hidden, -1)
    # No projection makes these wider than the resolution, whatever the edge.
    surely = is_primary & (axis / distance < 0.65 * (1 - 4.4 * 0.18))
    assert is_merged[surely].all()
    assert surely.sum() > 10
    rows_of_pairs = np.flatnonzero(is_merged)
    flux = 10 ** (-0.4 * g[rows_of_pairs]) + 10 ** (-0.4 * g[rows_of_pairs + 1])
    modulus = 5 * np.log10(100 / np.asarray(found.parallax, float)[rows_of_pairs])
    seen = np.asarray(found.g, float)[rows_of_pairs] - modulus
    np.testing.assert_allclose(seen, -2.5 * np.log10(flux), atol=5e-4)


@pytest.mark.parametrize("axis", [20.0, 100.0, 300.0])
def test_as_many_pairs_are_one_source_as_a_count_in_numpy(axis):
    view = viewpoint.draw_view(random.salts(jax.random.key(0), 1)[0], EXACT)
    stars = measured_stars.to_stars(*rows(0))
    given = stars._replace(semi_major_axis=jnp.where(stars.companion != 0, axis, 0.0))
    is_primary = np.asarray(stars.companion) > 0
    difference = np.diff(np.asarray(stars.g, float), append=0)[is_primary]
    merge = jax.jit(lambda salt: measured_stars.merge_binaries(salt, given, view, 0.65).mask)
    hidden = [
        (~np.asarray(merge(random.salts(jax.random.key(seed), 1)[0])) & np.asarray(stars.mask)).sum()
        for seed in range(60)
    ]
    drawn = np.random.default_rng(0)
    separation = axis / float(view.distance) * np.sin(np.arccos(drawn.uniform(size=(4000, 1))))
    edge = 1 + 0.18 * drawn.normal(size=(4000, 1)) + 0.25 * np.abs(difference)
    expected = (separation < 0.65 * np.clip(edge, 0, 3)).mean(axis=0)
    # The variance of the number of pairs in one draw is at most that of independent pairs.
    error = np.sqrt((expected * (1 - expected)).sum() / len(hidden)) + 0.01 * is_primary.sum()
    assert np.mean(hidden) == pytest.approx(expected.sum(), abs=4 * error)


def test_motion_of_a_pair_is_that_of_its_centre_of_mass_or_of_its_light():
    stars = measured_stars.to_stars(*rows(0))
    view = viewpoint.draw_view(random.salts(jax.random.key(0), 1)[0], EXACT)
    salt = random.salts(jax.random.key(1), 1)[0]
    for axis, weight in ((0.1, "mass"), (60.0, "light")):
        given = stars._replace(
            semi_major_axis=jnp.where(stars.companion != 0, axis, 0.0),
            velocity=stars.velocity.at[1].set(jnp.where(stars.companion > 0, 10.0, 0.0)),
        )
        merged = measured_stars.merge_binaries(salt, given, view, 100.0)
        pairs = np.flatnonzero(np.asarray(stars.companion) > 0)
        mass, flux = np.asarray(stars.mass), 10 ** (-0.4 * np.asarray(stars.g, float))
        size = mass if weight == "mass" else flux
        expected = 10 * size[pairs] / (size[pairs] + size[pairs + 1])
        np.testing.assert_allclose(np.asarray(merged.velocity)[1, pairs], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("field", "off", "names"),
    [
        ("gaia_errors", False, ("parallax_error", "pm_lon_error", "g_error", "bp_rp_error")),
        ("field_fraction_range", (), ()),
        ("missing_fraction_range", (), ()),
        ("motion_cut_range", (), ()),
        ("radius_range_pc", (), ()),
        ("bright_limit_range_mag", (), ()),
        ("faint_limit_range_mag", (), ()),
        ("extinction_range_v_mag", (), ()),
        ("extinction_error_range_v_mag", (), ()),
        ("resolution_arcsec", 0.0, ()),
        ("is_estimated", False, ()),
    ],
)
@pytest.mark.weekly
def test_each_part_can_be_switched_off(field, off, names):
    settings = dataclasses.replace(SETTINGS, **{field: off})
    _, sources, features, mask = compiled(settings)(jax.random.key(5), *rows(1))
    assert np.asarray(mask).sum() >= 10
    for name, values in features.items():
        assert np.isfinite(np.asarray(values)[np.asarray(mask)]).all(), name
    for name in names:
        assert not np.asarray(getattr(sources, name)).any(), name


def test_all_parts_off_show_every_star_where_it_is():
    *_, features, mask = compiled(EXACT)(jax.random.key(5), *rows(1))
    star_KxC, is_star_K = rows(1)
    np.testing.assert_array_equal(mask, is_star_K)
    magnitude = np.asarray(star_KxC[:, 7])[np.asarray(mask)]
    np.testing.assert_allclose(np.asarray(features["abs_mag_g"])[np.asarray(mask)], magnitude, atol=0.002)
