"""Position, distance and motion of a cluster, and the stars of a catalogue that share them."""

import dataclasses
import math

import numpy as np
import pandas as pd
from astropy.stats import mad_std

from starjax.catalogs import astrometry, member_list, sky_frames
from starjax.catalogs.column_values import CatalogError
from starjax.catalogs.dropped_stars import Dropped, Reason
from starjax.quantities import KMS_PER_PC_MAS_YR, MIN_STARS

# Of A_V [mag] from maps and fits of isochrones, within a kiloparsec.
TYPICAL_EXTINCTION_ERROR = 0.1
# Smaller errors are those of fits alone. Models are trained on errors from this on (`configs/gaia.py`).
LEAST_EXTINCTION_ERROR = 0.02
# Stars that differ from the rest by more standard deviations in motion or parallax count as non-members. Of
# thousands of normally distributed members, none differs by as much.
MEMBER_WITHIN = 5.0
# The usual limit. The lists that `configs/gaia.py` trains on have no smaller probabilities.
MIN_PROBABILITY = 0.5
# Parallaxes that are more standard deviations below zero, and those of exactly zero, count as missing.
_BELOW_ZERO_WITHIN = 4.0
# Motion across the line of sight and its scatter [km/s]: with less than both, motions have another unit.
_MIN_SPEED_KMS, _MIN_DISPERSION_KMS = 0.2, 0.01
# Wider limits than those of the clusters of the Galaxy. Beyond them, a column most likely has another unit.
_DISTANCES_PC = (5.0, 20_000.0)
_MAX_SPEED_KMS = 1000.0


@dataclasses.dataclass(frozen=True)
class View:
    """Properties of a cluster that the user states; None is not known, or estimated from the catalogue.

    Attributes:
      centre: (ra, dec) [deg, ICRS].
      distance_pc: distance of the cluster.
      radial_velocity_kms: radial velocity of the cluster.
      parallax_zero_point_mas: subtracted from all parallaxes; Gaia's is about -0.02 to -0.05.
      extinction_v_mag: extinction A_V in front of the cluster.
      extinction_v_error_mag: standard error of the extinction; None if it is not known.
      min_probability: stars with a smaller probability of membership are left out.
      clip: True to leave out non-members.

    Raises:
      CatalogError: a value is impossible.
    """

    centre: tuple[float, float] | None = None
    distance_pc: float | None = None
    radial_velocity_kms: float | None = None
    parallax_zero_point_mas: float = 0.0
    extinction_v_mag: float = 0.0
    extinction_v_error_mag: float | None = None
    min_probability: float = MIN_PROBABILITY
    clip: bool = True

    def __post_init__(self):
        for name, value in vars(self).items():
            if value is not None and not np.isfinite(value).all():
                raise CatalogError(f"{name}={value} should be finite")
        if self.distance_pc is not None and self.distance_pc <= 0:
            raise CatalogError(f"distance_pc={self.distance_pc} should be positive")
        if self.extinction_v_mag < 0:
            raise CatalogError(f"extinction_v_mag={self.extinction_v_mag} should not be negative")
        if self.extinction_v_error_mag is not None and self.extinction_v_error_mag < 0:
            raise CatalogError(f"extinction_v_error_mag={self.extinction_v_error_mag} should not be negative")
        if not 0 <= self.min_probability <= 1:
            raise CatalogError(f"min_probability={self.min_probability} should be between 0 and 1")
        if self.centre is not None and not -90 <= self.centre[1] <= 90:
            raise CatalogError(f"centre={self.centre} should be (ra, dec) in degrees")

    @property
    def extinction_error(self) -> float:
        """The standard error of the extinction [mag], a typical one if it is unknown; never a tiny one."""
        known = self.extinction_v_error_mag
        return TYPICAL_EXTINCTION_ERROR if known is None else max(known, LEAST_EXTINCTION_ERROR)


@dataclasses.dataclass(frozen=True)
class Geometry:
    """A cluster in space, and n of its stars.

    Attributes:
      centre: (ra, dec) [deg, ICRS].
      lon, lat: positions of the stars in the offset frame (n,) [rad].
      axes: unit vectors at the stars, see `sky_frames.local_axes` (n, 3, 3).
      parallaxes: parallaxes of the cluster and of the stars.
      proper_motion, proper_motion_error: along `lon` and `lat` (n, 2) [mas/yr]; NaN if missing.
      motion: motion of the cluster; None if fewer than `MIN_STARS` stars have a proper motion.
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
        """The distance of the cluster [pc]."""
        return 1000 / self.parallaxes.cluster

    @property
    def distance_error_pc(self) -> float:
        """The standard error of `distance_pc` [pc]."""
        return self.parallaxes.cluster_error * self.distance_pc**2 / 1000

    @property
    def star_distance(self) -> np.ndarray:
        """The distances of the stars (n,) [pc]."""
        return 1000 / self.parallaxes.star

    @property
    def star_distance_error(self) -> np.ndarray:
        """The standard errors of `star_distance` (n,) [pc]."""
        return self.parallaxes.star_error * self.star_distance**2 / 1000

    @property
    def mean_velocity(self) -> np.ndarray:
        """The velocity of the cluster in the offset frame (3,) [km/s]; NaN without proper motions."""
        return np.full(3, np.nan) if self.motion is None else self.motion.velocity

    @property
    def radial_velocity_kms(self) -> float:
        """The radial velocity of the cluster [km/s]; NaN if it is unknown."""
        is_known = self.motion is not None and self.motion.source != "unknown"
        return float(self.mean_velocity[0]) if is_known else np.nan

    @property
    def has_motion(self) -> np.ndarray:
        """True for stars with a proper motion (n,)."""
        return np.isfinite(self.proper_motion).all(axis=1)

    @property
    def tangential(self) -> astrometry.Tangential:
        """The tangential velocities, with the errors of proper motions and distances."""
        kms_per_mas_yr = KMS_PER_PC_MAS_YR * self.star_distance[:, None]
        by_motion = kms_per_mas_yr * self.proper_motion_error
        by_distance = KMS_PER_PC_MAS_YR * self.star_distance_error[:, None] * self.proper_motion
        return astrometry.Tangential(
            self.axes, kms_per_mas_yr * self.proper_motion, np.hypot(by_motion, by_distance)
        )

    @property
    def moving(self) -> astrometry.Tangential:
        """The tangential velocities of the stars that have a proper motion."""
        stars, chosen = self.tangential, self.has_motion
        return astrometry.Tangential(stars.axes[chosen], stars.velocity[chosen], stars.error[chosen])

    def deviation(self) -> np.ndarray:
        """Return the deviation of each star in motion or parallax (n,) [standard deviations]."""
        deviation = np.nan_to_num(np.abs(self.parallaxes.deviation))
        if self.motion is None:
            return deviation
        moving = self.moving.deviation(self.motion.velocity)
        deviation[self.has_motion] = np.maximum(deviation[self.has_motion], moving)
        return deviation


def select_members(stars: pd.DataFrame, view: View) -> tuple[Geometry, pd.DataFrame, Dropped]:
    """Return the geometry of the members, the members, and the non-members (none unless `view.clip`).

    Args:
      stars: the columns of a member catalogue, NaN where it has none.

    Raises:
      CatalogError: fewer than `MIN_STARS` are left, no distance is known, or distance or motion are absurd.
    """
    rows = []
    # A non-member shifts the mean and widens the scatter, which can hide others: repeat until none is left.
    while True:
        check_num_stars(stars, "could be used")
        geometry = _fit_geometry(stars, view)
        deviates = geometry.deviation() > MEMBER_WITHIN
        if not (view.clip and deviates.any()):
            break
        rows += stars.loc[deviates, "row"].tolist()
        stars = stars[~deviates]
    # Only now: while non-members are left, the fit may be absurd.
    _check_plausible(geometry)
    return geometry, stars, Dropped(Reason.NON_MEMBER, tuple(sorted(rows)))


def check_num_stars(stars: pd.DataFrame, what: str) -> None:
    """Raise if there are fewer than `MIN_STARS` stars.

    Args:
      what: what is true of these stars, a verb with its object: "have a position".
    """
    if len(stars) < MIN_STARS:
        raise CatalogError(
            f"only {len(stars)} {'star' if len(stars) == 1 else 'stars'} {what}; at least {MIN_STARS} are "
            "needed"
        )


def uses_distance(stars: pd.DataFrame) -> pd.Series:
    """Return True for stars whose distance counts, and not their parallax.

    A distance without an error does not count beside a parallax that has one, which it may be the inverse of.
    """
    has_parallax = stars[["parallax", "parallax_error"]].notna().all(axis=1)
    return stars["distance"].notna() & ((stars["distance_error"] > 0) | ~has_parallax)


def measured_parallaxes(stars: pd.DataFrame, view: View) -> pd.DataFrame:
    """Return `parallax` and `parallax_error` [mas] of each star, from its distance if that is listed.

    They are NaN if missing or impossible. Negative parallaxes that are consistent with zero are kept: without
    them, the mean of uncertain parallaxes would be too large.
    """
    value = stars["parallax"] - view.parallax_zero_point_mas
    error = stars["parallax_error"]
    if error.isna().all() and value.notna().any():
        # Without listed errors, the scatter beyond the depth of the cluster counts as the error of all stars.
        variance = mad_std(value.dropna()) ** 2 - (value.median() * _dispersion(stars, view)) ** 2
        error = error.fillna(math.sqrt(max(variance, 0)))
    # Most listed distances were derived from the same parallaxes: to use both would count these twice.
    has_distance = uses_distance(stars)
    error_of_distance = 1000 * stars["distance_error"].fillna(0) / stars["distance"] ** 2
    value = value.mask(has_distance, 1000 / stars["distance"])
    error = error.mask(has_distance, error_of_distance)
    usable = error.notna() & ((value > 0) | ((value < 0) & (value > -_BELOW_ZERO_WITHIN * error)))
    return pd.DataFrame({"parallax": value.where(usable), "parallax_error": error.where(usable)})


def fill_errors(stars: pd.DataFrame, columns: tuple[str, ...]) -> np.ndarray:
    """Return errors (n, number of columns); missing ones are the median of the others, or 0 without any."""
    return stars[list(columns)].fillna(stars[list(columns)].median()).fillna(0.0).to_numpy()


def _offsets(stars: pd.DataFrame, view: View) -> tuple[tuple[float, float], np.ndarray, np.ndarray]:
    """Return the centre (ra, dec) [deg], and the positions `lon` and `lat` [rad] about it."""
    ra, dec = stars["ra"].to_numpy(), stars["dec"].to_numpy()
    centre = view.centre or sky_frames.median_centre(ra, dec)
    return centre, *sky_frames.offsets(ra, dec, centre)


def _dispersion(stars: pd.DataFrame, view: View) -> float:
    _, lon, lat = _offsets(stars, view)
    return sky_frames.angular_dispersion(lon, lat)


def _fit_geometry(stars: pd.DataFrame, view: View) -> Geometry:
    """Return the geometry of a cluster of these stars."""
    centre, lon, lat = _offsets(stars, view)
    measured = measured_parallaxes(stars, view)
    num_positive = int((measured["parallax"] > 0).sum())
    if view.distance_pc is None and num_positive < MIN_STARS:
        raise CatalogError(
            f"only {num_positive} stars have a parallax above zero with an error, or a distance, "
            f"of the {MIN_STARS} that the cluster's distance needs: state distance_pc"
        )
    parallaxes = astrometry.combine_parallaxes(
        measured["parallax"].to_numpy(),
        measured["parallax_error"].to_numpy(),
        sky_frames.angular_dispersion(lon, lat),
        None if view.distance_pc is None else 1000 / view.distance_pc,
    )
    rotation = sky_frames.axes_rotation(stars["ra"].to_numpy(), stars["dec"].to_numpy(), centre)
    proper_motion = np.einsum("nij,nj->ni", rotation, stars[["pmra", "pmdec"]].to_numpy())
    errors_ra_dec = fill_errors(stars, ("pmra_error", "pmdec_error"))
    proper_motion_error = np.sqrt(np.einsum("nij,nj->ni", rotation**2, errors_ra_dec**2))
    axes = sky_frames.local_axes(lon, lat)
    # Without a motion at first: it is fitted to the tangential velocities of this geometry.
    geometry = Geometry(centre, lon, lat, axes, parallaxes, proper_motion, proper_motion_error, None)
    has_motion = geometry.has_motion
    if has_motion.sum() < MIN_STARS:
        return geometry
    motion = astrometry.fit_motion(
        geometry.moving,
        stars["radial_velocity"].to_numpy()[has_motion],
        fill_errors(stars, ("radial_velocity_error",))[has_motion, 0],
        view.radial_velocity_kms,
    )
    return dataclasses.replace(geometry, motion=motion)


def _check_plausible(geometry: Geometry) -> None:
    """Raise if distance or speed are those of no cluster."""
    low, high = _DISTANCES_PC
    if not low <= geometry.distance_pc <= high:
        raise CatalogError(
            f"the cluster would be at {geometry.distance_pc:.3g} pc: check that parallax is in "
            f"{member_list.GAIA_UNITS['parallax']} and distance in pc"
        )
    if geometry.motion is not None:
        pm_unit = member_list.GAIA_UNITS["pmra"]
        check_units = f"check that pmra and pmdec are in {pm_unit} and radial_velocity is in km/s"
        scatter = np.median(np.abs(geometry.moving.residual(geometry.motion.velocity)))
        across = np.linalg.norm(geometry.motion.velocity[1:])
        if across < _MIN_SPEED_KMS and scatter < _MIN_DISPERSION_KMS:
            raise CatalogError(
                f"the cluster would move at {across:.2g} km/s across the line of sight, and its stars at "
                f"{scatter:.1g} km/s: {check_units}"
            )
        speed = float(np.linalg.norm(geometry.motion.velocity))
        if speed > _MAX_SPEED_KMS:
            raise CatalogError(f"the cluster would move at {speed:.3g} km/s: {check_units}")
