"""The corner plot of a cluster: its joint posterior for each pair of targets, and each target by itself."""

import dataclasses
import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import gaussian_filter

from starjax import quantities
from starjax.evaluation.calibration import LEVEL_NAMES, LEVELS, PERCENTILES
from starjax.evaluation.posterior import Posterior
from starjax.plotting import style

# Samples that densities are estimated from, bins along an axis, and the width of the smoothing in bins.
_NUM_SAMPLE, _NUM_BIN, _SMOOTHING = 100_000, 80, 2.5
# Axes reach beyond what leaves out this probability at both ends by this fraction of it.
_TAIL, _MARGIN = 1e-3, 0.1
# Width of a panel [inches].
_PANEL = 3.2
# Regions and intervals by level, the narrowest first.
_REGIONS, _INTERVALS = ("#7fa3c7", "#c6d6e8"), ("0.75", "0.88")


class CornerFigure(Figure):
    """A figure that notebooks show, also those that do not import pyplot."""

    @style.default_settings()
    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png")
        return content.getvalue()


@dataclasses.dataclass(frozen=True)
class _Target:
    """A target along an axis: its key, row of the posterior table, samples, and edges of bins."""

    key: str
    row: dict
    samples: np.ndarray
    edges: np.ndarray
    is_logarithmic: bool

    @property
    def centres(self) -> np.ndarray:
        """The middles of the bins, as the axis shows them."""
        low, high = self.edges[:-1], self.edges[1:]
        return np.sqrt(low * high) if self.is_logarithmic else (low + high) / 2

    def set_axis(self, axes: Axes, name: str, is_labelled: bool) -> None:
        """Set scale, limits, ticks and label of the axis `name`, 'x' or 'y'."""
        axis = getattr(axes, f"{name}axis")
        label = quantities.get(self.key).axis_label()
        if self.is_logarithmic:
            axes.set(**{f"{name}scale": "log"})
            style.plain_numbers(axis, self.edges[0], self.edges[-1])
            label += ", logarithmic"
        else:
            axis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
        axes.set(**{f"{name}lim": (self.edges[0], self.edges[-1])})
        if is_labelled:
            axis.set_label_text(label)
        else:
            axis.set_tick_params(labelbottom=False, labelleft=False)


@style.default_settings()
def draw_corner(posterior: Posterior, cluster: str) -> Figure:
    """Return the corner plot of a cluster: regions of its joint posterior, and its calibrated intervals.

    Args:
      posterior: the posterior of all clusters of a prediction.
      cluster: its name.

    Raises:
      KeyError: there is no cluster of this name.
    """
    samples = posterior.samples(cluster, _NUM_SAMPLE)
    rows = posterior.table[posterior.table["cluster"] == cluster].set_index("target_key")
    targets = [_target(key, rows.loc[key].to_dict(), samples[key].to_numpy()) for key in samples]
    num = len(targets)
    figure = CornerFigure(figsize=(_PANEL * num, _PANEL * num + 0.4), layout="constrained")
    panels = figure.subplots(num, num, squeeze=False)
    for i, j in np.ndindex(panels.shape):
        axes: Any = panels[i, j]
        if j > i:
            axes.set_axis_off()
        elif j == i:
            _draw_one(axes, targets[i])
        else:
            _draw_two(axes, targets[j], targets[i])
            targets[i].set_axis(axes, "y", is_labelled=j == 0)
        if j <= i:
            targets[j].set_axis(axes, "x", is_labelled=i == num - 1)
    if num > 1:
        panels[0, -1].legend(handles=_patches(), loc="center", frameon=False, fontsize=9)
    # A name may contain a dollar sign.
    figure.suptitle(cluster, fontsize=11, parse_math=False)
    return figure


def _target(key: str, row: dict, samples: np.ndarray) -> _Target:
    """Return a target with bins between its tails."""
    ends = np.quantile(samples, [_TAIL, 1 - _TAIL])
    if is_logarithmic := style.is_logarithmic(key, row):
        low, high = np.log(np.maximum(ends, style.lowest(row)))
        edges = np.exp(np.linspace(low - _MARGIN * (high - low), high + _MARGIN * (high - low), _NUM_BIN + 1))
    else:
        low, high = ends
        # Samples at zero would be negative, and are left out: they would be a spike.
        start = max(low - _MARGIN * (high - low), np.finfo(float).tiny)
        edges = np.linspace(start, high + _MARGIN * (high - low), _NUM_BIN + 1)
    return _Target(key, row, samples, edges, is_logarithmic)


def _patches() -> list[Patch]:
    """Return the entries of the legend."""
    regions = [
        Patch(color=color, label=f"{level} % of the joint posterior")
        for level, color in zip(LEVEL_NAMES, _REGIONS, strict=True)
    ]
    intervals = [
        Patch(color=color, label=f"{level} %, calibrated")
        for level, color in zip(LEVEL_NAMES, _INTERVALS, strict=True)
    ]
    return [*regions, *intervals]


def _draw_one(axes: Axes, target: _Target) -> None:
    """Draw the density of a target, per unit of its axis, and its calibrated intervals."""
    counts, _ = np.histogram(target.samples, target.edges)
    density = gaussian_filter(counts.astype(float), _SMOOTHING)
    for (low, high), shade in zip(PERCENTILES[::-1], _INTERVALS[::-1], strict=True):
        bounds = [target.row[f"{bound}_physical"] for bound in (low, high)]
        inside = np.unique(np.clip([*bounds, *target.centres], *bounds))
        axes.fill_between(inside, np.interp(inside, target.centres, density), color=shade, linewidth=0)
    axes.plot(target.centres, density, color="black", linewidth=1.5)
    axes.axvline(target.row["prediction_physical"], color=style.DARK, linewidth=2)
    axes.set(yticks=[], ylim=(0, 1.1 * density.max()))
    axes.set_title(style.interval_text(target.key, target.row), fontsize=10)


def _draw_two(axes: Axes, x: _Target, y: _Target) -> None:
    """Draw the smallest regions of the joint density of two targets that contain the nominal fractions."""
    counts, *_ = np.histogram2d(x.samples, y.samples, (x.edges, y.edges))
    density = gaussian_filter(counts, _SMOOTHING)
    # Of the samples themselves, since smoothing widens the density.
    descending = np.argsort(density, axis=None)[::-1]
    enclosed = np.cumsum(counts.ravel()[descending]) / counts.sum()
    thresholds = density.ravel()[descending[np.searchsorted(enclosed, LEVELS)]]
    ends = [*thresholds[::-1], density.max() * 1.01]
    axes.contourf(x.centres, y.centres, density.T, ends, colors=_REGIONS[::-1])
    axes.contour(x.centres, y.centres, density.T, ends[:-1], colors=style.DARK, linewidths=1)
    axes.plot(x.row["prediction_physical"], y.row["prediction_physical"], "o", color="black", markersize=4)
