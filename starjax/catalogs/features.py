"""Observed member lists into the features that runs are trained on, in physical units."""

import dataclasses

import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord
from astropy.stats import mad_std
from astropy.table import Table
from scipy.spatial import cKDTree

from starjax import quantities
from starjax.catalogs import feature_notes, member_list, photometry, sky_frames
from starjax.catalogs.membership import (
    MEMBER_WITHIN,
    Geometry,
    ObserveError,
    View,
    check_num_stars,
    filled_errors,
    select_members,
    shared_distance,
)

# Stars nearer to each other than this are one [arcsec].
_SAME_PLACE_ARCSEC = 0.1


@dataclasses.dataclass(frozen=True)
class ClusterMembers:
    """The members of a cluster as a run sees them.

    Attributes:
      feature: (n, F), in the order of the keys asked for.
      table: n rows: `row` in the list, `source_id` where there is one, what was measured, and all that was
        derived: features, errors `vx_error vy_error vz_error` and, along Galactic longitude and latitude,
        `v_lon_error v_lat_error` [km/s], `dist_error_pc`; NaN where not known.
      num_left_out: stars that lack a position, or another value that the features need.
      num_non_member: stars that were left out because they move, or stand, unlike the rest.
      centre: (ra, dec) [deg, ICRS].
      distance_pc, distance_error_pc: of the cluster; the error is 0 where the distance was given.
      radial_velocity_kms: of the cluster; NaN where nothing tells it.
      space_velocity: of the cluster, to the Galactic centre, in its rotation, to its north pole [km/s],
        relative to the Sun; without its radial part where nothing tells that, NaN without proper motions.
      notes: how values were found, and every treatment of stars with their number, a sentence each.
    """

    feature: np.ndarray
    table: pd.DataFrame
    num_left_out: int
    num_non_member: int
    centre: tuple[float, float]
    distance_pc: float
    distance_error_pc: float
    radial_velocity_kms: float
    space_velocity: np.ndarray
    notes: tuple[str, ...]


def derive_features(table: Table, feature_keys: tuple[str, ...], view: View) -> ClusterMembers:
    """The features of one cluster's member list (see `catalog.read`).

    The observer looks along x. `lon_deg lat_deg` are offsets from the centre along Galactic longitude and
    latitude; `pm_lon_coslat_mas_yr pm_lat_mas_yr rv_kms` are what is left when the cluster's space velocity,
    seen where the star stands, is taken out; `dist_pc` is the star's own distance, see
    `motion.combine_parallaxes`. Without x and vx, `y z` are across the line of sight to the centre, and `vy
    vz` are the velocities along longitude and latitude. With x or vx all six are along the Galaxy's axes, z
    to its pole.

    Raises:
      ObserveError: a feature is not known or lacks what it needs; see also `geometry.members`.
    """
    keys = tuple(feature_keys)
    known = [key for key, one in quantities.QUANTITIES.items() if one.catalogue != "never"]
    unknown = [key for key in keys if key not in known]
    if unknown:
        raise ObserveError(
            f"{', '.join(unknown)} cannot be had from a member list; what can is {', '.join(known)}"
        )
    others = feature_notes.of_unused(table)
    stars, unplaced = _placed(_frame(table))
    num_placed = len(stars)
    stars, again = _distinct(stars)
    num_distinct = len(stars)
    stars, unmoved = _complete(stars, keys, others)
    num_left_out = len(table) - num_placed + num_distinct - len(stars)
    stars, view = shared_distance(stars, view)
    if view.distance_pc is None and stars[["parallax", "distance"]].isna().all(axis=None):
        raise ObserveError(
            f"the list has no parallaxes and no distances: name their column, or state distance_pc. {others}"
        )
    notes = [*unplaced, *again, *unmoved]
    geometry, stars, left_out = select_members(stars, view)
    if len(left_out):
        notes.append(
            f"Left out as non-members, more than {MEMBER_WITHIN:g} standard deviations from the rest in motion"
            f"{' or parallax' if view.distance_pc is None else ', or in parallax from the distance that is stated'}: {_counted(left_out.sort_values('row'))}."
        )
    stars = stars.assign(**_derived(stars, geometry, is_galactic=_is_galactic(keys)))
    luminosity, of_luminosity = _luminosity(stars, keys, view)
    stars = stars.assign(log_L_L_sol=luminosity)
    described = feature_notes.of_geometry(stars, geometry, view, keys)
    stars, deviating = _of_one_radial_velocity(stars, geometry, keys, view)
    num_before = len(stars)
    stars, dark = _of_known_luminosity(stars, keys, others)
    num_left_out += num_before - len(stars)
    check_num_stars(stars, "are left with all that the features need")
    velocity = np.full(3, np.nan) if geometry.motion is None else geometry.motion.velocity
    is_radial_known = geometry.motion is not None and geometry.motion.source != "unknown"
    return ClusterMembers(
        feature=stars[list(keys)].to_numpy(np.float64),
        table=stars.reset_index(drop=True),
        num_left_out=num_left_out,
        num_non_member=len(left_out),
        centre=geometry.centre,
        distance_pc=geometry.distance_pc,
        distance_error_pc=geometry.distance_error_pc,
        radial_velocity_kms=float(velocity[0]) if is_radial_known else np.nan,
        space_velocity=sky_frames.to_galactic(velocity, geometry.centre),
        notes=(*notes, *described, *of_luminosity, *deviating, *dark, *([others] if others else [])),
    )


def _is_galactic(keys: tuple[str, ...]) -> bool:
    return "x" in keys or "vx" in keys


def _frame(table: Table) -> pd.DataFrame:
    """All columns that a list can have, NaN where this one has none."""
    identity = ["source_id"] if "source_id" in table.colnames else []
    stars = table[["row", *identity]].to_pandas()
    measured = {
        name: np.asarray(table[name]) if name in table.colnames else np.nan for name in member_list.UNITS
    }
    return stars.assign(**measured)


def _placed(stars: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Without stars that have no position."""
    placed = stars[["ra", "dec"]].notna().all(axis=1)
    check_num_stars(stars[placed], "have a position")
    if placed.all():
        return stars, []
    return stars[placed], [f"Left out for want of a position: {_counted(stars[~placed])}."]


def _distinct(stars: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Without stars that are there before."""
    notes = []
    if "source_id" in stars:
        again = stars["source_id"].notna() & stars["source_id"].duplicated()
        if again.any():
            notes.append(f"Left out because an earlier row has the same source_id: {_counted(stars[again])}.")
            stars = stars[~again]
    unit = SkyCoord(stars["ra"], stars["dec"], unit="deg").cartesian.xyz.value.T
    pairs = cKDTree(unit).query_pairs(np.radians(_SAME_PLACE_ARCSEC / 3600), output_type="ndarray")
    if len(pairs):
        again = stars.index[np.unique(pairs.max(axis=1))]
        notes.append(
            f'Left out because an earlier row is within {_SAME_PLACE_ARCSEC}": {_counted(stars.loc[again])}.'
        )
        stars = stars.drop(again)
    return stars, notes


def _counted(stars: pd.DataFrame) -> str:
    return f"{feature_notes.count(len(stars))} ({member_list.row_numbers(stars['row'])})"


def _complete(stars: pd.DataFrame, keys: tuple[str, ...], others: str) -> tuple[pd.DataFrame, list[str]]:
    """Without stars that have no proper motion, where the features need one; `others` is said where the list has none."""
    moving = [key for key in keys if quantities.get(key).is_velocity]
    if not moving:
        return stars, []
    absent = [name for name in ("pmra", "pmdec") if stars[name].isna().all()]
    if absent:
        raise ObserveError(
            f"{', '.join(moving)} need {' and '.join(absent)}, which the list does not have. {others}"
        )
    has_motion = stars[["pmra", "pmdec"]].notna().all(axis=1)
    if has_motion.all():
        return stars, []
    return stars[has_motion], [f"Left out for want of a proper motion: {_counted(stars[~has_motion])}."]


def _derived(stars: pd.DataFrame, geometry: Geometry, *, is_galactic: bool) -> dict[str, np.ndarray]:
    """What positions, distances and velocities say in terms of the features, and the errors."""
    velocity = np.full(3, np.nan) if geometry.motion is None else geometry.motion.velocity
    tangential, distance, axes = geometry.tangential, geometry.star_distance, geometry.axes
    across = tangential.residual(velocity)
    radial = stars["radial_velocity"].to_numpy() - axes[:, 0] @ velocity
    place = distance[:, None] * axes[:, 0] - [geometry.distance_pc, 0, 0]
    moves = np.column_stack([radial, across])
    move_errors = np.column_stack([filled_errors(stars, ("radial_velocity_error",)), tangential.error])
    errors = {"v_lon_error": tangential.error[:, 0], "v_lat_error": tangential.error[:, 1]}
    if is_galactic:
        tilt = sky_frames.galactic_tilt(geometry.centre)
        place = place @ tilt.T
        turn = np.einsum("ij,nkj->nik", tilt, axes)
        moves = np.einsum("nik,nk->ni", turn, moves)
        move_errors = np.sqrt(np.einsum("nik,nk->ni", turn**2, move_errors**2))
    motions = across / (sky_frames.KMS_PER_PC_MAS_YR * distance[:, None])
    named = {"lon_deg": np.degrees(geometry.lon), "lat_deg": np.degrees(geometry.lat)}
    named |= {"pm_lon_coslat_mas_yr": motions[:, 0], "pm_lat_mas_yr": motions[:, 1]}
    named |= {"dist_pc": distance, "dist_error_pc": geometry.star_distance_error, "rv_kms": radial}
    for i, axis in enumerate("xyz"):
        named |= {axis: place[:, i], f"v{axis}": moves[:, i], f"v{axis}_error": move_errors[:, i]}
    return named | errors


def _luminosity(stars: pd.DataFrame, keys: tuple[str, ...], view: View) -> tuple[np.ndarray, list[str]]:
    """log10 of luminosity [Lsun], as listed, else from photometry at the star's distance; NaN where unknown."""
    listed, magnitude = stars["log_L_L_sol"].to_numpy(), stars["phot_g_mean_mag"].to_numpy()
    colour, distance, extinction = (
        stars["bp_rp"].to_numpy(),
        stars["dist_pc"].to_numpy(),
        view.extinction_v_mag,
    )
    is_measured = np.isnan(listed) & np.isfinite(magnitude)
    is_colourless = is_measured & np.isnan(colour)
    of_dwarfs = photometry.colour_on_main_sequence(magnitude, distance, extinction)
    colour = np.where(is_colourless, of_dwarfs, colour)
    low, high = photometry.COLOUR_RANGE
    intrinsic = photometry.intrinsic_colour(colour, extinction)
    is_beyond = is_measured & ((intrinsic < low) | (intrinsic > high))
    notes = []
    if np.isfinite(listed).any():
        notes.append(f"Luminosities as listed, of {feature_notes.count(int(np.isfinite(listed).sum()))}.")
    if is_measured.any():
        notes.append(
            f"Luminosities from G and BP-RP with an extinction A_V of {extinction:g} mag, of "
            f"{feature_notes.count(int(is_measured.sum()))}."
        )
    elif extinction:
        notes.append(
            f"The extinction A_V of {extinction:g} mag is of no use: no luminosity is from photometry."
        )
    if is_colourless.any():
        notes.append(f"Without BP-RP, taken to be on the main sequence: {_counted(stars[is_colourless])}.")
    if is_beyond.any():
        notes.append(
            f"Of a colour BP-RP beyond {low:g} to {high:g} mag, where the bolometric correction of the nearer end was taken: "
            f"{_counted(stars[is_beyond])}."
        )
    luminosity = photometry.log_luminosity(magnitude, colour, distance, extinction)
    return np.where(is_measured, luminosity, listed), notes if "log_L_L_sol" in keys else []


def _of_one_radial_velocity(
    stars: pd.DataFrame, geometry: Geometry, keys: tuple[str, ...], view: View
) -> tuple[pd.DataFrame, list[str]]:
    """Where features need radial velocities: without stars whose own is far from the rest; that one is missing is an error."""
    is_galactic = _is_galactic(keys)
    radial = [key for key in keys if key in ("rv_kms", "vx") or (is_galactic and key in ("vy", "vz"))]
    no_radial = stars["radial_velocity"].isna() if radial else np.zeros(len(stars), bool)
    no_parallax = ~np.isfinite(geometry.parallaxes.deviation) & is_galactic
    if no_radial.any() or no_parallax.any():
        raise ObserveError(
            f"{', '.join(dict.fromkeys([*radial, *(['x'] if 'x' in keys else [])]))} need radial velocity and parallax of every "
            f"star; of {len(stars)} members {no_radial.sum()} have no radial velocity, and {no_parallax.sum()} no parallax "
            f"with an error. Use a run trained on {' '.join(quantities.PROJECTED)} (such as of --config=posterior), or on {' '.join(quantities.SKY)}, "
            "which need neither"
        )
    if radial and view.clip:
        error = filled_errors(stars, ("radial_velocity_error",))[:, 0]
        scatter = np.hypot(error, mad_std(stars["rv_kms"]))
        deviates = np.abs(stars["rv_kms"]) > MEMBER_WITHIN * scatter
        if deviates.any():
            return stars[~deviates], [
                f"Left out because their radial velocities are more than {MEMBER_WITHIN:g} standard deviations from the rest, as "
                f"those of binaries: {_counted(stars[deviates])}."
            ]
    return stars, []


def _of_known_luminosity(
    stars: pd.DataFrame, keys: tuple[str, ...], others: str
) -> tuple[pd.DataFrame, list[str]]:
    """Where features need luminosities: without stars that have none; that none has one is an error."""
    dark = stars["log_L_L_sol"].isna()
    if "log_L_L_sol" not in keys or not dark.any():
        return stars, []
    if dark.all():
        raise ObserveError(f"log_L_L_sol needs phot_g_mean_mag and bp_rp, or a column log_L_L_sol. {others}")
    return stars[~dark], [f"Left out for want of a luminosity or a magnitude: {_counted(stars[dark])}."]
