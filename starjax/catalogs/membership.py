"""Position, distance and motion of a cluster, and the stars of a catalogue that share them."""

import dataclasses
import math
from collections.abc import Mapping, Sized
from typing import Any

import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord
from astropy.stats import mad_std, median_absolute_deviation
from astropy.table import Table

from starjax.catalogs import astrometry, dropped_stars, member_list, sky_frames
from starjax.catalogs.cluster_members import Geometry
from starjax.catalogs.column_values import CatalogError
from starjax.catalogs.dropped_stars import Dropped, Reason
from starjax.catalogs.stated.view import View
from starjax.gaia import parallax_zero_point
from starjax.quantities import MIN_STARS

# The columns that position, distance and motion of a cluster are fitted to.
_FITTED = (
    *("ra", "dec", "parallax", "parallax_error", "parallax_zero_point", "distance", "distance_error"),
    *("pmra", "pmra_error", "pmdec", "pmdec_error", "radial_velocity", "radial_velocity_error"),
)
# Stars that differ from the rest by more standard deviations in motion or parallax count as non-members. Of
# thousands of normally distributed members, none differs by as much.
MEMBER_WITHIN = 5.0
# Parallaxes that are more standard deviations below zero, and those of exactly zero, count as missing.
_BELOW_ZERO_WITHIN = 4.0
# Motion across the line of sight and its scatter [km/s]: with less than both, motions have another unit.
_MIN_SPEED_KMS, _MIN_DISPERSION_KMS = 0.2, 0.01
# Wider limits than those of the clusters of the Galaxy. Beyond them, a column most likely has another unit.
_DISTANCES_PC = (5.0, 20_000.0)
_MAX_SPEED_KMS = 1000.0
# Half of the stars of any cluster lie farther than this from its median declination.
_NARROWEST_PC = 0.1
# Scatter in right ascension over that in declination: clusters are rounder.
_NARROWEST_SHARE = 0.15


def select_members(stars: pd.DataFrame, view: View) -> tuple[Geometry, pd.DataFrame, Dropped]:
    """Return the geometry of the members, the members, and the non-members (none unless `view.clip`).

    Args:
      stars: the columns of a member catalogue, NaN where it has none.

    Raises:
      CatalogError: fewer than `MIN_STARS` are left, no distance is known, or distance or motion are absurd.
    """
    columns = {name: stars[name].to_numpy() for name in _FITTED}
    member = np.arange(len(stars))
    # A non-member shifts the mean and widens the scatter, which can hide others: repeat until none is left.
    while True:
        check_num_stars(member, "could be used")
        geometry = _fit_geometry({name: values[member] for name, values in columns.items()}, view)
        deviates = geometry.deviation() > MEMBER_WITHIN
        if not (view.clip and deviates.any()):
            break
        member = member[~deviates]
    # Only now: while non-members are left, the fit may be absurd.
    _check_plausible(geometry)
    is_dropped = np.ones(len(stars), bool)
    is_dropped[member] = False
    return geometry, *dropped_stars.drop(stars, is_dropped, Reason.NON_MEMBER)


def check_distances(stars: pd.DataFrame, view: View, hints: str) -> None:
    """Raise if nothing gives the distance of the cluster.

    Args:
      hints: what the message says of the columns of the catalogue.
    """
    if view.distance_pc is None and stars[["parallax", "distance"]].isna().all(axis=None):
        raise CatalogError(
            "the catalogue has no parallaxes and no distances: name their column, or state distance_pc. "
            f"{hints}"
        )


def check_degrees(table: Table) -> None:
    """Raise if the positions of a cluster, whose unit is not stated, seem to be in hours or in radians.

    As degrees, hours make it 15 times too narrow in right ascension, and radians 57 times too small.

    Args:
      table: the stars of one cluster.

    Raises:
      CatalogError: see above.
    """
    has_position = np.isfinite(table["ra"]) & np.isfinite(table["dec"])
    if table.meta["is_unit_stated"] or not has_position.any():
        return
    ra, dec = (np.asarray(table[name])[has_position] for name in ("ra", "dec"))
    width = median_absolute_deviation(ra) * np.cos(np.radians(np.median(dec)))
    height = median_absolute_deviation(dec)
    if ra.min() >= 0 and ra.max() <= 24 and 0 < width < _NARROWEST_SHARE * height:
        raise CatalogError(
            f"{table.meta['file']}: the column for ra seems to be in hours; as degrees it makes the cluster "
            f"{width / height:.1g} times as wide as high: multiply it by 15, or state the unit in the file"
        )
    height_pc = np.radians(height) * _median_distance(table)
    if np.abs(ra).max() <= 2 * np.pi and np.abs(dec).max() <= np.pi / 2 and 0 < height_pc < _NARROWEST_PC:
        raise CatalogError(
            f"{table.meta['file']}: columns ra and dec seem to be in radians; as degrees they make a cluster "
            f"of {height_pc:.1g} pc: convert them, or state the unit in the file"
        )


def _median_distance(table: Table) -> float:
    """Return the distance of a cluster [pc] from its median parallax, or its median distance; NaN if none."""
    parallax, distance = (
        pd.Series(np.asarray(table[name]) if name in table.colnames else [], dtype=float).median()
        for name in ("parallax", "distance")
    )
    return 1000 / parallax if parallax > 0 else distance


def check_num_stars(stars: Sized, what: str) -> None:
    """Raise if there are fewer than `MIN_STARS` stars.

    Args:
      what: what is true of these stars, a verb with its object: "have a position".
    """
    if len(stars) < MIN_STARS:
        raise CatalogError(
            f"only {len(stars)} {'star' if len(stars) == 1 else 'stars'} {what}; at least {MIN_STARS} are "
            "needed"
        )


def uses_distance(stars: Mapping[str, Any]) -> np.ndarray:
    """Return True for stars (n,) whose distance counts, and not their parallax.

    A distance without an error does not count beside a parallax that has one, which it may be the inverse of.
    """
    parallax, error, distance, distance_error = (
        np.asarray(stars[name]) for name in ("parallax", "parallax_error", "distance", "distance_error")
    )
    return np.isfinite(distance) & ((distance_error > 0) | ~np.isfinite(parallax) | ~np.isfinite(error))


def measured_parallaxes(stars: Mapping[str, Any], view: View) -> tuple[np.ndarray, np.ndarray]:
    """Return the parallax and its error (n,) [mas] of each star, from its distance if that is listed.

    They are NaN if missing or impossible. Negative parallaxes that are consistent with zero are kept: without
    them, the mean of uncertain parallaxes would be too large.

    Args:
      stars: with their zero points, see `assign_zero_points`.
    """
    zero_point = np.asarray(stars["parallax_zero_point"])
    zero_point = np.where(np.isnan(zero_point), parallax_zero_point.TYPICAL_MAS, zero_point)
    value, error = np.asarray(stars["parallax"]) - zero_point, np.asarray(stars["parallax_error"])
    is_known = np.isfinite(value)
    if np.isnan(error).all() and is_known.any():
        # Without listed errors, the scatter beyond the depth of the cluster counts as the error of all stars.
        depth = np.median(value[is_known]) * _dispersion(stars, view)
        error = np.full_like(value, math.sqrt(max(mad_std(value[is_known]) ** 2 - depth**2, 0)))
    # Most listed distances were derived from the same parallaxes: to use both would count these twice.
    has_distance, distance = uses_distance(stars), np.asarray(stars["distance"])
    error_of_distance = 1000 * np.nan_to_num(np.asarray(stars["distance_error"])) / distance**2
    value = np.where(has_distance, 1000 / distance, value)
    error = np.where(has_distance, error_of_distance, error)
    is_usable = np.isfinite(error) & ((value > 0) | ((value < 0) & (value > -_BELOW_ZERO_WITHIN * error)))
    return np.where(is_usable, value, np.nan), np.where(is_usable, error, np.nan)


def assign_zero_points(stars: pd.DataFrame, view: View) -> pd.DataFrame:
    """Return the stars with a column `parallax_zero_point` [mas].

    It is NaN where the recipe of `parallax_zero_point` has none, and its `TYPICAL_MAS` counts.
    """
    if not view.has_zero_point_by_star:
        return stars.assign(parallax_zero_point=view.parallax_zero_point_mas)
    sky = SkyCoord(stars["ra"].to_numpy(), stars["dec"].to_numpy(), unit="deg").barycentricmeanecliptic
    derived = parallax_zero_point.effective_wavenumber(stars["bp_rp"])
    zero_points = parallax_zero_point.zero_points_mas(
        stars["phot_g_mean_mag"].to_numpy(),
        stars["nu_eff_used_in_astrometry"].fillna(derived).to_numpy(),
        stars["pseudocolour"].to_numpy(),
        stars["ecl_lat"].fillna(pd.Series(sky.lat.deg, index=stars.index)).to_numpy(),
        stars["astrometric_params_solved"].to_numpy(),
    )
    return stars.assign(parallax_zero_point=zero_points)


def fill_errors(stars: Mapping[str, Any], columns: tuple[str, ...]) -> np.ndarray:
    """Return errors (n, number of columns); missing ones are the median of the others, or 0 without any."""
    filled = []
    for name in columns:
        error = np.asarray(stars[name], float)
        known = error[np.isfinite(error)]
        filled.append(np.where(np.isnan(error), np.median(known) if len(known) else 0.0, error))
    return np.column_stack(filled)


def _offsets(stars: Mapping[str, Any], view: View) -> tuple[tuple[float, float], np.ndarray, np.ndarray]:
    """Return the centre (ra, dec) [deg], and the positions `lon` and `lat` [rad] about it."""
    ra, dec = np.asarray(stars["ra"]), np.asarray(stars["dec"])
    centre = view.centre or sky_frames.median_centre(ra, dec)
    return centre, *sky_frames.offsets(ra, dec, centre)


def _dispersion(stars: Mapping[str, Any], view: View) -> float:
    _, lon, lat = _offsets(stars, view)
    return sky_frames.angular_dispersion(lon, lat)


def _fit_geometry(stars: Mapping[str, Any], view: View) -> Geometry:
    """Return the geometry of a cluster of these stars."""
    centre, lon, lat = _offsets(stars, view)
    parallax, parallax_error = measured_parallaxes(stars, view)
    num_positive = int((parallax > 0).sum())
    if view.distance_pc is None and num_positive < MIN_STARS:
        raise CatalogError(
            f"only {num_positive} stars have a parallax above zero with an error, or a distance, "
            f"of the {MIN_STARS} that the cluster's distance needs: state distance_pc"
        )
    parallaxes = astrometry.combine_parallaxes(
        parallax,
        parallax_error,
        sky_frames.angular_dispersion(lon, lat),
        *view.stated_parallax,
    )
    rotation = sky_frames.axes_rotation(np.asarray(stars["ra"]), np.asarray(stars["dec"]), centre)
    listed_motion = np.column_stack([stars["pmra"], stars["pmdec"]])
    proper_motion = np.einsum("nij,nj->ni", rotation, listed_motion)
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
        np.asarray(stars["radial_velocity"])[has_motion],
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
