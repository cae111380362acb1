"""Values that were not measured of single stars: shared ones, separations called distances, absent errors."""

import dataclasses

import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord

from starjax.catalogs import column_values
from starjax.catalogs.stated.view import View
from starjax.gaia import uncertainties
from starjax.quantities import MIN_STARS

# Units of separations, per degree; and how much they and positions may be rounded [deg].
_SEPARATION_UNITS = {"degrees": 1, "arcmin": 60, "arcsec": 3600}
_SEPARATION_ROUNDING = 1e-3


def replace_unmeasured(
    stars: pd.DataFrame, view: View, num_month: int
) -> tuple[pd.DataFrame, View, list[str]]:
    """Return the stars without values that were not measured, the view with those that are the cluster's.

    Missing errors of parallaxes and proper motions are Gaia's typical ones where the magnitude is known.

    Args:
      num_month: duration of Gaia's observations, see `uncertainties.astrometric_errors`.

    Returns:
      The stars, the view, and sentences on what was done.
    """
    stars, separation_note = _drop_separations(stars)
    stars, view, distance_note = _use_shared_distance(stars, view)
    stars, view, velocity_note = _use_shared_radial_velocity(stars, view)
    stars, error_notes = _use_typical_errors(stars, num_month)
    return stars, view, [*separation_note, *distance_note, *velocity_note, *error_notes]


def _use_typical_errors(stars: pd.DataFrame, num_month: int) -> tuple[pd.DataFrame, list[str]]:
    """Return the stars with Gaia's typical errors at their magnitudes where errors are missing."""
    typical = uncertainties.astrometric_errors(stars["phot_g_mean_mag"].to_numpy(), num_month)
    columns_by_rows: dict[tuple[int, ...], list[str]] = {}
    for column, errors in typical.items():
        is_typical = stars[column.removesuffix("_error")].notna() & stars[column].isna() & np.isfinite(errors)
        stars = stars.assign(**{column: stars[column].mask(is_typical, errors)})
        if is_typical.any():
            columns_by_rows.setdefault(tuple(stars["row"][is_typical]), []).append(column)
    if not columns_by_rows:
        return stars, []
    named = "; ".join(
        f"{', '.join(columns)} of "
        + (f"all {len(rows)} stars" if len(rows) == len(stars) else column_values.counted(rows))
        for rows, columns in columns_by_rows.items()
    )
    return stars, [f"Missing errors are Gaia's typical ones at the magnitude of each star: {named}."]


def _drop_separations(stars: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the stars without distances if these are separations from the centre of a cone search.

    The separation between two stars differs from that of the centre and one of them by at most that of the
    centre and the other, which is the nearest star here.
    """
    known = stars[stars["distance"].notna()]
    listed = known["distance"]
    if len(known) < MIN_STARS or listed.min() > listed.median() / 2:
        return stars, []
    nearest = known.loc[listed.idxmin()]
    between = SkyCoord(known["ra"], known["dec"], unit="deg").separation(
        SkyCoord(nearest["ra"], nearest["dec"], unit="deg")
    )
    for unit, per_degree in _SEPARATION_UNITS.items():
        separation = listed / per_degree
        if (np.abs(separation - between.deg) <= separation.min() + _SEPARATION_ROUNDING).all():
            note = f"Not used: distance is the separation from a centre, in {unit}."
            return stars.assign(distance=np.nan, distance_error=np.nan), [note]
    return stars, []


def _use_shared_distance(stars: pd.DataFrame, view: View) -> tuple[pd.DataFrame, View, list[str]]:
    """Return the distance that the stars share in the view instead.

    If most stars have a distance, and all of them the same, it is that of the cluster, and has no information
    on its depth. A distance that the view has already stays.
    """
    known = stars["distance"].dropna()
    if len(known) <= len(stars) / 2 or known.nunique() > 1:
        return stars, view, []
    errors = stars["distance_error"].dropna().unique()
    stars = stars.assign(distance=np.nan, distance_error=np.nan)
    if view.distance_pc:
        return stars, view, []
    shared = float(known.iloc[0])
    if len(errors) == 1 and view.distance_error_pc is None:
        view = dataclasses.replace(view, distance_error_pc=float(errors[0]))
    note = f"All stars are listed at the same distance of {shared:g} pc, which is taken to be the cluster's."
    return stars, dataclasses.replace(view, distance_pc=shared), [note]


def _use_shared_radial_velocity(stars: pd.DataFrame, view: View) -> tuple[pd.DataFrame, View, list[str]]:
    """Return the stars without a radial velocity that most of them share.

    If all share it, it is the cluster's. If the others are many and mostly differ from each other, they were
    measured, and the shared value fills gaps; in a list of rounded values, others are repeated, too.
    """
    known = stars["radial_velocity"].dropna()
    if known.empty:
        return stars, view, []
    shared = float(known.mode().iloc[0])
    is_shared, others = stars["radial_velocity"] == shared, known[known != shared]
    if is_shared.sum() < max(MIN_STARS, len(known) / 2):
        return stars, view, []
    if len(others) and others.nunique() < max(MIN_STARS, len(others) / 2):
        return stars, view, []
    masked = stars[["radial_velocity", "radial_velocity_error"]].mask(is_shared)
    note = (
        f"Radial velocity of exactly {shared:g} km/s, {column_values.row_numbers(stars['row'][is_shared])}: "
    )
    if len(others):
        return stars.assign(**masked), view, [f"{note}counted as missing."]
    if view.radial_velocity_kms is None:
        view = dataclasses.replace(view, radial_velocity_kms=shared)
    return stars.assign(**masked), view, [f"{note}taken to be the cluster's, and not measured of the stars."]
