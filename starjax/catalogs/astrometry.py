"""How far a cluster is, and how it moves: from parallaxes, proper motions and radial velocities of its stars.

One space velocity moves all stars of a cluster; what each shows of it depends on where it stands
(perspective). The fits leave out stars far from the rest, again in every round, and weigh each by its error
and the stars' own scatter.
"""

import dataclasses

import numpy as np
from astropy.stats import mad_std

from starjax import errors


class MotionError(errors.StarjaxError):
    """Stars that are not one cluster, and what to do."""


# A star enters a fit within this many standard deviations.
_FIT_WITHIN = 4.0
_ROUNDS = 50
# Where no star has a radial velocity, the perspective tells it if its standard error is below this [km/s].
MAX_PERSPECTIVE_ERROR_KMS = 5.0
# The median of fewer radial velocities may be that of a binary, and is no better known than that.
MIN_RADIAL, BINARY_KMS = 5, 5.0
# Far below any cluster's motions [km/s]; stars that move exactly alike deviate by 0 instead of 0/0.
_LEAST_SCATTER_KMS = 1e-6


@dataclasses.dataclass(frozen=True)
class Parallaxes:
    """What parallaxes tell.

    Attributes:
      cluster, cluster_error: the cluster's [mas]; the error is 0 where it was given.
      num_used: stars that the cluster's is from; 0 where it was given.
      spread: standard deviation of the stars' true parallaxes by the cluster's depth [mas].
      star, star_error: the star's own (n,) [mas].
      deviation: of what was measured from the cluster's (n,), in standard deviations; NaN where nothing was.
    """

    cluster: float
    cluster_error: float
    num_used: int
    spread: float
    star: np.ndarray
    star_error: np.ndarray
    deviation: np.ndarray


def combine_parallaxes(
    measured: np.ndarray, error: np.ndarray, dispersion: float, given: float | None
) -> Parallaxes:
    """The cluster's parallax, and each star's own.

    The cluster is taken to be as deep as it is wide, so that true parallaxes have a standard deviation of
    `dispersion` times the cluster's. The cluster's is the mean, weighted by both variances. The star's own is
    the mean of what was measured and of the cluster's, each weighted by its inverse variance: nearly what was
    measured in a near cluster, nearly the cluster's in a far one.

    Args:
      measured, error: parallaxes (n,) [mas], NaN where there is none.
      dispersion: of the stars on the sky [rad].
      given: the cluster's parallax [mas], if known.

    Raises:
      MotionError: parallaxes are not those of one cluster.
    """
    known = np.isfinite(measured)
    values, variances = measured[known], error[known] ** 2
    cluster, cluster_error, num_used = given, 0.0, 0
    if given is None:
        cluster, used = float(np.median(values)), np.zeros(len(values), bool)
        for _ in range(_ROUNDS):
            total = variances + (cluster * dispersion) ** 2
            now = np.abs(values - cluster) < _FIT_WITHIN * np.sqrt(total)
            if not now.any():
                raise MotionError(
                    f"no parallax is near their middle, {cluster:.3g} mas: if the list has several clusters, tell them apart by a "
                    "column cluster, and if it has one, state distance_pc"
                )
            cluster = float(np.average(values[now], weights=1 / total[now]))
            if (now == used).all():
                break
            used = now
        cluster_error, num_used = float(np.sum(1 / total[now]) ** -0.5), int(now.sum())
    depth = (cluster * dispersion) ** 2
    share = np.zeros(len(measured))
    share[known] = depth / (depth + variances)
    deviation = (measured - cluster) / np.sqrt(depth + error**2)
    star = cluster + share * (np.where(known, measured, cluster) - cluster)
    return Parallaxes(
        cluster=cluster,
        cluster_error=cluster_error,
        num_used=num_used,
        spread=float(np.sqrt(depth)),
        star=np.where(star > 0, star, cluster),
        star_error=np.sqrt(depth * (1 - share)),
        deviation=deviation,
    )


@dataclasses.dataclass(frozen=True)
class Tangential:
    """Velocities across the line of sight of n stars.

    Attributes:
      axes: unit vectors at each star (n, 3, 3), see `sky.local_axes`.
      velocity, error: along `lon` and `lat` (n, 2) [km/s].
    """

    axes: np.ndarray
    velocity: np.ndarray
    error: np.ndarray

    def residual(self, mean: np.ndarray) -> np.ndarray:
        """What the velocity `mean` (3,) [km/s] of the cluster leaves of them (n, 2)."""
        return self.velocity - self.axes[:, 1:] @ mean

    def deviation(self, mean: np.ndarray) -> np.ndarray:
        """The larger of the two residuals of each star, in standard deviations (n,)."""
        residual = self.residual(mean)
        return np.max(np.abs(residual) / np.sqrt(self.error**2 + _scatter(residual) ** 2), axis=1)


@dataclasses.dataclass(frozen=True)
class Motion:
    """The mean space velocity of a cluster.

    Attributes:
      velocity: along the axes of the offset frame (3,) [km/s]; its first component is the radial velocity.
      source: of the radial velocity: 'given', 'stars', 'perspective', or 'unknown', which counts as 0.
      radial_error: its standard error [km/s]; 0 where it was given or is unknown.
      num_radial: stars whose radial velocities were used.
    """

    velocity: np.ndarray
    source: str
    radial_error: float
    num_radial: int


def fit_motion(
    stars: Tangential, radial: np.ndarray, radial_error: np.ndarray, given: float | None
) -> Motion:
    """The space velocity that leaves the least squares of tangential velocities.

    Its radial component is `given` [km/s], else the more precise of the median over the stars that have a radial
    velocity, without those far from it, and what the perspective tells, if that is precise enough.

    Args:
      radial, radial_error: radial velocities (n,) [km/s], NaN where there is none.
    """
    if given is not None:
        return Motion(_least_squares(stars, given)[0], "given", 0.0, 0)
    velocity, error = _least_squares(stars, None)
    is_told = error < MAX_PERSPECTIVE_ERROR_KMS
    if np.isfinite(radial).any():
        of_stars = _fit_with_radial(stars, radial, radial_error)
        of_binary = BINARY_KMS if of_stars.num_radial < MIN_RADIAL else 0.0
        if not is_told or np.hypot(of_stars.radial_error, of_binary) < error:
            return of_stars
    if is_told:
        return Motion(velocity, "perspective", error, 0)
    return Motion(_least_squares(stars, 0.0)[0], "unknown", 0.0, 0)


def _fit_with_radial(stars, radial, radial_error) -> Motion:
    known = np.isfinite(radial)
    away, values, errors = stars.axes[known, 0], radial[known], radial_error[known]
    mean_radial = np.median(values)
    for _ in range(_ROUNDS):
        velocity, _ = _least_squares(stars, mean_radial)
        # The radial velocity that each star says the cluster has.
        at_centre = (values - away[:, 1:] @ velocity[1:]) / away[:, 0]
        deviation = np.abs(at_centre - np.median(at_centre))
        used = deviation < _FIT_WITHIN * np.sqrt(errors**2 + _scatter(at_centre) ** 2)
        before, mean_radial = mean_radial, np.median(at_centre[used])
        if abs(mean_radial - before) < 1e-6:
            break
    # Of a median; a lone star has no scatter but its error.
    scatter = max(_scatter(at_centre[used]), np.median(errors[used]))
    error = 1.2533 * scatter / np.sqrt(used.sum())
    return Motion(_least_squares(stars, mean_radial)[0], "stars", float(error), int(used.sum()))


def _scatter(values: np.ndarray) -> float:
    return max(float(mad_std(values)), _LEAST_SCATTER_KMS)


def _least_squares(stars: Tangential, radial: float | None) -> tuple[np.ndarray, float]:
    """The mean velocity (3,) [km/s], and the standard error of its first component where that is fitted."""
    free = slice(0, 3) if radial is None else slice(1, 3)
    velocity = np.array([radial or 0.0, *np.median(stars.velocity, axis=0)])
    used = np.zeros(len(stars.velocity), bool)
    for _ in range(_ROUNDS):
        now = stars.deviation(velocity) < _FIT_WITHIN
        residual = stars.residual(velocity)[now]
        weight = 1 / np.sqrt(stars.error[now] ** 2 + _scatter(residual) ** 2).ravel()
        design = stars.axes[now, 1:, free].reshape(len(weight), -1) * weight[:, None]
        step, *_ = np.linalg.lstsq(design, residual.ravel() * weight)
        velocity[free] += step
        if (now == used).all() and np.abs(step).max() < 1e-9:
            break
        used = now
    covariance = np.linalg.pinv(design.T @ design)
    return velocity, 0.0 if radial is not None else float(np.sqrt(covariance[0, 0]))
