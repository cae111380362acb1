"""Joint posteriors: their samples have the moments of the mixture and the calibrated intervals."""

import numpy as np
import pytest
from scipy import stats

from starjax.evaluation import calibration
from starjax.evaluation.calibration import LEVELS
from starjax.evaluation.joint_posterior import JointMixture, calibrated_samples
from starjax.evaluation.mixture import Mixture
from starjax.evaluation.posterior import MemberOutputs
from starjax.models import heads

NUM = 200_000
HEAD = heads.MixtureHead(2, 2, 0.1)


@pytest.fixture(scope="module")
def outputs():
    """Three members, two clusters, four samples of each."""
    rng = np.random.default_rng(1)
    return MemberOutputs(rng.normal(size=(3, 2, 4, HEAD.num_output)).astype(np.float32), HEAD)


def rngs(num):
    return [np.random.default_rng(i) for i in range(num)]


def calibrated(stretch):
    stretch = np.array(stretch, float)
    return calibration.Calibration(np.ones(2), stretch, 0 * stretch, 0 * stretch, 19)


def draw(outputs, stretch, num):
    """Return samples of both clusters, and their calibrated intervals."""
    predictive, fitted = outputs.pool(np.ones(2)), calibrated(stretch)
    intervals = fitted.intervals(predictive)
    median = np.stack([one.quantile(0.5) for one in predictive], axis=-1)
    joint = outputs.pool_jointly(np.ones(2))
    return calibrated_samples(joint, median, intervals, fitted, rngs(2), num), intervals


def test_samples_have_the_mean_and_covariance_of_a_gaussian():
    factor = np.array([[2.0, 0.0], [1.0, 0.5]])
    one = JointMixture(np.ones((1, 1)), np.array([[[3.0, -1.0]]]), factor[None, None])
    [sample] = one.sample(rngs(1), NUM)
    np.testing.assert_allclose(sample.mean(axis=0), [3, -1], atol=0.02)
    np.testing.assert_allclose(np.cov(sample.T), [[4, 2], [2, 1.25]], atol=0.05)


def test_the_joint_density_is_that_of_the_loss(outputs):
    joint, at = outputs.pool_jointly(np.ones(2)), np.array([0.3, -0.2])
    for cluster in range(2):
        density = sum(
            weight * stats.multivariate_normal(mean, factor @ factor.T).pdf(at)
            for weight, mean, factor in zip(
                joint.weight[cluster], joint.mean[cluster], joint.factor[cluster], strict=True
            )
        )
        each = HEAD.loss(outputs.output[:, cluster].reshape(-1, HEAD.num_output), np.tile(at, (12, 1)), 1.0)
        assert density == pytest.approx(np.exp(-np.asarray(each, float)).mean(), rel=1e-4)


@pytest.mark.parametrize("stretch", [[[1, 1], [1, 1]], [[1.3, 0.8], [1.1, 1.4]], [[3.0, 1], [0.5, 1]]])
def test_samples_have_the_calibrated_intervals(outputs, stretch):
    sample, intervals = draw(outputs, stretch, NUM)
    for i, level in enumerate(LEVELS):
        # An interval that would be within a narrower one is as wide as that one.
        wanted = intervals[: i + 1, 0].min(axis=0), intervals[: i + 1, 1].max(axis=0)
        for bound, end in zip(wanted, ((1 - level) / 2, (1 + level) / 2), strict=True):
            np.testing.assert_allclose(np.quantile(sample, end, axis=1), bound, atol=0.03)


def test_calibration_keeps_the_order_of_samples(outputs):
    plain, stretched = (
        draw(outputs, stretch, 1000)[0] for stretch in ([[1, 1], [1, 1]], [[1.3, 0.8], [1.1, 1.4]])
    )
    np.testing.assert_array_equal(np.argsort(plain, axis=1), np.argsort(stretched, axis=1))
    np.testing.assert_allclose(plain, outputs.pool_jointly(np.ones(2)).sample(rngs(2), 1000))


def test_without_a_mixture_the_targets_are_independent():
    head = heads.PointHead(2)
    outputs = MemberOutputs(np.array([[[[1.0, 2.0]]]], np.float32), head)
    joint = outputs.pool_jointly(np.array([0.5, 2.0]))
    np.testing.assert_allclose(joint.mean, [[[1, 2]]])
    np.testing.assert_allclose(joint.factor, [[[[0.5, 0], [0, 2]]]])


def test_marginals_are_those_of_each_target(outputs):
    joint = outputs.pool_jointly(np.ones(2))
    sigma = np.sqrt((joint.factor**2).sum(axis=-1))
    for target, one in enumerate(outputs.pool(np.ones(2))):
        np.testing.assert_allclose(
            Mixture(joint.weight, joint.mean[..., target], sigma[..., target]).cdf(0.1), one.cdf(0.1)
        )
