"""The figure of an observed cluster: its stars, its posterior, and its place among the training clusters."""

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
# Length of the arrow of a typical star, as a fraction of the width of the panel.
_ARROW_SHARE = 0.05


def draw_cluster(
    run: Predictor, members: ClusterMembers, posterior: Posterior, name: str, number: int, is_flagged: bool
) -> Figure:
    """Return the figure of a cluster.

    Args:
      run: the run that predicted it.
      members: its stars.
      posterior: the posterior of all clusters of the prediction.
      name, number: its name, and its number among them.
      is_flagged: whether its prediction is flagged.
    """
    num_target = len(run.target_keys)
    figure = Figure(figsize=(4.4 * (2 + num_target), 4.2), layout="constrained")
    panels = figure.subplots(1, 2 + num_target)
    _sky(panels[0], members, name)
    rows = posterior.table[posterior.table["cluster"] == name].set_index("target_key")
    for axes, key, predictive in zip(panels[1:-1], run.target_keys, posterior.predictive, strict=True):
        # A mixture is evaluated at one value per row: the row of the cluster is repeated for every point.
        same = np.full(NUM_POINT, number)
        along_curve = Mixture(predictive.weight[same], predictive.mean[same], predictive.sigma[same])
        _posterior(axes, run, key, along_curve, rows.loc[key])
    _training_set(panels[-1], run, rows, is_flagged)
    return figure


def _sky(axes: Axes, members: ClusterMembers, name: str) -> None:
    """Draw the stars, and their motions relative to the cluster."""
    stars = members.table
    lon, lat = stars["lon_deg"].to_numpy(), stars["lat_deg"].to_numpy()
    motions = stars["pm_lon_coslat_mas_yr"].to_numpy(), stars["pm_lat_mas_yr"].to_numpy()
    typical = float(np.median(np.hypot(*motions)))
    # At least a little, for a cluster whose stars are all at one place.
    half = 1.1 * max(np.abs(np.concatenate([lon, lat])).max(), 1e-6)
    axes.plot(lon, lat, ".", color=style.DARK, markersize=3)
    if typical > 0:
        scale = typical / (2 * half * _ARROW_SHARE)
        arrows = axes.quiver(
            lon, lat, *motions, angles="xy", scale_units="xy", scale=scale, color="0.5", width=0.003, zorder=0
        )
        label = f"{typical:.2g} mas/yr"
        axes.quiverkey(arrows, 0.62, 0.95, typical, label, labelpos="E", fontproperties={"size": 8})
    # Longitude increases to the left, as on the sky. The key of the arrows is above all stars.
    axes.set(xlim=(half, -half), ylim=(-half, 1.2 * half), aspect="equal")
    axes.set(xlabel="offset in Galactic longitude [deg]", ylabel="offset in Galactic latitude [deg]")
    ra, dec = members.centre
    axes.set_title(
        f"{name}: {len(stars)} stars at {members.distance_pc:,.0f} pc\n(ra, dec) = ({ra:.2f}°, {dec:+.2f}°)",
        fontsize=10,
        parse_math=False,  # a name may contain a dollar sign
    )


def _posterior(axes: Axes, run: Predictor, key: str, predictive: Mixture, row) -> None:
    """Draw the density of a target and its calibrated intervals.

    The density is per scaled unit, over an axis in physical units: unlike a density per physical unit, it has
    its median in the middle of a logarithmic axis as well.

    Args:
      key: the target.
      predictive: the distribution before calibration, repeated NUM_POINT times.
      row: the row of the posterior table.
    """
    scaler = run.target_scalers.of(key)
    narrowest, widest = PERCENTILES[0], PERCENTILES[-1]
    # One width of the widest interval to either side, beyond which the density is hardly above zero.
    center, width = row["prediction_scaled"], row[f"{widest[1]}_scaled"] - row[f"{widest[0]}_scaled"]
    scaled = np.linspace(center - width, center + width, NUM_POINT)
    physical = scaler.inverse(scaled)
    density = np.exp(-predictive.log_score(scaled))  # the score is the negative logarithm of the density
    axes.plot(physical, density, color="black", linewidth=1.5)
    # The wide interval first, so that the narrow one is drawn over it.
    shades = zip(PERCENTILES[::-1], LEVEL_NAMES[::-1], ("0.88", "0.75"), strict=True)
    for (low, high), level, shade in shades:
        inside = (scaled >= row[f"{low}_scaled"]) & (scaled <= row[f"{high}_scaled"])
        axes.fill_between(physical, density, where=inside, color=shade, label=f"{level} %, calibrated")
    axes.axvline(row["prediction_physical"], color=style.DARK, linewidth=2, label="median")
    if quantities.get(key).is_logarithmic:
        axes.set_xscale("log")
        style.plain_numbers(axes.xaxis, physical.min(), physical.max())
    low, high = (row[f"{bound}_physical"] for bound in narrowest)
    scale = ", logarithmic" if quantities.get(key).is_logarithmic else ""
    axes.set_xlabel(f"{quantities.get(key).axis_label()}{scale}")
    axes.set(yticks=[], ylabel="probability density")
    # With room for the legend. Ages and masses are not negative.
    axes.set(ylim=(0, 1.35 * density.max()), xlim=(max(physical.min(), 0), physical.max()))
    axes.set_title(
        f"{row['prediction_physical']:,.0f} ({low:,.0f} to {high:,.0f}) {quantities.unit(key)}", fontsize=10
    )
    axes.legend(loc="upper right", frameon=False, fontsize=8)


def _training_set(axes: Axes, run: Predictor, rows, is_flagged: bool) -> None:
    """Draw the cluster among the training clusters: two targets, or one and the number of stars."""
    keys = list(run.target_keys)
    names = keys[:2] if len(keys) > 1 else ["num_star", keys[0]]
    reference = run.reference
    training = dict(zip(keys, reference.target.T, strict=True)) | {"num_star": reference.num_star}
    axes.plot(*(training[name] for name in names), ".", color="0.6", markersize=3, label="training clusters")
    values, errors = zip(*(_value_and_errors(rows, name) for name in names), strict=True)
    axes.errorbar(
        values[0],
        values[1],
        xerr=errors[0],
        yerr=errors[1],
        fmt="o",
        color="black",
        markerfacecolor=style.WARM,
        label=f"this cluster, {LEVEL_NAMES[0]} %",
    )
    axes.set(xlabel=quantities.get(names[0]).axis_label(), ylabel=quantities.get(names[1]).axis_label())
    for name, axis, set_scale in zip(
        names, (axes.xaxis, axes.yaxis), (axes.set_xscale, axes.set_yscale), strict=True
    ):
        if quantities.get(name).is_logarithmic:
            set_scale("log")
            style.plain_numbers(axis, *axis.get_view_interval())
    flag = "\nflagged: see the table for the reasons" if is_flagged else ""
    axes.set_title(f"novelty {rows['novelty'].iloc[0]:.2f} (above 1: unlike training){flag}", fontsize=10)
    # Clusters lose mass as they age: the corner of young and light ones is empty.
    axes.legend(loc="lower left" if len(keys) > 1 else "best", frameon=False, fontsize=8)


def _value_and_errors(rows, name: str) -> tuple[float, list[list[float]]]:
    """Return the value of a quantity, and how far the narrowest interval reaches below and above it."""
    if name == "num_star":
        return rows["num_star"].iloc[0], [[0.0], [0.0]]
    value, low, high = (rows.loc[name, f"{column}_physical"] for column in ("prediction", *PERCENTILES[0]))
    return value, [[value - low], [high - value]]
