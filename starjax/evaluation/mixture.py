"""How good predictive distributions and intervals are, in float64."""

import dataclasses

import numpy as np
from scipy.special import logsumexp, ndtr, ndtri

from starjax.errors import StarjaxError
from starjax.models import heads

# Halvings of a bracket of quantiles: 2^-64 of its width is below the rounding of float64.
_NUM_HALVING = 64
_LOG_ROOT_TWO_PI = np.log(2 * np.pi) / 2


class ScoringError(StarjaxError):
    """Numbers that are no distributions, or that cannot be compared."""


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Predictive distributions of n values, each a mixture of C Gaussians.

    Attributes:
      weight, mean, sigma: (n, C) float64; weights are not negative and add up to one, sigma is above zero.

    Raises:
      ScoringError: they are none of this.
    """

    weight: np.ndarray
    mean: np.ndarray
    sigma: np.ndarray

    def __post_init__(self):
        for name in ("weight", "mean", "sigma"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))
        shape = self.weight.shape
        if len(shape) != 2 or not shape == self.mean.shape == self.sigma.shape:
            raise ScoringError(
                f"weight {shape}, mean {self.mean.shape} and sigma {self.sigma.shape} should have one shape (n, C)"
            )
        is_good = np.isfinite(self.mean) & np.isfinite(self.sigma) & (self.sigma > 0) & (self.weight >= 0)
        # Weights of a float32 model add up to one within some 1e-6.
        rows = np.flatnonzero(~is_good.all(axis=1) | ~(abs(self.weight.sum(axis=1) - 1) < 1e-4))
        if len(rows):
            raise ScoringError(
                f"{len(rows)} of {len(self.weight)} rows are no mixtures, the first is row {rows[0]}: weight "
                f"{self.weight[rows[0]]}, mean {self.mean[rows[0]]}, sigma {self.sigma[rows[0]]}; weights have to add "
                "up to one, and sigma to be above zero"
            )

    def cdf(self, x: np.ndarray | float) -> np.ndarray:
        """Probability of each to lie below `x`, (n,) or one value for all; (n,)."""
        return np.sum(self.weight * ndtr(self._standardized(x)), axis=1)

    def pit(self, truth: np.ndarray) -> np.ndarray:
        """Probability integral transform of the truth (n,): uniform on 0 to 1 where the distributions are right.

        Source: Dawid 1984, J. R. Stat. Soc. A 147, 278.
        """
        return self.cdf(_row_each(truth, len(self.weight)))

    def quantile(self, level: np.ndarray | float) -> np.ndarray:
        """What each stays below with probability `level`, (n,) or one for all; (n,), by bisection.

        Raises:
          ScoringError: a level is not between 0 and 1.
        """
        level = np.asarray(level, np.float64)
        if not np.all((level > 0) & (level < 1)):
            raise ScoringError(f"a level has to lie between 0 and 1, got {level}")
        # A mixture's quantile lies between the least and the greatest of its components.
        ends = self.mean + self.sigma * ndtri(level[..., None])
        low, high = ends.min(axis=1), ends.max(axis=1)
        for _ in range(_NUM_HALVING):
            middle = low + (high - low) / 2
            is_below = self.cdf(middle) < level
            low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
        return low + (high - low) / 2

    def crps(self, truth: np.ndarray) -> np.ndarray:
        """Continuous ranked probability score (n,), in the units of the truth (n,); lower is better.

        ∫ (cdf(x) - [x ≥ truth])² dx. Source: Grimit et al. 2006, Q. J. R. Meteorol. Soc. 132, 2925, equation 5.
        """
        truth = _row_each(truth, len(self.weight))
        score = np.sum(self.weight * _expected_distance(truth[:, None] - self.mean, self.sigma), axis=1)
        # One component against all others at a time: all pairs at once would not fit for large ensembles.
        for one in range(self.weight.shape[1]):
            away = self.mean[:, one, None] - self.mean
            distance = _expected_distance(away, np.hypot(self.sigma[:, one, None], self.sigma))
            score -= self.weight[:, one] * np.sum(self.weight * distance, axis=1) / 2
        return score

    def log_score(self, truth: np.ndarray) -> np.ndarray:
        """Negative log density at the truth (n,), in nats; lower is better. Good 1952, J. R. Stat. Soc. B 14, 107."""
        standardized = self._standardized(_row_each(truth, len(self.weight)))
        log_density = -(standardized**2) / 2 - np.log(self.sigma) - _LOG_ROOT_TWO_PI
        return -logsumexp(log_density, axis=1, b=self.weight)

    def _standardized(self, x):
        return (np.asarray(x, np.float64)[..., None] - self.mean) / self.sigma


def marginals(
    head: heads.PointHead | heads.MixtureHead, output_NxO: np.ndarray, sigma_T: np.ndarray | None = None
) -> list[Mixture]:
    """The predictive distribution of each target, in float64.

    Args:
      sigma_T: root mean square errors of validation, which values without a distribution of their own need.
    """
    parameters = tuple(np.asarray(x, np.float64) for x in head.parameters(output_NxO))
    weight_NxC, mean_NxCxT, sigma_NxCxT = head.components(parameters, sigma_T)
    return [Mixture(weight_NxC, mean_NxCxT[..., t], sigma_NxCxT[..., t]) for t in range(head.num_target)]


def grouped_standard_error(
    values: np.ndarray, groups: np.ndarray, num: int, rng: np.random.Generator
) -> float:
    """Standard error of a mean by a bootstrap over whole groups, such as the snapshots of one simulation.

    Snapshots of one run are correlated: drawn one by one they would seem to be more than they are.

    Args:
      values: (n,), one a snapshot.
      groups: (n,), the run of each.
      num: number of draws.

    Returns:
      the error; NaN where there is but one group.
    """
    _, number, size = np.unique(groups, return_inverse=True, return_counts=True)
    if len(size) < 2:
        return np.nan
    total = np.bincount(number, weights=values)
    drawn = rng.integers(len(size), size=(num, len(size)))
    return float(np.std(total[drawn].sum(axis=1) / size[drawn].sum(axis=1), ddof=1))


def _row_each(truth, num):
    """The truth as float64; one that is not (num,) would be compared with all rows silently."""
    truth = np.asarray(truth, np.float64)
    if truth.shape != (num,):
        raise ScoringError(f"the truth should be ({num},), a value for each distribution, got {truth.shape}")
    return truth


def _expected_distance(away, sigma):
    """E|X|, X normal about `away`."""
    standardized = away / sigma
    density = np.exp(-(standardized**2) / 2 - _LOG_ROOT_TWO_PI)
    return 2 * sigma * density + away * (2 * ndtr(standardized) - 1)
