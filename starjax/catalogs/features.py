"""From the member catalogue of a cluster to the features that runs are trained on, in physical units."""

import numpy as np
import pandas as pd
from astropy.stats import mad_std
from astropy.table import Table

from starjax import quantities
from starjax.catalogs import dropped_stars, feature_notes, fill_values, member_list, sky_frames
from starjax.catalogs.cluster_members import ClusterMembers, Geometry
from starjax.catalogs.column_values import CatalogError
from starjax.catalogs.dropped_stars import Dropped, Reason
from starjax.catalogs.membership import (
    MEMBER_WITHIN,
    assign_zero_points,
    check_degrees,
    check_distances,
    check_num_stars,
    fill_errors,
    select_members,
)
from starjax.catalogs.stated.extinction import Extinction, describe_assumed, find_extinction
from starjax.catalogs.stated.view import View
from starjax.catalogs.unmeasured_values import replace_unmeasured
from starjax.gaia import photometry, uncertainties

# Gaia's columns that luminosities, magnitudes and colours are derived from.
_PHOTOMETRY = "phot_g_mean_mag and bp_rp"
_WITHOUT_COLOURS = "; for lists without colours train a model that needs none, such as --config=posterior"


def derive_features(table: Table, feature_keys: tuple[str, ...], view: View) -> ClusterMembers:
    """Return the features of the stars of one cluster.

    The observer looks along x. `lon_deg` and `lat_deg` are offsets from the centre along Galactic longitude
    and latitude. `pm_lon_coslat_mas_yr`, `pm_lat_mas_yr` and `rv_kms` are residuals after subtraction of the
    cluster's space velocity, projected at the position of each star. `dist_pc` is the distance of each star,
    see `astrometry.combine_parallaxes`. Without x and vx among the features, `y z` are positions across the
    line of sight to the centre and `vy vz` velocities along longitude and latitude. With x or vx, all six are
    along the Galaxy's axes, z towards the pole. Features that the catalogue lists under their own name are
    taken as they are.

    Args:
      table: as `member_list.read_member_list` returns it.

    Raises:
      CatalogError: a feature is not known, or lacks the columns that it needs; see also `select_members`.
    """
    keys = tuple(feature_keys)
    _check_known(keys)
    check_degrees(table)
    filled, unused = fill_values.describe(table), feature_notes.describe_unused(table)
    # What may be the cause if something is missing.
    hints = f"{filled} {unused}".strip()
    listed = member_list.data_frame(table)
    stars, unusable, placeholders = _usable_stars(listed, keys, view, hints)
    check_distances(stars, view, hints)
    stars, view, unmeasured = replace_unmeasured(stars, view, _num_month(table))
    stars = assign_zero_points(stars, view)
    geometry, stars, non_members = select_members(stars, view)
    derived = _kinematics(stars, geometry, is_galactic=_is_galactic(keys))
    # After the geometry, which gives the distances of the stars.
    extinction = find_extinction(view, geometry.centre, geometry.distance_pc)
    luminosities, photometric = _photometry(stars, derived, view, extinction)
    members = stars.assign(**_prefer_listed(stars, derived | photometric))
    _check_line_of_sight(members, geometry, keys)
    members, outliers = _drop_radial_outliers(members, keys, view)
    # Last, since stars without a listed value are as good as others to determine distance and motion.
    members, incomplete = _drop_incomplete(members, keys, hints)
    check_num_stars(members, "are left with all that the features need")
    dropped = (*unusable, non_members, outliers, *incomplete)
    notes = (
        *feature_notes.describe_dropped(dropped, view),
        *(filled, placeholders, *unmeasured, feature_notes.describe_release(table, view)),
        *feature_notes.describe_derivation(stars, geometry, luminosities, extinction, view, keys),
    )
    return ClusterMembers(
        feature=members[list(keys)].to_numpy(np.float64),
        table=members.reset_index(drop=True),
        dropped=dropped,
        left_out=dropped_stars.locate(listed, dropped, geometry, extinction.v_mag),
        centre=geometry.centre,
        distance_pc=geometry.distance_pc,
        distance_error_pc=geometry.distance_error_pc,
        radial_velocity_kms=geometry.radial_velocity_kms,
        space_velocity=sky_frames.to_galactic(geometry.mean_velocity, geometry.centre),
        extinction=extinction,
        metallicity=np.nan if view.metallicity is None else view.metallicity,
        notes=tuple(filter(None, notes)),
        caveats=_caveats(stars, geometry, extinction, keys),
    )


def _caveats(
    stars: pd.DataFrame, geometry: Geometry, extinction: Extinction, keys: tuple[str, ...]
) -> tuple[str, ...]:
    """Return reasons to doubt the features."""
    found = [feature_notes.describe_contradiction(geometry)]
    if _uses_extinction(stars, keys):
        found.append(describe_assumed(extinction, geometry.centre, geometry.distance_pc))
    return tuple(filter(None, found))


def _num_month(table: Table) -> int:
    """Return how long Gaia observed for the catalogue, by the name of its identities."""
    is_dr2 = member_list.has_dr2_identities(table)
    return uncertainties.DR2_MONTHS if is_dr2 else uncertainties.DR3_MONTHS


def _check_known(keys: tuple[str, ...]) -> None:
    known = [key for key, one in quantities.QUANTITIES.items() if one.catalogue != "never"]
    unknown = [key for key in keys if key not in known]
    if unknown:
        raise CatalogError(
            f"{', '.join(unknown)} cannot be derived from a member catalogue; {', '.join(known)} can. A "
            "column that catalogues list under its own name needs catalogue='listed' in "
            "starjax/quantities.py"
        )


def _derived_keys(keys: tuple[str, ...]) -> list[str]:
    """Return the features that are derived from Gaia's columns, at least for stars that do not list them."""
    return [key for key in keys if quantities.get(key).catalogue != "listed"]


def _is_galactic(keys: tuple[str, ...]) -> bool:
    """Return True if features are along the Galaxy's axes, False if they are across the line of sight."""
    return any(key in ("x", "vx") for key in _derived_keys(keys))


def _usable_stars(
    listed: pd.DataFrame, keys: tuple[str, ...], view: View, hints: str
) -> tuple[pd.DataFrame, tuple[Dropped, ...], str]:
    """Return each probable member once that has a position, and a proper motion if the features need it.

    The last value is a sentence on what the catalogue has instead of identities.
    """
    stars, no_position = dropped_stars.drop_without_position(listed)
    check_num_stars(stars, "have a position")
    stars, placeholders = dropped_stars.clear_placeholders(stars)
    # Before repeated rows, of which an improbable one may be kept.
    stars, improbable = dropped_stars.drop_improbable(stars, view.min_probability)
    check_num_stars(stars, f"with a probability of at least {view.min_probability:g} (min_probability)")
    stars, same_id = dropped_stars.drop_repeated_ids(stars)
    stars, same_position = dropped_stars.drop_repeated_positions(stars)
    dropped = (no_position, improbable, same_id, same_position)
    velocities = [key for key in _derived_keys(keys) if quantities.get(key).is_velocity]
    if not velocities:
        return stars, dropped, placeholders
    absent = [name for name in ("pmra", "pmdec") if stars[name].isna().all()]
    if absent:
        raise CatalogError(
            f"{', '.join(velocities)} need {' and '.join(absent)}, which the catalogue does not have. {hints}"
        )
    stars, no_motion = dropped_stars.drop_without_proper_motion(stars)
    return stars, (*dropped, no_motion), placeholders


def _kinematics(stars: pd.DataFrame, geometry: Geometry, *, is_galactic: bool) -> dict[str, np.ndarray]:
    """Return positions and velocities as features, and their errors, by column (n,)."""
    tangential, distance, axes = geometry.tangential, geometry.star_distance, geometry.axes
    tangential_residual = tangential.residual(geometry.mean_velocity)
    radial_residual = stars["radial_velocity"].to_numpy() - axes[:, 0] @ geometry.mean_velocity
    position = distance[:, None] * axes[:, 0] - [geometry.distance_pc, 0, 0]
    velocity = np.column_stack([radial_residual, tangential_residual])
    velocity_error = np.column_stack([fill_errors(stars, ("radial_velocity_error",)), tangential.error])
    if is_galactic:
        tilt = sky_frames.galactic_tilt(geometry.centre)
        position = position @ tilt.T
        # Velocities were measured along the axes at each star, which differ from those at the centre.
        rotation = np.einsum("ij,nkj->nik", tilt, axes)
        velocity = np.einsum("nik,nk->ni", rotation, velocity)
        velocity_error = np.sqrt(np.einsum("nik,nk->ni", rotation**2, velocity_error**2))
    proper_motion = tangential_residual / (quantities.KMS_PER_PC_MAS_YR * distance[:, None])
    found = {
        "lon_deg": np.degrees(geometry.lon),
        "lat_deg": np.degrees(geometry.lat),
        "pm_lon_coslat_mas_yr": proper_motion[:, 0],
        "pm_lat_mas_yr": proper_motion[:, 1],
        "dist_pc": distance,
        "dist_error_pc": geometry.star_distance_error,
        "rv_kms": radial_residual,
    }
    for i, axis in enumerate("xyz"):
        found |= {axis: position[:, i], f"v{axis}": velocity[:, i], f"v{axis}_error": velocity_error[:, i]}
    v_lon_error, v_lat_error = tangential.error.T
    mean_error = np.maximum(np.sqrt((v_lon_error**2 + v_lat_error**2) / 2), quantities.MIN_V_ERROR_KMS)
    return found | {"v_lon_error": v_lon_error, "v_lat_error": v_lat_error, "v_error_kms": mean_error}


def _photometry(
    stars: pd.DataFrame, derived: dict[str, np.ndarray], view: View, extinction: Extinction
) -> tuple[photometry.Luminosities, dict[str, np.ndarray]]:
    """Return luminosities; and these, magnitudes, colours and their errors by name of the feature."""
    magnitude, colour = stars["phot_g_mean_mag"].to_numpy(), stars["bp_rp"].to_numpy()
    distance = derived["dist_pc"]
    # All stars share the error of a stated distance, as they do that of the extinction.
    distance_error = np.hypot(derived["dist_error_pc"], view.stated_distance_error_pc)
    magnitudes = photometry.colour_magnitude(
        *(magnitude, colour, distance, distance_error), extinction.v_mag, extinction.v_error_mag
    )
    luminosities = photometry.estimate_luminosities(magnitude, colour, distance, extinction.v_mag)
    return luminosities, {quantities.LUMINOSITY: luminosities.log_luminosity, **magnitudes}


def _uses_extinction(stars: pd.DataFrame, keys: tuple[str, ...]) -> bool:
    """Return whether a feature of the stars, with what the catalogue lists, depends on the extinction."""
    derives_luminosity = quantities.LUMINOSITY in keys and stars[quantities.LUMINOSITY].isna().any()
    return bool(set(quantities.PHOTOMETRY) & set(keys)) or derives_luminosity


def _prefer_listed(stars: pd.DataFrame, derived: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the derived columns, with listed values in their place where the quantity allows either."""
    return {
        key: np.where(stars[key].isna(), values, stars[key])
        if quantities.get(key).catalogue == "either"
        else values
        for key, values in derived.items()
        if quantities.get(key).catalogue != "listed"
    }


def _radial_keys(keys: tuple[str, ...]) -> list[str]:
    """Return the features that need the radial velocity of every star."""
    along_sight = ("rv_kms", "vx", "vy", "vz") if _is_galactic(keys) else ("rv_kms", "vx")
    return [key for key in _derived_keys(keys) if key in along_sight]


def _check_line_of_sight(stars: pd.DataFrame, geometry: Geometry, keys: tuple[str, ...]) -> None:
    """Raise if features along the line of sight lack a radial velocity or a parallax."""
    radial = _radial_keys(keys)
    no_radial = stars["radial_velocity"].isna() & bool(radial)
    no_parallax = ~np.isfinite(geometry.parallaxes.deviation) & _is_galactic(keys)
    if no_radial.any() or no_parallax.any():
        needy = dict.fromkeys([*radial, *({"x"} & set(keys))])
        raise CatalogError(
            f"{', '.join(needy)} need radial velocity and parallax of every star; of {len(stars)} members "
            f"{no_radial.sum()} have no radial velocity, and {no_parallax.sum()} no parallax with an error. "
            f"Use a run trained on {' '.join(quantities.PROJECTED)}, such as one of --config=posterior, or "
            f"on {' '.join(quantities.SKY)}, which need neither"
        )


def _drop_radial_outliers(
    stars: pd.DataFrame, keys: tuple[str, ...], view: View
) -> tuple[pd.DataFrame, Dropped]:
    """Leave out binaries by their radial velocities, if the features need these and `view.clip`.

    Otherwise they stay: their proper motions and positions are close to those of the cluster.
    """
    is_outlier = np.zeros(len(stars), bool)
    if _radial_keys(keys) and view.clip:
        error = fill_errors(stars, ("radial_velocity_error",))[:, 0]
        scatter = np.hypot(error, mad_std(stars["rv_kms"]))
        is_outlier = np.abs(stars["rv_kms"]) > MEMBER_WITHIN * scatter
    return dropped_stars.drop(stars, is_outlier, Reason.RADIAL_VELOCITY)


def _drop_incomplete(
    stars: pd.DataFrame, keys: tuple[str, ...], hints: str
) -> tuple[pd.DataFrame, list[Dropped]]:
    """Leave out stars without a value that they need of their own; raise if no star has one."""
    wanted = [key for key in keys if key in (*quantities.listed_keys(), *quantities.PHOTOMETRY)]
    for key in wanted:
        if stars[key].isna().all():
            source = {key: f"a column {key}"} | dict.fromkeys(quantities.PHOTOMETRY, _PHOTOMETRY)
            source[quantities.LUMINOSITY] = f"{_PHOTOMETRY}, or a column {quantities.LUMINOSITY}"
            way_out = _WITHOUT_COLOURS if key in quantities.PHOTOMETRY else ""
            raise CatalogError(f"{key} needs {source[key]}{way_out}. {hints}")
    incomplete = []
    for key in wanted:
        stars, without = dropped_stars.drop_without_value(stars, key)
        incomplete.append(without)
    return stars, incomplete
