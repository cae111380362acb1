"""Cheap random numbers have the moments of their distributions, and streams are independent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from starjax.ops import random

SHAPE = (20, 4000)
# Chance that a test of perfect random numbers fails; the keys are fixed, so that it either does or not.
TOO_UNLIKELY = 1e-5


def salt(seed=0):
    return random.salts(jax.random.key(seed), 1)[0]


def deviation(value, standard_error):
    """Return a deviation in standard errors, relative to the largest that is likely."""
    return abs(value) / (standard_error * scipy.stats.norm.isf(TOO_UNLIKELY / 2))


def test_uniform():
    numbers = np.asarray(random.uniform(salt(), SHAPE), np.float64)
    assert 0 < numbers.min() < 1e-3 < 1 - 1e-3 < numbers.max() < 1
    assert deviation(numbers.mean() - 0.5, np.sqrt(1 / 12 / numbers.size)) < 1
    assert deviation(numbers.var() - 1 / 12, np.sqrt(1 / 180 / numbers.size)) < 1
    counts = np.histogram(numbers, 50, (0, 1))[0]
    assert scipy.stats.chisquare(counts).pvalue > TOO_UNLIKELY


def test_normal():
    numbers = np.asarray(random.normal(salt(1), SHAPE), np.float64).ravel()
    assert deviation(numbers.mean(), 1 / np.sqrt(numbers.size)) < 1
    assert deviation(numbers.var() - 1, np.sqrt(2 / numbers.size)) < 1
    assert deviation((numbers**4).mean() - 3, np.sqrt(96 / numbers.size)) < 1
    assert np.abs(numbers).max() < random.MAX_NORMAL
    assert np.abs(random.to_normal(jnp.array([0.5, 2**16 - 0.5]) / 2**16)).max() < random.MAX_NORMAL


@pytest.mark.parametrize("make", [random.uniform, random.normal])
def test_streams_and_neighbours_are_not_correlated(make):
    numbers = np.asarray(make(salt(2), SHAPE), np.float64)
    between = np.corrcoef(numbers)[np.triu_indices(len(numbers), 1)]
    assert deviation(np.abs(between).max(), 1 / np.sqrt(SHAPE[1])) < 1.2  # the largest of 190
    assert deviation(between.mean(), 1 / np.sqrt(SHAPE[1] * len(between))) < 1
    for lag in (1, 2, 16):
        shifted = np.corrcoef(numbers[:, lag:].ravel(), numbers[:, :-lag].ravel())[0, 1]
        assert deviation(shifted, 1 / np.sqrt(numbers.size)) < 1


def test_salts_of_one_key_and_of_neighbouring_keys_give_other_numbers():
    salts = [*random.salts(jax.random.key(3), 6), *random.salts(jax.random.fold_in(jax.random.key(3), 1), 6)]
    numbers = np.stack([np.asarray(random.uniform(one, (4000,)), np.float64) for one in salts])
    between = np.corrcoef(numbers)[np.triu_indices(len(numbers), 1)]
    assert deviation(np.abs(between).max(), 1 / np.sqrt(4000)) < 1.2


def test_a_longer_stream_begins_with_a_shorter_one():
    short, long = random.uniform(salt(), (3, 40)), random.uniform(salt(), (3, 100))
    np.testing.assert_array_equal(short, long[:, :40])


def test_more_streams_begin_with_fewer():
    few, many = random.bits16(salt(), (2, 30)), random.bits16(salt(), (5, 30))
    np.testing.assert_array_equal(few, many[:2])
    np.testing.assert_array_equal(random.bits16(salt(), (30,)), many[0])


def test_shapes_beyond_the_counter_are_refused():
    with pytest.raises(ValueError, match=r"\(257, 2\) should be at most 2\*\*8 streams"):
        random.bits16(salt(), (257, 2))
