"""The keyed permutation is a permutation, and random."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from starjax.ops.random import permute

permute_jit = jax.jit(permute)
# Chance that a test of a perfect permutation fails; the keys are fixed, so that it either does or not.
TOO_UNLIKELY = 1e-4


def permutations(num: int, size: int, index=None):
    """Return `num` keyed permutations of 0 … size - 1, or their values at `index`."""
    keys = jax.random.split(jax.random.key(size), num)
    index = jnp.arange(size) if index is None else jnp.asarray(index)
    return np.asarray(jax.jit(jax.vmap(lambda key: permute(key, index, size)))(keys))


@given(size=st.integers(1, 3000), seed=st.integers(0, 2**31 - 1))
@settings(max_examples=100, deadline=None)
def test_it_is_a_permutation(size, seed):
    # One compiled shape for all sizes; what lies beyond the size is cut off.
    images = np.asarray(permute_jit(jax.random.key(seed), jnp.arange(3000), size))[:size]
    np.testing.assert_array_equal(np.sort(images), np.arange(size))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 2**16, 2**16 + 1, 2**20 - 3])
def test_it_is_a_permutation_at_special_sizes(size):
    images = np.asarray(permute_jit(jax.random.key(0), jnp.arange(size), size))
    np.testing.assert_array_equal(np.sort(images), np.arange(size))


@pytest.mark.parametrize("size", [2**31 - 1, 2**31 + 12345, 2**32 - 1])
def test_sizes_beyond_31_bits_stay_in_range(size):
    index = jnp.arange(4096, dtype=jnp.uint32) + jnp.uint32(size - 4096)
    images = np.asarray(permute_jit(jax.random.key(1), index, jnp.uint32(size)))
    assert images.max() < size
    assert len(np.unique(images)) == 4096
    # Uniform over the range: 4096 draws against the uniform law.
    assert scipy.stats.kstest(images / size, "uniform").pvalue > TOO_UNLIKELY


def chi_square_pvalue(counts):
    return scipy.stats.chisquare(counts.ravel()).pvalue


@pytest.mark.parametrize("size", [2, 3, 5, 10, 12, 13, 37, 150, 914])
def test_all_values_are_equally_likely_at_every_position(size):
    num = 40_000
    images = permutations(num, size, index=[0, size // 2, size - 1])
    for place in range(3):
        assert chi_square_pvalue(np.bincount(images[:, place], minlength=size)) > TOO_UNLIKELY


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 4, 5, 6, 10, 13, 31, 32, 37])
def test_all_ordered_pairs_are_equally_likely(size):
    num = 200_000
    images = permutations(num, size, index=[0, 1, size - 1])
    for first, second in ((0, 1), (0, 2), (1, 2)):
        counts = np.bincount(images[:, first] * size + images[:, second], minlength=size * size).reshape(
            size, size
        )
        assert (np.diag(counts) == 0).all()
        assert chi_square_pvalue(counts[~np.eye(size, dtype=bool)]) > TOO_UNLIKELY


@pytest.mark.parametrize(("size", "num_drawn"), [(12, 5), (200, 128), (40, 20)])
def test_pairs_are_drawn_together_as_often_as_expected(size, num_drawn):
    num = 20_000
    drawn = np.zeros((num, size), np.float32)
    np.put_along_axis(drawn, permutations(num, size, index=np.arange(num_drawn)).astype(int), 1, axis=1)
    together = (drawn.T @ drawn)[np.triu_indices(size, 1)]
    chance = num_drawn * (num_drawn - 1) / (size * (size - 1))
    deviation = (together - num * chance) / np.sqrt(num * chance * (1 - chance))
    # Standard normal, nearly: no pair sticks out, and the spread is that of chance.
    assert np.abs(deviation).max() < scipy.stats.norm.isf(TOO_UNLIKELY / len(deviation))
    assert abs(deviation.std() - 1) < 4 / np.sqrt(2 * len(deviation))


def test_all_720_orders_of_six_values_are_equally_likely():
    images = permutations(144_000, 6)
    _, counts = np.unique(images @ 6 ** np.arange(6), return_counts=True)
    assert len(counts) == 720
    assert chi_square_pvalue(counts) > TOO_UNLIKELY


def test_orders_of_different_keys_are_independent():
    images = permutations(400, 1000).astype(float)
    correlation = np.corrcoef(images)[np.triu_indices(400, 1)]
    assert abs(correlation.mean()) < 5 / np.sqrt(len(correlation) * 1000)
    assert np.abs(correlation).max() < 6 / np.sqrt(1000)
