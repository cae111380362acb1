"""What a list lacks, and the field stars that it has too much."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starjax import quantities
from starjax.gaia import uncertainties
from starjax.ops import random
from starjax.sampling import list_selection, measured_stars, viewpoint
from starjax.sampling.observer_settings import Observer
from tests.sampling.observed_lists import NUM_ROW, rows

NUM_LIST = 40
# Near enough that every star is in the list, unless a part takes it out.
ALL = Observer(distance_range_pc=(100.0, 101.0), gaia_errors=True)
FIELD = dataclasses.replace(ALL, field_fraction_range=(0.2, 0.2), faint_limit_range_mag=(17.0, 17.0))


@functools.cache
def compiled(settings):
    def draw(number):
        salts = random.salts(jax.random.fold_in(jax.random.key(2), number), 1 + 3 + list_selection.NUM_SALT)
        view = viewpoint.draw_view(salts[0], settings)
        star_KxC, mask_K = rows(2)
        sources = measured_stars.measure(
            salts[1:4], measured_stars.to_stars(star_KxC, mask_K), view, settings
        )
        return view, sources, list_selection.select(salts[4:], sources, jnp.int32(400), view, settings)

    return jax.jit(jax.vmap(draw))


def lists(settings):
    """Return views, members and lists of many draws, in arrays of numpy."""
    return jax.tree.map(np.asarray, compiled(settings)(jnp.arange(NUM_LIST)))


def test_without_parts_the_list_has_every_star():
    _, sources, found = lists(ALL)
    np.testing.assert_array_equal(found.mask, sources.mask)
    assert (found.probability == 1).all()


def test_faint_stars_are_missing():
    view, sources, found = lists(dataclasses.replace(ALL, faint_limit_range_mag=(14.0, 16.0)))
    np.testing.assert_array_equal(found.mask, sources.mask & (sources.g < view.faint_limit[:, None]))


def test_stars_beyond_a_radius_are_missing():
    view, sources, found = lists(dataclasses.replace(ALL, radius_range_pc=(2.0, 5.0)))
    radius = view.distance[:, None] * np.hypot(sources.lon, sources.lat)
    np.testing.assert_array_equal(found.mask, sources.mask & (radius < view.radius[:, None]))


def test_a_fraction_of_the_stars_is_missing():
    _, sources, found = lists(dataclasses.replace(ALL, missing_fraction_range=(0.2, 0.2)))
    assert found.mask.sum() / sources.mask.sum() == pytest.approx(0.8, abs=0.015)


def test_most_bright_stars_are_missing():
    _, sources, found = lists(dataclasses.replace(ALL, bright_limit_range_mag=(12.0, 12.0)))
    bright = sources.mask & (sources.g < 12)
    assert found.mask[bright].mean() == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / bright.sum()))
    np.testing.assert_array_equal(found.mask[~bright], sources.mask[~bright])


def test_stars_of_another_motion_are_missing():
    view, sources, found = lists(dataclasses.replace(ALL, motion_cut_range=(3.0, 3.0)))
    for i in range(5):
        own = jax.tree.map(lambda values, i=i: values[i], (view, sources))
        residual = np.asarray(list_selection.residual_velocity(own[1], own[0]), np.float64)
        error = quantities.KMS_PER_PC_MAS_YR * own[0].distance
        errors = error * np.stack([own[1].pm_lon_error, own[1].pm_lat_error])
        dispersion = 1.4826 * np.median(np.abs(residual[:, own[1].mask]), axis=1)
        deviation = np.abs(residual) / np.hypot(dispersion[:, None], errors)
        expected = own[1].mask & (deviation < 3).all(axis=0)
        # Stars at the very limit may be rounded either way.
        assert (found.mask[i] != expected).sum() <= 1
    assert 0.7 < found.mask.sum() / sources.mask.sum() < 0.99


def field_of(settings=FIELD):
    """Return views, lists, and the masks of members and of field stars."""
    view, _, found = lists(settings)
    is_field = found.mask & (np.arange(NUM_ROW) >= 400)
    return view, found, found.mask & ~is_field, is_field


def test_the_list_has_the_fraction_of_field_stars_that_was_drawn():
    view, _, is_member, is_field = field_of()
    wanted = is_member.sum(axis=1) * view.field_fraction / (1 - view.field_fraction)
    assert (np.abs(is_field.sum(axis=1) - wanted) < 1).all()
    share = is_field.sum() / (is_field.sum() + is_member.sum())
    assert share == pytest.approx(0.2, abs=0.002)


def test_field_stars_are_spread_evenly_over_the_cluster():
    view, found, is_member, is_field = field_of()
    radius = view.distance[:, None] * np.hypot(found.lon, found.lat)
    widest = np.where(is_member, radius, 0).max(axis=1, keepdims=True)
    share = ((radius / widest) ** 2)[is_field]
    assert share.max() <= 1 + 1e-5
    assert share.mean() == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / len(share)))


def test_field_stars_are_within_the_limits_of_the_list():
    settings = dataclasses.replace(FIELD, motion_cut_range=(3.0, 3.0))
    view, found, is_member, is_field = field_of(settings)
    assert found.g[is_field].max() <= 17
    # Star counts grow: half of the stars are in the last 1.2 magnitudes.
    assert np.median(17 - found.g[is_field]) == pytest.approx(np.log10(2) / 0.25, abs=0.15)
    for i in range(5):
        own = jax.tree.map(lambda values, i=i: values[i], (view, found))
        residual = np.abs(np.asarray(list_selection.residual_velocity(own[1], own[0])))
        most = max(residual[:, is_member[i]].max(), 1e-3)
        assert residual[:, is_field[i]].max() < 1.6 * most
        # And not only at the centre of the cut.
        assert residual[:, is_field[i]].max() > 0.4 * most


def test_field_stars_have_the_errors_of_their_magnitude():
    _, found, _, is_field = field_of()
    g = found.g[is_field].astype(np.float64)
    np.testing.assert_allclose(found.parallax_error[is_field], uncertainties.parallax_error_mas(g), rtol=1e-4)
    np.testing.assert_allclose(found.g_error[is_field], uncertainties.magnitude_error_mag(g), rtol=1e-3)


def test_half_of_the_lists_have_probabilities_that_are_lower_for_field_stars():
    view, found, is_member, is_field = field_of()
    has = view.has_probabilities
    assert 0.2 < has.mean() < 0.8
    assert (found.probability[~has] == 1).all()
    members, field = (found.probability[has][mask[has]] for mask in (is_member, is_field))
    assert members.min() >= 0.5
    assert field.min() >= 0.5
    assert (members > 0.93).mean() > 0.7
    assert np.median(field) < np.median(members)
