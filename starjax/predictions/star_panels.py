"""Panels of the stars of a cluster: the sky, the colour-magnitude diagram, and proper motions.

Members set the limits of a panel. Stars far from all others are at its edge, as arrows that point to where
they are, and are counted.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import markers
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, MultipleLocator

from starjax import quantities
from starjax.catalogs.cluster_members import ClusterMembers
from starjax.inference.predictor import Predictor
from starjax.plotting import style

SKY = ("lon_deg", "lat_deg")
MOTIONS = ("pm_lon_coslat_mas_yr", "pm_lat_mas_yr")
# Columns and labels of colours and magnitudes: intrinsic if the run sees these, else apparent.
_INTRINSIC, _APPARENT = ("bp_rp_0", "abs_mag_g"), ("bp_rp", "phot_g_mean_mag")
_LISTED_LABELS = {"bp_rp": "BP \N{MINUS SIGN} RP [mag]", "phot_g_mean_mag": "G [mag]"}
# Beyond the range of the central fraction of the members, panels extend by at most this multiple of it.
_CENTRAL, _REACH = 0.8, 1.5
# Room between the outermost stars and the edge, as a fraction of the panel.
_MARGIN = 0.05
# The smallest sizes of panels [deg, mas/yr, mag], for stars that are all at one place.
_LEAST_DEG, _LEAST_MAS_YR, _LEAST_MAG = 0.02, 0.1, 0.5
# Intervals between ticks.
_MOST_TICKS, _STEPS = 5, (1, 2, 5, 10)
# Error bars of more stars would hide each other.
_MAX_ERROR_BARS = 100
_MEMBERS: dict[str, Any] = {
    "linestyle": "",
    "marker": "o",
    "color": style.DARK,
    "markersize": 2.4,
    "markeredgewidth": 0,
}
_LEFT_OUT: dict[str, Any] = {
    "linestyle": "",
    "marker": "x",
    "color": style.WARM,
    "markersize": 5,
    "markeredgewidth": 1.2,
}


def photometry_keys(run: Predictor, members: ClusterMembers) -> tuple[str, str] | None:
    """Return the columns of colours and magnitudes to show; None if no star has both."""
    shown = _INTRINSIC if set(_INTRINSIC) <= set(run.feature_keys) else _APPARENT
    return shown if members.table[list(shown)].notna().all(axis=1).any() else None


def has_motions(members: ClusterMembers) -> bool:
    """Return whether a member has a proper motion."""
    return bool(members.table[list(MOTIONS)].notna().all(axis=1).any())


def draw_sky(axes: Axes, members: ClusterMembers) -> int:
    """Draw where the stars are, longitude increasing to the left; return how many are beyond the panel."""
    _set_equal_axes(axes, _limits_of(members, SKY, _LEAST_DEG))
    axes.invert_xaxis()
    axes.set(xlabel="Galactic longitude, offset [deg]", ylabel="Galactic latitude, offset [deg]")
    return _draw_stars(axes, members, SKY, "sky")


def draw_colour_magnitude(axes: Axes, members: ClusterMembers, keys: tuple[str, str]) -> int:
    """Draw the colour-magnitude diagram, of columns of the stars; return how many are beyond the panel."""
    x, y = _limits_of(members, keys, _LEAST_MAG)
    labels = [_LISTED_LABELS.get(key) or quantities.get(key).axis_label() for key in keys]
    axes.set(xlim=x, ylim=y[::-1], xlabel=labels[0], ylabel=labels[1])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(_MOST_TICKS, steps=_STEPS))
    return _draw_stars(axes, members, keys, "colours and magnitudes")


def draw_motions(axes: Axes, members: ClusterMembers) -> int:
    """Draw proper motions relative to the cluster; return how many stars are beyond the panel.

    The title has the median error. Few stars have error bars.
    """
    _set_equal_axes(axes, _limits_of(members, MOTIONS, _LEAST_MAS_YR))
    axes.set(xlabel="along longitude, relative [mas/yr]", ylabel="along latitude, relative [mas/yr]")
    if members.table[["pmra_error", "pmdec_error"]].isna().all(axis=None):
        return _draw_stars(axes, members, MOTIONS, "proper motions")
    errors = _motion_errors(members.table)
    if len(members.table) <= _MAX_ERROR_BARS:
        lon, lat = members.table[list(MOTIONS)].to_numpy().T
        axes.errorbar(lon, lat, errors[1], errors[0], fmt="none", ecolor="0.75", elinewidth=0.7, zorder=0.5)
    return _draw_stars(axes, members, MOTIONS, f"proper motions (± {np.nanmedian(errors):.2g})")


def legend_entries(members: ClusterMembers, num_beyond: int) -> list[Line2D]:
    """Return what the panels show."""
    entries = [Line2D([], [], **_MEMBERS | {"markersize": 4}, label=f"{len(members.table):,} members")]
    if len(members.left_out):
        entries.append(Line2D([], [], **_LEFT_OUT, label=f"{len(members.left_out):,} left out"))
    if num_beyond:
        arrow = _MEMBERS | {"marker": markers.CARETRIGHT, "color": "0.4", "markersize": 5}
        entries.append(Line2D([], [], **arrow, label="beyond the panel"))
    return entries


def _motion_errors(table: pd.DataFrame) -> np.ndarray:
    """Return the errors of the relative proper motions (2, n) [mas/yr]."""
    kms_per_mas_yr = quantities.KMS_PER_PC_MAS_YR * table["dist_pc"].to_numpy()
    return table[["v_lon_error", "v_lat_error"]].to_numpy().T / kms_per_mas_yr


def _limits_of(members: ClusterMembers, keys: Sequence[str], least: float) -> list[tuple[float, float]]:
    """Return the limits of a panel of two columns."""
    return [
        robust_limits(members.table[key].to_numpy(), members.left_out[key].to_numpy(), least) for key in keys
    ]


def robust_limits(members: np.ndarray, others: np.ndarray, least: float) -> tuple[float, float]:
    """Return the limits of an axis that shows all values but those far from most members.

    Args:
      members, others: values of the members and of other stars; NaN are left out.
      least: the smallest size.
    """
    members, others = members[np.isfinite(members)], others[np.isfinite(others)]
    share = (1 - _CENTRAL) / 2
    # Towards the middle, so that one of ten stars counts as far.
    low = np.quantile(members, share, method="higher")
    high = np.quantile(members, 1 - share, method="lower")
    reach = max(_REACH * (high - low), least / 2)
    values = np.concatenate([members, others])
    shown = values[(values >= low - reach) & (values <= high + reach)]
    low, high = shown.min(), shown.max()
    margin = max(_MARGIN * (high - low), (least - (high - low)) / 2)
    return float(low - margin), float(high + margin)


def _set_equal_axes(axes: Axes, limits: Sequence[tuple[float, float]]) -> None:
    """Set limits that contain these of x and y, and ticks, with the same scale along both axes."""
    size, ends = axes.get_window_extent().size, np.array(limits)
    half = size * np.max(np.ptp(ends, axis=1) / size) / 2
    x, y = (ends.mean(axis=1)[:, None] + np.outer(half, (-1, 1))).tolist()
    axes.set(xlim=x, ylim=y)
    ticks = MaxNLocator(_MOST_TICKS, steps=_STEPS).tick_values(*x)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(ticks[1] - ticks[0]))


def _draw_stars(axes: Axes, members: ClusterMembers, keys: Sequence[str], title: str) -> int:
    """Draw all stars in a panel whose limits are set; return how many are beyond it."""
    # Those left out are drawn over the members, which are more.
    num_beyond = sum(
        style.draw_points(axes, stars[list(keys)].dropna().to_numpy(), **how)
        for stars, how in ((members.table, _MEMBERS), (members.left_out, _LEFT_OUT))
    )
    axes.set_title(title, loc="left", fontsize=9)
    if num_beyond:
        axes.set_title(f"{num_beyond:,} ▸", loc="right", fontsize=8)
    return num_beyond
