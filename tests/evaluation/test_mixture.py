"""Scores against scipy.stats, numerical integrals and Monte Carlo."""

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import integrate, stats

from starjax.evaluation.mixture import Mixture, ScoringError, grouped_standard_error


def mixtures(seed, num=4, num_component=3):
    rng = np.random.default_rng(seed)
    return Mixture(
        rng.dirichlet(np.ones(num_component), num),
        rng.normal(0, 2, (num, num_component)),
        10 ** rng.uniform(-2, 0.5, (num, num_component)),
    )


def frozen(mixture, row):
    """(weight, scipy's normal distribution) of each component."""
    parts = zip(mixture.weight[row], mixture.mean[row], mixture.sigma[row], strict=True)
    return [(weight, stats.norm(mean, sigma)) for weight, mean, sigma in parts]


def cdf(mixture, row, x):
    return sum(weight * normal.cdf(x) for weight, normal in frozen(mixture, row))


def test_one_component_is_scipys_normal():
    rng = np.random.default_rng(0)
    mean, sigma, truth = rng.normal(size=50), rng.uniform(0.1, 3, 50), rng.normal(size=50)
    one, normal = Mixture(np.ones((50, 1)), mean[:, None], sigma[:, None]), stats.norm(mean, sigma)
    np.testing.assert_allclose(one.cdf(truth), normal.cdf(truth))
    np.testing.assert_allclose(one.log_score(truth), -normal.logpdf(truth))
    for level in (1e-9, 0.16, 0.5, 0.999):
        np.testing.assert_allclose(one.quantile(level), normal.ppf(level), atol=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_numerical_integrals(seed):
    mixture, truth = mixtures(seed), np.random.default_rng(seed).normal(0, 3, 4)
    for row in range(4):
        parts = frozen(mixture, row)
        np.testing.assert_allclose(mixture.pit(truth)[row], cdf(mixture, row, truth[row]), rtol=1e-12)
        density = sum(weight * normal.pdf(truth[row]) for weight, normal in parts)
        if density > 0:
            np.testing.assert_allclose(mixture.log_score(truth)[row], -np.log(density), rtol=1e-9)
        ends = np.concatenate([normal.ppf([1e-14, 1 - 1e-14]) for _, normal in parts] + [[truth[row]]])
        # Dense enough for the narrowest component, and with the truth as the end of two pieces.
        below, above = (
            np.linspace(ends.min(), truth[row], 200_001),
            np.linspace(truth[row], ends.max(), 200_001),
        )
        score = integrate.simpson(cdf(mixture, row, below) ** 2, below)
        score += integrate.simpson((1 - cdf(mixture, row, above)) ** 2, above)
        np.testing.assert_allclose(mixture.crps(truth)[row], score, rtol=1e-6)


def test_crps_is_the_mean_distance_less_half_of_the_spread():
    """E|X - truth| - E|X - X'| / 2 (Gneiting & Raftery 2007), by Monte Carlo."""
    mixture, truth = mixtures(1, num=1), np.array([0.7])
    rng = np.random.default_rng(2)
    chosen = rng.choice(3, p=mixture.weight[0], size=(2, 400_000))
    drawn = rng.normal(mixture.mean[0, chosen], mixture.sigma[0, chosen])
    expected = abs(drawn[0] - truth).mean() - abs(drawn[0] - drawn[1]).mean() / 2
    np.testing.assert_allclose(mixture.crps(truth), expected, rtol=0.01)


@hypothesis.given(seed=st.integers(0, 10_000), level=st.floats(1e-6, 1 - 1e-6), scale=st.floats(-3, 3))
@hypothesis.settings(deadline=None)
def test_quantiles_undo_the_cdf(seed, level, scale):
    mixture = mixtures(seed)
    found = mixture.quantile(level)
    # The cdf crosses the level within 1e-8 of the quantile.
    assert np.all(mixture.cdf(found - 1e-8) <= level)
    assert np.all(mixture.cdf(found + 1e-8) >= level)
    np.testing.assert_array_equal(mixture.quantile(np.full(4, level)), found)
    scaled = Mixture(mixture.weight, 10**scale * mixture.mean, 10**scale * mixture.sigma)
    np.testing.assert_allclose(scaled.quantile(level), 10**scale * found, rtol=1e-9, atol=1e-9 * 10**scale)


def test_the_right_distribution_scores_best_and_has_uniform_pit():
    rng = np.random.default_rng(3)
    num = 4000
    mean = rng.normal(size=(num, 1)) + np.array([-1, 1])
    right = Mixture(np.full((num, 2), [0.3, 0.7]), mean, np.full((num, 2), [0.2, 0.5]))
    chosen = (rng.random(num) > 0.3).astype(int)
    truth = rng.normal(mean[np.arange(num), chosen], np.array([0.2, 0.5])[chosen])
    assert stats.kstest(right.pit(truth), "uniform").pvalue > 1e-3
    for factor in (0.7, 1.4):
        wrong = Mixture(right.weight, right.mean, factor * right.sigma)
        assert wrong.crps(truth).mean() > right.crps(truth).mean()
        assert wrong.log_score(truth).mean() > right.log_score(truth).mean()
        assert stats.kstest(wrong.pit(truth), "uniform").pvalue < 1e-3
    low, high = right.quantile(0.1), right.quantile(0.9)
    assert np.mean((low <= truth) & (truth <= high)) == pytest.approx(0.8, abs=0.03)


def test_jax_arrays_give_the_same_quantiles():
    mixture = mixtures(3)
    in_jax = Mixture(*(jnp.asarray(x, jnp.float32) for x in (mixture.weight, mixture.mean, mixture.sigma)))
    for level in (0.025, 0.5, 0.84):
        np.testing.assert_allclose(in_jax.quantile(level), mixture.quantile(level), rtol=1e-5, atol=1e-5)


def test_log_score_far_away_is_finite():
    one = Mixture([[0.5, 0.5]], [[0, 1]], [[0.01, 0.01]])
    assert one.log_score(np.array([50.0]))[0] == pytest.approx(-stats.norm(1, 0.01).logpdf(50) - np.log(0.5))


@pytest.mark.parametrize(
    ("weight", "mean", "sigma"),
    [
        ([[0.5, 0.6]], [[0, 0]], [[1, 1]]),
        ([[1.5, -0.5]], [[0, 0]], [[1, 1]]),
        ([[0.5, 0.5]], [[0, 0]], [[1, 0]]),
        ([[0.5, 0.5]], [[0, np.nan]], [[1, 1]]),
        ([[0.5, np.nan]], [[0, 0]], [[1, 1]]),
    ],
)
def test_invalid_parameters_are_an_error(weight, mean, sigma):
    good = [[0.5, 0.5]], [[0, 0]], [[1, 1]]
    with pytest.raises(ScoringError, match="1 of 2 rows are not mixtures, the first is row 1"):
        Mixture(*[a + b for a, b in zip(good, (weight, mean, sigma), strict=True)])


def test_wrong_shapes_and_levels_are_an_error():
    with pytest.raises(ScoringError, match="one shape"):
        Mixture(np.ones((3, 1)), np.zeros((3, 1)), np.ones(3))
    mixture = mixtures(0)
    for score in (mixture.crps, mixture.log_score, mixture.pit):
        with pytest.raises(ScoringError, match=r"should be \(4,\)"):
            score(np.zeros((4, 1)))
    for level in (0, 1, np.nan, -0.1):
        with pytest.raises(ScoringError, match="between 0 and 1"):
            mixture.quantile(level)


def test_the_bootstrap_resamples_whole_groups():
    """The error of a mean over groups of equal size is that of the mean of their means."""
    rng = np.random.default_rng(4)
    num_group, size = 60, 20
    of_group = rng.normal(size=num_group)
    values = np.repeat(of_group, size) + 0.1 * rng.normal(size=num_group * size)
    groups = np.repeat([f"run-{i}" for i in range(num_group)], size)
    order = rng.permutation(len(values))
    found = grouped_standard_error(values[order], groups[order], 2000, rng)
    means = values.reshape(num_group, size).mean(axis=1)
    assert found == pytest.approx(means.std() / np.sqrt(num_group), rel=0.07)
    alone = grouped_standard_error(values, np.arange(len(values)), 500, rng)
    assert alone < 0.4 * found


def test_the_standard_error_of_a_single_group_is_nan():
    rng = np.random.default_rng(5)
    assert np.isnan(grouped_standard_error(rng.normal(size=40), np.zeros(40), 10, rng))
