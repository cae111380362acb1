"""What is said about how a member list was turned into features, a sentence each."""

import numpy as np
import pandas as pd
from astropy.table import Table

from starjax.catalogs import sky_frames
from starjax.catalogs.membership import Geometry, View

_MAX_COLUMNS_NAMED = 12
_ALONG_SIGHT = ("x", "vx", "dist_pc")


def count(num_star: int) -> str:
    return "1 star" if num_star == 1 else f"{num_star} stars"


def of_unused(table: Table) -> str:
    """The columns of a list that no use was made of: one of them may be meant under another name."""
    unused = table.meta["unused"]
    if not unused:
        return ""
    more = f" and {len(unused) - _MAX_COLUMNS_NAMED} more" if len(unused) > _MAX_COLUMNS_NAMED else ""
    return (
        f"Columns not used: {', '.join(unused[:_MAX_COLUMNS_NAMED])}{more} "
        "(if one is meant, name it by --columns=OURS=THEIRS, such as pmra=pmRA)."
    )


def of_geometry(stars: pd.DataFrame, geometry: Geometry, view: View, keys: tuple[str, ...]) -> list[str]:
    """How centre, distances and motion of the cluster were found."""
    notes = [_of_centre(geometry, view), *_of_distance(stars, geometry, view)]
    if geometry.motion is not None:
        notes += [*_of_missing_errors(stars), *_of_motion(stars, geometry)]
    depth = geometry.distance_pc * geometry.parallaxes.spread / geometry.parallaxes.cluster
    error = float(np.median(geometry.star_distance_error))
    if any(key in _ALONG_SIGHT for key in keys) and error > depth / 2:
        notes.append(
            f"Distances of single stars are uncertain by {error:.1f} pc (median) in a cluster {depth:.1f} pc deep: what lies along "
            "the line of sight is not resolved, and runs without x, vx and dist_pc suit this list better."
        )
    return notes


def _of_centre(geometry: Geometry, view: View) -> str:
    ra, dec = geometry.centre
    how = "given" if view.centre is not None else "median of the members"
    return f"Centre at ra {ra:.4f}, dec {dec:.4f} deg ({how})."


def _of_distance(stars: pd.DataFrame, geometry: Geometry, view: View) -> list[str]:
    parallaxes = geometry.parallaxes
    if view.distance_pc is not None:
        notes = [f"Distance {geometry.distance_pc:.4g} pc (given)."]
    else:
        notes = [
            f"Distance {geometry.distance_pc:.4g} ± {geometry.distance_error_pc:.2g} pc, from {count(parallaxes.num_used)} and a "
            f"zero point of parallaxes of {view.parallax_zero_point_mas:g} mas."
        ]
    if stars["distance"].notna().any() and stars["distance_error"].isna().all():
        notes.append("Distances of stars are listed without errors, and count as exact.")
    if stars["parallax_error"].isna().all() and stars["parallax"].notna().any():
        notes.append(
            "Parallaxes are listed without errors: their scatter beyond the cluster's depth counts as error."
        )
    without = int((~np.isfinite(parallaxes.deviation)).sum())
    if without:
        notes.append(
            f"Put at the cluster's distance, for want of a parallax with an error: {count(without)}."
        )
    return notes


def _of_missing_errors(stars: pd.DataFrame) -> list[str]:
    if stars[["pmra_error", "pmdec_error"]].isna().all(axis=None):
        return ["Proper motions are listed without errors, and count as exact."]
    return []


def _of_motion(stars: pd.DataFrame, geometry: Geometry) -> list[str]:
    motion = geometry.motion
    num_listed = int(stars["radial_velocity"].notna().sum())
    listed = f"more precise than what is listed of {count(num_listed)}" if num_listed else "none is listed"
    value = f"Radial velocity {motion.velocity[0]:.2f}"
    notes = [
        {
            "given": f"{value} km/s (given).",
            "stars": f"{value} ± {motion.radial_error:.2g} km/s, median of {count(motion.num_radial)}.",
            "perspective": f"{value} ± {motion.radial_error:.2g} km/s, from how proper motions converge: {listed}. "
            "If the cluster itself expands or shrinks, that counts as radial velocity.",
            "unknown": "Radial velocity unknown: proper motions do not tell it, and none is listed or given. If the cluster "
            "approaches or recedes, the apparent expansion by that was not taken out.",
        }[motion.source]
    ]
    moves = np.isfinite(geometry.proper_motion).all(axis=1)
    by_distance = (
        sky_frames.KMS_PER_PC_MAS_YR * geometry.star_distance_error * np.hypot(*geometry.proper_motion.T)
    )
    share = float(np.median(by_distance[moves]))
    residual = geometry.tangential.residual(motion.velocity)[moves]
    total = float(np.sqrt(np.mean(np.median(np.abs(residual), axis=0) ** 2)) * 1.4826)
    if share > total / 2:
        notes.append(
            f"Uncertain distances of single stars add about {share:.2f} km/s along the cluster's motion to velocities that scatter "
            f"by {total:.2f} km/s: proper motions and velocities are broader than the cluster's."
        )
    return notes
