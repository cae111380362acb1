"""The velocity dispersion of a cluster, corrected for measurement errors and a background of other stars."""

import dataclasses

import numpy as np
from scipy.special import expit, logit

# The smallest standard deviation of the background, in units of that of the members with their errors. A
# smaller one would take the tails of the members for background.
MIN_BACKGROUND_WIDTH = 4.0
# Where the iteration starts.
_FIRST_BACKGROUND_WIDTH = 10.0
_FIRST_BACKGROUND_FRACTION = 0.05
# With a larger fraction, members and background could swap their roles.
_MAX_BACKGROUND_FRACTION = 0.3
_MAX_ITERATIONS = 500
_TOLERANCE = 1e-6
# The median of the squared length of a two-dimensional standard normal vector, that is of χ² with two degrees
# of freedom.
_MEDIAN_SQUARE = 2 * np.log(2)


@dataclasses.dataclass(frozen=True)
class Dispersion:
    """The velocity dispersion of n stars.

    Attributes:
      variance: variance of one component without the measurement errors [(km/s)²], at least 0.
      centre: (2,), mean velocity of the members [km/s].
      membership: (n,), probability of each star to be a member rather than background.
      weight: (n, 2), weight of each component of each star: membership over squared variance.
      influence: (n,), influence function of `variance` at each star, see `standard_error` [(km/s)²].
      standard_error: standard error of `variance` [(km/s)²].
    """

    variance: float
    centre: np.ndarray
    membership: np.ndarray
    weight: np.ndarray
    influence: np.ndarray
    standard_error: float


def geometric_median(points: np.ndarray) -> np.ndarray:
    """Return the point (2,) with the least summed distance to `points` (n, 2), by Weiszfeld's iteration.

    Up to half of the points may be outliers. Unlike the median of each component, it rotates with the points.

    Source: Weiszfeld 1937, Tohoku Math. J. 43, 355.
    """
    centre = np.median(points, axis=0)
    # Without a floor, a star exactly at the centre would have infinite weight and stop the iteration.
    floor = 1e-6 * np.median(np.hypot(*(points - centre).T))
    if floor == 0:
        return centre
    for _ in range(_MAX_ITERATIONS):
        weight = 1 / np.maximum(np.hypot(*(points - centre).T), floor)
        step = weight @ (points - centre) / weight.sum()
        centre = centre + step
        if np.hypot(*step) < floor:
            break
    return centre


def standard_error(influence: np.ndarray) -> float:
    """Return the standard error √(Σ influence² / n (n - 1)) of a statistic from its influence function.

    Args:
      influence: (n,), what each star contributes to the statistic, times n.
    """
    num = len(influence)
    return float(np.sqrt(np.sum(influence**2) / (num * (num - 1))))


def fit_dispersion(velocity: np.ndarray, error: np.ndarray) -> Dispersion:
    """Return the dispersion by maximum likelihood, with members and a broad background about a common centre.

    The two components of a star's velocity are normal about the centre with variance s² = σ² + error², or,
    for a fraction of the stars, with variance w² s². That background absorbs escaping stars and binaries,
    which would increase σ², without clipping: if there are none, the estimate is the variance minus the
    squared errors. Fraction and width w of the background are fitted as well. σ² is the fixed point of the
    likelihood equation

        σ² = Σ u (b d² - error²) / Σ u,    u = membership / s⁴,    b = m / (m - 1),

    with d the difference of a component from the centre, and m the effective number of stars. The factor b
    corrects for the centre being estimated from the same stars, as n - 1 does in a variance.

    Source: Pryor & Meylan 1993, ASP Conf. Ser. 50, 357, for the errors; Dempster, Laird & Rubin 1977,
    J. R. Stat. Soc. B 39, 1, for the iteration.

    Args:
      velocity: (n, 2), velocities [km/s], n at least 2.
      error: (n, 2), their 1-sigma errors [km/s].
    """
    noise = error**2
    centre = geometric_median(velocity)
    fraction, width = _FIRST_BACKGROUND_FRACTION, _FIRST_BACKGROUND_WIDTH
    variance = float(np.median(np.sum((velocity - centre) ** 2, axis=1)) / _MEDIAN_SQUARE)
    # A dispersion below this, the size of rounding errors, counts as zero. The floor also limits the weight
    # of stars without errors.
    floor = 1e-12 * (variance + noise.mean()) + 1e-20 * (centre @ centre) + 1e-30
    for _ in range(_MAX_ITERATIONS):
        total = max(variance, floor) + noise
        chi_square = np.sum((velocity - centre) ** 2 / total, axis=1)
        membership = _membership(chi_square, fraction, width)
        fraction, width = _background(chi_square, membership)
        weight = membership[:, None] / total
        centre = (weight * velocity).sum(axis=0) / weight.sum(axis=0)
        weight = weight / total
        excess = bias_correction(weight) * (velocity - centre) ** 2 - noise
        before, variance = variance, max(float((weight * excess).sum() / weight.sum()), 0.0)
        if abs(variance - before) <= _TOLERANCE * max(variance, floor):
            break
    # Of the sum that is zero at the fixed point; the weights count as constants.
    influence = len(velocity) * (weight * (excess - variance)).sum(axis=1) / weight.sum()
    variance = variance if variance > floor else 0.0
    return Dispersion(variance, centre, membership, weight, influence, standard_error(influence))


def bias_correction(weight: np.ndarray) -> float:
    """Return the factor m / (m - 1) that corrects squares about a mean, with m the effective number of stars.

    Args:
      weight: (n, 2), weights of the stars.
    """
    star = weight.sum(axis=1)
    num = star.sum() ** 2 / np.sum(star**2)
    return num / max(num - 1, 1.0)


def _membership(chi_square: np.ndarray, fraction: float, width: float) -> np.ndarray:
    """Return the membership probability of stars (n,).

    Args:
      chi_square: squared distances from the centre (n,) [s²].
      fraction, width: of the background [s].
    """
    # In two dimensions the background has a density that is lower by the square of its width.
    log_odds = logit(1 - fraction) + 2 * np.log(width)
    return expit(log_odds - chi_square / 2 * (1 - width**-2))


def _background(chi_square: np.ndarray, membership: np.ndarray) -> tuple[float, float]:
    """Return fraction and width [s] of the background."""
    outside = 1 - membership
    num = outside.sum()
    # The mean of χ² is 2 for the two components of members, and 2 w² for those of the background.
    width = np.sqrt((outside @ chi_square) / (2 * num)) if num > 0 else MIN_BACKGROUND_WIDTH
    return min(num / len(outside), _MAX_BACKGROUND_FRACTION), max(width, MIN_BACKGROUND_WIDTH)
