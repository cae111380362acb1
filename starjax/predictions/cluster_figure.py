"""The figure of an observed cluster: its stars, its posterior, and its place among the training clusters."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D

from starjax import quantities
from starjax.catalogs.cluster_members import ClusterMembers
from starjax.evaluation.calibration import LEVEL_NAMES, PERCENTILES
from starjax.evaluation.posterior import Posterior
from starjax.inference.predictor import Predictor
from starjax.plotting import corner_panels, style
from starjax.plotting.corner_panels import Scale, Target
from starjax.predictions import star_panels

# Sizes are in inches. At most 900 pixels wide on a web page, where text should still be read.
_WIDTH = 9.0
# Margins to the left and right, and the space between panels, with the labels of their axes.
_LEFT, _RIGHT, _COLUMN_GAP, _ROW_GAP = 0.72, 0.2, 0.72, 0.78
# Heights of the title with the legend, of the stars, of the posterior of one target and of each of several,
# and of the labels below.
_TITLE, _STARS, _ONE_TARGET, _EACH_TARGET, _BELOW = 1.12, 2.3, 2.2, 1.55, 0.5
# The gap between panels of a corner plot, as a fraction of a panel.
_CORNER_GAP = {"wspace": 0.15, "hspace": 0.2}
# Names are cut at this length [characters].
_MAX_NAME = 70


@style.default_settings()
def draw_cluster(
    run: Predictor, members: ClusterMembers, posterior: Posterior, name: str, is_flagged: bool
) -> Figure:
    """Return the figure of a cluster.

    Above are the sky, and the colour-magnitude diagram and the proper motions if there are any; below are the
    training clusters and the joint posterior of the targets. With fewer panels of stars, the training
    clusters are beside them.

    Args:
      run: the run that predicted it.
      members: its stars.
      posterior: the posterior of all clusters of the prediction.
      name: its name.
      is_flagged: whether its prediction is flagged.
    """
    rows = posterior.table[posterior.table["cluster"] == name].set_index("target_key")
    scales = _scales(run)
    photometry = star_panels.photometry_keys(run, members)
    has_motions = star_panels.has_motions(members)
    num_star_panel = 1 + (photometry is not None) + has_motions
    num_target = len(run.target_keys)
    lower = _ONE_TARGET if num_target == 1 else num_target * _EACH_TARGET
    figure = Figure(figsize=(_WIDTH, _TITLE + _STARS + _ROW_GAP + lower + _BELOW))
    is_beside = num_star_panel < 3
    above = _row(figure, num_star_panel + is_beside, top=_TITLE, height=_STARS)
    below = _row(figure, 1 if is_beside else 3, top=_TITLE + _STARS + _ROW_GAP, height=lower)
    panels = [figure.add_subplot(above[i]) for i in range(num_star_panel + is_beside)]
    num_beyond = star_panels.draw_sky(panels[0], members)
    if photometry:
        num_beyond += star_panels.draw_colour_magnitude(panels[1], members, photometry)
    if has_motions:
        num_beyond += star_panels.draw_motions(panels[num_star_panel - 1], members)
    _training_set(panels[-1] if is_beside else figure.add_subplot(below[0]), run, scales, rows)
    targets = _targets(run, posterior.samples(name, corner_panels.NUM_SAMPLE), scales, rows)
    corner = below[0 if is_beside else slice(1, None)].subgridspec(num_target, num_target, **_CORNER_GAP)
    corner_panels.draw_corner(figure, corner, targets)
    style.set_text_sizes(figure, labels=9, ticks=8)
    _write_title(figure, members, name, float(rows["novelty"].iloc[0]), is_flagged)
    _draw_legend(figure, star_panels.legend_entries(members, num_beyond))
    return figure


def _row(figure: Figure, num: int, top: float, height: float) -> GridSpec:
    """Return places for panels in a row, from inches below the top of the figure."""
    total = figure.get_figheight()
    width = (_WIDTH - _LEFT - _RIGHT - (num - 1) * _COLUMN_GAP) / num
    return figure.add_gridspec(
        1,
        num,
        left=_LEFT / _WIDTH,
        right=1 - _RIGHT / _WIDTH,
        top=1 - top / total,
        bottom=1 - (top + height) / total,
        wspace=_COLUMN_GAP / width,
    )


def _write_title(
    figure: Figure, members: ClusterMembers, name: str, novelty: float, is_flagged: bool
) -> None:
    """Write the name of the cluster, and what is known of it."""
    height = figure.get_figheight()
    ra, dec = members.centre
    flag = "flagged: see the table for the reasons" if is_flagged else "not flagged"
    about = (
        f"{len(members.table):,} stars at {members.distance_pc:,.0f} pc, ra {ra:.2f}°, "
        f"dec {style.signed(dec, 2)}°;  novelty {novelty:.2f} (above 1: unlike training), {flag}"
    )
    left, right = _LEFT / _WIDTH, 1 - _RIGHT / _WIDTH
    plain = style.plain_text(name, _MAX_NAME, weight="bold")
    # A name may contain a dollar sign.
    title = figure.text(left, 1 - 0.28 / height, plain, fontsize=12, weight="bold", parse_math=False)
    width = title.get_window_extent().width / figure.bbox.width
    if width > right - left:
        title.set_fontsize(12 * (right - left) / width)
    figure.text(left, 1 - 0.5 / height, about, fontsize=9)


def _draw_legend(figure: Figure, entries: list[Line2D]) -> None:
    """Draw the legend of the stars, which their panels share, below the title."""
    figure.legend(
        handles=entries,
        loc="upper left",
        bbox_to_anchor=(_LEFT / _WIDTH, 1 - 0.64 / figure.get_figheight()),
        ncols=len(entries),
        frameon=False,
        fontsize=8,
        borderaxespad=0,
        borderpad=0,
        handletextpad=0.3,
        handlelength=1,
    )


def _scales(run: Predictor) -> dict[str, Scale]:
    """Return the scales of the targets and of `num_star`, the same for all clusters."""
    values = dict(zip(run.target_keys, run.reference.target.T, strict=True))
    return {key: Scale.of(key, one) for key, one in (values | {"num_star": run.reference.num_star}).items()}


def _targets(
    run: Predictor, samples: pd.DataFrame, scales: dict[str, Scale], rows: pd.DataFrame
) -> list[Target]:
    """Return the targets of the corner plot."""
    return [
        Target(
            key=key,
            row=rows.loc[key].to_dict(),
            samples=samples[key].to_numpy(),
            scale=scales[key],
            known=run.reference.range_of(key),
        )
        for key in run.target_keys
    ]


def _training_set(axes: Axes, run: Predictor, scales: dict[str, Scale], rows: pd.DataFrame) -> None:
    """Draw the cluster among the training clusters: two targets, or one and the number of stars."""
    keys = list(run.target_keys)
    names = keys[:2] if len(keys) > 1 else ["num_star", keys[0]]
    values = dict(zip(keys, run.reference.target.T, strict=True)) | {"num_star": run.reference.num_star}
    for name, axis in zip(names, "xy", strict=True):
        scales[name].set_axis(axes, axis, scales[name].limits())
        axes.set(**{f"{axis}label": quantities.get(name).axis_label()})
    axes.plot(*(values[name] for name in names), ".", color="0.65", markersize=2, zorder=0)
    (x, *x_ends), (y, *y_ends) = (_value_and_bounds(rows, name) for name in names)
    axes.plot(x_ends, [y, y], [x, x], y_ends, color="black", linewidth=1.5)
    # At the edge if it is beyond training.
    how = {"linestyle": "", "marker": "o", "color": style.WARM, "markeredgecolor": "black", "zorder": 3}
    style.draw_points(axes, np.array([[x, y]]), arrow_size=10, **how)
    axes.set_title(f"among training clusters, {LEVEL_NAMES[0]} %", loc="left", fontsize=9)


def _value_and_bounds(rows: pd.DataFrame, name: str) -> list[float]:
    """Return the value of a quantity, and the ends of its narrowest interval."""
    if name == "num_star":
        return 3 * [float(rows["num_star"].iloc[0])]
    return [float(rows.loc[name, f"{column}_physical"]) for column in ("prediction", *PERCENTILES[0])]
