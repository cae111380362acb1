"""Samples have the documented properties on any number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from starjax.runtime import devices
from starjax.sampling import sampler
from starjax.sampling.sampler import SamplerConfig, Stars

COUNTS = (3, 8, 20, 100)
CONFIG = SamplerConfig(8, 4, drop_probability=0.6, drop_ratio_range=(0.1, 0.9))


@pytest.fixture(scope="module")
def stars():
    """Four snapshots of 3, 8, 20 and 100 stars; feature 0 is the row, never 0."""
    row = jnp.arange(1, sum(COUNTS) + 1, dtype=jnp.float32)
    ptr = jnp.asarray(np.cumsum([0, *COUNTS]), jnp.int32)
    return Stars(jnp.stack([row, -row], axis=1), ptr, jnp.arange(4.0)[:, None])


def draws(stars, snapshot, config, num=2000):
    keys = jax.random.split(jax.random.key(snapshot), num)
    features, mask = jax.jit(jax.vmap(lambda key: sampler.draw(stars, key, snapshot, config)))(keys)
    return np.asarray(features), np.asarray(mask)


def own_rows(stars, snapshot):
    return np.arange(stars.ptr[snapshot] + 1, stars.ptr[snapshot + 1] + 1)


@pytest.mark.parametrize("snapshot", range(4))
def test_stars_are_distinct_ones_of_the_snapshot_and_padding_is_zero(stars, snapshot):
    features, mask = draws(stars, snapshot, CONFIG)
    assert (features[~mask] == 0).all()
    assert np.isin(features[mask][:, 0], own_rows(stars, snapshot)).all()
    np.testing.assert_array_equal(features[..., 1], -features[..., 0])
    for one, real in zip(features[:200, :, 0], mask[:200], strict=True):
        assert len(np.unique(one[real])) == real.sum() >= 1


def test_a_small_snapshot_is_taken_as_a_whole(stars):
    features, mask = draws(stars, 0, SamplerConfig(8, 4, drop_probability=1.0, drop_ratio_range=(0.1, 0.9)))
    assert (mask.sum(axis=1) == 3).all()
    np.testing.assert_array_equal(np.sort(features[:, :3, 0]), np.tile(own_rows(stars, 0), (2000, 1)))


def test_a_snapshot_of_the_size_of_a_sample_is_taken_as_a_whole(stars):
    features, mask = draws(stars, 1, CONFIG.without_drop())
    assert mask.all()
    np.testing.assert_array_equal(np.sort(features[..., 0]), np.tile(own_rows(stars, 1), (2000, 1)))


@pytest.mark.parametrize("snapshot", [2, 3])
def test_all_stars_are_equally_likely(stars, snapshot):
    features, mask = draws(stars, snapshot, CONFIG, num=50_000)
    counts = np.bincount(features[mask][:, 0].astype(int))[own_rows(stars, snapshot)]
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


def test_count_batch_counts_the_stars_of_the_samples(stars):
    pair, key = jnp.arange(16), jax.random.key(0)
    _, mask, _, _ = sampler.draw_batch(stars, key, 2, pair, CONFIG)
    count = np.asarray(sampler.count_batch(stars, key, 2, pair, CONFIG))
    np.testing.assert_array_equal(count, mask.sum(axis=1))
    assert len(np.unique(count)) > 3
    np.testing.assert_array_equal(mask, np.arange(8) < count[:, None])  # the first positions


def test_drop_probability_and_ratio():
    num = 20_000
    many = Stars(jnp.ones((500, 1)), jnp.asarray([0, 500], jnp.int32), jnp.ones((1, 1)))
    config = SamplerConfig(100, 1, drop_probability=0.6, drop_ratio_range=(0.1, 0.9))
    _, mask = draws(many, 0, config, num)
    dropped = 1 - mask.mean(axis=1)
    assert abs((dropped > 0).mean() - 0.6) < 5 * (0.24 / num) ** 0.5
    dropped = dropped[dropped > 0]
    assert dropped.min() >= 0.1 - 1e-6
    assert dropped.max() <= 0.9 + 1e-6
    assert (
        scipy.stats.kstest(dropped, "uniform", args=(0.1, 0.8)).statistic < 0.02
    )  # fractions are multiples of 0.01


def test_at_least_one_star_is_kept(stars):
    _, mask = draws(stars, 3, SamplerConfig(8, 4, drop_probability=1.0, drop_ratio_range=(1.0, 1.0)))
    assert (mask.sum(axis=1) == 1).all()


def test_an_epoch_has_every_sample_once_in_its_own_order():
    orders = [
        np.asarray(sampler.shuffled_pair(jax.random.key(0), epoch, jnp.arange(997 * 16), 997 * 16))
        for epoch in (0, 1)
    ]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(997 * 16))
    assert (orders[0] != orders[1]).mean() > 0.99


def test_samples_depend_only_on_epoch_snapshot_and_sample(stars):
    @jax.jit
    def drawn(epoch, pair):
        return sampler.draw_batch(stars, jax.random.key(0), epoch, pair, CONFIG)[0]

    def batch(epoch, pair):
        return drawn(epoch, jnp.asarray(pair))

    pairs = [9, 10, 14, 15]
    together = batch(3, pairs)
    np.testing.assert_array_equal(batch(3, pairs[::-1])[::-1], together)
    np.testing.assert_array_equal(batch(3, [14])[0], together[2])
    assert not np.array_equal(batch(4, pairs), together)
    assert not np.array_equal(together[2], together[3])  # two samples of the largest snapshot


def test_targets_go_with_their_snapshot(stars):
    pair = jnp.arange(16)
    features, _, target, _ = sampler.draw_batch(stars, jax.random.key(0), 0, pair, CONFIG)
    snapshot = np.searchsorted(np.asarray(stars.ptr), np.asarray(features[:, 0, 0]) - 1, side="right") - 1
    np.testing.assert_array_equal(snapshot, target[:, 0])
    np.testing.assert_array_equal(target[:, 0], np.repeat(np.arange(4), 4))


@pytest.mark.slow
@pytest.mark.parametrize("num_device", [1, 2, 4, 8])
def test_samples_are_the_same_on_any_number_of_devices(stars, num_device):
    mesh = devices.make_mesh(devices=jax.devices()[:num_device])

    def drawn(stars, key):
        (row,), _ = devices.local_rows(16)
        return sampler.draw_batch(stars, key, 5, row, CONFIG)[0][None, None]

    on_mesh = devices.on_mesh(drawn, mesh, arguments=("same", "same"), result="rows")
    expected = sampler.draw_batch(stars, jax.random.key(2), 5, jnp.arange(16), CONFIG)[0]
    np.testing.assert_array_equal(on_mesh(stars, jax.random.key(2))[0, 0], expected)
