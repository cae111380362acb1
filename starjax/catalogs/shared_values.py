"""Values that a catalogue repeats for many stars, because they are the cluster's, or nobody's."""

import dataclasses

import numpy as np
import pandas as pd

from starjax.catalogs import column_values
from starjax.catalogs.stated.view import View
from starjax.quantities import MIN_STARS


def use_shared_values(stars: pd.DataFrame, view: View) -> tuple[pd.DataFrame, View, list[str]]:
    """Return the stars without values that they share, the view with them, and sentences on them."""
    stars, view, distance_note = _use_shared_distance(stars, view)
    stars, view, velocity_note = _use_shared_radial_velocity(stars, view)
    return stars, view, [*distance_note, *velocity_note]


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
