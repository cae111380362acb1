"""Posteriors: pooled distributions, spreads, and calibrated intervals."""

import dataclasses

import numpy as np
import pytest

from starjax.datasets.scalers import bundle
from starjax.evaluation import calibration
from starjax.evaluation.mixture import Mixture, marginals
from starjax.evaluation.posterior import MemberOutputs, fit_calibration, posterior_table, table_with_truth
from starjax.models import heads

KEYS = ("time", "total_mass_within_2x_r_tidal")
HEAD = heads.MixtureHead(2, 2, 0.1)


@pytest.fixture
def scalers():
    rng = np.random.default_rng(0)
    values = np.stack([rng.uniform(0, 400, 500), 10 ** rng.uniform(1, 2.5, 500)], axis=1)
    return bundle.fit_bundle(values, KEYS, ((KEYS[:1], "robust"), (KEYS[1:], "log10_standard")))


@pytest.fixture
def outputs():
    """Three members, five clusters, four samples of each."""
    rng = np.random.default_rng(1)
    return MemberOutputs(rng.normal(size=(3, 5, 4, HEAD.num_output)).astype(np.float32), HEAD)


def identity(num_target=2):
    ones = np.ones((len(calibration.LEVELS), num_target))
    return calibration.Calibration(np.ones(num_target), ones, 0.1 * ones, 0.2 * ones, 19)


def test_the_pooled_distribution_is_the_mean_over_members_and_samples(outputs):
    at = np.array([0.3])
    for target, pooled in enumerate(outputs.pool(np.ones(2))):
        for cluster in range(5):
            each = [
                marginals(HEAD, outputs.output[member, cluster, sample][None])[target].cdf(at)
                for member in range(3)
                for sample in range(4)
            ]
            one = Mixture(*(x[cluster][None] for x in (pooled.weight, pooled.mean, pooled.sigma)))
            assert one.cdf(at) == pytest.approx(np.mean(each))


def test_values_are_medians_and_uncalibrated_bounds_are_quantiles(outputs, scalers):
    predictive = outputs.pool(np.ones(2))
    table = posterior_table(outputs, predictive, identity(), KEYS, scalers)
    assert list(table["cluster"]) == list(range(5)) * 2
    for i, key in enumerate(KEYS):
        rows = table[table["target_key"] == key]
        np.testing.assert_allclose(rows["prediction_scaled"], predictive[i].quantile(0.5))
        for name, at in (("p2.5", 0.025), ("p16", 0.16), ("p84", 0.84), ("p97.5", 0.975)):
            np.testing.assert_allclose(rows[f"{name}_scaled"], predictive[i].quantile(at), atol=1e-7)
            physical = scalers.of(key).inverse(rows[f"{name}_scaled"].to_numpy())
            np.testing.assert_allclose(rows[f"{name}_physical"], np.maximum(physical, 0), atol=1e-9)


def test_stretching_moves_bounds_about_the_median(outputs, scalers):
    predictive = outputs.pool(np.ones(2))
    stretched = dataclasses.replace(identity(), stretch=np.array([[2.0, 1.0], [1.0, 3.0]]))
    plain = posterior_table(outputs, predictive, identity(), KEYS, scalers)
    found = posterior_table(outputs, predictive, stretched, KEYS, scalers)
    for key, name, factor in (
        (KEYS[0], "p16", 2),
        (KEYS[0], "p97.5", 1),
        (KEYS[1], "p84", 1),
        (KEYS[1], "p2.5", 3),
    ):
        is_key = plain["target_key"] == key
        away, before = (t[f"{name}_scaled"] - t["prediction_scaled"] for t in (found[is_key], plain[is_key]))
        np.testing.assert_allclose(away, factor * before, rtol=1e-6)


def test_spreads_between_members_and_between_samples_are_separate(outputs, scalers):
    alike = MemberOutputs(np.repeat(outputs.output[:1], 3, axis=0), HEAD)
    table = posterior_table(alike, alike.pool(np.ones(2)), identity(), KEYS, scalers)
    assert (table["spread_members"] < 1e-9).all()
    assert (table["spread_draws"] > 0).all()
    whole = MemberOutputs(np.repeat(outputs.output[:, :, :1], 4, axis=2), HEAD)
    table = posterior_table(whole, whole.pool(np.ones(2)), identity(), KEYS, scalers)
    assert (table["spread_draws"] < 1e-9).all()
    physical = scalers.inverse(np.asarray(HEAD.mean(whole.output), np.float64), KEYS)
    np.testing.assert_allclose(
        table["spread_members"], physical.mean(axis=2).std(axis=0, ddof=1).T.ravel(), rtol=1e-5
    )
    lone = MemberOutputs(outputs.output[:1, :, :1], HEAD)
    table = posterior_table(lone, lone.pool(np.ones(2)), identity(), KEYS, scalers)
    assert (table[["spread_members", "spread_draws"]] == 0).all(axis=None)


def test_true_values_and_scores_are_added_to_the_table(outputs, scalers):
    target = np.random.default_rng(2).normal(size=(5, 2))
    table = table_with_truth(outputs, identity(), target, KEYS, scalers)
    predictive = outputs.pool(np.ones(2))
    np.testing.assert_allclose(
        table["pit"], np.concatenate([m.cdf(target[:, i]) for i, m in enumerate(predictive)])
    )
    is_within = (table["pit"] > 0.16) & (table["pit"] < 0.84)
    np.testing.assert_array_equal(table["is_within_68"], is_within)
    np.testing.assert_allclose(table["target_scaled"], target.T.ravel())


def test_point_predictions_are_calibrated():
    """A point head has no distribution of its own: validation errors give its width."""
    rng = np.random.default_rng(3)
    head = heads.PointHead(1)

    def outputs_and_truth(num_simulation):
        truth, group = rng.normal(size=(num_simulation * 5, 1)), np.repeat(np.arange(num_simulation), 5)
        error = 0.3 * rng.normal(size=num_simulation)[group] + 0.2 * rng.normal(size=num_simulation * 5)
        return MemberOutputs((truth[:, 0] + error)[None, :, None, None], head), truth, group

    outputs, truth, group = outputs_and_truth(400)
    calibrated = fit_calibration(outputs, truth, group)
    assert calibrated.sigma[0] == pytest.approx(np.hypot(0.3, 0.2), rel=0.1)
    outputs, truth, _ = outputs_and_truth(2000)
    low, high = np.moveaxis(calibrated.intervals(outputs.pool(calibrated.sigma)), 1, 0)
    assert ((low <= truth) & (truth <= high)).mean(axis=(1, 2)) == pytest.approx(calibration.LEVELS, abs=0.02)
