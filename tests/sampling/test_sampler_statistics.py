"""Statistics of ten million positions: stars and pairs are equally frequent, and dropped as configured.

The key is fixed, so that the results are always the same; a correct sampler fails a test with one key in
10,000.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from starjax.sampling import sampler
from starjax.sampling.sampler import SamplerConfig, Stars

TOO_UNLIKELY = 1e-4
COUNTS = (37, 40, 100, 256)
# 245 epochs of 640 samples of each of 4 snapshots, with 16 positions: 10,035,200.
NUM_EPOCH, NUM_SAMPLE, NUM_POSITION = 245, 640, 16
WHOLE = SamplerConfig(NUM_POSITION, NUM_SAMPLE)
DROPPING = dataclasses.replace(WHOLE, drop_probability=0.6, drop_ratio_range=(0.1, 0.9))
SNAPSHOTS = pytest.mark.parametrize("snapshot", range(len(COUNTS)))


def of_all_samples(function):
    """Return `function(stars, key, epoch, pairs)` of all epochs: (snapshot, epoch, sample, ...)."""
    number = np.concatenate([np.arange(count) for count in COUNTS])
    ptr = jnp.asarray(np.cumsum([0, *COUNTS]), jnp.int32)
    stars = Stars(jnp.asarray(number, jnp.float32)[:, None], ptr, jnp.zeros((len(COUNTS), 1)))
    pair = jnp.arange(len(COUNTS) * NUM_SAMPLE)

    def of_epoch(epoch):
        return function(stars, jax.random.key(11), epoch, pair)

    found = np.asarray(jax.jit(lambda: jax.lax.map(of_epoch, jnp.arange(NUM_EPOCH)))())
    return np.moveaxis(found.reshape(NUM_EPOCH, len(COUNTS), NUM_SAMPLE, *found.shape[2:]), 1, 0)


@pytest.fixture(scope="module")
def star():
    """Return the number of the star at each position: (snapshot, epoch, sample, position)."""
    return of_all_samples(lambda *of: sampler.draw_batch(*of, WHOLE)[0][..., 0].astype(jnp.int32))


@pytest.fixture(scope="module")
def num_left():
    """Return the number of stars after dropping (see test_sampler.py): (snapshot, epoch, sample)."""
    return of_all_samples(lambda *of: sampler.count_batch(*of, DROPPING))


def assert_fair(found, share=None):
    """Assert that counts agree with the expected fractions, by default equal ones."""
    expected = found.sum() * (np.full(found.shape, 1 / found.size) if share is None else share)
    assert scipy.stats.chisquare(found.ravel(), expected.ravel()).pvalue > TOO_UNLIKELY


def assert_unrelated(first, second, num):
    """Assert that two series of numbers in 0 … num - 1, of some 2 x 10^5 pairs, are independent."""
    table = np.histogram2d(first.ravel(), second.ravel(), bins=num, range=[(0, n) for n in num])[0]
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    assert scipy.stats.chi2_contingency(table).pvalue > TOO_UNLIKELY


@pytest.mark.slow
@SNAPSHOTS
def test_all_stars_are_equally_frequent_at_every_position_and_distinct_in_a_sample(snapshot, star):
    row = star[snapshot].reshape(-1, NUM_POSITION)
    assert (np.diff(np.sort(row), axis=1) > 0).all()
    for position in range(NUM_POSITION):
        assert_fair(np.bincount(row[:, position], minlength=COUNTS[snapshot]))


@pytest.mark.slow
@SNAPSHOTS
def test_all_pairs_of_stars_are_equally_frequent(snapshot, star):
    count, row = COUNTS[snapshot], star[snapshot].reshape(-1, NUM_POSITION)
    is_there = np.zeros((len(row), count), np.float32)
    np.put_along_axis(is_there, row, 1, axis=1)
    together = (is_there.T @ is_there)[np.triu_indices(count, 1)]
    chance = NUM_POSITION * (NUM_POSITION - 1) / (count * (count - 1))
    deviation = (together - len(row) * chance) / np.sqrt(len(row) * chance * (1 - chance))
    # Standard normal, nearly: no pair sticks out, and the spread is that of chance.
    assert np.abs(deviation).max() < scipy.stats.norm.isf(TOO_UNLIKELY / 2 / len(deviation))
    assert abs(deviation.std() - 1) < 4 / np.sqrt(2 * len(deviation))


@SNAPSHOTS
@pytest.mark.parametrize("axis", [0, 1], ids=["epochs", "samples"])
def test_neighbouring_samples_share_as_many_stars_as_independent_ones(snapshot, axis, star):
    later, earlier = (np.roll(star[snapshot], shift, axis).reshape(-1, NUM_POSITION) for shift in (0, 1))
    num_shared = sum((later == np.roll(earlier, shift, axis=1)).sum(axis=1) for shift in range(NUM_POSITION))
    share = scipy.stats.hypergeom(COUNTS[snapshot], NUM_POSITION, NUM_POSITION).pmf(
        np.arange(NUM_POSITION + 1)
    )
    # What is expected less than ten times is counted with its neighbour.
    _, *others = np.flatnonzero(share * len(later) > 10)
    found = np.bincount(num_shared, minlength=NUM_POSITION + 1)
    assert_fair(np.add.reduceat(found, [0, *others]), np.add.reduceat(share, [0, *others]))


def test_samples_with_the_same_number_are_independent_between_snapshots(star):
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert_unrelated(star[first, ..., 0], star[second, ..., 0], (COUNTS[first], COUNTS[second]))


@SNAPSHOTS
def test_the_number_of_stars_has_the_configured_distribution(snapshot, num_left):
    low, high = DROPPING.drop_ratio_range
    # A ratio of d - 1/2 to d + 1/2 stars drops d of them.
    edges = np.clip((np.arange(-1, NUM_POSITION) + 0.5) / NUM_POSITION, low, high)
    share = DROPPING.drop_probability * np.diff(edges) / (high - low)
    share[0] += 1 - DROPPING.drop_probability
    found = np.bincount(NUM_POSITION - num_left[snapshot].ravel(), minlength=NUM_POSITION)
    assert (found[share == 0] == 0).all()
    assert_fair(found[share > 0], share[share > 0])


@SNAPSHOTS
def test_the_order_of_stars_is_independent_of_their_number(snapshot, star, num_left):
    assert_unrelated(star[snapshot, ..., 0], num_left[snapshot], (COUNTS[snapshot], NUM_POSITION + 1))


def test_the_number_of_stars_is_independent_between_epochs_samples_and_snapshots(num_left):
    for axis in range(3):
        assert_unrelated(num_left, np.roll(num_left, 1, axis), (NUM_POSITION + 1, NUM_POSITION + 1))
