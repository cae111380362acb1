"""The figure of an observed cluster: its stars, its posterior, and its place among the training clusters."""

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from starjax import quantities
from starjax.catalogs.features import ClusterMembers
from starjax.evaluation.calibration import LEVEL_NAMES, PERCENTILES
from starjax.evaluation.mixture import Mixture
from starjax.evaluation.posterior import Posterior
from starjax.inference.predictor import Predictor
from starjax.plotting import style

# Points of a density curve.
NUM_POINT = 600
# At most 900 pixels wide on a web page, where text should still be read.
_SIZE = (9.0, 7.2)
# Length of the arrow of a typical star, as a fraction of the width of the panel, and of the longest arrow.
_ARROW_SHARE, _LONGEST = 0.05, 3.0
# Density curves leave out this probability at both ends, or extend beyond the widest interval by this
# fraction of it.
_TAIL, _MARGIN = 1e-3, 0.1
# A logarithmic axis shows training clusters from this fraction of the largest value on: ages begin at zero.
_SMALLEST = 1e-3
# Names are cut at this length [characters].
_MAX_NAME = 60
_LEFT_OUT: dict[str, Any] = {
    "marker": "x",
    "linestyle": "",
    "color": style.WARM,
    "markersize": 5,
    "markeredgewidth": 1.3,
}


@style.default_settings()
def draw_cluster(
    run: Predictor, members: ClusterMembers, posterior: Posterior, name: str, number: int, is_flagged: bool
) -> Figure:
    """Return the figure of a cluster.

    Above are the sky, the colour-magnitude diagram if there are colours, and the training clusters; below is
    the posterior of each target.

    Args:
      run: the run that predicted it.
      members: its stars.
      posterior: the posterior of all clusters of the prediction.
      name, number: its name, and its number among them.
      is_flagged: whether its prediction is flagged.
    """
    rows = posterior.table[posterior.table["cluster"] == name].set_index("target_key")
    magnitudes = _magnitudes(run, members)
    figure = Figure(figsize=_SIZE, layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.15, 1), hspace=0.03, squeeze=False)[:, 0]
    panels = above.subplots(1, 3 if magnitudes else 2)
    _sky(panels[0], members)
    if magnitudes:
        _colour_magnitude(panels[1], members, *magnitudes)
    _training_set(panels[-1], run, rows)
    densities = below.subplots(1, len(run.target_keys), squeeze=False)[0]
    for axes, key, predictive in zip(densities, run.target_keys, posterior.predictive, strict=True):
        # A mixture is evaluated at one value per row: the row of the cluster is repeated for every point.
        same = np.full(NUM_POINT, number)
        along_curve = Mixture(predictive.weight[same], predictive.mean[same], predictive.sigma[same])
        _posterior(axes, run, key, along_curve, rows.loc[key])
    ra, dec = members.centre
    flag = "flagged: see the table for the reasons" if is_flagged else "not flagged"
    # A name may contain a dollar sign.
    figure.suptitle(
        f"{textwrap.shorten(name, _MAX_NAME)}: {len(members.table)} stars at {members.distance_pc:,.0f} pc, "
        f"(ra, dec) = ({ra:.2f}°, {dec:+.2f}°)\nnovelty {rows['novelty'].iloc[0]:.2f} (above 1: unlike "
        f"training), {flag}",
        fontsize=11,
        parse_math=False,
    )
    return figure


def _sky(axes: Axes, members: ClusterMembers) -> None:
    """Draw the stars, and their motions relative to the cluster."""
    stars, left_out = members.table, members.left_out
    lon, lat = stars["lon_deg"].to_numpy(), stars["lat_deg"].to_numpy()
    motions = np.array([stars["pm_lon_coslat_mas_yr"], stars["pm_lat_mas_yr"]])
    length = np.hypot(*motions)
    typical = float(np.median(length))
    # At least a little, for a cluster whose stars are all at one place.
    half = 1.1 * max(np.abs(np.concatenate([lon, lat])).max(), 1e-6)
    axes.plot(lon, lat, ".", color=style.DARK, markersize=3, label="members")
    if len(left_out):
        # Those beyond the panel are at its edge.
        places = left_out[["lon_deg", "lat_deg"]].clip(-half, half)
        axes.plot(
            places["lon_deg"],
            places["lat_deg"],
            **_LEFT_OUT,
            label=f"left out: {len(left_out)}",
            clip_on=False,
        )
    if typical > 0:
        # The motion of a single star would hide the others.
        shown = motions * np.minimum(1, _LONGEST * typical / np.maximum(length, typical))
        scale = typical / (2 * half * _ARROW_SHARE)
        arrows = axes.quiver(
            lon, lat, *shown, angles="xy", scale_units="xy", scale=scale, color="0.55", width=0.004, zorder=0
        )
        label = f"{typical:.2g} mas/yr"
        axes.quiverkey(arrows, 0.58, 0.94, typical, label, labelpos="E", fontproperties={"size": 8})
    # Longitude increases to the left, as on the sky. The keys are above all stars.
    axes.set(xlim=(half, -half), ylim=(-half, 1.3 * half), aspect="equal")
    axes.set(xlabel="Galactic longitude, offset [deg]", ylabel="Galactic latitude, offset [deg]")
    axes.set_title("sky", fontsize=10)
    axes.legend(loc="upper left", frameon=False, fontsize=8, handletextpad=0.1, borderaxespad=0.1)


def _magnitudes(run: Predictor, members: ClusterMembers) -> tuple[str, str] | None:
    """Return the columns of colours and magnitudes to show; None if no star has both."""
    intrinsic, apparent = ("bp_rp_0", "abs_mag_g"), ("bp_rp", "phot_g_mean_mag")
    shown = intrinsic if set(intrinsic) <= set(run.feature_keys) else apparent
    has_both = members.table[list(shown)].notna().all(axis=1)
    return shown if has_both.any() else None


def _colour_magnitude(axes: Axes, members: ClusterMembers, colour: str, magnitude: str) -> None:
    """Draw the colour-magnitude diagram, of columns of the stars."""
    axes.plot(members.table[colour], members.table[magnitude], ".", color=style.DARK, markersize=3)
    axes.plot(members.left_out[colour], members.left_out[magnitude], **_LEFT_OUT)
    axes.invert_yaxis()
    listed = {"bp_rp": "BP − RP [mag]", "phot_g_mean_mag": "G [mag]"}
    names = [listed.get(key) or quantities.get(key).axis_label() for key in (colour, magnitude)]
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.set_title("colour-magnitude diagram", fontsize=10)


def _posterior(axes: Axes, run: Predictor, key: str, predictive: Mixture, row) -> None:
    """Draw the density of a target and its calibrated intervals.

    Args:
      key: the target.
      predictive: the distribution before calibration, repeated NUM_POINT times.
      row: the row of the posterior table.
    """
    is_logarithmic = style.is_logarithmic(key, row)
    scaled, physical = _values(run, key, predictive, row)
    density = np.exp(-predictive.log_score(scaled))  # the score is the negative logarithm of the density
    if is_logarithmic:
        is_shown = physical > style.lowest(row)
        scaled, physical, density = scaled[is_shown], physical[is_shown], density[is_shown]
    # Per unit of the axis, so that areas are probabilities, on a logarithmic axis as well.
    density *= np.gradient(scaled, np.log(physical) if is_logarithmic else physical)
    axes.plot(physical, density, color="black", linewidth=1.5)
    # The wide interval first, so that the narrow one is drawn over it.
    shades = zip(PERCENTILES[::-1], LEVEL_NAMES[::-1], ("0.88", "0.75"), strict=True)
    for (low, high), level, shade in shades:
        inside = (scaled >= row[f"{low}_scaled"]) & (scaled <= row[f"{high}_scaled"])
        axes.fill_between(physical, density, where=inside, color=shade, label=f"{level} %, calibrated")
    axes.axvline(row["prediction_physical"], color=style.DARK, linewidth=2, label="median")
    # Ages and masses are not negative.
    bounds = max(physical.min(), 0.0), physical.max()
    if is_logarithmic:
        axes.set_xscale("log")
        style.plain_numbers(axes.xaxis, *bounds)
    _mark_training_range(axes, run.reference.range_of(key), bounds)
    scale = ", logarithmic" if is_logarithmic else ""
    axes.set_xlabel(f"{quantities.get(key).axis_label()}{scale}")
    # With room for the legend.
    axes.set(yticks=[], ylabel="probability density", ylim=(0, 1.35 * density.max()), xlim=bounds)
    axes.set_title(style.interval_text(key, row), fontsize=10)
    axes.legend(loc="upper right", framealpha=1, edgecolor="none", fontsize=8)


def _values(run: Predictor, key: str, predictive: Mixture, row) -> tuple[np.ndarray, np.ndarray]:
    """Return scaled and physical values (NUM_POINT,) of a target that its curve is drawn at."""
    low, high = (row[f"{bound}_scaled"] for bound in PERCENTILES[-1])
    ends = [predictive.quantile(level)[0] for level in (_TAIL, 1 - _TAIL)]
    margin = _MARGIN * (high - low)
    scaled = np.linspace(min(ends[0], low - margin), max(ends[1], high + margin), NUM_POINT)
    return scaled, run.target_scalers.of(key).inverse(scaled)


def _mark_training_range(axes: Axes, known: tuple[float, float], bounds: tuple[float, float]) -> None:
    """Hatch the part of an axis from `bounds[0]` to `bounds[1]` that is beyond the training range `known`."""
    beyond = [(bounds[0], min(known[0], bounds[1])), (max(known[1], bounds[0]), bounds[1])]
    label = "beyond training"
    for low, high in (one for one in beyond if one[0] < one[1]):
        axes.axvspan(
            low, high, facecolor="none", edgecolor="0.8", hatch="///", linewidth=0, zorder=0, label=label
        )
        # One entry in the legend for both ends.
        label = ""


def _training_set(axes: Axes, run: Predictor, rows) -> None:
    """Draw the cluster among the training clusters: two targets, or one and the number of stars."""
    keys = list(run.target_keys)
    names = keys[:2] if len(keys) > 1 else ["num_star", keys[0]]
    reference = run.reference
    training = dict(zip(keys, reference.target.T, strict=True)) | {"num_star": reference.num_star}
    logarithmic = [name for name in names if name == "num_star" or style.is_logarithmic(name, rows.loc[name])]
    shown = [
        np.where(training[name] > _SMALLEST * training[name].max(), training[name], np.nan)
        if name in logarithmic
        else training[name]
        for name in names
    ]
    axes.plot(*shown, ".", color="0.65", markersize=2, zorder=0)
    (x, x_error), (y, y_error) = (_value_and_errors(rows, name) for name in names)
    axes.errorbar(x, y, xerr=x_error, yerr=y_error, fmt="o", color="black", markerfacecolor=style.WARM)
    for name, axis, set_scale in zip(
        names, (axes.xaxis, axes.yaxis), (axes.set_xscale, axes.set_yscale), strict=True
    ):
        if name in logarithmic:
            set_scale("log")
            style.plain_numbers(axis, *axis.get_view_interval())
    axes.set(xlabel=quantities.get(names[0]).axis_label(), ylabel=quantities.get(names[1]).axis_label())
    axes.set_title(f"among training clusters, {LEVEL_NAMES[0]} %", fontsize=10)


def _value_and_errors(rows, name: str) -> tuple[float, list[list[float]]]:
    """Return the value of a quantity, and how far the narrowest interval reaches below and above it."""
    if name == "num_star":
        return rows["num_star"].iloc[0], [[0.0], [0.0]]
    value, low, high = (rows.loc[name, f"{column}_physical"] for column in ("prediction", *PERCENTILES[0]))
    return value, [[value - low], [high - value]]
