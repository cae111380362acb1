"""The velocity dispersion of a cluster's stars, free of their measurement errors and of stars that are no tracers of it."""

import dataclasses

import numpy as np
from scipy.special import expit, logit

# Least standard deviation of the background, in units of that of the members with their errors: with less, the tails
# of the members pass for background.
MIN_BACKGROUND_WIDTH = 4.0
_FIRST_BACKGROUND_WIDTH = 10.0
_FIRST_BACKGROUND_SHARE = 0.05
# Beyond it members and background could change their parts.
_MAX_BACKGROUND_SHARE = 0.3
_MAX_ITERATIONS = 500
_TOLERANCE = 1e-6
# The median of the squared length of a two-dimensional normal vector, per component.
_MEDIAN_SQUARE = 2 * np.log(2)


@dataclasses.dataclass(frozen=True)
class Dispersion:
    """What the velocities of n stars say.

    Attributes:
      variance: of one component, less the measurement errors [(km/s)²], never below zero.
      centre: (2,), the mean velocity of the members [km/s].
      membership: (n,), probability of each star to be a member and not background.
      weight: (n, 2), weight of each component of each star: membership and inverse squared variance.
      influence: (n,), what each star adds to n times the error of `variance`, so that the mean square of
        them over n is its squared standard error.
      standard_error: of `variance` [(km/s)²].
    """

    variance: float
    centre: np.ndarray
    membership: np.ndarray
    weight: np.ndarray
    influence: np.ndarray
    standard_error: float


def geometric_median(points: np.ndarray) -> np.ndarray:
    """The point with the least summed distance to `points` (n, 2), by Weiszfeld's iteration.

    Half of the points may lie anywhere; it turns and shifts with the points, which a median of each
    component does not. Source: Weiszfeld 1937, Tohoku Math. J. 43, 355.
    """
    centre = np.median(points, axis=0)
    # Keeps a star that is the centre itself from stopping the iteration there.
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
    """Of a statistic with these influences (n,) of its stars: √(Σ influence² / n (n - 1))."""
    num = len(influence)
    return float(np.sqrt(np.sum(influence**2) / (num * (num - 1))))


def dispersion(velocity: np.ndarray, error: np.ndarray) -> Dispersion:
    """Maximum likelihood of members and a broad background that share a centre.

    A star's two components are normal about the centre with variance s² = σ² + error², or, for a share
    of the stars, with variance w² s². The background takes what escaping stars and binaries would add
    to σ², and does not clip what belongs to it: without such stars the estimate is the plain variance
    less the errors. Share and width w of the background are fitted too. σ² solves the likelihood's equation

        σ² = Σ u (b d² - error²) / Σ u,    u = membership / s⁴,    b = m / (m - 1),

    d being what lies between a component and the centre, and m the effective number of stars,
    whose own mean is the centre (as n - 1 in a variance).

    Source: Pryor & Meylan 1993, ASP Conf. Ser. 50, 357, for the errors; Dempster, Laird & Rubin 1977,
    J. R. Stat. Soc. B 39, 1, for the iteration.

    Args:
      velocity: (n, 2) [km/s], n at least 2.
      error: (n, 2), 1-sigma [km/s].
    """
    noise = error**2
    centre = geometric_median(velocity)
    share, width = _FIRST_BACKGROUND_SHARE, _FIRST_BACKGROUND_WIDTH
    variance = float(np.median(np.sum((velocity - centre) ** 2, axis=1)) / _MEDIAN_SQUARE)
    # Below this, the size of rounding, the dispersion counts as none; stars without errors get no boundless weight.
    floor = 1e-12 * (variance + noise.mean()) + 1e-20 * (centre @ centre) + 1e-30
    for _ in range(_MAX_ITERATIONS):
        total = max(variance, floor) + noise
        chi_square = np.sum((velocity - centre) ** 2 / total, axis=1)
        membership = _membership(chi_square, share, width)
        share, width = _background(chi_square, membership)
        weight = membership[:, None] / total
        centre = (weight * velocity).sum(axis=0) / weight.sum(axis=0)
        weight = weight / total
        excess = unbiased(weight) * (velocity - centre) ** 2 - noise
        before, variance = variance, max(float((weight * excess).sum() / weight.sum()), 0.0)
        if abs(variance - before) <= _TOLERANCE * max(variance, floor):
            break
    influence = len(velocity) * (weight * (excess - variance)).sum(axis=1) / weight.sum()
    variance = variance if variance > floor else 0.0
    return Dispersion(variance, centre, membership, weight, influence, standard_error(influence))


def unbiased(weight: np.ndarray) -> float:
    """By how much squares about a mean fall short: m / (m - 1), of the effective number m of stars.

    Args:
      weight: (n, 2).
    """
    star = weight.sum(axis=1)
    num = star.sum() ** 2 / np.sum(star**2)
    return num / max(num - 1, 1.0)


def _membership(chi_square, share, width):
    """Probability to be a member, of stars at squared distances [s²], beside a background of this share and width [s]."""
    odds = logit(1 - share) + 2 * np.log(width)
    return expit(odds - chi_square / 2 * (1 - width**-2))


def _background(chi_square, membership):
    """Share and width [s] of the background."""
    outside = 1 - membership
    num = outside.sum()
    width = np.sqrt((outside @ chi_square) / (2 * num)) if num > 0 else MIN_BACKGROUND_WIDTH
    return min(num / len(outside), _MAX_BACKGROUND_SHARE), max(width, MIN_BACKGROUND_WIDTH)
