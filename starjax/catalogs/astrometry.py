"""Distance and space velocity of a cluster, from parallaxes, proper motions and radial velocities of stars.

All stars of a cluster share one space velocity, and its projection depends on the position of the star
(perspective). The fits weight stars by their errors and the intrinsic scatter, and leave out outliers anew in
every iteration.
"""

import dataclasses

import numpy as np
from astropy.stats import mad_std

from starjax import errors


class AstrometryError(errors.StarjaxError):
    """Stars that are not one cluster."""


# A star enters a fit within this many standard deviations. Stars between this and `membership.MEMBER_WITHIN`
# remain members, but do not pull the fit.
_FIT_WITHIN = 4.0
# Fits converge in a few iterations, but may alternate between two sets of stars forever.
_MAX_ITERATIONS = 50
# The radial velocity from perspective is used only if its standard error is below this [km/s].
MAX_PERSPECTIVE_ERROR_KMS = 5.0
# The median of fewer radial velocities may be that of a binary, whose velocity varies by about this much
# [km/s].
MIN_RADIAL, BINARY_KMS = 5, 5.0
# Far below the dispersion of any cluster [km/s]. It avoids 0/0 if all stars have exactly the same velocity.
_MIN_SCATTER_KMS = 1e-6


@dataclasses.dataclass(frozen=True)
class Parallaxes:
    """Parallaxes of a cluster and of its n stars.

    Attributes:
      cluster, cluster_error: parallax of the cluster and its error [mas].
      num_used: number of stars in the fit of the cluster's parallax; 0 if that was given.
      spread: standard deviation of the true parallaxes of stars, due to the depth of the cluster [mas].
      star, star_error: estimated parallax of each star and its error (n,) [mas].
      deviation: measured minus cluster's parallax (n,) [standard deviations, with the error of a cluster's
        parallax that was given]; NaN without a measurement.
    """

    cluster: float
    cluster_error: float
    num_used: int
    spread: float
    star: np.ndarray
    star_error: np.ndarray
    deviation: np.ndarray


def combine_parallaxes(
    measured: np.ndarray, error: np.ndarray, dispersion: float, given: float | None, given_error: float = 0.0
) -> Parallaxes:
    """Return the parallax of the cluster, and of each of its stars.

    The cluster is assumed to be as deep as it is wide, so that the true parallaxes scatter by `dispersion`
    times the parallax of the cluster. The parallax of the cluster is the mean with inverse-variance weights,
    with both error and depth as variance. The parallax of a star is the inverse-variance weighted mean of its
    measurement, with its error, and of the cluster's parallax, with its depth: close to the measurement in a
    near cluster, close to the cluster's in a distant one.

    Args:
      measured, error: measured parallaxes and their errors (n,) [mas], NaN if missing.
      dispersion: standard deviation of the positions along one direction of the sky [rad].
      given, given_error: the parallax of the cluster and its standard error [mas], if known.

    Raises:
      AstrometryError: the parallaxes are not those of one cluster.
    """
    known = np.isfinite(measured)
    values, variances = measured[known], error[known] ** 2
    if given is None:
        cluster, cluster_error, num_used = _mean_parallax(values, variances, dispersion)
    else:
        cluster, cluster_error, num_used = given, given_error, 0
    depth = (cluster * dispersion) ** 2
    # The weight of the measurement; that of the cluster is the rest.
    weight = np.zeros(len(measured))
    weight[known] = depth / (depth + variances)
    star = cluster + weight * (np.where(known, measured, cluster) - cluster)
    return Parallaxes(
        cluster=cluster,
        cluster_error=cluster_error,
        num_used=num_used,
        spread=float(np.sqrt(depth)),
        # A negative parallax counts in the mean, but gives a star no distance.
        star=np.where(star > 0, star, cluster),
        star_error=np.sqrt(depth * (1 - weight)),
        deviation=(measured - cluster) / np.sqrt(depth + error**2 + given_error**2),
    )


def _mean_parallax(values: np.ndarray, variances: np.ndarray, dispersion: float) -> tuple[float, float, int]:
    """Return the mean parallax without outliers, its standard error, and the number of stars in it."""
    mean, used = float(np.median(values)), np.zeros(len(values), bool)
    for _ in range(_MAX_ITERATIONS):
        # The depth in mas, and with it the variance, changes with the mean.
        total = variances + (mean * dispersion) ** 2
        now = np.abs(values - mean) < _FIT_WITHIN * np.sqrt(total)
        if not now.any():
            raise AstrometryError(
                f"no parallax is near the median of {mean:.3g} mas: if these are several clusters, name them "
                "in a column cluster; if they are one, state distance_pc"
            )
        mean = float(np.average(values[now], weights=1 / total[now]))
        if (now == used).all():
            break
        used = now
    return mean, float(np.sum(1 / total[now]) ** -0.5), int(now.sum())


@dataclasses.dataclass(frozen=True)
class Tangential:
    """Tangential velocities of n stars.

    Attributes:
      axes: unit vectors at each star (n, 3, 3), see `sky_frames.local_axes`.
      velocity, error: velocities along `lon` and `lat`, and their errors (n, 2) [km/s].
    """

    axes: np.ndarray
    velocity: np.ndarray
    error: np.ndarray

    def residual(self, mean: np.ndarray) -> np.ndarray:
        """Return the velocities minus the projected velocity `mean` (3,) [km/s] of the cluster: (n, 2)."""
        return self.velocity - self.axes[:, 1:] @ mean

    def deviation(self, mean: np.ndarray) -> np.ndarray:
        """Return the larger of the two residuals of each star (n,) [standard deviations]."""
        return np.max(np.abs(self.residual(mean)) / self.standard_deviation(mean), axis=1)

    def standard_deviation(self, mean: np.ndarray) -> np.ndarray:
        """Return the standard deviation of each residual (n, 2) [km/s], of its error and the scatter."""
        # About zero: residuals that share an offset scatter little about their own median, and are outliers.
        residual = self.residual(mean)
        return np.hypot(self.error, _scatter(np.concatenate([residual, -residual])))


@dataclasses.dataclass(frozen=True)
class Motion:
    """The mean space velocity of a cluster.

    Attributes:
      velocity: velocity along the axes of the offset frame (3,) [km/s]; its first component is the radial
        velocity.
      source: origin of the radial velocity: 'given', 'stars', 'perspective', or 'unknown' (then it is 0).
      radial_error: standard error of the radial velocity [km/s]; 0 if that was given or is unknown.
      num_radial: number of stars whose radial velocities were used.
      convergence, convergence_error: the radial velocity from perspective and its standard error [km/s],
        whether it was used or not.
    """

    velocity: np.ndarray
    source: str
    radial_error: float
    num_radial: int
    convergence: float = np.nan
    convergence_error: float = np.inf


def fit_motion(
    stars: Tangential, radial: np.ndarray, radial_error: np.ndarray, given: float | None
) -> Motion:
    """Return the space velocity of the cluster, by least squares of the tangential velocities.

    The radial component is `given` [km/s] if it is known. Otherwise it is the more precise one of the median
    of the measured radial velocities, without outliers, and the fit to the perspective of the tangential
    velocities, if that is precise enough.

    Args:
      stars: tangential velocities of n stars.
      radial, radial_error: radial velocities and their errors (n,) [km/s], NaN if missing.
      given: radial velocity of the cluster [km/s], if known.
    """
    velocity, error = _least_squares(stars, None)
    motion = _choose_radial(stars, radial, radial_error, given, velocity, error)
    return dataclasses.replace(motion, convergence=float(velocity[0]), convergence_error=error)


def _choose_radial(
    stars: Tangential,
    radial: np.ndarray,
    radial_error: np.ndarray,
    given: float | None,
    velocity: np.ndarray,
    error: float,
) -> Motion:
    """Return the space velocity, see `fit_motion`; `velocity` and `error` are those from perspective."""
    if given is not None:
        return Motion(_least_squares(stars, given)[0], "given", 0.0, 0)
    is_precise = error < MAX_PERSPECTIVE_ERROR_KMS
    if np.isfinite(radial).any():
        measured = _fit_with_radial(stars, radial, radial_error)
        binary_error = BINARY_KMS if measured.num_radial < MIN_RADIAL else 0.0
        if not is_precise or np.hypot(measured.radial_error, binary_error) < error:
            return measured
    if is_precise:
        return Motion(velocity, "perspective", error, 0)
    # With 0 the perspective of the unknown radial motion is not removed.
    return Motion(_least_squares(stars, 0.0)[0], "unknown", 0.0, 0)


def _fit_with_radial(stars: Tangential, radial: np.ndarray, radial_error: np.ndarray) -> Motion:
    """Return the space velocity whose radial component is the median of the measured radial velocities."""
    known = np.isfinite(radial)
    line_of_sight, values, errors = stars.axes[known, 0], radial[known], radial_error[known]
    mean_radial = np.median(values)
    # Each component enters the other by perspective: they are fitted in turn.
    for _ in range(_MAX_ITERATIONS):
        velocity, _ = _least_squares(stars, mean_radial)
        # The radial velocity of the cluster that each star implies: its own, without the projected tangential
        # motion.
        at_centre = (values - line_of_sight[:, 1:] @ velocity[1:]) / line_of_sight[:, 0]
        deviation = np.abs(at_centre - np.median(at_centre))
        used = deviation < _FIT_WITHIN * np.sqrt(errors**2 + _scatter(at_centre) ** 2)
        before, mean_radial = mean_radial, np.median(at_centre[used])
        if abs(mean_radial - before) < 1e-6:
            break
    # A median has 1.2533 times the standard error of a mean. A single star has an error but no scatter.
    scatter = max(_scatter(at_centre[used]), np.median(errors[used]))
    error = 1.2533 * scatter / np.sqrt(used.sum())
    return Motion(_least_squares(stars, mean_radial)[0], "stars", float(error), int(used.sum()))


def _scatter(values: np.ndarray) -> float:
    """Return a robust standard deviation [km/s]."""
    return max(float(mad_std(values)), _MIN_SCATTER_KMS)


def _least_squares(stars: Tangential, radial: float | None) -> tuple[np.ndarray, float]:
    """Return the mean velocity (3,) [km/s], and the standard error of its radial component if that is fitted.

    Args:
      radial: the radial component, which is fitted if None.
    """
    free = slice(0, 3) if radial is None else slice(1, 3)
    velocity = np.array([radial or 0.0, *np.median(stars.velocity, axis=0)])
    used = np.zeros(len(stars.velocity), bool)
    for _ in range(_MAX_ITERATIONS):
        residual, deviation = stars.residual(velocity), stars.standard_deviation(velocity)
        now = (np.abs(residual) < _FIT_WITHIN * deviation).all(axis=1)
        weight = 1 / deviation[now].ravel()
        design = stars.axes[now, 1:, free].reshape(len(weight), -1) * weight[:, None]
        step, *_ = np.linalg.lstsq(design, residual[now].ravel() * weight)
        velocity[free] += step
        if (now == used).all() and np.abs(step).max() < 1e-9:
            break
        used = now
    covariance = np.linalg.pinv(design.T @ design)
    return velocity, 0.0 if radial is not None else float(np.sqrt(covariance[0, 0]))
