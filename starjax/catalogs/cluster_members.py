"""A cluster in space, and its members as a model sees them."""

import dataclasses

import numpy as np
import pandas as pd

from starjax.catalogs import astrometry, dropped_stars
from starjax.catalogs.dropped_stars import Dropped, Reason
from starjax.catalogs.stated.extinction import Extinction
from starjax.quantities import KMS_PER_PC_MAS_YR


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


@dataclasses.dataclass(frozen=True)
class ClusterMembers:
    """The members of a cluster, as a model sees them.

    Attributes:
      feature: (n, F), in the order of the requested keys.
      table: n rows with `row`, the row number in the catalogue, `source_id` if the catalogue has it, the
        measured columns, and all derived columns: features, errors `vx_error vy_error vz_error` and, along
        Galactic longitude and latitude, `v_lon_error v_lat_error` [km/s], `dist_error_pc`;
        `parallax_zero_point` [mas]. NaN where a value is not known.
      dropped: the stars that were left out, by reason.
      left_out: where these are, see `dropped_stars.locate`.
      centre: (ra, dec) [deg, ICRS].
      distance_pc, distance_error_pc: distance of the cluster and its standard error, as stated if the
        distance was; 0 if that was stated without.
      radial_velocity_kms: radial velocity of the cluster; NaN if it cannot be determined.
      space_velocity: (U, V, W) of the cluster relative to the Sun, towards the Galactic centre, the rotation
        and the north pole [km/s]. Without the radial part if that is not known, NaN without proper motions.
      extinction: in front of the cluster.
      metallicity: [Fe/H], in dex as stated; NaN if it was not.
      notes: how values were determined and which stars were left out, in sentences.
      caveats: reasons to doubt the values above, which flag a prediction.
    """

    feature: np.ndarray
    table: pd.DataFrame
    dropped: tuple[Dropped, ...]
    left_out: pd.DataFrame
    centre: tuple[float, float]
    distance_pc: float
    distance_error_pc: float
    radial_velocity_kms: float
    space_velocity: np.ndarray
    extinction: Extinction
    metallicity: float
    notes: tuple[str, ...]
    caveats: tuple[str, ...] = ()

    @property
    def num_left_out(self) -> int:
        """The number of stars that lack a position, or another value that the features need."""
        return dropped_stars.count(self.dropped, dropped_stars.LACKS_VALUE)

    @property
    def num_non_member(self) -> int:
        """The number of stars whose motion or distance is unlike that of the rest."""
        return dropped_stars.count(self.dropped, (Reason.NON_MEMBER,))
