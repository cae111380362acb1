"""The figure of `benchmarks.real_sky`: predicted against literature ages and masses of observed clusters."""

import dataclasses

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import Bbox

from starjax.evaluation.calibration import LEVEL_NAMES, PERCENTILES
from starjax.plotting import style

NUM_NAMED = 5
# Clusters with values beyond this quantile share the end of the colour scale.
_BRIGHTEST = 0.95
# Without the lightest colours, which rings hardly show on white.
_COLOURS = ListedColormap(colormaps["viridis"](np.linspace(0, 0.9, 256)))
# Where a name may be written: distances [pixels] and directions [deg] from its point, the best first.
_DISTANCES, _DIRECTIONS = (8, 14, 22, 32, 45, 60, 80), (0, 180, 30, 330, 150, 210, 60, 300, 120, 240, 90, 270)
# Half the size of a point [pixels], and the space around a name.
_RADIUS, _MARGIN = 5, 2
_THIN = np.array([1, 0])


@dataclasses.dataclass(frozen=True)
class Panel:
    """A panel: a quantity, its label, and the column that its colours show, with its label."""

    name: str
    label: str
    colour: str
    colour_label: str


PANELS = (
    Panel("age", "age [Myr]", "extinction_v_mag_literature", "extinction $A_V$ [mag]"),
    Panel("mass", r"mass [$M_\odot$]", "distance_pc", "distance [pc]"),
)


def predicted_against_literature(rows: pd.DataFrame, age_error_dex: float) -> Figure:
    """Return the figure; a panel lacks the clusters without a value of the literature.

    Args:
      rows: see `real_sky.compare`; predictions are positive.
      age_error_dex: standard error of the literature's ages.
    """
    figure = Figure(figsize=(12.6, 5.4), layout="compressed")
    figure.get_layout_engine().set(wspace=0.06)
    drawn = []
    for axes, panel in zip(figure.subplots(1, 2), PANELS, strict=True):
        known = rows[(rows[f"{panel.name}_literature"] > 0) & (rows[panel.name] > 0)]
        error_dex = age_error_dex if panel.name == "age" else known["mass_error_literature"].median()
        axes.set(xlabel=f"{panel.label}, literature", ylabel=f"{panel.label}, predicted")
        if len(known):
            _draw_panel(axes, known, panel, error_dex)
            drawn.append((axes, known, panel))
    figure.legend(handles=_legend(age_error_dex), loc="outside lower center", ncols=5, frameon=False)
    # Names are placed last, in a figure whose layout is settled.
    figure.draw_without_rendering()
    for axes, known, panel in drawn:
        _name_outliers(axes, known, panel)
    return figure


def _legend(age_error_dex: float) -> list:
    point = {"linestyle": "none", "marker": "o", "color": "0.35", "markersize": 6}
    return [
        Line2D([], [], **point, label="cluster"),
        Line2D([], [], **point, markerfacecolor="white", label="flagged cluster"),
        Line2D([], [], color="0.7", label=f"{LEVEL_NAMES[0]} % interval"),
        Line2D([], [], color="black", label="predicted = literature"),
        Patch(color="0.9", label=f"error of the literature (ages {age_error_dex:g} dex)"),
    ]


def _draw_panel(axes: Axes, rows: pd.DataFrame, panel: Panel, error_dex: float) -> None:
    """Draw clusters and their intervals, the diagonal, and a band of the literature's error about it."""
    low, truth, middle, high = _values(rows, panel.name)
    ends = np.array([0.75 * min(truth.min(), middle.min()), 1.35 * max(truth.max(), middle.max())])
    axes.fill_between(ends, ends * 10**-error_dex, ends * 10**error_dex, color="0.9", linewidth=0, zorder=0)
    axes.errorbar(truth, middle, [middle - low, high - middle], fmt="none", ecolor="0.7", elinewidth=0.9)
    # Above the intervals and below the points, so that it can be followed through both.
    axes.plot(ends, ends, color="black", linewidth=1.3, zorder=2.5)
    # Where the literature has no extinction, the model was told that there is none.
    values = rows[panel.colour].fillna(0.0).to_numpy(float)
    norm = Normalize(values.min(), np.quantile(values, _BRIGHTEST))
    colours = axes.figure.colorbar(
        points := axes.scatter(truth, middle, 34, values, cmap=_COLOURS, norm=norm, zorder=3, linewidth=1.3),
        ax=axes,
        label=panel.colour_label,
        extend="max" if values.max() > norm.vmax else "neither",
        aspect=35,
    )
    colours.outline.set_linewidth(0.5)
    edges = points.cmap(norm(values))
    is_flagged = rows["is_flagged"].to_numpy(bool)
    points.set_edgecolors(edges)
    points.set_facecolors(np.where(is_flagged[:, None], 1.0, edges))
    points.set_array(None)  # colours are as set here
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        style.plain_numbers(axis, *ends)


def _values(rows: pd.DataFrame, name: str) -> tuple[np.ndarray, ...]:
    """Return low end of the interval, literature, prediction and high end (n,); low ends stay positive."""
    low, high = (f"{name}_{bound}" for bound in PERCENTILES[0])
    columns = (rows[column].to_numpy(float) for column in (low, f"{name}_literature", name, high))
    low, truth, middle, high = columns
    return np.maximum(low, 1e-3 * middle), truth, middle, high


def _name_outliers(axes: Axes, rows: pd.DataFrame, panel: Panel) -> None:
    """Write the names of the clusters that are farthest from the diagonal, where they cover the least."""
    low, truth, middle, high = _values(rows, panel.name)
    points, ends_low, ends_high = (
        axes.transData.transform(np.column_stack([truth, value])) for value in (middle, low, high)
    )
    intervals = [Bbox([low - _THIN, high + _THIN]) for low, high in zip(ends_low, ends_high, strict=True)]
    # Points count thrice: what is written over an interval can be read.
    taken = 3 * [Bbox([point - _RADIUS, point + _RADIUS]) for point in points] + intervals
    diagonal = axes.bbox.p0 + np.linspace(0, 1, 100)[:, None] * axes.bbox.size
    taken += [Bbox([point, point + 1]) for point in diagonal]
    for i in np.argsort(-np.abs(np.log10(middle / truth)))[:NUM_NAMED]:
        name = axes.text(
            truth[i], middle[i], str(rows["cluster"].iloc[i]).replace("_", " "), fontsize=8, parse_math=False
        )
        box = _free_box(points[i], name.get_window_extent().size + 2 * _MARGIN, taken, axes.bbox)
        taken.append(box)
        to_data = axes.transData.inverted()
        name.set(position=to_data.transform((box.p0 + box.p1) / 2), ha="center", va="center", zorder=4)
        # From the name to its point, unless they are side by side.
        nearest = np.clip(points[i], box.p0, box.p1)
        if np.linalg.norm(nearest - points[i]) > 2 * _RADIUS:
            line = to_data.transform([nearest, points[i]])
            axes.plot(*line.T, color="0.3", linewidth=0.6, zorder=2.8)


def _free_box(point: np.ndarray, size: np.ndarray, taken: list[Bbox], panel: Bbox) -> Bbox:
    """Return the box near a point, inside the panel, that overlaps with the fewest others [pixels]."""
    best, fewest = None, np.inf
    for distance in _DISTANCES:
        for direction in np.radians(_DIRECTIONS):
            towards = np.array([np.cos(direction), np.sin(direction)])
            # The nearest edge or corner of the box is at this distance.
            middle = point + distance * towards + size / 2 * np.sign(np.round(towards, 6))
            box = Bbox([middle - size / 2, middle + size / 2])
            is_inside = (box.p0 > panel.p0).all() and (box.p1 < panel.p1).all()
            overlaps = box.count_overlaps(taken) if is_inside else 1e6
            if overlaps < fewest:
                best, fewest = box, overlaps
    return best
