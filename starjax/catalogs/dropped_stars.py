"""Stars of a member catalogue that are left out, and why.

Every function takes a data frame of stars with the columns of `member_list.column_units`, and returns the
stars that stay and a record of the others.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.spatial import cKDTree

from starjax.catalogs import astrometry, column_values, sky_frames
from starjax.gaia import photometry
from starjax.quantities import KMS_PER_PC_MAS_YR

if TYPE_CHECKING:
    from starjax.catalogs.cluster_members import Geometry

# Stars nearer to each other than this are one [arcsec]. Gaia DR3 lists no pairs closer than 0.18 arcsec, and
# rows that were merged from several catalogues differ by rounding.
SAME_POSITION_ARCSEC = 0.1
# Rows of one `source_id` are nearer than this [arcsec], whatever their epochs; what is written where the
# identity is unknown, such as 0, is in rows anywhere.
SAME_STAR_ARCSEC = 60


class Reason(enum.Enum):
    """Why stars are left out."""

    NO_POSITION = enum.auto()
    SAME_SOURCE_ID = enum.auto()
    SAME_POSITION = enum.auto()
    IMPROBABLE = enum.auto()
    NO_PROPER_MOTION = enum.auto()
    NON_MEMBER = enum.auto()
    RADIAL_VELOCITY = enum.auto()
    NO_VALUE = enum.auto()


# The reasons that are a missing value; the other stars are repeated or unlike the rest.
LACKS_VALUE = (Reason.NO_POSITION, Reason.NO_PROPER_MOTION, Reason.NO_VALUE)
# Those of rows that are another row's star.
_REPEATED = (Reason.SAME_SOURCE_ID, Reason.SAME_POSITION)


@dataclasses.dataclass(frozen=True)
class Dropped:
    """The stars that are left out for one reason.

    Attributes:
      reason: the reason.
      rows: their row numbers in the catalogue.
      key: the column without a value, if that is the reason.
    """

    reason: Reason
    rows: tuple[int, ...]
    key: str = ""


def drop(
    stars: pd.DataFrame, is_dropped: pd.Series | np.ndarray, reason: Reason, key: str = ""
) -> tuple[pd.DataFrame, Dropped]:
    """Return the stars that stay, and the record of those where `is_dropped`."""
    if not is_dropped.any():  # as for most reasons; a copy takes long
        return stars, Dropped(reason, (), key)
    return stars[~is_dropped], Dropped(reason, tuple(stars.loc[is_dropped, "row"]), key)


def drop_without_position(stars: pd.DataFrame) -> tuple[pd.DataFrame, Dropped]:
    """Leave out stars that have no position."""
    return drop(stars, stars[["ra", "dec"]].isna().any(axis=1), Reason.NO_POSITION)


def clear_placeholders(stars: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Remove each `source_id` that is in rows at different places; return a sentence on these, or none."""
    if "source_id" not in stars:
        return stars, ""
    ids = stars["source_id"]
    if not ids.dropna().duplicated().any():
        return stars, ""
    same = pd.DataFrame(_unit_vectors(stars), index=stars.index).groupby(ids)
    extent = np.linalg.norm(same.max() - same.min(), axis=1)
    is_placeholder = ids.isin(same.max().index[extent > _chord(SAME_STAR_ARCSEC)])
    if not is_placeholder.any():
        return stars, ""
    named = "; ".join(
        f"{name} ({column_values.row_numbers(rows)})"
        for name, rows in stars["row"][is_placeholder].groupby(ids, sort=False)
    )
    return stars.assign(source_id=ids.mask(is_placeholder)), (
        f"Not used, because stars at different places have the same source_id: {named}."
    )


def drop_repeated_ids(stars: pd.DataFrame) -> tuple[pd.DataFrame, Dropped]:
    """Leave out stars with the `source_id` of another row; missing ones are all different."""
    if "source_id" not in stars:
        return drop(stars, np.zeros(len(stars), bool), Reason.SAME_SOURCE_ID)
    number = pd.Series(np.arange(len(stars)), index=stars.index)
    star = number.groupby(stars["source_id"]).transform("min").fillna(number).astype(int)
    return _drop_repeated(stars, star.to_numpy(), Reason.SAME_SOURCE_ID)


def drop_repeated_positions(stars: pd.DataFrame) -> tuple[pd.DataFrame, Dropped]:
    """Leave out stars within `SAME_POSITION_ARCSEC` of another row."""
    pairs = cKDTree(_unit_vectors(stars)).query_pairs(_chord(SAME_POSITION_ARCSEC), output_type="ndarray")
    graph = sparse.coo_array((np.ones(len(pairs)), pairs.T), shape=(len(stars), len(stars)))
    _, star = sparse.csgraph.connected_components(graph, directed=False)
    return _drop_repeated(stars, star, Reason.SAME_POSITION)


def _drop_repeated(stars: pd.DataFrame, star: np.ndarray, reason: Reason) -> tuple[pd.DataFrame, Dropped]:
    """Leave one row of each star: that with most values, and of equal ones that with the smallest values.

    It does not depend on the order of rows, which is chance.

    Args:
      star: rows with the same number (n,) are one star.
    """
    is_alone = np.bincount(star)[star] == 1
    if is_alone.all():
        return stars, Dropped(reason, ())
    others = stars.select_dtypes("number").drop(columns="row")[~is_alone]
    ranked = others.assign(num_missing=others.isna().sum(axis=1)).sort_values(["num_missing", *others])
    is_first = ~pd.Series(star, index=stars.index)[ranked.index].duplicated()
    return drop(stars, ~is_alone & ~stars.index.isin(ranked.index[is_first]), reason)


def _unit_vectors(stars: pd.DataFrame) -> np.ndarray:
    return sky_frames.unit_vectors(stars["ra"].to_numpy(), stars["dec"].to_numpy())


def _chord(angle_arcsec: float) -> float:
    """Return the chord of an angle on the unit sphere."""
    return 2 * np.sin(np.radians(angle_arcsec / 3600) / 2)


def drop_improbable(stars: pd.DataFrame, min_probability: float) -> tuple[pd.DataFrame, Dropped]:
    """Leave out stars whose probability of membership is below the limit."""
    return drop(stars, stars["membership_probability"] < min_probability, Reason.IMPROBABLE)


def drop_without_proper_motion(stars: pd.DataFrame) -> tuple[pd.DataFrame, Dropped]:
    """Leave out stars that have no proper motion."""
    return drop(stars, stars[["pmra", "pmdec"]].isna().any(axis=1), Reason.NO_PROPER_MOTION)


def drop_without_value(stars: pd.DataFrame, key: str) -> tuple[pd.DataFrame, Dropped]:
    """Leave out stars without a value in column `key`."""
    return drop(stars, stars[key].isna(), Reason.NO_VALUE, key)


def count(dropped: Iterable[Dropped], reasons: Sequence[Reason]) -> int:
    """Return the number of stars that are left out for one of `reasons`."""
    return sum(len(one.rows) for one in dropped if one.reason in reasons)


def locate(
    stars: pd.DataFrame, dropped: Iterable[Dropped], geometry: Geometry, extinction_v_mag: float
) -> pd.DataFrame:
    """Return the stars that are left out and have a position, each once.

    Args:
      stars: all of the catalogue.
      dropped: those that are left out.
      geometry: of the cluster.
      extinction_v_mag: of the cluster.

    Returns:
      `row`; offsets from the centre, `lon_deg` and `lat_deg`; `pm_lon_coslat_mas_yr` and `pm_lat_mas_yr`
      relative to the cluster; `phot_g_mean_mag` and `bp_rp` as listed; `abs_mag_g` and `bp_rp_0` at the
      distance of the cluster. NaN where a value is not known.
    """
    rows = [row for one in dropped if one.reason not in _REPEATED for row in one.rows]
    found = stars[stars["row"].isin(rows) & stars[["ra", "dec"]].notna().all(axis=1)]
    ra, dec = found["ra"].to_numpy(), found["dec"].to_numpy()
    lon, lat = sky_frames.offsets(ra, dec, geometry.centre)
    magnitude, colour = found["phot_g_mean_mag"].to_numpy(), found["bp_rp"].to_numpy()
    derived = photometry.colour_magnitude(magnitude, colour, geometry.distance_pc, 0.0, extinction_v_mag, 0.0)
    rotation = sky_frames.axes_rotation(ra, dec, geometry.centre)
    proper_motion = np.einsum("nij,nj->ni", rotation, found[["pmra", "pmdec"]].to_numpy())
    # As of members: in a near cluster the motion depends on the distance of the star.
    parallax = astrometry.combine_parallaxes(
        found["parallax"].to_numpy(),
        found["parallax_error"].to_numpy(),
        geometry.parallaxes.spread / geometry.parallaxes.cluster,
        geometry.parallaxes.cluster,
    ).star
    velocity = sky_frames.local_axes(lon, lat)[:, 1:] @ geometry.mean_velocity
    residual = proper_motion - velocity * parallax[:, None] / (1000 * KMS_PER_PC_MAS_YR)
    columns = {"lon_deg": np.degrees(lon), "lat_deg": np.degrees(lat)}
    columns |= {"pm_lon_coslat_mas_yr": residual[:, 0], "pm_lat_mas_yr": residual[:, 1]}
    columns |= {name: derived[name] for name in ("abs_mag_g", "bp_rp_0")}
    return found[["row", "phot_g_mean_mag", "bp_rp"]].assign(**columns).reset_index(drop=True)
