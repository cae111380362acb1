"""Survey selection: samples lack faint stars, and some at random, but always keep MIN_STARS."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies

from starjax.configs import posterior_incomplete
from starjax.datasets import folds
from starjax.datasets.load import load_dataset
from starjax.datasets.scalers import bundle
from starjax.quantities import MIN_STARS
from starjax.runs import run_config
from starjax.sampling import sampler, survey_selection
from starjax.sampling.sampler import SamplerConfig, Stars
from starjax.sampling.survey_selection import SurveySelection
from starjax.training import prepare

NUM_POSITION = 64


@jax.jit
def seen_of(seed, feature, mask, faint_limit_range, missing_fraction_range):
    return survey_selection.select_stars(
        jax.random.key(seed), feature, mask, SurveySelection(1, faint_limit_range, missing_fraction_range)
    )


def seen(luminosity, selection, seed=0):
    """Return which stars are selected, in a sample with padding."""
    padded = np.zeros((NUM_POSITION, 2), np.float32)
    padded[: len(luminosity), 1] = luminosity
    mask = np.arange(NUM_POSITION) < len(luminosity)
    found = np.asarray(
        seen_of(seed, padded, mask, selection.faint_limit_range, selection.missing_fraction_range)
    )
    assert not found[~mask].any()
    return found[: len(luminosity)]


@hypothesis.given(
    num=strategies.integers(0, NUM_POSITION),
    seed=strategies.integers(0, 1000),
    limit=strategies.floats(-2, 2),
    ratio=strategies.floats(0, 1),
)
@hypothesis.settings(deadline=None, max_examples=50)
def test_selected_stars_are_the_configured_fraction_of_those_brighter_than_the_limit(num, seed, limit, ratio):
    luminosity = np.random.default_rng(seed).normal(size=num).astype(np.float32)
    found = seen(luminosity, SurveySelection(1, (limit, limit), (ratio, ratio)), seed)
    num_bright = max((luminosity >= np.float32(limit)).sum(), min(MIN_STARS, num))
    num_left = max(round((1 - ratio) * num_bright), min(MIN_STARS, num))
    assert abs(found.sum() - num_left) <= 1  # halves round either way in single precision
    assert np.isin(np.flatnonzero(found), np.argsort(-luminosity)[:num_bright]).all()


def test_limits_and_fractions_are_uniform_in_their_ranges():
    luminosity = np.linspace(-4, 0, NUM_POSITION)
    only_faint = [seen(luminosity, SurveySelection(1, (-3.0, -2.0), (0.0, 0.0)), seed) for seed in range(200)]
    faintest = np.array([luminosity[found].min() for found in only_faint])
    assert -3 <= faintest.min() < -2.9
    assert -2.1 < faintest.max() <= -1.9
    only_missing = [
        seen(luminosity, SurveySelection(1, (-9.0, -9.0), (0.2, 0.6)), seed) for seed in range(200)
    ]
    ratio = 1 - np.array([found.mean() for found in only_missing])
    assert 0.19 < ratio.min() < 0.25
    assert 0.55 < ratio.max() < 0.61
    # Every star is as likely to be missing.
    missing = 1 - np.mean(only_missing, axis=0)
    assert np.abs(missing - 0.4).max() < 5 * np.sqrt(0.4 * 0.6 / 200)


@pytest.fixture
def stars():
    feature = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    return Stars(jnp.asarray(feature), jnp.array([0, 40, 200]), jnp.zeros((2, 1)))


def draw(stars, config, epoch=0):
    pair = jnp.arange(2 * config.num_sample_per_snapshot)
    features, mask, *_ = jax.jit(sampler.draw_batch, static_argnames="config")(
        stars, jax.random.key(0), epoch, pair, config=config
    )
    return np.asarray(features), np.asarray(mask)


def test_each_sample_has_its_own_selection_and_zeros_for_missing_stars(stars):
    selection = SurveySelection(1, (-0.5, 0.5), (0.0, 0.5))
    whole, whole_mask = draw(stars, SamplerConfig(NUM_POSITION, 3))
    features, mask = draw(stars, SamplerConfig(NUM_POSITION, 3, selection=selection))
    assert len(np.unique(mask, axis=0)) == len(mask)
    assert (mask <= whole_mask).all()
    np.testing.assert_array_equal(features[mask], whole[mask])
    assert (features[~mask] == 0).all()
    _, later = draw(stars, SamplerConfig(NUM_POSITION, 3, selection=selection), epoch=1)
    assert (later != mask).any()


def test_validation_samples_have_no_selection(stars):
    config = SamplerConfig(NUM_POSITION, 3, selection=SurveySelection(1, (0.0, 0.0), (0.5, 0.5)))
    whole, mask = draw(stars, SamplerConfig(NUM_POSITION, 3))
    features, found_mask = draw(stars, config.without_drop())
    np.testing.assert_array_equal(features, whole)
    np.testing.assert_array_equal(found_mask, mask)


def test_samples_are_centred_on_the_selected_stars():
    """The median is that of the selected stars, not of all."""
    feature = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    stars = Stars(jnp.asarray(feature), jnp.array([0, 60]), jnp.zeros((1, 1)))
    selection = SurveySelection(1, (0.3, 0.3), (0.0, 0.0))
    features, mask = draw(
        stars, SamplerConfig(NUM_POSITION, 1, selection=selection, centred=(0,), zeros=(0.0,))
    )
    assert MIN_STARS < mask.sum() < 40
    assert np.median(features[mask][:, 0]) == pytest.approx(0, abs=1e-6)


def test_limits_are_in_physical_units():
    config = posterior_incomplete.get_config()
    values = np.random.default_rng(0).normal(-1.5, 0.7, size=(500, 1))
    scalers = bundle.fit_bundle(values, ("log_L_L_sol",), ((("log_L_L_sol",), "robust"),))
    found = run_config.selection(config, ("z", "log_L_L_sol"), scalers)
    assert found.column == 1
    physical = scalers.of("log_L_L_sol").inverse(np.array(found.faint_limit_range))
    np.testing.assert_allclose(physical, config.data.faint_limit_range)
    assert run_config.selection(config, ("z",), scalers) is None
    with config.unlocked():
        config.data.faint_limit_range = ()
    assert run_config.selection(config, ("z", "log_L_L_sol"), scalers) is None


@pytest.mark.slow
def test_validation_and_test_have_the_same_selection_in_every_run():
    config = posterior_incomplete.get_config()
    config.ensemble.num_fold = 0
    whole = load_dataset("sample", tuple(config.data.feature_keys), tuple(config.data.target_keys))
    data, again = (prepare.split_dataset(config, prepare.read_dataset(config)) for _ in range(2))
    assert data.shards["train"] is not whole.shards["train"]
    np.testing.assert_array_equal(data.shards["train"].ptr, whole.shards["train"].ptr)
    for split in ("val", "test"):
        found, complete = data.shards[split], whole.shards[split]
        np.testing.assert_array_equal(found.feature, again.shards[split].feature)
        num, num_complete = np.diff(found.ptr), np.diff(complete.ptr)
        assert (num >= MIN_STARS).all()
        assert (num <= num_complete).all()
        assert 0.2 < num.sum() / num_complete.sum() < 0.6
        np.testing.assert_array_equal(found.target, complete.target)
        np.testing.assert_array_equal(found.run_id, complete.run_id)
        # Each catalogue has stars of its own cluster, in their order.
        for i in (0, 7):
            own = complete.feature[slice(*complete.ptr[i : i + 2])]
            listed = found.feature[slice(*found.ptr[i : i + 2])]
            is_listed = (own[:, None] == listed[None]).all(axis=2)
            assert (is_listed.sum(axis=0) == 1).all()
            assert (np.diff(is_listed.argmax(axis=0)) > 0).all()
    # Calibration pools the catalogues of all folds: those with the same number must not have the same limit.
    shares = []
    for number in (0, 1):
        config.data.fold = (number, 5, 0)
        part = prepare.split_dataset(config, prepare.read_dataset(config))
        without = folds.one_fold(whole, number, 5, 0)
        np.testing.assert_array_equal(
            part.shards["test"].feature,
            run_config.to_lists(config, whole, "test").shards["test"].feature,
        )
        listed, complete = part.shards["val"], without.shards["val"]
        shares.append((np.diff(listed.ptr) / np.diff(complete.ptr))[:200])
    assert abs(np.corrcoef(*shares)[0, 1]) < 0.3
    assert run_config.sampler(config, data.feature_scalers).selection is not None
    few = run_config.to_lists(config, data, "train", snapshots=np.array([3, 5]))
    assert few.shards["train"].num_snapshot == len(few.shards["train"].time_myr) == 2
    np.testing.assert_array_equal(few.shards["train"].run_id, whole.shards["train"].run_id[[3, 5]])
