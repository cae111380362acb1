"""Augmentation: clusters are rotated and mirrored as a whole, or only mirrored."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.spatial.transform import Rotation

from starjax import quantities
from starjax.datasets.scalers import bundle
from starjax.errors import ConfigError
from starjax.sampling import augmentation, sampler

CARTESIAN = ("x", "y", "z", "vx", "vy", "vz")
SKY = ("lon_deg", "lat_deg", "pm_lon_coslat_mas_yr", "pm_lat_mas_yr", "log_L_L_sol")

draw = jax.jit(sampler.draw_batch, static_argnums=(4, 5))


def scalers_of(keys, values, methods=None):
    """Return a scaler for each key, so that two components do not share a scale."""
    methods = methods or ["robust"] * len(keys)
    return bundle.fit_bundle(values, keys, [((key,), m) for key, m in zip(keys, methods, strict=True)])


def stars_of(keys, num_star=200):
    spread = np.arange(1, len(keys) + 1)
    return np.random.default_rng(0).normal(0.3, spread, (num_star, len(keys)))


def rotated_physically(keys, methods=None, num_rotation=1):
    """Return physical features before, and after each of `num_rotation` rotations."""
    before = stars_of(keys)
    with jax.enable_x64(True):
        scalers = scalers_of(keys, before, methods)
        rotate = augmentation.random_rotation(keys, scalers)
        scaled = jnp.asarray(scalers.transform(before, keys))
        rotation_keys = jax.random.split(jax.random.key(0), num_rotation)
        after = jax.jit(jax.vmap(lambda key: scalers.inverse(rotate(key, scaled.T).T, keys)))(rotation_keys)
        return before, np.asarray(after)


@pytest.mark.parametrize("method", ["identity", "standard", "minmax", "robust", "power"])
def test_all_stars_of_a_cluster_are_rotated_about_z_and_mirrored_together(method):
    before, rotations = rotated_physically(CARTESIAN, [method] * 6, num_rotation=6)
    for after in rotations:
        angle = np.arctan2(after[0, 1], after[0, 0]) - np.arctan2(before[0, 1], before[0, 0])
        rotation = Rotation.from_euler("z", angle).as_matrix()
        rotation[2, 2] = np.sign(after[0, 2] * before[0, 2])
        expected = np.concatenate([before[:, :3] @ rotation.T, before[:, 3:] @ rotation.T], axis=1)
        np.testing.assert_allclose(after, expected, rtol=1e-8, atol=1e-8)
    assert not np.allclose(rotations[0], rotations[1], atol=0.1)


def test_rotations_in_float32_keep_lengths():
    before = stars_of(CARTESIAN)
    scalers = scalers_of(CARTESIAN, before)
    rotate = jax.jit(augmentation.random_rotation(CARTESIAN, scalers))
    scaled = scalers.transform(before, CARTESIAN)
    rotated = np.asarray(rotate(jax.random.key(0), jnp.float32(scaled.T)), np.float64).T
    after = scalers.inverse(rotated, CARTESIAN)
    for one in (slice(0, 2), slice(3, 5)):
        lengths = (np.linalg.norm(values[:, one], axis=1) for values in (after, before))
        np.testing.assert_allclose(*lengths, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("keys", "methods", "said"),
    [
        (("x", "y", "ra_deg"), None, "does not know how to rotate ra_deg"),
        (("lat_deg", "log_L_L_sol"), ["log1p_standard", "robust"], "lat_deg can change sign"),
    ],
)
def test_features_that_cannot_be_rotated_are_an_error(keys, methods, said):
    scalers = scalers_of(keys, np.abs(stars_of(keys)), methods)
    with pytest.raises(ConfigError, match=rf"random_rotations=True: .*{said}"):
        augmentation.random_rotation(keys, scalers)


def test_angles_are_uniform_and_half_of_the_clusters_are_mirrored():
    before, after = rotated_physically(("x", "y", "z"), num_rotation=4000)
    first, rotated = before[0], after[:, 0]
    angle = (np.arctan2(rotated[:, 1], rotated[:, 0]) - np.arctan2(first[1], first[0])) % (2 * np.pi)
    assert stats.kstest(angle / (2 * np.pi), "uniform").pvalue > 1e-3
    mirrored = rotated[:, 2] * first[2] < 0
    assert stats.binomtest(int(mirrored.sum()), len(mirrored)).pvalue > 1e-3
    # Angle and reflection are independent.
    assert stats.ks_2samp(angle[mirrored], angle[~mirrored]).pvalue > 1e-3


@pytest.mark.parametrize("keys", [SKY, (*CARTESIAN, *SKY), ("x", "z", "vx", "vy")])
def test_features_without_a_rotation_are_only_mirrored(keys):
    before, after = rotated_physically(keys, num_rotation=20)
    signs = set()
    for rotated in after:
        ratio = rotated / before
        for i, key in enumerate(keys):
            if quantities.get(key).is_mirrored:
                assert len(set(np.sign(ratio[:, i]))) == 1
                signs.add(np.sign(ratio[0, i]))
                np.testing.assert_allclose(np.abs(ratio[:, i]), 1, rtol=1e-9)
            else:
                np.testing.assert_allclose(rotated[:, i], before[:, i], rtol=1e-9)
        mirrored = [i for i, key in enumerate(keys) if quantities.get(key).is_mirrored]
        assert len({float(np.sign(ratio[0, i])) for i in mirrored}) == 1
    assert signs == {-1.0, 1.0}


def test_each_sample_has_its_own_rotation_and_padding_stays_zero():
    values = stars_of(CARTESIAN, 30).astype(np.float32)
    scalers = scalers_of(CARTESIAN, values)
    stars = sampler.Stars(
        jnp.asarray(scalers.transform(values, CARTESIAN)), jnp.array([0, 30]), jnp.zeros((1, 1))
    )
    config = sampler.SamplerConfig(num_star_per_sample=40, num_sample_per_snapshot=8)
    rotate = augmentation.random_rotation(CARTESIAN, scalers)
    pair = jnp.arange(8)
    plain, mask, *_ = draw(stars, jax.random.key(0), 0, pair, config)
    rotated, rotated_mask, *_ = draw(stars, jax.random.key(0), 0, pair, config, rotate)
    np.testing.assert_array_equal(mask, rotated_mask)
    assert (np.asarray(rotated)[~np.asarray(mask)] == 0).all()
    x = np.asarray(rotated)[:, 0, 0]
    assert len(np.unique(x)) == 8
    assert np.unique(np.asarray(plain)[:, 0, 0]).size == 1


def test_features_are_clipped_after_the_rotation():
    """A star far away in x is rotated to any point of its circle, and clipped there."""
    scalers = scalers_of(("x", "y"), np.eye(2), ["identity"] * 2)
    stars = sampler.Stars(jnp.array([[100.0, 0.0]]), jnp.array([0, 1]), jnp.zeros((1, 1)))
    config = sampler.SamplerConfig(num_star_per_sample=1, num_sample_per_snapshot=64, feature_clip=10.0)
    rotate = augmentation.random_rotation(("x", "y"), scalers)
    features, *_ = draw(stars, jax.random.key(0), 0, jnp.arange(64), config, rotate)
    assert np.abs(features).max() == 10
    # Clipped before, it would be on a circle of radius 10.
    assert (np.hypot(*np.asarray(features)[:, 0].T) > 12).any()
    plain, *_ = draw(stars, jax.random.key(0), 0, jnp.arange(1), config)
    np.testing.assert_array_equal(plain[0, 0], [10, 0])
