"""Turned clusters keep what physics keeps, whatever the scalers; what cannot turn stays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from starjax.data import bundle, sampler, symmetry

CARTESIAN = ("x", "y", "z", "vx", "vy", "vz")
SKY = ("lon_deg", "lat_deg", "pm_lon_coslat_mas_yr", "pm_lat_mas_yr", "log_L_L_sol")


def scalers_of(keys, values, methods=None):
    """A scaler of its own for every key, so that components of a pair do not share a scale."""
    methods = methods or ["robust"] * len(keys)
    return bundle.fit(values, keys, [((key,), m) for key, m in zip(keys, methods, strict=True)])


def stars_of(keys, num_star=200):
    spread = np.arange(1, len(keys) + 1)
    return np.random.default_rng(0).normal(0.3, spread, (num_star, len(keys)))


def turned_physically(keys, methods=None, num_turn=1, seed=0):
    """Physical features before, and after each of `num_turn` turns."""
    before = stars_of(keys)
    with jax.enable_x64(True):
        scalers = scalers_of(keys, before, methods)
        turn = symmetry.random_turn(keys, scalers)
        scaled = jnp.asarray(scalers.transform(before, keys))
        turn_keys = jax.random.split(jax.random.key(seed), num_turn)
        after = jax.jit(jax.vmap(lambda key: scalers.inverse(turn(key, scaled), keys)))(turn_keys)
        return before, np.asarray(after)


@pytest.mark.parametrize("method", ["identity", "standard", "minmax", "robust", "power"])
def test_a_turn_keeps_lengths_and_angular_momentum_about_the_axis(method):
    before, (after,) = turned_physically(CARTESIAN, [method] * 6)
    (x, y, z, vx, vy, vz), (x1, y1, z1, vx1, vy1, vz1) = before.T, after.T
    assert not np.allclose(x, x1, atol=0.1)
    np.testing.assert_allclose(np.hypot(x1, y1), np.hypot(x, y), rtol=1e-9)
    np.testing.assert_allclose(np.hypot(vx1, vy1), np.hypot(vx, vy), rtol=1e-9)
    np.testing.assert_allclose(x1 * vy1 - y1 * vx1, x * vy - y * vx, atol=1e-8)
    np.testing.assert_allclose(x1 * vx1 + y1 * vy1, x * vx + y * vy, atol=1e-8)
    np.testing.assert_allclose(z1 * vz1, z * vz, atol=1e-8)
    np.testing.assert_allclose(np.abs(z1), np.abs(z), atol=1e-9)


def test_the_quantile_scaler_turns_to_finite_values():
    _, after = turned_physically(CARTESIAN, ["quantile"] * 6, num_turn=20)
    assert np.isfinite(after).all()


def test_angles_are_uniform_and_mirrored_half_the_time():
    before, after = turned_physically(("x", "y", "z"), num_turn=4000)
    first, turned = before[0], after[:, 0]
    angle = (np.arctan2(turned[:, 1], turned[:, 0]) - np.arctan2(first[1], first[0])) % (2 * np.pi)
    assert stats.kstest(angle / (2 * np.pi), "uniform").pvalue > 1e-3
    mirrored = turned[:, 2] * first[2] < 0
    assert stats.binomtest(int(mirrored.sum()), len(mirrored)).pvalue > 1e-3
    # Angle and mirror are drawn apart.
    assert stats.ks_2samp(angle[mirrored], angle[~mirrored]).pvalue > 1e-3


@pytest.mark.parametrize("keys", [SKY, (*CARTESIAN, *SKY), ("x", "z", "vx", "vy")])
def test_where_it_cannot_turn_it_only_mirrors(keys):
    before, after = turned_physically(keys, num_turn=20)
    signs = set()
    for turned in after:
        ratio = turned / before
        for i, key in enumerate(keys):
            if key in symmetry.ACROSS_PLANE:
                signs.add(np.sign(ratio[0, i]))
                np.testing.assert_allclose(np.abs(ratio[:, i]), 1, rtol=1e-9)
            else:
                np.testing.assert_allclose(turned[:, i], before[:, i], rtol=1e-9)
        mirrored = [i for i, key in enumerate(keys) if key in symmetry.ACROSS_PLANE]
        assert len({float(np.sign(ratio[0, i])) for i in mirrored}) == 1
    assert signs == {-1.0, 1.0}


def test_samples_turn_each_by_itself_and_empty_slots_stay_empty():
    values = stars_of(CARTESIAN, 30).astype(np.float32)
    scalers = scalers_of(CARTESIAN, values)
    stars = sampler.Stars(
        jnp.asarray(scalers.transform(values, CARTESIAN)), jnp.array([0, 30]), jnp.zeros((1, 1))
    )
    config = sampler.SamplerConfig(num_star_per_sample=40, num_sample_per_snapshot=8)
    turn = symmetry.random_turn(CARTESIAN, scalers)
    pair = jnp.arange(8)
    plain, mask, *_ = sampler.draw_batch(stars, jax.random.key(0), 0, pair, config)
    turned, turned_mask, *_ = sampler.draw_batch(stars, jax.random.key(0), 0, pair, config, turn)
    np.testing.assert_array_equal(mask, turned_mask)
    assert (np.asarray(turned)[~np.asarray(mask)] == 0).all()
    x = np.asarray(turned)[:, 0, 0]
    assert len(np.unique(x)) == 8
    assert np.unique(np.asarray(plain)[:, 0, 0]).size == 1
