"""Where a cluster stands, how far and how it moves, and which stars of a list go along with it."""

import dataclasses
import math

import numpy as np
import pandas as pd
from astropy.stats import mad_std

from starjax import errors
from starjax.catalogs import astrometry, member_list, sky_frames
from starjax.quantities import MIN_STARS

# Stars beyond this many standard deviations from the rest, in motion or parallax, count as non-members.
MEMBER_WITHIN = 5.0
# Parallaxes below zero by more standard deviations, or just zero, stand for none.
_BELOW_ZERO_WITHIN = 4.0
# Nearer, farther and faster than any cluster of the Galaxy: wrong units most likely.
_DISTANCES_PC = (5.0, 20_000.0)
_MAX_SPEED_KMS = 1000.0


class ObserveError(errors.StarjaxError):
    """A member list that does not allow what is asked of it, and what it would allow."""


@dataclasses.dataclass(frozen=True)
class View:
    """What the user states about a cluster; None is taken from the list.

    Attributes:
      centre: (ra, dec) [deg, ICRS].
      distance_pc: of the cluster.
      radial_velocity_kms: of the cluster.
      parallax_zero_point_mas: what parallaxes are too large by; Gaia's is about -0.02 to -0.05.
      extinction_v_mag: A_V in front of the cluster.
      clip: leave out non-members.
    """

    centre: tuple[float, float] | None = None
    distance_pc: float | None = None
    radial_velocity_kms: float | None = None
    parallax_zero_point_mas: float = 0.0
    extinction_v_mag: float = 0.0
    clip: bool = True

    def __post_init__(self):
        for name, value in vars(self).items():
            if value is not None and not np.isfinite(value).all():
                raise ObserveError(f"{name}={value} should be finite")
        if self.distance_pc is not None and self.distance_pc <= 0:
            raise ObserveError(f"distance_pc={self.distance_pc} should be positive")
        if self.extinction_v_mag < 0:
            raise ObserveError(f"extinction_v_mag={self.extinction_v_mag} should not be negative")
        if self.centre is not None and not -90 <= self.centre[1] <= 90:
            raise ObserveError(f"centre={self.centre} should be (ra, dec) in degrees")


@dataclasses.dataclass(frozen=True)
class Geometry:
    """A cluster on the sky, and n stars of it.

    Attributes:
      centre: (ra, dec) [deg, ICRS].
      lon, lat: in the offset frame (n,) [rad].
      axes: see `sky.local_axes` (n, 3, 3).
      parallaxes: the cluster's and the stars'.
      proper_motion, proper_motion_error: along `lon` and `lat` (n, 2) [mas/yr]; NaN where there is none.
      motion: the cluster's; None where fewer than `MIN_STARS` have a proper motion.
    """

    centre: tuple[float, float]
    lon: np.ndarray
    lat: np.ndarray
    axes: np.ndarray
    parallaxes: astrometry.Parallaxes
    proper_motion: np.ndarray
    proper_motion_error: np.ndarray
    motion: astrometry.Motion | None

    @property
    def distance_pc(self) -> float:
        return 1000 / self.parallaxes.cluster

    @property
    def distance_error_pc(self) -> float:
        return self.parallaxes.cluster_error * self.distance_pc**2 / 1000

    @property
    def star_distance(self) -> np.ndarray:
        """(n,) [pc]."""
        return 1000 / self.parallaxes.star

    @property
    def star_distance_error(self) -> np.ndarray:
        """(n,) [pc]."""
        return self.parallaxes.star_error * self.star_distance**2 / 1000

    @property
    def tangential(self) -> astrometry.Tangential:
        """Velocities across the line of sight; their errors are those of proper motions and distances."""
        return _tangential(
            self.axes,
            self.proper_motion,
            self.proper_motion_error,
            self.star_distance,
            self.star_distance_error,
        )

    def deviation(self) -> np.ndarray:
        """How far each star is from the rest in motion or parallax (n,) [standard deviations]."""
        deviation = np.nan_to_num(np.abs(self.parallaxes.deviation))
        if self.motion is None:
            return deviation
        moves = np.isfinite(self.proper_motion).all(axis=1)
        moving = _rows_of(self.tangential, moves).deviation(self.motion.velocity)
        deviation[moves] = np.maximum(deviation[moves], moving)
        return deviation


def select_members(stars: pd.DataFrame, view: View) -> tuple[Geometry, pd.DataFrame, pd.DataFrame]:
    """The geometry of the stars that belong together, those stars, and the others (none unless `view.clip`).

    Args:
      stars: the columns of a member list, NaN where the list has none.

    Raises:
      ObserveError: fewer than `MIN_STARS` are left, no distance is known, or distance or motion are absurd.
    """
    left_out = [stars.iloc[:0]]
    while True:
        check_num_stars(stars, "could be used")
        geometry = _solve(stars, view)
        deviates = geometry.deviation() > MEMBER_WITHIN
        if not (view.clip and deviates.any()):
            break
        left_out.append(stars[deviates])
        stars = stars[~deviates]
    _check_plausible(geometry)
    return geometry, stars, pd.concat(left_out)


def shared_distance(stars: pd.DataFrame, view: View) -> tuple[pd.DataFrame, View]:
    """A distance that all stars are listed with is the cluster's, and tells nothing of how deep that is.

    Returns:
      the stars without it, and the view with it, unless that states another.
    """
    known = stars["distance"].dropna()
    if len(known) < 2 or known.nunique() > 1:
        return stars, view
    stars = stars.assign(distance=np.nan, distance_error=np.nan)
    return stars, view if view.distance_pc else dataclasses.replace(view, distance_pc=float(known.iloc[0]))


def check_num_stars(stars: pd.DataFrame, what: str) -> None:
    if len(stars) < MIN_STARS:
        raise ObserveError(
            f"only {len(stars)} {'star' if len(stars) == 1 else 'stars'} {what}; at least {MIN_STARS} are needed"
        )


def measured_parallaxes(stars: pd.DataFrame, view: View) -> pd.DataFrame:
    """`parallax` and `parallax_error` [mas] of each star, or of its distance; NaN where one is missing or cannot be.

    Below zero they count as far as errors allow: without these the mean of uncertain ones would be too large.
    """
    value = stars["parallax"] - view.parallax_zero_point_mas
    error = stars["parallax_error"]
    if error.isna().all() and value.notna().any():
        # What scatters more than the cluster is deep is error.
        dispersion = _dispersion(stars, view)
        error = error.fillna(
            math.sqrt(max(mad_std(value.dropna()) ** 2 - (value.median() * dispersion) ** 2, 0))
        )
    listed = stars["distance"].notna()
    of_distance = 1000 * stars["distance_error"].fillna(0) / stars["distance"] ** 2
    value, error = value.mask(listed, 1000 / stars["distance"]), error.mask(listed, of_distance)
    usable = error.notna() & ((value > 0) | ((value < 0) & (value > -_BELOW_ZERO_WITHIN * error)))
    return pd.DataFrame({"parallax": value.where(usable), "parallax_error": error.where(usable)})


def _dispersion(stars: pd.DataFrame, view: View) -> float:
    ra, dec = stars["ra"].to_numpy(), stars["dec"].to_numpy()
    return sky_frames.angular_dispersion(
        *sky_frames.offsets(ra, dec, view.centre or sky_frames.median_centre(ra, dec))
    )


def _solve(stars: pd.DataFrame, view: View) -> Geometry:
    ra, dec = stars["ra"].to_numpy(), stars["dec"].to_numpy()
    centre = view.centre or sky_frames.median_centre(ra, dec)
    lon, lat = sky_frames.offsets(ra, dec, centre)
    measured = measured_parallaxes(stars, view)
    num_positive = int((measured["parallax"] > 0).sum())
    if view.distance_pc is None and num_positive < MIN_STARS:
        raise ObserveError(
            f"only {num_positive} stars have a parallax above zero with an error, or a distance, "
            f"of the {MIN_STARS} that the cluster's distance needs: state distance_pc"
        )
    parallaxes = astrometry.combine_parallaxes(
        measured["parallax"].to_numpy(),
        measured["parallax_error"].to_numpy(),
        sky_frames.angular_dispersion(lon, lat),
        None if view.distance_pc is None else 1000 / view.distance_pc,
    )
    turn = sky_frames.axes_rotation(ra, dec, centre)
    proper_motion = np.einsum("nij,nj->ni", turn, stars[["pmra", "pmdec"]].to_numpy())
    errors_ra_dec = filled_errors(stars, ("pmra_error", "pmdec_error"))
    proper_motion_error = np.sqrt(np.einsum("nij,nj->ni", turn**2, errors_ra_dec**2))
    axes = sky_frames.local_axes(lon, lat)
    geometry = Geometry(centre, lon, lat, axes, parallaxes, proper_motion, proper_motion_error, None)
    moves = np.isfinite(proper_motion).all(axis=1)
    if moves.sum() < MIN_STARS:
        return geometry
    fitted = astrometry.fit_motion(
        _rows_of(geometry.tangential, moves),
        stars["radial_velocity"].to_numpy()[moves],
        filled_errors(stars, ("radial_velocity_error",))[moves, 0],
        view.radial_velocity_kms,
    )
    return dataclasses.replace(geometry, motion=fitted)


def filled_errors(stars: pd.DataFrame, columns: tuple[str, ...]) -> np.ndarray:
    """Errors (n, number of columns); the median of the others where one is missing, 0 where all are."""
    return stars[list(columns)].fillna(stars[list(columns)].median()).fillna(0.0).to_numpy()


def _tangential(axes, proper_motion, proper_motion_error, distance, distance_error) -> astrometry.Tangential:
    scale = sky_frames.KMS_PER_PC_MAS_YR
    velocity = scale * distance[:, None] * proper_motion
    of_motion = scale * distance[:, None] * proper_motion_error
    of_distance = scale * distance_error[:, None] * proper_motion
    return astrometry.Tangential(axes, velocity, np.hypot(of_motion, of_distance))


def _rows_of(stars: astrometry.Tangential, chosen: np.ndarray) -> astrometry.Tangential:
    return astrometry.Tangential(stars.axes[chosen], stars.velocity[chosen], stars.error[chosen])


def _check_plausible(geometry: Geometry) -> None:
    low, high = _DISTANCES_PC
    if not low <= geometry.distance_pc <= high:
        raise ObserveError(
            f"the cluster would be at {geometry.distance_pc:.3g} pc: check that parallax is in "
            f"{member_list.UNITS['parallax']} and distance in pc"
        )
    if geometry.motion is not None:
        speed = float(np.linalg.norm(geometry.motion.velocity))
        if speed > _MAX_SPEED_KMS:
            raise ObserveError(
                f"the cluster would move at {speed:.3g} km/s: check that pmra and pmdec are in "
                f"{member_list.UNITS['pmra']} and radial_velocity is in km/s"
            )
