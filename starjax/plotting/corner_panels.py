"""Panels of a corner plot: the posterior of each target by itself, and of each pair of targets.

Densities are per unit of the axes, so that areas are probabilities on logarithmic axes as well.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import gaussian_filter

from starjax import quantities
from starjax.evaluation.calibration import LEVEL_NAMES, LEVELS, PERCENTILES
from starjax.plotting import style

# Samples that densities are estimated from.
NUM_SAMPLE = 100_000
# Bins along an axis, and the width of their smoothing in bins.
_NUM_BIN, _SMOOTHING = 100, 3.0
# Axes leave out this probability at both ends, and reach beyond by this fraction of what they show.
_TAIL, _MARGIN = 5e-3, 0.08
# A logarithmic axis spans at least this factor.
_LEAST_FACTOR = 1.5
# Targets that span this factor from percentile 5 to percentile 95 of training have logarithmic axes.
_LOGARITHMIC_FROM = 10.0
# Where logarithmic axes begin, as a fraction of the largest value in training: ages begin at zero.
_SMALLEST = 1e-3


@dataclasses.dataclass(frozen=True)
class Scale:
    """The scale of the axes of a quantity, which is the same for all clusters of a run.

    Attributes:
      is_logarithmic: True if they are logarithmic.
      low, high: the range of training; `low` is positive if axes are logarithmic.
    """

    is_logarithmic: bool
    low: float
    high: float

    @classmethod
    def of(cls, key: str, values: np.ndarray) -> "Scale":
        """Return the scale of a quantity for its values in training (n,)."""
        low, high = float(values.min()), float(values.max())
        usual = np.quantile(values, (0.05, 0.95))
        is_logarithmic = high > 0 and (
            quantities.get(key).is_logarithmic or usual[1] > _LOGARITHMIC_FROM * max(usual[0], 0)
        )
        return cls(is_logarithmic, max(low, _SMALLEST * high) if is_logarithmic else low, high)

    def to_axis(self, values):
        """Return values as lengths along an axis; those that cannot be shown are at its end."""
        return np.log(np.maximum(values, self.limits()[0])) if self.is_logarithmic else np.asarray(values)

    def from_axis(self, lengths):
        """Return the values at lengths along an axis."""
        return np.exp(lengths) if self.is_logarithmic else lengths

    def limits(self) -> tuple[float, float]:
        """Return the limits of an axis that shows the range of training."""
        if self.is_logarithmic:
            return self.low / 1.2, self.high * 1.2
        margin = _MARGIN / 2 * (self.high - self.low)
        return self.low - margin, self.high + margin

    def set_axis(self, axes: Axes, name: str, limits: tuple[float, float]) -> None:
        """Set scale, limits and ticks of the axis `name`, 'x' or 'y'."""
        axis = getattr(axes, f"{name}axis")
        if self.is_logarithmic:
            axes.set(**{f"{name}scale": "log"})
            style.plain_numbers(axis, *limits)
        else:
            axis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
        axes.set(**{f"{name}lim": limits})


@dataclasses.dataclass(frozen=True)
class Target:
    """A target of a cluster along an axis.

    Attributes:
      key: the target.
      row: its row of the posterior table.
      samples: of the calibrated posterior (n,).
      scale: of its axes.
      known: its range in training.
    """

    key: str
    row: Mapping[str, Any]
    samples: np.ndarray
    scale: Scale
    known: tuple[float, float]

    @property
    def bounds(self) -> tuple[float, float]:
        """The limits of its axis."""
        widest = [self.row[f"{bound}_physical"] for bound in PERCENTILES[-1]]
        ends = self.scale.to_axis([*np.quantile(self.samples, (_TAIL, 1 - _TAIL)), *widest])
        low, high = ends.min(), ends.max()
        margin = _MARGIN * (high - low)
        least = np.log(_LEAST_FACTOR) if self.scale.is_logarithmic else 1e-3 * self.scale.high
        # Ages and masses are not negative.
        start = self.scale.to_axis(max(float(self.scale.from_axis(low - margin)), 0.0))
        low, high = self.scale.from_axis(np.array([start, max(high + margin, start + least)])).tolist()
        return low, high

    @property
    def title(self) -> str:
        """Its median and narrowest interval, and the share of its samples below the axis."""
        unit, name = quantities.unit(self.key), quantities.get(self.key).short_name
        value, low, high = (
            style.plain_number(self.row[f"{column}_physical"]) for column in ("prediction", *PERCENTILES[0])
        )
        text = f"{name}: " if name else ""
        text += f"{value} ({low} to {high}) {unit}"
        below = 100 * self.below
        return text if below < 1 else f"{text}, {below:.0f} % below {style.plain_number(self.bounds[0])}"

    @property
    def below(self) -> float:
        """The share of its samples below a logarithmic axis."""
        return float((self.samples < self.bounds[0]).mean()) if self.scale.is_logarithmic else 0.0

    @property
    def label(self) -> str:
        """Its name and unit, short enough for a small panel."""
        known = quantities.get(self.key)
        return f"{known.short_name} [{known.unit}]" if known.short_name else known.axis_label()


def draw_corner(panels: np.ndarray, targets: list[Target]) -> None:
    """Draw the posterior of T targets and their pairs into the panels (T, T) of a corner plot."""
    num = len(targets)
    for i, j in np.ndindex(panels.shape):
        axes: Any = panels[i, j]
        x = targets[j]
        if j > i:
            axes.set_axis_off()
            continue
        if i == j:
            _draw_one(axes, x)
            # Beside a title there is room: to the right of the first, to the left of the others.
            axes.set_title(x.title, loc="left" if i == 0 else "right", fontsize=9)
        else:
            _draw_pair(axes, x, targets[i])
            targets[i].scale.set_axis(axes, "y", targets[i].bounds)
            axes.set_ylabel(targets[i].label if j == 0 else "")
        x.scale.set_axis(axes, "x", x.bounds)
        axes.set_xlabel(x.label if i == num - 1 else "")
        axes.tick_params(labelbottom=i == num - 1, labelleft=j == 0 and i > 0)
    _draw_legend(panels[0, -1], targets)


def _draw_legend(axes: Axes, targets: list[Target]) -> None:
    """Draw the legend: into the empty corner, or above the only target."""
    levels = zip(style.REGIONS, LEVEL_NAMES, strict=True)
    entries: list[Patch | Line2D] = [
        Patch(color=color, label=f"{level} %, calibrated") for color, level in levels
    ]
    entries.append(Line2D([], [], color=style.DARK, linewidth=2, label="median"))
    if any(one.bounds[0] < one.known[0] or one.bounds[1] > one.known[1] for one in targets):
        entries.append(
            Patch(facecolor="none", edgecolor="0.6", hatch="////", linewidth=0, label="beyond training")
        )
    is_alone = len(targets) == 1
    if is_alone:
        axes.set_ylim(0, 1.25 * axes.get_ylim()[1])
    axes.legend(handles=entries, loc="upper right", ncols=4 if is_alone else 1, frameon=False, fontsize=8)


def _edges(target: Target) -> np.ndarray:
    """Return the edges of the bins of a target, as lengths along its axis."""
    low, high = target.scale.to_axis(target.bounds)
    return np.linspace(low, high, _NUM_BIN + 1)


def _draw_one(axes: Axes, target: Target) -> None:
    """Draw the density of a target and its calibrated intervals, and hatch what is beyond training."""
    edges = _edges(target)
    shown = target.samples[target.samples > target.bounds[0]]
    counts, _ = np.histogram(target.scale.to_axis(shown), edges)
    density = gaussian_filter(counts.astype(float), _SMOOTHING)
    middles = (edges[:-1] + edges[1:]) / 2
    # To the ends of the axis, and of the intervals.
    ends = [target.row[f"{bound}_physical"] for pair in PERCENTILES for bound in pair]
    along = np.unique([*edges[[0, -1]], *middles, *np.clip(target.scale.to_axis(ends), edges[0], edges[-1])])
    height = np.interp(along, middles, density)
    for pair, color in zip(PERCENTILES[::-1], style.REGIONS[::-1], strict=True):
        low, high = target.scale.to_axis([target.row[f"{bound}_physical"] for bound in pair])
        inside = (along >= low) & (along <= high)
        axes.fill_between(
            target.scale.from_axis(along[inside]), height[inside], color=color, linewidth=0, zorder=1
        )
    axes.plot(target.scale.from_axis(along), height, color="black", linewidth=1.2)
    axes.axvline(np.clip(target.row["prediction_physical"], *target.bounds), color=style.DARK, linewidth=2)
    axes.set(yticks=[], ylim=(0, 1.08 * max(density.max(), 1.0)))
    low, high = target.bounds
    for start, end in ((low, min(target.known[0], high)), (max(target.known[1], low), high)):
        if start < end:
            axes.axvspan(start, end, facecolor="none", edgecolor="0.8", hatch="////", linewidth=0, zorder=0)


def _draw_pair(axes: Axes, x: Target, y: Target) -> None:
    """Draw the smallest regions that contain the nominal fractions of the samples.

    They continue below axes that do not show all samples.
    """
    edges = [_edges(target) for target in (x, y)]
    is_shown = (x.samples >= x.bounds[0]) & (y.samples >= y.bounds[0])
    along_x, along_y = (one.scale.to_axis(one.samples[is_shown]) for one in (x, y))
    counts, *_ = np.histogram2d(along_x, along_y, bins=edges)
    density = gaussian_filter(counts, _SMOOTHING)
    # Of the samples themselves, since smoothing widens the density.
    descending = np.argsort(density, axis=None)[::-1]
    enclosed = np.cumsum(counts.ravel()[descending]) / counts.sum()
    missing = max(x.below, y.below)
    shares = [max((level - missing) / (1 - missing), 0.01) for level in LEVELS]
    thresholds = density.ravel()[descending[np.searchsorted(enclosed, shares)]]
    levels = [*thresholds[::-1], 1.01 * density.max()]
    middles = [
        one.scale.from_axis((ends[:-1] + ends[1:]) / 2) for one, ends in zip((x, y), edges, strict=True)
    ]
    axes.contourf(*middles, density.T, levels, colors=style.REGIONS[::-1])
    axes.contour(*middles, density.T, levels[:-1], colors=style.DARK, linewidths=0.8)
    median = [np.clip(one.row["prediction_physical"], *one.bounds) for one in (x, y)]
    axes.plot(*median, "o", color=style.WARM, markeredgecolor="black", markersize=6)
