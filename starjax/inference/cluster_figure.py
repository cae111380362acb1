"""The figure of one observed cluster: the sky, what a run says, and where that stands among what it was trained on."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from starjax import quantities
from starjax.catalogs.features import ClusterMembers
from starjax.evaluation.mixture import Mixture
from starjax.evaluation.posterior import PERCENTILES, Posterior
from starjax.inference.predictor import Predictor
from starjax.plotting import style

# Points of a curve.
NUM_POINT = 600
# Share of the sky's width that an arrow of a typical star takes.
_ARROW_SHARE = 0.05


def draw_cluster(
    run: Predictor, members: ClusterMembers, answer: Posterior, name: str, number: int, is_flagged: bool
) -> Figure:
    """The figure of the cluster that is the `number`-th of the answer."""
    num_target = len(run.target_keys)
    figure = Figure(figsize=(4.4 * (2 + num_target), 4.2), layout="constrained")
    panels = figure.subplots(1, 2 + num_target)
    _sky(panels[0], members, name)
    rows = answer.table[answer.table["cluster"] == name].set_index("target_key")
    for axes, key, predictive in zip(panels[1:], run.target_keys, answer.predictive, strict=False):
        same = np.full(NUM_POINT, number)
        along_curve = Mixture(predictive.weight[same], predictive.mean[same], predictive.sigma[same])
        _posterior(axes, run, key, along_curve, rows.loc[key])
    _training_set(panels[-1], run, rows, is_flagged)
    return figure


def _sky(axes: Axes, members: ClusterMembers, name: str) -> None:
    """Stars and their motions within the cluster."""
    stars = members.table
    lon, lat = stars["lon_deg"].to_numpy(), stars["lat_deg"].to_numpy()
    motions = stars["pm_lon_coslat_mas_yr"].to_numpy(), stars["pm_lat_mas_yr"].to_numpy()
    typical = float(np.median(np.hypot(*motions)))
    half = 1.1 * max(np.abs(np.concatenate([lon, lat])).max(), 1e-6)
    axes.plot(lon, lat, ".", color=style.DARK, markersize=3)
    if typical > 0:
        scale = typical / (2 * half * _ARROW_SHARE)
        arrows = axes.quiver(
            lon, lat, *motions, angles="xy", scale_units="xy", scale=scale, color="0.5", width=0.003, zorder=0
        )
        label = f"{typical:.2g} mas/yr"
        axes.quiverkey(arrows, 0.62, 0.95, typical, label, labelpos="E", fontproperties={"size": 8})
    # Longitude grows to the left, as the sky is seen. Above all stars there is room for the arrow that is the scale.
    axes.set(xlim=(half, -half), ylim=(-half, 1.2 * half), aspect="equal")
    axes.set(xlabel="offset in Galactic longitude [deg]", ylabel="offset in Galactic latitude [deg]")
    ra, dec = members.centre
    axes.set_title(
        f"{name}: {len(stars)} stars at {members.distance_pc:,.0f} pc\n(ra, dec) = ({ra:.2f}°, {dec:+.2f}°)",
        fontsize=10,
        parse_math=False,  # a name may have a dollar in it
    )


def _posterior(axes: Axes, run: Predictor, key: str, predictive: Mixture, row) -> None:
    """The density of a target in scaled units, over physical ones, with the calibrated intervals.

    Args:
      predictive: NUM_POINT times the distribution, one for each point of the curve.
    """
    scaler = run.target_scalers.of(key)
    center, width = row["prediction_scaled"], row["p97.5_scaled"] - row["p2.5_scaled"]
    scaled = np.linspace(center - width, center + width, NUM_POINT)
    physical = scaler.inverse(scaled)
    density = np.exp(-predictive.log_score(scaled))
    axes.plot(physical, density, color="black", linewidth=1.5)
    for (low, high), shade, level in zip(PERCENTILES[::-1], ("0.88", "0.75"), ("95 %", "68 %"), strict=True):
        inside = (scaled >= row[f"{low}_scaled"]) & (scaled <= row[f"{high}_scaled"])
        axes.fill_between(physical, density, where=inside, color=shade, label=f"{level}, calibrated")
    axes.axvline(row["prediction_physical"], color=style.DARK, linewidth=2, label="median")
    if quantities.get(key).is_logarithmic:
        axes.set_xscale("log")
        style.plain_numbers(axes.xaxis, physical.min(), physical.max())
    low, high = row["p16_physical"], row["p84_physical"]
    scale = ", logarithmic" if quantities.get(key).is_logarithmic else ""
    axes.set_xlabel(f"{quantities.get(key).axis_label()}{scale}")
    axes.set(yticks=[], ylabel="probability density")
    axes.set(ylim=(0, 1.35 * density.max()), xlim=(max(physical.min(), 0), physical.max()))
    axes.set_title(
        f"{row['prediction_physical']:,.0f} ({low:,.0f} to {high:,.0f}) {quantities.unit(key)}", fontsize=10
    )
    axes.legend(loc="upper right", frameon=False, fontsize=8)


def _training_set(axes: Axes, run: Predictor, rows, is_flagged: bool) -> None:
    """The training clusters, and this one among them: two targets against each other, or one against the number of stars."""
    keys = list(run.target_keys)
    reference = run.reference
    known = (
        [*reference.target.T, reference.num_star][:2]
        if len(keys) > 1
        else [reference.num_star, reference.target[:, 0]]
    )
    names = keys[:2] if len(keys) > 1 else ["num_star", keys[0]]
    axes.plot(*known, ".", color="0.6", markersize=3, label="training clusters")
    place, errors = [], []
    for name in names:
        if name == "num_star":
            place.append(rows["num_star"].iloc[0])
            errors.append([[0.0], [0.0]])
            continue
        value, low, high = (rows.loc[name, f"{what}_physical"] for what in ("prediction", "p16", "p84"))
        place.append(value)
        errors.append([[value - low], [high - value]])
    axes.errorbar(
        *place,
        xerr=errors[0],
        yerr=errors[1],
        fmt="o",
        color="black",
        markerfacecolor=style.WARM,
        label="this cluster, 68 %",
    )
    for name, axis, set_scale, set_label in zip(
        names,
        (axes.xaxis, axes.yaxis),
        (axes.set_xscale, axes.set_yscale),
        (axes.set_xlabel, axes.set_ylabel),
        strict=True,
    ):
        set_label(quantities.get(name).axis_label())
        if quantities.get(name).is_logarithmic:
            set_scale("log")
            style.plain_numbers(axis, *axis.get_view_interval())
    flag = "\nflagged: see the table for why" if is_flagged else ""
    axes.set_title(f"novelty {rows['novelty'].iloc[0]:.2f} (above 1: unlike training){flag}", fontsize=10)
    # Old clusters are light, and light ones are not young: of age and mass that corner is empty.
    axes.legend(loc="lower left" if len(keys) > 1 else "best", frameon=False, fontsize=8)
