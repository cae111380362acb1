"""Pooling of Soft Groups against numpy, also for no star, one star and equal stars."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starjax.models import factory, soft_groups

NUM_POSITION, NUM_FEATURE, NUM_GROUP = 12, 3, 4

pytestmark = pytest.mark.usefixtures("all_optimizations")
pool = jax.jit(soft_groups.pool)
log_sum = jax.jit(soft_groups.log_sum)


def jitted(model):
    """Return the compiled function of features and mask of a model."""
    params, apply = factory.split_module(model)
    return functools.partial(jax.jit(apply), params)


def make_set(seed, num_star):
    """Return features, shares that sum to 1 for each star, and mask; padded positions have values, too."""
    star_key, share_key = jax.random.split(jax.random.key(seed))
    star_BxKxF = 2 * jax.random.normal(star_key, (1, NUM_POSITION, NUM_FEATURE))
    share_BxGxK = jax.nn.softmax(jax.random.normal(share_key, (1, NUM_GROUP, NUM_POSITION)), axis=1)
    return star_BxKxF, share_BxGxK, jnp.arange(NUM_POSITION)[None] < num_star


def expected_pool(star_KxF, share_GxK):
    """Return the pooled values of the real stars, computed one by one."""
    num_star, num_feature = star_KxF.shape
    levels = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98)
    pooled = list(np.quantile(star_KxF, levels, axis=0).ravel())
    pooled += [np.log((len(share_GxK) * share_K.sum() + 0.5) / (num_star + 0.5)) for share_K in share_GxK]
    for share_K in share_GxK:
        columns = list(star_KxF.T)
        columns += [
            star_KxF[:, i] * star_KxF[:, j] for i in range(num_feature) for j in range(i, num_feature)
        ]
        pooled += [(share_K * column).sum() / (share_K.sum() + 0.5) for column in columns]
    return np.array(pooled)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), num_star=st.integers(1, NUM_POSITION))
def test_pooled_values_equal_those_of_numpy(seed, num_star):
    star, share, mask = make_set(seed, num_star)
    found = pool(star, share, mask)[0]
    real = np.asarray(star[0, :num_star], np.float64), np.asarray(share[0, :, :num_star], np.float64)
    np.testing.assert_allclose(found, expected_pool(*real), rtol=1e-4, atol=1e-5)


def test_pooled_values_of_an_empty_set_are_zero():
    np.testing.assert_array_equal(pool(*make_set(0, 0))[0], 0)


@pytest.mark.slow
def test_doubling_the_stars_changes_outputs_of_all_sets_equally():
    """Outputs are linear in the logarithm of the number of stars; pooled values do not change."""
    model = factory.create_module("soft_groups", NUM_FEATURE, 2, jax.random.key(6))
    predict = jitted(model)
    jumps = []
    for seed in (1, 2):
        star, share, mask = make_set(seed, NUM_POSITION)
        # So many that the half star that each group begins with does not count.
        many, more = (
            (jnp.tile(star, (1, n, 1)), jnp.tile(share, (1, 1, n)), jnp.tile(mask, (1, n)))
            for n in (100, 200)
        )
        np.testing.assert_allclose(pool(*more), pool(*many), atol=5e-2)
        jumps.append(predict(more[0], more[2]) - predict(many[0], many[2]))
    slope = model.linear.layers[0].kernel[...].sum(axis=0)
    np.testing.assert_allclose(jumps, np.broadcast_to(np.log(2) * slope, (2, 1, 2)), atol=5e-3)


@pytest.fixture(scope="module")
def total_and_gradients():
    """Return a function that gives the sum of outputs, and its gradients to parameters and features."""
    params, apply = factory.split_module(
        factory.create_module("soft_groups", NUM_FEATURE, 5, jax.random.key(2))
    )

    def total(params, features, mask):
        return apply(params, features, mask).sum()

    return functools.partial(jax.jit(jax.value_and_grad(total, argnums=(0, 1))), params)


@pytest.mark.parametrize("num_star", [0, 1, 2, NUM_POSITION])
@pytest.mark.parametrize("spread", [0.0, 1.0, 1e4])
def test_gradients_are_finite_for_equal_and_for_distant_stars(num_star, spread, total_and_gradients):
    star, _, mask = make_set(3, num_star)
    found = total_and_gradients(1 + spread * star, mask)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    if num_star:
        assert np.abs(found[1][1][0, :num_star]).max() > 0


@pytest.mark.slow
def test_initial_groups_differ_and_initial_outputs_are_of_order_one():
    """Stars are scaled like those of the packaged sample; no group is empty, no two are alike."""
    model = factory.create_module("soft_groups", 5, 2, jax.random.key(4))
    features = jax.random.normal(jax.random.key(5), (16, 200, 5))
    mask = jnp.ones((16, 200), bool)
    found_BxDxK = model.gate(jnp.moveaxis(jnp.arcsinh(features), 1, 2))
    share_BxGxK = jax.nn.softmax(found_BxDxK[:, : model.num_groups], axis=1)
    number_G = share_BxGxK.mean(axis=(0, 2))
    assert number_G.min() > 0.02
    correlation = np.corrcoef(np.moveaxis(np.asarray(share_BxGxK), 1, 0).reshape(len(number_G), -1))
    assert np.abs(correlation[np.triu_indices(len(number_G), 1)]).max() < 0.95
    assert np.abs(jitted(model)(features, mask)).max() < 5


def test_logarithms_of_sums_ignore_padded_positions():
    term = np.random.default_rng(0).normal(size=(1, 2, NUM_POSITION)) * 3
    for num_star in (0, 1, NUM_POSITION):
        found = log_sum(jnp.asarray(term, jnp.float32), jnp.arange(NUM_POSITION)[None] < num_star)[0]
        real = np.exp(10 * np.tanh(term[0, :, :num_star] / 10)).sum(axis=1)
        np.testing.assert_allclose(found, np.log((real + 1e-6) / 100), rtol=1e-5)


def test_any_number_of_groups_outputs_and_hidden_layers():
    hparams = {"num_groups": 1, "gate_hidden_dims": (), "hidden_dims": ()}
    model = factory.create_module("soft_groups", 3, 12, jax.random.key(0), **hparams)
    assert jitted(model)(jnp.ones((2, 6, 3)), jnp.ones((2, 6), bool)).shape == (2, 12)
