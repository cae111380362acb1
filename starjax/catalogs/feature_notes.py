"""Sentences on how features were derived from a member catalogue, and on the stars that were left out."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from astropy.table import Table

from starjax import errors, quantities
from starjax.catalogs import column_values, member_list
from starjax.catalogs.astrometry import MAX_PERSPECTIVE_ERROR_KMS, Motion
from starjax.catalogs.cluster_members import Geometry
from starjax.catalogs.column_values import counted
from starjax.catalogs.dropped_stars import SAME_POSITION_ARCSEC, Dropped, Reason
from starjax.catalogs.membership import MEMBER_WITHIN, uses_distance
from starjax.catalogs.stated.extinction import Extinction
from starjax.catalogs.stated.view import View
from starjax.gaia import parallax_zero_point, photometry
from starjax.gaia.photometry import Luminosities

# A table from the Gaia archive has some 150 columns.
_MAX_COLUMNS_NAMED = 12
# Of a cluster that was a point ten million years ago [km/s per pc].
_FASTEST_EXPANSION = 0.1
# Features that depend on how deep in the cluster a star is.
_ALONG_SIGHT = ("x", "vx", "dist_pc")


def describe_columns(table: Table) -> tuple[str, ...]:
    """Return sentences on what the columns of a member catalogue are taken for, and which are not used."""
    found = (_describe_recognized(table), describe_unused(table), _describe_shared(table))
    found += tuple(table.meta["remarks"])
    return tuple(filter(None, found))


def _describe_recognized(table: Table) -> str:
    """Return a sentence that says what the columns with names unlike ours were taken for."""
    names = ", ".join(f"{theirs} as {ours}" for ours, theirs in table.meta["recognized"].items())
    return f"Columns recognized: {names}." if names else ""


def describe_unused(table: Table) -> str:
    """Return a sentence that names the columns without use, since one may be meant under another name."""
    unused = table.meta["unused"]
    if not unused:
        return ""
    return (
        f"Columns not used: {errors.first_of(unused, _MAX_COLUMNS_NAMED)} "
        "(if one is meant, name it by --columns=OURS=THEIRS, such as pmra=pmRA)."
    )


def _describe_shared(table: Table) -> str:
    """Return a question about columns that may name clusters, of which several then count as one."""
    names = table.meta["may_name_clusters"]
    if not names:
        return ""
    return f"Do the values of {', '.join(names)} name clusters? Then say so: --columns=cluster={names[0]}."


def describe_dropped(dropped: Iterable[Dropped], view: View) -> list[str]:
    """Return a sentence for each reason for which stars were left out."""
    return [f"Left out {_reason(one, view)}: {counted(one.rows)}." for one in dropped if one.rows]


def _reason(dropped: Dropped, view: View) -> str:
    far = f"more than {MEMBER_WITHIN:g} standard deviations from the rest"
    parallax = " or parallax" if view.distance_pc is None else ", or in parallax from the stated distance"
    without = f"{dropped.key} is"
    if dropped.key == quantities.LUMINOSITY:
        without = "luminosity and magnitude are"
    elif dropped.key in quantities.PHOTOMETRY:
        without = "G or BP-RP is"
    return {
        Reason.NO_POSITION: "because the position is missing",
        Reason.SAME_SOURCE_ID: "because another row has the same source_id",
        Reason.SAME_POSITION: f'because another row is within {SAME_POSITION_ARCSEC}"',
        Reason.IMPROBABLE: f"because the membership probability is below {view.min_probability:g}",
        Reason.NO_PROPER_MOTION: "because the proper motion is missing",
        Reason.NON_MEMBER: f"as non-members, {far} in motion{parallax}",
        Reason.RADIAL_VELOCITY: f"because the radial velocity is {far}, as that of a binary may be",
        Reason.NO_VALUE: f"because {without} missing",
    }[dropped.reason]


def describe_derivation(
    stars: pd.DataFrame,
    geometry: Geometry,
    luminosities: Luminosities,
    extinction: Extinction,
    view: View,
    keys: tuple[str, ...],
) -> list[str]:
    """Return sentences on where distance, motion, luminosities and magnitudes are from.

    Args:
      stars: the members, with their columns as listed.
      keys: the features.
    """
    return [
        *_describe_geometry(stars, geometry, view, keys),
        *_describe_luminosities(stars, luminosities, extinction.v_mag, keys),
        *_describe_photometry(extinction, view, keys),
    ]


def _describe_luminosities(
    stars: pd.DataFrame, luminosities: Luminosities, extinction_v_mag: float, keys: tuple[str, ...]
) -> list[str]:
    """Return sentences on where the luminosities are from, if they are a feature.

    Args:
      stars: the members, with the column of luminosities as listed.
      luminosities: those of the same stars from photometry.
    """
    if quantities.LUMINOSITY not in keys:
        return []
    is_listed = stars[quantities.LUMINOSITY].notna().to_numpy()
    is_measured = ~is_listed & np.isfinite(luminosities.log_luminosity)
    notes = []
    if is_listed.any():
        notes.append(f"Luminosities of {_stars(int(is_listed.sum()))} as listed.")
    if is_measured.any():
        notes.append(
            f"Luminosities of {_stars(int(is_measured.sum()))} from G and BP-RP, with an extinction A_V of "
            f"{extinction_v_mag:.3g} mag."
        )
    elif extinction_v_mag:
        notes.append(
            f"The extinction A_V of {extinction_v_mag:.3g} mag has no effect: no luminosity is from "
            "photometry."
        )
    rows = stars["row"].to_numpy()
    if (without := is_measured & luminosities.lacks_colour).any():
        notes.append(f"Without BP-RP, taken to be on the main sequence: {counted(rows[without])}.")
    if (beyond := is_measured & luminosities.is_beyond_colours).any():
        low, high = photometry.COLOUR_RANGE
        notes.append(
            f"With a colour BP-RP beyond {low:g} to {high:g} mag, where the bolometric correction of the "
            f"nearer end was used: {counted(rows[beyond])}."
        )
    return notes


def _describe_photometry(extinction: Extinction, view: View, keys: tuple[str, ...]) -> list[str]:
    """Return sentences on extinction and stated distance, if magnitudes or colours are features."""
    notes = []
    if set(quantities.PHOTOMETRY) & set(keys):
        notes.append(f"Magnitudes and colours with {extinction.note}")
    if view.stated_distance_error_pc:
        is_used = "abs_mag_g_error" in keys
        use = "in the errors of absolute magnitudes" if is_used else "in none of the features"
        notes.append(f"The error of the stated distance counts in membership, and {use}.")
    return notes


def _describe_geometry(
    stars: pd.DataFrame, geometry: Geometry, view: View, keys: tuple[str, ...]
) -> list[str]:
    """Return sentences on how centre, distances and motion of the cluster were determined."""
    notes = [_describe_centre(geometry, view), *_describe_distance(stars, geometry, view)]
    motion = geometry.motion
    if motion is not None:
        errors = stars[["pmra_error", "pmdec_error"]]
        lacks_error = errors.isna().any(axis=1)
        if errors.isna().all(axis=0).any():
            notes.append("Proper motions are listed without errors and magnitudes, and count as exact.")
        elif lacks_error.any():
            rows = column_values.row_numbers(stars["row"][lacks_error])
            notes.append(
                f"Proper motions in {rows} lack an error and a magnitude: their error is the others' median."
            )
        notes += [_describe_radial_velocity(stars, motion), *_describe_broadening(geometry)]
    depth = geometry.distance_pc * geometry.parallaxes.spread / geometry.parallaxes.cluster
    error = float(np.median(geometry.star_distance_error))
    # With errors beyond half of the depth, the order of the stars along the line of sight is mostly noise.
    if any(key in _ALONG_SIGHT for key in keys) and error > depth / 2:
        notes.append(
            f"Distances of single stars are uncertain by {error:.1f} pc (median) in a cluster {depth:.1f} pc "
            "deep: the line of sight is not resolved, and runs without x, vx and dist_pc suit this "
            "catalogue better."
        )
    return notes


def _describe_centre(geometry: Geometry, view: View) -> str:
    ra, dec = geometry.centre
    source = "given" if view.centre is not None else "median of the members"
    return f"Centre at ra {ra:.4f}, dec {dec:.4f} deg ({source})."


def _describe_distance(stars: pd.DataFrame, geometry: Geometry, view: View) -> list[str]:
    parallaxes = geometry.parallaxes
    if view.distance_pc is not None:
        error = f" ± {geometry.distance_error_pc:.2g}" if geometry.distance_error_pc else ""
        notes = [f"Distance {geometry.distance_pc:.4g}{error} pc (given)."]
    else:
        notes = [
            f"Distance {geometry.distance_pc:.4g} ± {geometry.distance_error_pc:.2g} pc, from "
            f"{_stars(parallaxes.num_used)} with {_zero_point(stars, view)}."
        ]
    listed, used = stars["distance"].notna().to_numpy(), uses_distance(stars)
    if (used & stars["distance_error"].isna().to_numpy()).any():
        notes.append("Distances of stars are listed without errors, and count as exact.")
    if num_unused := int((listed & ~used).sum()):
        notes.append(
            f"Distances of {_stars(num_unused)} are listed without errors, and not used: their parallaxes "
            "have errors."
        )
    if stars["parallax_error"].isna().all() and stars["parallax"].notna().any():
        notes.append(
            "Parallaxes are listed without errors and magnitudes: their scatter beyond the cluster's depth "
            "counts as error."
        )
    without = int((~np.isfinite(parallaxes.deviation)).sum())
    if without:
        notes.append(
            f"Put at the cluster's distance, because a parallax with an error is missing: {_stars(without)}."
        )
    return notes


def _zero_point(stars: pd.DataFrame, view: View) -> str:
    """Return what the zero points of parallaxes are."""
    if not view.has_zero_point_by_star:
        return f"a parallax zero point of {view.parallax_zero_point_mas:g} mas"
    found = stars["parallax_zero_point"]
    without = stars["row"][found.isna() & stars["parallax"].notna()]
    said = (
        f"parallax zero points by star ({parallax_zero_point.RECIPE}), {found.median():.3f} mas in the median"
    )
    if len(without):
        said += f", and {parallax_zero_point.TYPICAL_MAS} mas where there is none: {counted(without)}"
    return said


def describe_release(table: Table, view: View) -> str:
    """Return a warning if zero points of EDR3 are applied to a catalogue of DR2; else an empty text."""
    if not (view.has_zero_point_by_star and member_list.has_dr2_identities(table)):
        return ""
    return (
        f"The parallax zero points ({parallax_zero_point.RECIPE}) are those of Gaia EDR3 and DR3, but the "
        f"identities are those of DR2 (column {table.meta['identities']}): if the parallaxes are DR2's, too, "
        f"state a number instead, such as {parallax_zero_point.DR2_MAS}."
    )


def _describe_radial_velocity(stars: pd.DataFrame, motion: Motion) -> str:
    num_listed = int(stars["radial_velocity"].notna().sum())
    listed = f"more precise than the listed ones of {_stars(num_listed)}" if num_listed else "none is listed"
    value = f"Radial velocity {motion.velocity[0]:.2f}"
    return {
        "given": f"{value} km/s (given).",
        "stars": f"{value} ± {motion.radial_error:.2g} km/s, median of {_stars(motion.num_radial)}.",
        "perspective": f"{value} ± {motion.radial_error:.2g} km/s, from the convergence of proper motions: "
        f"{listed}. An expansion or contraction of the cluster itself would count as radial velocity.",
        "unknown": "Radial velocity unknown: proper motions do not constrain it, and none is listed or "
        "given. If the cluster approaches or recedes, its apparent expansion or contraction remains.",
    }[motion.source]


def describe_contradiction(geometry: Geometry) -> str:
    """Return a reason to flag a cluster whose radial velocity proper motions contradict; empty otherwise."""
    motion = geometry.motion
    if motion is None or motion.source == "unknown" or motion.convergence_error > MAX_PERSPECTIVE_ERROR_KMS:
        return ""
    error = np.hypot(motion.radial_error, motion.convergence_error)
    # Clusters expand, which looks like approaching.
    limit = MEMBER_WITHIN * error + _FASTEST_EXPANSION * geometry.distance_pc
    if abs(motion.velocity[0] - motion.convergence) <= limit:
        return ""
    return (
        f"radial velocity {motion.velocity[0]:.1f} km/s, where the convergence of proper motions gives "
        f"{motion.convergence:.1f} ± {motion.convergence_error:.2g} km/s"
    )


def _describe_broadening(geometry: Geometry) -> list[str]:
    """Return a sentence if errors of distances make up much of the scatter of velocities."""
    has_motion = geometry.has_motion
    by_distance = (
        quantities.KMS_PER_PC_MAS_YR * geometry.star_distance_error * np.hypot(*geometry.proper_motion.T)
    )
    error = float(np.median(by_distance[has_motion]))
    residual = geometry.tangential.residual(geometry.mean_velocity)[has_motion]
    # A normal distribution has a standard deviation of 1.4826 times its median absolute deviation.
    scatter = float(np.sqrt(np.mean(np.median(np.abs(residual), axis=0) ** 2)) * 1.4826)
    # Half of the scatter is a quarter of the variance.
    if error <= scatter / 2:
        return []
    return [
        f"Uncertain distances of single stars add about {error:.2f} km/s along the cluster's motion to "
        f"velocities that scatter by {scatter:.2f} km/s: proper motions and velocities are broader than the "
        "cluster's."
    ]


def _stars(num_star: int) -> str:
    return "1 star" if num_star == 1 else f"{num_star} stars"
