"""Joint calibration: right posteriors pass, wrong correlations and widths are found, as theory has it."""

import numpy as np
import pytest
from scipy import stats

from starjax.evaluation import calibration, joint_calibration
from starjax.evaluation.joint_calibration import NUM_AT_ONCE, PERCENT, coverage_curve, joint_ranks, tarp_rank
from starjax.evaluation.posterior import MemberOutputs
from starjax.models import heads

NOMINAL = PERCENT / 100
NUM = 2 * NUM_AT_ONCE + 200
HEAD = heads.MixtureHead(2, 1, 0.1)


def gaussian(correlation, scale=0.5):
    """Return the Cholesky factor of a covariance with equal variances."""
    return scale * np.linalg.cholesky([[1, correlation], [correlation, 1]])


def ranks(posterior, of_truth):
    """Return the ranks of true values that scatter by `of_truth` about the means of posteriors."""
    rng = np.random.default_rng(0)
    mean = rng.uniform(-2, 2, (NUM, 2))
    scale, lower = np.diag(posterior), posterior[1, 0] / posterior[1, 1]
    raw = np.log(np.expm1(scale - HEAD.min_scale))
    output = np.concatenate([np.zeros((NUM, 1)), mean, np.tile([*raw, lower], (NUM, 1))], axis=1)
    unstretched = calibration.Calibration(np.ones(2), *np.ones((3, 2, 2)), num_simulation=NUM)
    truth = mean + rng.normal(size=(NUM, 2)) @ of_truth.T
    return joint_ranks(MemberOutputs(output[None, :, None], HEAD), unstretched, truth)


def curve(rank, num_each=1, num_calibration=10**9):
    group = np.repeat(np.arange(len(rank)), num_each)
    return coverage_curve(np.repeat(rank, num_each), group, num_calibration, np.random.default_rng(0))


def test_tarp_is_that_of_its_authors():
    """Values of `tarp.get_tarp_coverage(…, references, norm=False, num_alpha_bins=10)`, tarp 0.1.1."""
    rng = np.random.default_rng(1)
    target = rng.normal(size=(200, 2))
    sample = 0.8 * target[:, None] + rng.normal(size=(200, 100, 2))
    rank = tarp_rank(sample, target, rng.uniform(-2, 2, (200, 2)))
    alpha = np.linspace(0, 0.75, 11)  # up to the largest rank, where its last bin ends
    assert rank.max() == 0.75
    ecp = [0, 0.03, 0.065, 0.145, 0.215, 0.435, 0.635, 0.84, 0.96, 0.99]
    np.testing.assert_allclose([(rank < a).mean() for a in alpha[:-1]], ecp, atol=1e-12)


def test_a_right_posterior_covers_as_often_as_it_claims():
    for rank in ranks(gaussian(0.8), gaussian(0.8)).values():
        found = curve(rank)
        binomial = np.sqrt(NOMINAL * (1 - NOMINAL) / NUM)
        assert (abs(found.coverage - NOMINAL) < 3.5 * binomial).all()
        np.testing.assert_allclose(found.error, binomial, rtol=0.3)
        assert found.p_value > 0.05


def test_a_wrong_correlation_is_found_though_each_target_is_calibrated():
    # The squared distance is a χ² of one degree for each eigenvalue, 9 and 1/9.
    one, other = np.random.default_rng(2).chisquare(1, (2, 10**6))
    expected = [(9 * one + other / 9 < stats.chi2.ppf(level, 2)).mean() for level in (0.68, 0.95)]
    found = ranks(gaussian(-0.8), gaussian(0.8))
    summary = curve(found["joint_ellipse"]).summary()
    assert [summary[f"coverage_{name}"] for name in ("68", "95")] == pytest.approx(expected, abs=0.04)
    assert summary["coverage_68"] < 0.45
    for rank in found.values():
        assert curve(rank).p_value < 0.005


def test_ellipses_of_a_narrow_posterior_cover_as_theory_has_it():
    found = curve(ranks(gaussian(0.5, 0.35), gaussian(0.5, 0.5))["joint_ellipse"])
    expected = 1 - (1 - NOMINAL) ** 0.49  # χ² of two degrees of freedom, at 0.7² of the distance
    np.testing.assert_allclose(found.coverage, expected, atol=0.04)
    summary = found.summary()
    assert summary["coverage_68"] == found.coverage[67]
    assert summary["largest_deviation"] == pytest.approx((expected - NOMINAL).min(), abs=0.04)


def test_one_target_without_a_distribution_is_tested_too():
    outputs = MemberOutputs(np.zeros((1, NUM, 1, 1), np.float32), heads.PointHead(1))
    fitted = calibration.Calibration(np.array([2.0]), *np.ones((3, 2, 1)), num_simulation=19)
    truth = np.random.default_rng(3).normal(0, 2, (NUM, 1))
    for rank in joint_ranks(outputs, fitted, truth).values():
        assert stats.kstest(rank, "uniform").pvalue > 0.01


def test_snapshots_of_one_simulation_count_as_one_if_they_are_alike():
    rank = np.random.default_rng(4).uniform(size=30)
    alone, alike = curve(rank), curve(rank, num_each=10)
    np.testing.assert_allclose(alike.coverage, alone.coverage)
    assert alone.coverage[67] == (rank < 0.68).mean()
    np.testing.assert_allclose(alike.error, alone.error)
    assert alike.p_value == alone.p_value
    # As many simulations for calibration add as much variance as those of the test.
    np.testing.assert_allclose(curve(rank, num_calibration=30).error, 2**0.5 * alone.error)
    assert curve(rank[:1], num_each=10).p_value == 1


@pytest.mark.slow
def test_p_values_of_calibrated_posteriors_are_uniform():
    rng = np.random.default_rng(5)
    found = []
    for _ in range(200):
        # Ranks within a simulation are correlated.
        score = np.sqrt(0.3) * rng.normal(size=(27, 1)) + np.sqrt(0.7) * rng.normal(size=(27, 24))
        group = np.repeat(np.arange(27), 24)
        found.append(coverage_curve(stats.norm.cdf(score.ravel()), group, 10**9, rng).p_value)
    assert np.mean(np.array(found) < 0.1) == pytest.approx(0.1, abs=0.06)
    assert np.mean(np.array(found) < 0.5) == pytest.approx(0.5, abs=0.1)


def test_the_levels_of_intervals_are_on_the_curve():
    assert {int(name) for name in calibration.LEVEL_NAMES} <= set(joint_calibration.PERCENT)
