"""Metrics against their definitions."""

import numpy as np
import pytest

from starjax.evaluation import metrics


def test_metrics_are_as_defined():
    rng = np.random.default_rng(0)
    target, prediction = rng.normal(size=(2, 100))
    error = prediction - target
    expected = {
        "mae": np.mean(np.abs(error)),
        "mse": np.mean(error**2),
        "rmse": np.sqrt(np.mean(error**2)),
        "r2": 1 - np.mean(error**2) / np.var(target),
    }
    assert metrics.regression(prediction, target) == pytest.approx(expected)


@pytest.mark.parametrize("num", [1, 100])
def test_r2_of_a_constant_target_is_nan(num):
    assert np.isnan(metrics.regression(np.arange(float(num)), np.ones(num))["r2"])
