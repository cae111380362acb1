"""Centres and dispersions agree with a numerical search for the optimum that defines them."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from starjax.dynamics import velocity_dispersion


def test_geometric_median_has_the_least_summed_distance():
    points = np.random.default_rng(7).standard_cauchy((101, 2))

    def summed(centre):
        return np.hypot(*(points - centre).T).sum()

    least = minimize(summed, np.median(points, axis=0), method="Nelder-Mead", options={"xatol": 1e-6})
    np.testing.assert_allclose(velocity_dispersion.geometric_median(points), least.x, atol=1e-4)


def test_dispersion_without_outliers_is_the_variance():
    velocity = np.random.default_rng(8).uniform(-1, 1, (50, 2))
    found = velocity_dispersion.fit_dispersion(velocity, np.zeros_like(velocity))
    assert found.variance == pytest.approx(np.var(velocity, axis=0, ddof=1).mean(), rel=1e-3)


def test_dispersion_is_where_the_likelihood_is_highest():
    """By a search over σ and the centre, with errors of all sizes and no outliers."""
    rng = np.random.default_rng(9)
    error = rng.uniform(0, 2, (3000, 2))
    velocity = np.sqrt(0.5**2 + error**2) * rng.normal(size=error.shape) + [3, -2]

    def negative_log_likelihood(free):
        return -norm.logpdf(velocity, free[:2], np.hypot(free[2], error)).sum()

    sigma = minimize(negative_log_likelihood, [3, -2, 0.4]).x[2]
    found = velocity_dispersion.fit_dispersion(velocity, error)
    assert np.sqrt(found.variance) == pytest.approx(sigma, rel=0.01)
    assert abs(found.variance - 0.25) < 4 * found.standard_error
