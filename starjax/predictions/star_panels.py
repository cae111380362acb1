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
from matplotlib.ticker import MaxNLocator

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
_LEAST_DEG, _LEAST_MAS_YR, _LEAST_MAG = 1e-3, 0.1, 0.5
# Error bars of more stars would hide each other.
_MAX_ERROR_BARS = 100
_MEMBERS: dict[str, Any] = {"linestyle": "", "marker": "o", "color": style.DARK, "markeredgewidth": 0}
_LEFT_OUT: dict[str, Any] = {"linestyle": "", "marker": "x", "color": style.WARM, "markeredgewidth": 1.2}
# Arrows by the axis along which a star is farther from the panel, and whether it is above its upper end.
_ARROWS = {
    (0, False): markers.CARETLEFT,
    (0, True): markers.CARETRIGHT,
    (1, False): markers.CARETDOWN,
    (1, True): markers.CARETUP,
}
_SIZES = {"members": 2.4, "left_out": 5.0, "arrow": 5.0}


def photometry_keys(run: Predictor, members: ClusterMembers) -> tuple[str, str] | None:
    """Return the columns of colours and magnitudes to show; None if no star has both."""
    shown = _INTRINSIC if set(_INTRINSIC) <= set(run.feature_keys) else _APPARENT
    return shown if members.table[list(shown)].notna().all(axis=1).any() else None


def has_motions(members: ClusterMembers) -> bool:
    """Return whether a member has a proper motion."""
    return bool(members.table[list(MOTIONS)].notna().all(axis=1).any())


def draw_sky(axes: Axes, members: ClusterMembers) -> int:
    """Draw where the stars are, longitude increasing to the left; return how many are beyond the panel."""
    x, y = _equal_limits(axes, *_limits_of(members, SKY, _LEAST_DEG))
    axes.set(xlim=x[::-1], ylim=y)
    axes.set(xlabel="Galactic longitude, offset [deg]", ylabel="Galactic latitude, offset [deg]")
    return _draw_stars(axes, members, SKY, "sky")


def draw_colour_magnitude(axes: Axes, members: ClusterMembers, keys: tuple[str, str]) -> int:
    """Draw the colour-magnitude diagram, of columns of the stars; return how many are beyond the panel."""
    x, y = _limits_of(members, keys, _LEAST_MAG)
    labels = [_LISTED_LABELS.get(key) or quantities.get(key).axis_label() for key in keys]
    axes.set(xlim=x, ylim=y[::-1], xlabel=labels[0], ylabel=labels[1])
    return _draw_stars(axes, members, keys, "colours and magnitudes")


def draw_motions(axes: Axes, members: ClusterMembers) -> int:
    """Draw proper motions relative to the cluster; return how many stars are beyond the panel.

    The title has the median error. Few stars have error bars.
    """
    x, y = _equal_limits(axes, *_limits_of(members, MOTIONS, _LEAST_MAS_YR))
    axes.set(xlim=x, ylim=y)
    axes.set(xlabel="along longitude, relative [mas/yr]", ylabel="along latitude, relative [mas/yr]")
    if members.table[["pmra_error", "pmdec_error"]].isna().all(axis=None):
        return _draw_stars(axes, members, MOTIONS, "proper motions")
    errors = _motion_errors(members.table)
    if len(members.table) <= _MAX_ERROR_BARS:
        x_place, y_place = members.table[list(MOTIONS)].to_numpy().T
        x_error, y_error = errors
        axes.errorbar(
            x_place, y_place, y_error, x_error, fmt="none", ecolor="0.75", elinewidth=0.7, zorder=0.5
        )
    return _draw_stars(axes, members, MOTIONS, f"proper motions (± {np.nanmedian(errors):.2g})")


def legend_entries(members: ClusterMembers, num_beyond: int) -> list[Line2D]:
    """Return what the panels show."""
    entries = [Line2D([], [], **_MEMBERS, markersize=4, label=f"{len(members.table):,} members")]
    if len(members.left_out):
        label = f"{len(members.left_out):,} left out"
        entries.append(Line2D([], [], **_LEFT_OUT, markersize=_SIZES["left_out"], label=label))
    if num_beyond:
        arrow: dict[str, Any] = {"linestyle": "", "marker": markers.CARETRIGHT, "markersize": _SIZES["arrow"]}
        entries.append(Line2D([], [], **arrow, color="0.4", label="beyond the panel"))
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


def _equal_limits(
    axes: Axes, x: tuple[float, float], y: tuple[float, float]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return limits that contain these, with the same scale along both axes."""
    size = np.array(axes.get_window_extent().size)
    scale = max((x[1] - x[0]) / size[0], (y[1] - y[0]) / size[1])
    middles, halves = (sum(x) / 2, sum(y) / 2), scale * size / 2
    wide = [
        (float(middle - half), float(middle + half)) for middle, half in zip(middles, halves, strict=True)
    ]
    return wide[0], wide[1]


def _draw_stars(axes: Axes, members: ClusterMembers, keys: Sequence[str], title: str) -> int:
    """Draw all stars in a panel whose limits are set; those beyond are at its edge, and counted."""
    num_beyond = 0
    # Those left out are drawn over the members, which are more.
    for stars, how, size in (
        (members.table, _MEMBERS, _SIZES["members"]),
        (members.left_out, _LEFT_OUT, _SIZES["left_out"]),
    ):
        points = stars[list(keys)].dropna().to_numpy()
        # As fractions of the panel, from the left and from below.
        ends = np.array([axes.get_xlim(), axes.get_ylim()])
        place = (points - ends[:, 0]) / (ends[:, 1] - ends[:, 0])
        is_inside = ((place >= 0) & (place <= 1)).all(axis=1)
        axes.plot(*points[is_inside].T, **how, markersize=size)
        _draw_arrows(axes, place[~is_inside], how["color"])
        num_beyond += int((~is_inside).sum())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10)))
    axes.set_title(title, loc="left", fontsize=9)
    if num_beyond:
        axes.set_title(f"{num_beyond:,} beyond", loc="right", fontsize=8)
    return num_beyond


def _draw_arrows(axes: Axes, place: np.ndarray, color: str) -> None:
    """Draw arrows at the edge for stars (n, 2) beyond it [fractions of the panel]."""
    how: dict[str, Any] = {"linestyle": "", "color": color, "markersize": _SIZES["arrow"], "zorder": 3}
    farther = np.abs(place - 0.5).argmax(axis=1)
    is_above = np.take_along_axis(place, farther[:, None], axis=1)[:, 0] > 0.5
    for (axis, above), marker in _ARROWS.items():
        edge = np.clip(place[(farther == axis) & (is_above == above)], 0, 1)
        axes.plot(*edge.T, marker=marker, transform=axes.transAxes, clip_on=False, **how)
