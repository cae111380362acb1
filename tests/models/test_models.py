"""Properties of all models, for any weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from starjax.models import factory, mlp, summary_stats
from starjax.ops import sorting

NUM_POSITION, NUM_FEATURE = 12, 4
EVERY_MODEL = pytest.mark.parametrize("name", factory.MODELS)


pytestmark = pytest.mark.usefixtures("all_optimizations")


@pytest.fixture(scope="module")
def built():
    """Return (params, compiled apply) of each model."""
    found = {}
    for name in factory.MODELS:
        params, apply = factory.split_module(factory.create_module(name, NUM_FEATURE, 2, jax.random.key(3)))
        found[name] = params, jax.jit(apply)
    return found


def make_set(seed: int, num_star: int):
    features = jax.random.normal(jax.random.key(seed), (1, NUM_POSITION, NUM_FEATURE)) * 3
    return features, jnp.arange(NUM_POSITION)[None] < num_star


@EVERY_MODEL
@pytest.mark.parametrize("num_star", [0, 1, 2, NUM_POSITION])
def test_output_and_gradient_are_finite_for_any_number_of_stars(built, name, num_star):
    params, apply = built[name]
    features, mask = make_set(4, num_star)
    gradient = jax.grad(lambda p: apply(p, features, mask, jax.random.split(jax.random.key(0), 1)).sum())(
        params
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((gradient, apply(params, features, mask))))


@EVERY_MODEL
def test_dropout_depends_only_on_the_key_of_the_sample(built, name):
    params, apply = built[name]
    num_sample = 32
    features, mask = (jnp.repeat(x, num_sample, axis=0) for x in make_set(5, 9))
    keys = jax.random.split(jax.random.key(6), num_sample)
    together = apply(params, features, mask, keys)
    assert len(np.unique(np.asarray(together)[:, 0])) > 1
    for i in range(num_sample):
        alone = apply(params, features[i : i + 1], mask[i : i + 1], keys[i : i + 1])
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-5, atol=1e-6)


def test_dropout_drops_at_its_rate_and_keeps_the_mean():
    keys = jax.random.split(jax.random.key(0), 100)
    dropped = np.asarray(mlp.dropout(jnp.ones((100, 1000)), 0.3, keys))
    assert abs((dropped == 0).mean() - 0.3) < 5 * (0.3 * 0.7 / 1e5) ** 0.5
    np.testing.assert_allclose(dropped[dropped > 0], 1 / 0.7, rtol=1e-5)


# Few numbers of rows, as each is compiled for: one, around powers of two, and between.
@given(
    st.sampled_from((1, 2, 3, 7, 8, 9, 27, 40)).flatmap(
        lambda num: arrays(
            np.float32, (num, 3), elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
        )
    )
)
@settings(max_examples=50, deadline=None)
def test_sorting_network_sorts(values):
    np.testing.assert_array_equal(jax.jit(sorting.sort)(values), np.sort(values, axis=0))


@pytest.mark.parametrize("num_star", [1, 2, 3, 10, NUM_POSITION])
def test_summary_statistics_equal_those_of_numpy(num_star):
    features, mask = make_set(7, num_star)
    stars = np.asarray(features[0, :num_star], np.float64)
    std = stars.std(axis=0, ddof=1) if num_star > 1 else np.zeros(NUM_FEATURE)
    quantiles = np.quantile(stars, [0.5, 0, 1, 0.25, 0.75], axis=0)
    expected = np.concatenate([[num_star], stars.mean(0), *quantiles[:3], std, *quantiles[3:]])
    found = jax.jit(summary_stats.summary_statistics)(features, mask)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_several_seeds_and_targets():
    params, apply = factory.split_module(
        factory.create_module(
            "set_transformer", 3, 2, jax.random.key(0), num_seeds=4, output_hidden_dims=(5,)
        )
    )
    assert jax.jit(apply)(params, jnp.ones((2, 6, 3)), jnp.ones((2, 6), bool)).shape == (2, 2)


@pytest.mark.parametrize(
    ("name", "hparams", "named"),
    [
        ("set_transformer", {"hidden_dim": 6, "num_heads": 4}, "num_heads=4"),
        ("deep_sets", {"pooling": "median"}, "median"),
        ("deep_sets", {"phi_hidden_dims": ()}, "phi_hidden_dims"),
        ("perceptron", {}, "perceptron"),
    ],
)
def test_invalid_hyperparameters_are_named_in_the_error(name, hparams, named):
    with pytest.raises(ValueError, match=named):
        factory.create_module(name, 3, 1, jax.random.key(0), **hparams)


def test_dropout_is_independent_between_positions_and_samples():
    """Correlations of all pairs of 256 positions, and of 256 samples, are those of fair coins."""
    num = 256
    keys = jax.random.split(jax.random.key(3), 64 * num)
    kept = np.asarray(mlp.dropout(jnp.ones((64 * num, num)), 0.5, keys)) > 0
    assert abs(kept.mean() - 0.5) < 5 * 0.5 / kept.size**0.5
    for coins in (2.0 * kept - 1, 2.0 * kept.reshape(num, -1).T - 1):
        size = len(coins)
        z = coins.T @ coins / size**0.5
        np.fill_diagonal(z, 0)
        # The largest of 32,640 normal deviates: beyond 6 with a chance of 6e-5.
        assert np.abs(z).max() < 6
        assert abs(z[np.triu_indices(num, 1)].std() - 1) < 0.03


@EVERY_MODEL
@pytest.mark.parametrize(("dtype", "precision"), [("float32", "HIGHEST"), ("bfloat16", "DEFAULT")])
def test_products_have_the_precision_of_the_dtype_on_every_device(name, dtype, precision):
    """By default float32 products are computed in TF32 on GPUs and in bfloat16 on TPUs."""
    params, apply = factory.split_module(
        factory.create_module(name, NUM_FEATURE, 2, jax.random.key(3), dtype=dtype)
    )
    features, mask = jnp.ones((2, NUM_POSITION, NUM_FEATURE)), jnp.ones((2, NUM_POSITION), bool)
    gradient = jax.jit(jax.grad(lambda p: apply(p, features, mask).sum()))
    lines = gradient.lower(params).as_text().splitlines()
    products = [line for line in lines if "stablehlo.dot_general" in line]
    # Of weights only, which stay float32, or of what is computed in `dtype`.
    of_dtype = [line for line in products if dtype == "float32" or "bf16" in line]
    assert len(of_dtype) > 4
    assert all(f"precision = [{precision}, {precision}]" in line for line in of_dtype)
