"""What soft groups pool, against plain numpy, and at the edges: no star, one star, stars all alike."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starjax.models import factory, soft_groups

NUM_SLOT, NUM_FEATURE, NUM_GROUP = 12, 3, 4

pytestmark = pytest.mark.usefixtures("all_optimizations")
pool = jax.jit(soft_groups.pool)
log_sum = jax.jit(soft_groups.log_sum)


def jitted(model):
    """What a model makes of features and mask, compiled as a whole."""
    params, apply = factory.split_module(model)
    return functools.partial(jax.jit(apply), params)


def make_set(seed, num_star):
    """One sample: features, shares that sum to 1 for each star, and mask; empty slots hold numbers too."""
    star_key, share_key = jax.random.split(jax.random.key(seed))
    star_BxKxF = 2 * jax.random.normal(star_key, (1, NUM_SLOT, NUM_FEATURE))
    share_BxGxK = jax.nn.softmax(jax.random.normal(share_key, (1, NUM_GROUP, NUM_SLOT)), axis=1)
    return star_BxKxF, share_BxGxK, jnp.arange(NUM_SLOT)[None] < num_star


def expected_pool(star_KxF, share_GxK):
    """The same for real stars alone, one group and one product after another."""
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
@given(seed=st.integers(0, 2**31 - 1), num_star=st.integers(1, NUM_SLOT))
def test_pooled_are_the_numbers_of_numpy(seed, num_star):
    star, share, mask = make_set(seed, num_star)
    found = pool(star, share, mask)[0]
    real = np.asarray(star[0, :num_star], np.float64), np.asarray(share[0, :, :num_star], np.float64)
    np.testing.assert_allclose(found, expected_pool(*real), rtol=1e-4, atol=1e-5)


def test_of_no_stars_all_is_zero():
    np.testing.assert_array_equal(pool(*make_set(0, 0))[0], 0)


def test_twice_the_stars_change_outputs_by_as_much_whatever_the_set():
    """Linear in the logarithm of the number, as a logarithm of mass is; what is pooled stays as it is."""
    model = factory.create_module("soft_groups", NUM_FEATURE, 2, jax.random.key(6))
    told = jitted(model)
    jumps = []
    for seed in (1, 2):
        star, share, mask = make_set(seed, NUM_SLOT)
        # So many that the half star that each group begins with does not count.
        many, more = (
            (jnp.tile(star, (1, n, 1)), jnp.tile(share, (1, 1, n)), jnp.tile(mask, (1, n)))
            for n in (100, 200)
        )
        np.testing.assert_allclose(pool(*more), pool(*many), atol=5e-2)
        jumps.append(told(more[0], more[2]) - told(many[0], many[2]))
    slope = model.linear.layers[0].kernel[...].sum(axis=0)
    np.testing.assert_allclose(jumps, np.broadcast_to(np.log(2) * slope, (2, 1, 2)), atol=5e-3)


@pytest.fixture(scope="module")
def total_and_gradients():
    """A call with features and mask: the sum of a network's outputs, and its gradients to parameters and features."""
    params, apply = factory.split_module(
        factory.create_module("soft_groups", NUM_FEATURE, 5, jax.random.key(2))
    )

    def total(params, features, mask):
        return apply(params, features, mask).sum()

    return functools.partial(jax.jit(jax.value_and_grad(total, argnums=(0, 1))), params)


@pytest.mark.parametrize("num_star", [0, 1, 2, NUM_SLOT])
@pytest.mark.parametrize("spread", [0.0, 1.0, 1e4])
def test_gradients_are_finite_where_stars_are_all_alike_or_far_apart(num_star, spread, total_and_gradients):
    star, _, mask = make_set(3, num_star)
    found = total_and_gradients(1 + spread * star, mask)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    if num_star:
        assert np.abs(found[1][1][0, :num_star]).max() > 0


def test_a_network_begins_with_groups_that_differ_and_outputs_of_order_one():
    """Stars scaled as those of the packaged sample are; no group is empty, none is like another."""
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


def test_logarithms_of_sums_are_those_of_the_real_stars():
    term = np.random.default_rng(0).normal(size=(1, 2, NUM_SLOT)) * 3
    for num_star in (0, 1, NUM_SLOT):
        found = log_sum(jnp.asarray(term, jnp.float32), jnp.arange(NUM_SLOT)[None] < num_star)[0]
        real = np.exp(10 * np.tanh(term[0, :, :num_star] / 10)).sum(axis=1)
        np.testing.assert_allclose(found, np.log((real + 1e-6) / 100), rtol=1e-5)


def test_any_number_of_groups_outputs_and_hidden_layers():
    hparams = {"num_groups": 1, "gate_hidden_dims": (), "hidden_dims": ()}
    model = factory.create_module("soft_groups", 3, 12, jax.random.key(0), **hparams)
    assert jitted(model)(jnp.ones((2, 6, 3)), jnp.ones((2, 6), bool)).shape == (2, 12)
