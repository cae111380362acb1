"""Predictive distributions: mixtures of Gaussians, their quantiles, and proper scoring rules."""

import dataclasses

import numpy as np
from scipy.special import logsumexp, ndtri

from starjax.errors import StarjaxError
from starjax.evaluation import array_functions
from starjax.models import heads

# Bisection steps for a quantile: 2^-64 of the bracket is below the rounding error of float64.
_NUM_BISECTION = 64
_LOG_ROOT_TWO_PI = np.log(2 * np.pi) / 2


class ScoringError(StarjaxError):
    """Parameters that define no distribution, or true values of another shape."""


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Predictive distributions of n scalars, each a mixture of C Gaussians.

    `cdf` and `quantile` also work for mixtures of jax arrays, whose values are not checked: jax cannot raise
    on traced values.

    Attributes:
      weight, mean, sigma: (n, C), converted to float64 unless they are jax arrays; weights are non-negative
        and sum to one, sigma is positive.

    Raises:
      ScoringError: the parameters violate this.
    """

    weight: np.ndarray
    mean: np.ndarray
    sigma: np.ndarray

    def __post_init__(self):
        if array_functions.is_jax(self.weight):
            return
        # The class is frozen for everybody else.
        for name in ("weight", "mean", "sigma"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))
        shape = self.weight.shape
        if len(shape) != 2 or not shape == self.mean.shape == self.sigma.shape:
            raise ScoringError(
                f"weight {shape}, mean {self.mean.shape} and sigma {self.sigma.shape} should have one shape "
                "(n, C)"
            )
        is_valid = np.isfinite(self.mean) & np.isfinite(self.sigma) & (self.sigma > 0) & (self.weight >= 0)
        # Weights of a float32 model sum to one within some 1e-6.
        rows = np.flatnonzero(~is_valid.all(axis=1) | ~(abs(self.weight.sum(axis=1) - 1) < 1e-4))
        if len(rows):
            raise ScoringError(
                f"{len(rows)} of {len(self.weight)} rows are not mixtures, the first is row {rows[0]}: "
                f"weight {self.weight[rows[0]]}, mean {self.mean[rows[0]]}, sigma {self.sigma[rows[0]]}; "
                "weights have to sum to one, and sigma to be positive"
            )

    def cdf(self, x: np.ndarray | float) -> np.ndarray:
        """Return the cumulative distribution (n,) at `x`, (n,) or one value for all."""
        xp = self.weight.__array_namespace__()
        return xp.sum(self.weight * array_functions.ndtr(self._standardize(x)), axis=1)

    def pit(self, truth: np.ndarray) -> np.ndarray:
        """Return the probability integral transform (n,) of the true values (n,).

        It is uniform between 0 and 1 if the distributions are calibrated (Dawid 1984, J. R. Stat. Soc. A 147,
        278).
        """
        return self.cdf(_check_truth(truth, len(self.weight)))

    def quantile(self, level: np.ndarray | float) -> np.ndarray:
        """Return the quantile (n,) of each distribution at `level`, (n,) or one level for all, by bisection.

        Raises:
          ScoringError: a level is not between 0 and 1.
        """
        level = np.asarray(level, np.float64)
        if not np.all((level > 0) & (level < 1)):
            raise ScoringError(f"a level has to lie between 0 and 1, got {level}")
        xp = self.mean.__array_namespace__()
        # A mixture's quantile lies between the smallest and the largest of its components'.
        standard = ndtri(level)[:, None] if level.ndim else float(ndtri(level))
        ends = self.mean + self.sigma * standard

        def bisect(bracket):
            low, high = bracket
            middle = low + (high - low) / 2
            is_below = self.cdf(middle) < level
            return xp.where(is_below, middle, low), xp.where(is_below, high, middle)

        bracket = ends.min(axis=1), ends.max(axis=1)
        # A fixed number of steps, since jax cannot trace a loop that ends when it has converged.
        low, high = array_functions.repeat(bisect, _NUM_BISECTION, bracket)
        return low + (high - low) / 2

    def crps(self, truth: np.ndarray) -> np.ndarray:
        """Return the continuous ranked probability score (n,) of the true values (n,); lower is better.

        CRPS = ∫ (cdf(x) - [x ≥ truth])² dx (Grimit et al. 2006, Q. J. R. Meteorol. Soc. 132, 2925, equation
        5).
        """
        truth = _check_truth(truth, len(self.weight))
        score = np.sum(self.weight * _expected_distance(truth[:, None] - self.mean, self.sigma), axis=1)
        # One component against all at a time: the (n, C, C) pairs of a large ensemble would not fit into
        # memory.
        for one in range(self.weight.shape[1]):
            difference = self.mean[:, one, None] - self.mean
            distance = _expected_distance(difference, np.hypot(self.sigma[:, one, None], self.sigma))
            score -= self.weight[:, one] * np.sum(self.weight * distance, axis=1) / 2
        return score

    def log_score(self, truth: np.ndarray) -> np.ndarray:
        """Return the negative log density (n,) at the true values (n,), in nats; lower is better.

        Source: Good 1952, J. R. Stat. Soc. B 14, 107.
        """
        standardized = self._standardize(_check_truth(truth, len(self.weight)))
        log_density = -(standardized**2) / 2 - np.log(self.sigma) - _LOG_ROOT_TWO_PI
        return -logsumexp(log_density, axis=1, b=self.weight)

    def _standardize(self, x):
        """Return (x - mean) / sigma, (n, C)."""
        return ((x[:, None] if np.ndim(x) else x) - self.mean) / self.sigma


def marginals(
    head: heads.PointHead | heads.MixtureHead, output_NxO: np.ndarray, sigma_T: np.ndarray | None = None
) -> list[Mixture]:
    """Return the predictive distribution of each target: in float64, or of jax arrays if the outputs are.

    Args:
      output_NxO: outputs of the model.
      sigma_T: root mean square errors on validation, the widths of a head that predicts points only.
    """
    parameters = tuple(array_functions.widen(x, output_NxO) for x in head.parameters(output_NxO))
    weight_NxC, mean_NxCxT, sigma_NxCxT = head.components(parameters, sigma_T)
    return [Mixture(weight_NxC, mean_NxCxT[..., t], sigma_NxCxT[..., t]) for t in range(head.num_target)]


def grouped_standard_error(
    values: np.ndarray, groups: np.ndarray, num: int, rng: np.random.Generator
) -> float:
    """Return the standard error of a mean by a bootstrap over groups, NaN if there is only one group.

    Snapshots of one simulation are correlated: resampled one by one, they would make the error too small.

    Args:
      values: (n,), one per snapshot.
      groups: (n,), the simulation of each snapshot.
      num: number of bootstrap resamples.
    """
    _, number, size = np.unique(groups, return_inverse=True, return_counts=True)
    if len(size) < 2:
        return np.nan
    total = np.bincount(number, weights=values)
    drawn = rng.integers(len(size), size=(num, len(size)))
    return float(np.std(total[drawn].sum(axis=1) / size[drawn].sum(axis=1), ddof=1))


def _check_truth(truth, num):
    """Return the true values (num,) in float64; other shapes would silently broadcast against all rows."""
    truth = np.asarray(truth, np.float64)
    if truth.shape != (num,):
        raise ScoringError(
            f"the truth should be ({num},), one value for each distribution, got {truth.shape}"
        )
    return truth


def _expected_distance(mean, sigma):
    """Return E|X| of a normal X, the function A(mean, sigma²) of Grimit et al. 2006."""
    standardized = mean / sigma
    density = np.exp(-(standardized**2) / 2 - _LOG_ROOT_TWO_PI)
    return 2 * sigma * density + mean * (2 * array_functions.ndtr(standardized) - 1)
