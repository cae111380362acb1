"""Metrics are those of scikit-learn."""

import numpy as np
import pytest

from starjax.evaluation import metrics


def test_metrics_are_those_of_scikit_learn():
    from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score, root_mean_squared_error

    rng = np.random.default_rng(0)
    target, prediction = rng.normal(size=(2, 100))
    expected = {
        "mae": mean_absolute_error(target, prediction),
        "mse": mean_squared_error(target, prediction),
        "rmse": root_mean_squared_error(target, prediction),
        "r2": r2_score(target, prediction),
    }
    assert metrics.regression(prediction, target) == pytest.approx(expected)
    assert np.isnan(metrics.regression(prediction, np.ones(100))["r2"])
