"""Samples and fixed lists of the observer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starjax import quantities
from starjax.datasets.dataset import Dataset
from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.sampling import observed_samples, observer, sampler
from starjax.sampling.observed_samples import ObservedSamples
from starjax.sampling.sampler import SamplerConfig
from tests.sampling.observed_lists import SETTINGS, snapshots

KEYS = observer.FEATURES
SIZE = 128


def raw_data():
    """Return a data set of which each split has the same snapshots."""
    shard = snapshots()
    raw = shard.select(quantities.OBSERVER, shard.target_keys)
    return Dataset(dict.fromkeys(("train", "val", "test"), raw), ScalerBundle(()), ScalerBundle(()), "")


@pytest.fixture(scope="module")
def prepared():
    """Return a data set that is prepared for the observer, and how its samples are drawn."""
    data = observed_samples.prepare_dataset(raw_data(), SETTINGS, KEYS, SIZE)
    return data, ObservedSamples(SETTINGS, KEYS, data.feature_scalers, SIZE)


def drawn(prepared, size):
    """Return features, mask and the bound on the number of stars of twelve samples, padded to a length."""
    data, samples = prepared
    config = SamplerConfig(size, 4, feature_clip=10.0, observed=samples)
    stars = jax.tree.map(jnp.asarray, sampler.to_stars(data.shards["train"]))
    pair = jnp.arange(12)
    features, mask, *_ = jax.jit(lambda stars: sampler.draw_batch(stars, jax.random.key(0), 0, pair, config))(
        stars
    )
    count = sampler.count_batch(stars, jax.random.key(0), 0, pair, config)
    return np.asarray(features), np.asarray(mask), np.asarray(count)


@pytest.fixture(scope="module")
def samples(prepared):
    return drawn(prepared, SIZE)


def test_samples_are_scaled_and_zero_at_padded_positions(samples):
    features, mask, _ = samples
    assert features.shape == (12, SIZE, len(KEYS))
    assert not features[~mask].any()
    assert np.isfinite(features).all()
    assert np.abs(features).max() <= 10
    probability = KEYS.index("membership_probability")
    for i in range(len(KEYS)):
        if i != probability:
            assert 0.2 < features[mask][:, i].std() < 4, KEYS[i]


def test_samples_have_at_most_as_many_stars_as_were_counted(prepared, samples):
    _, mask, count = samples
    last = np.where(mask, np.arange(SIZE), -1).max(axis=1)
    assert (last < count).all()
    assert (count <= SIZE).all()


@pytest.mark.weekly
def test_samples_padded_to_another_length_are_the_same(prepared, samples):
    features, mask, count = samples
    other_features, other_mask, _ = drawn(prepared, 96)
    fits = count <= 96
    assert 0 < fits.sum() < len(fits)
    np.testing.assert_array_equal(other_mask[fits], mask[fits, :96])
    assert not mask[fits, 96:].any()
    np.testing.assert_allclose(other_features[fits], features[fits, :96], atol=2e-3)


def test_each_snapshot_has_one_list_that_is_always_the_same(prepared):
    data, samples = prepared
    first, second = (observed_samples.observe_splits(data, ("val", "test"), samples) for _ in range(2))
    for split in ("val", "test"):
        shard = first.shards[split]
        assert shard.num_snapshot == data.shards[split].num_snapshot
        assert np.diff(shard.ptr).min() >= quantities.MIN_STARS
        assert shard.feature_keys == KEYS
        np.testing.assert_array_equal(shard.feature, second.shards[split].feature)
        assert np.isfinite(shard.feature).all()
    assert first.shards["train"] is data.shards["train"]
    # Validation and test have lists of their own, and so have the folds of a cross-validation.
    fold = observed_samples.observe_splits(data, ("val",), samples, fold=1)
    for one, other in (
        (first.shards["val"], first.shards["test"]),
        (first.shards["val"], fold.shards["val"]),
    ):
        assert not np.array_equal(one.ptr, other.ptr) or not np.array_equal(one.feature, other.feature)


def test_lists_keep_their_circumstances():
    """The faintest star of a list is not beyond the limit of its view, and in long lists near it."""
    raw = observer.sort_by_brightness(raw_data().shards["test"])
    for seed in range(4):
        lists, view = observed_samples.observe_shard(raw, jax.random.key(seed), SETTINGS, 512)
        np.testing.assert_array_equal(lists.distance_pc, view.distance)
        magnitude = lists.feature[:, KEYS.index("abs_mag_g")]
        for i in range(lists.num_snapshot):
            faintest = magnitude[lists.ptr[i] : lists.ptr[i + 1]].max()
            apparent = faintest + view.distance_modulus[i] + 0.7 * view.extinction_estimate[i]
            # The stars of near clusters are at different distances.
            assert apparent < view.faint_limit[i] + 0.5
            if np.diff(lists.ptr)[i] > 100:
                assert apparent > view.faint_limit[i] - 1.5


def test_exact_lists_can_be_scaled():
    """Errors of velocities have a floor, since their scaler takes the logarithm."""
    exact = dataclasses.replace(SETTINGS, gaia_errors=False, extinction_error_range_v_mag=())
    data = observed_samples.prepare_dataset(raw_data(), exact, KEYS, SIZE)
    samples = ObservedSamples(exact, KEYS, data.feature_scalers, SIZE)
    lists = observed_samples.observe_splits(data, ("val",), samples).shards["val"]
    assert np.isfinite(lists.feature).all()
