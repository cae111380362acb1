"""Centred samples: shifts of a cluster change nothing, padding stays zero."""

import dataclasses

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies

from starjax.configs import common
from starjax.datasets.scalers import bundle
from starjax.errors import ConfigError
from starjax.runs import run_config
from starjax.sampling import centering, sampler
from starjax.sampling.sampler import SamplerConfig, Stars

KEYS = ("x", "vx", "log_L_L_sol")


@pytest.mark.slow
@hypothesis.given(num=strategies.integers(0, 40), seed=strategies.integers(0, 1000))
@hypothesis.settings(deadline=None)
def test_the_median_ignores_padded_positions(num, seed):
    values = np.random.default_rng(seed).normal(size=(40, 3)).astype(np.float32)
    mask = np.arange(40) < num
    found = centering.sample_median(jnp.asarray(values), jnp.asarray(mask))
    expected = np.median(values[:num], axis=0) if num else np.zeros(3)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def draw(feature, config):
    stars = Stars(jnp.asarray(feature, jnp.float32), jnp.array([0, len(feature)]), jnp.zeros((1, 1)))
    features, mask, *_ = sampler.draw_batch(stars, jax.random.key(0), 0, jnp.array([0]), config)
    return np.asarray(features[0]), np.asarray(mask[0])


@pytest.mark.parametrize("num", [40, pytest.param(12, marks=pytest.mark.weekly)])
def test_samples_do_not_depend_on_the_position_and_motion_of_the_cluster(num):
    """The scaled zero of the first two features is -0.5; the third one is not centred."""
    feature = np.random.default_rng(num).normal(size=(num, 3))
    config = SamplerConfig(16, 1, feature_clip=10.0, centred=(0, 1), zeros=(-0.5, -0.5))
    found, mask = draw(feature, config)
    moved, _ = draw(feature + np.array([3.0, -2.0, 0.0]), config)
    np.testing.assert_allclose(moved, found, atol=1e-5)
    np.testing.assert_allclose(np.median(found[mask], axis=0)[:2], -0.5, atol=1e-6)
    assert (found[~mask] == 0).all()
    brighter, _ = draw(feature + np.array([0.0, 0.0, 1.0]), config)
    np.testing.assert_allclose(brighter[mask, 2], found[mask, 2] + 1, atol=1e-6)


def test_features_are_centred_before_they_are_clipped(monkeypatch):
    """Otherwise all stars of a cluster far from the origin would be clipped to the same value."""
    feature = np.random.default_rng(0).normal(size=(12, 3)) + np.array([50.0, 0.0, 0.0])
    config = SamplerConfig(16, 1, feature_clip=10.0, centred=(0, 1), zeros=(0.0, 0.0))
    found, mask = draw(feature, config)
    assert np.abs(found[mask, 0]).max() < 5
    without, _ = draw(feature, dataclasses.replace(config, centred=(), zeros=()))
    assert (without[mask, 0] == 10).all()


def test_the_config_centres_positions_and_velocities_on_the_scaled_zero():
    values = np.random.default_rng(1).normal(5, 2, size=(100, 3))
    scalers = bundle.fit_bundle(
        values, KEYS, ((("x",), "robust"), (("vx",), "standard"), (("log_L_L_sol",), "robust"))
    )
    config = common.get_config("deep_sets")
    config.data.feature_keys, config.data.centred = KEYS, True
    found = run_config.sampler(config, scalers)
    assert found.centred == (0, 1)
    for zero, key in zip(found.zeros, KEYS, strict=False):
        assert scalers.of(key).inverse(np.array(zero)) == pytest.approx(0, abs=1e-12)
    config.data.centred = False
    assert run_config.sampler(config, scalers).centred == ()


def test_a_nonlinear_scaler_is_an_error():
    values = np.random.default_rng(1).normal(size=(100, 3))
    scalers = bundle.fit_bundle(
        values, KEYS, ((("x",), "quantile"), (("vx",), "robust"), (("log_L_L_sol",), "robust"))
    )
    with pytest.raises(
        ConfigError, match=r"centred=True: x should have one of the scalers identity, standard"
    ):
        centering.centred_zeros(KEYS, scalers)
