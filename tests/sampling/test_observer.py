"""The observer's lists do not depend on what no list has: padding, rows beyond the limit, the frame."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starjax import quantities
from starjax.ops import random
from starjax.sampling import measured_stars, observer, viewpoint
from starjax.sampling.observer_settings import Observer
from tests.sampling.observed_lists import NUM_ROW, SETTINGS, compiled, rows, snapshots

# Bright limits, so that most stars of the snapshots are beyond them.
SHALLOW = dataclasses.replace(
    SETTINGS,
    distance_range_pc=(100.0, 600.0),
    faint_limit_range_mag=(14.0, 17.0),
    radius_range_pc=(4.0, 40.0),
)
NUM_LIST = 12


def key(number):
    return jax.random.key(100 + number)


@pytest.fixture(scope="module")
def shallow():
    """Return `(number, rows that are needed, what is observed of all rows)` of some lists."""
    shard = snapshots()
    count = jax.jit(
        lambda key, start, end: observer.count_rows(key, jnp.asarray(shard.feature), start, end, SHALLOW)
    )
    lists = []
    for number in range(NUM_LIST):
        start, end = (jnp.int32(shard.ptr[number % 3 + i]) for i in (0, 1))
        needed = int(count(key(number), start, end))
        lists.append((number, needed, compiled(SHALLOW)(key(number), *rows(number % 3))))
    assert sum(needed < NUM_ROW / 2 for _, needed, _ in lists) >= NUM_LIST / 3
    return lists


def assert_same(found, expected, num_row):
    """Assert that two results are the same in some rows, and that the second one has no others."""
    (_, sources, features, mask), (_, all_sources, all_features, all_mask) = found, expected
    assert not np.asarray(all_sources.mask)[num_row:].any()
    listed = np.asarray(all_sources.mask)[:num_row]
    np.testing.assert_array_equal(np.asarray(sources.mask)[:num_row], listed)
    for name, values in sources._asdict().items():
        other = np.asarray(getattr(all_sources, name))
        np.testing.assert_array_equal(np.asarray(values)[:num_row][listed], other[:num_row][listed], name)
    np.testing.assert_array_equal(np.asarray(mask)[:num_row], np.asarray(all_mask)[:num_row])
    members = np.asarray(all_mask)[:num_row]
    for name, values in features.items():
        own, other = (np.asarray(one)[:num_row][members] for one in (values, all_features[name]))
        # Sums over more rows are rounded differently.
        np.testing.assert_allclose(own, other, rtol=1e-3, atol=1e-3, err_msg=name)


@pytest.mark.parametrize("num_row", [64, pytest.param(256, marks=pytest.mark.weekly)])
def test_any_padded_length_that_suffices_gives_the_same_list(shallow, num_row):
    suffices = [one for one in shallow if one[1] <= num_row]
    assert suffices
    for number, _, expected in suffices:
        found = compiled(SHALLOW)(key(number), *rows(number % 3, num_row))
        assert_same(found, expected, num_row)


def test_the_count_is_a_bound_and_not_far_from_the_list(shallow):
    for _, needed, (_, sources, *_) in shallow:
        assert not np.asarray(sources.mask)[needed:].any()
    needed = np.array([needed for _, needed, _ in shallow])
    listed = np.array([np.asarray(sources.mask).sum() for *_, (_, sources, *_) in shallow])
    # Companions, gaps and cuts take the rest.
    assert listed.sum() > 0.3 * needed.sum()


def test_no_star_that_would_be_seen_is_beyond_the_count(shallow):
    """Measure every star of the snapshot, and count those that are brighter than the faint limit."""
    settings = dataclasses.replace(SHALLOW, resolution_arcsec=0.0)
    for number, needed, (view, *_) in shallow:
        _, *salts = random.salts(key(number), 1 + measured_stars.NUM_SALT)
        stars = measured_stars.to_stars(*rows(number % 3))
        seen = measured_stars.measure(jnp.stack(salts), stars, view, settings)
        is_seen = np.asarray(seen.mask & (seen.g < view.faint_limit))
        assert not is_seen[needed:].any()


def test_rows_that_no_list_has_do_not_matter(shallow):
    for number, needed, expected in shallow[:4]:
        star_KxC, mask_K = rows(number % 3)
        beyond = np.arange(NUM_ROW) >= needed
        # In another order, and with some other star where the snapshot ends.
        order = np.where(beyond, np.arange(NUM_ROW)[::-1] + needed, np.arange(NUM_ROW))
        changed = np.asarray(star_KxC)[order]
        changed[~np.asarray(mask_K)[order]] = changed[3]
        mask = jnp.asarray(np.asarray(mask_K)[order])
        assert_same(compiled(SHALLOW)(key(number), jnp.asarray(changed), mask), expected, NUM_ROW)


def test_a_snapshot_of_more_rows_than_fit_loses_its_faintest_stars():
    deep = dataclasses.replace(SETTINGS, faint_limit_range_mag=(25.0, 25.0), distance_range_pc=(50.0, 60.0))
    *_, sources, _, mask = compiled(deep)(key(0), *rows(0, 64))
    listed = np.asarray(sources.mask)
    assert listed.sum() >= 15
    # Field stars have the place of the last ones.
    last = np.flatnonzero(listed)[-1]
    assert last == 63
    assert np.asarray(mask).sum() <= listed.sum()


@pytest.mark.parametrize("angle", [0.3, 2.0, 4.5])
def test_turning_snapshot_and_observer_together_changes_nothing(angle):
    settings = dataclasses.replace(SETTINGS, differential_extinction=0.0)
    view_salt, *salts = random.salts(key(0), 1 + measured_stars.NUM_SALT)
    view, stars = viewpoint.draw_view(view_salt, settings), measured_stars.to_stars(*rows(0))
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = jnp.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    turned = stars._replace(position=rotation @ stars.position, velocity=rotation @ stars.velocity)
    turned_view = view._replace(axes=view.axes @ rotation.T)
    expected = measured_stars.measure(jnp.stack(salts), stars, view, settings)
    found = measured_stars.measure(jnp.stack(salts), turned, turned_view, settings)
    mask = np.asarray(expected.mask)
    np.testing.assert_array_equal(found.mask, mask)
    for name, values in expected._asdict().items():
        values, other = (np.asarray(one, np.float64)[mask] for one in (values, getattr(found, name)))
        np.testing.assert_allclose(other, values, rtol=1e-4, atol=1e-5 * np.abs(values).max(), err_msg=name)


def test_systems_may_be_in_any_order():
    shard = snapshots()
    raw = dataclasses.replace(
        shard, feature=shard.feature[:, : len(quantities.OBSERVER)], feature_keys=quantities.OBSERVER
    )
    companion = raw.feature[:, quantities.OBSERVER.index("companion")]
    generator = np.random.default_rng(0)
    order = []
    for start, end in zip(raw.ptr[:-1], raw.ptr[1:], strict=True):
        leads = start + np.flatnonzero(companion[start:end] >= 0)
        for lead in generator.permutation(leads):
            order += [lead, lead + 1] if companion[lead] > 0 else [lead]
    found = observer.sort_by_brightness(dataclasses.replace(raw, feature=raw.feature[order]))
    for start, end in zip(shard.ptr[:-1], shard.ptr[1:], strict=True):
        own, other = found.feature[start:end], shard.feature[start:end]
        # Systems of equal brightness are in any order.
        np.testing.assert_array_equal(own[:, -1], other[:, -1])
        np.testing.assert_array_equal(own[np.lexsort(own.T)], other[np.lexsort(other.T)])


def test_systems_are_sorted_by_the_light_of_both_stars():
    shard = snapshots()
    column = dict(zip(observer.COLUMNS, shard.feature.T.astype(np.float64), strict=True))
    flux, companion = 10 ** (-0.4 * column["abs_mag_g"]), column["companion"]
    with_other = np.where(companion > 0, np.roll(flux, -1), np.where(companion < 0, np.roll(flux, 1), 0))
    np.testing.assert_allclose(column["system_abs_mag_g"], -2.5 * np.log10(flux + with_other), atol=1e-5)
    for start, end in zip(shard.ptr[:-1], shard.ptr[1:], strict=True):
        assert (np.diff(column["system_abs_mag_g"][start:end]) >= 0).all()
    fainter = np.flatnonzero(companion < 0)
    assert (companion[fainter - 1] == 1).all()


def test_a_list_without_stars_is_finite():
    star_KxC, mask_K = rows(0)
    features, mask, _ = jax.jit(lambda *arrays: observer.observe(*arrays, SETTINGS))(
        key(0), star_KxC, jnp.zeros_like(mask_K)
    )
    assert not np.asarray(mask).any()
    np.testing.assert_array_equal(features, np.zeros((NUM_ROW, len(observer.FEATURES))))


@pytest.mark.parametrize("estimated", [False, True])
def test_without_other_parts_the_reader_finds_the_truth(estimated):
    """Centre, distance and motion are those of the stars then, and each star is where it is."""
    settings = Observer(distance_range_pc=(300.0, 400.0), is_estimated=estimated)
    view, _, features, mask = compiled(settings)(key(1), *rows(2))
    stars, mask = measured_stars.to_stars(*rows(2)), np.asarray(mask)
    position = (np.asarray(view.axes) @ np.asarray(stars.position))[:, mask]
    velocity = (np.asarray(view.axes) @ np.asarray(stars.velocity))[:, mask]
    for name, truth, tolerance in (
        ("y", position[1], 0.1),
        ("z", position[2], 0.1),
        # Velocities are along the sphere of the sky at each star, and the radial motion of stars is seen.
        ("vy", velocity[1], 0.3),
        ("vz", velocity[2], 0.3),
    ):
        difference = np.asarray(features[name])[mask] - truth
        assert np.abs(difference - np.median(difference)).max() < tolerance, name
        # Estimates are medians, and the motion a mean.
        expected = -np.median(truth) if estimated else 0.0
        assert np.median(difference) == pytest.approx(expected, abs=0.1 if estimated else 0.01), name
