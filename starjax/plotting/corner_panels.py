"""Panels of a corner plot: the posterior of each target by itself, and of each pair of targets.

Densities are per unit of the axes, so that areas are probabilities on logarithmic axes as well.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecBase
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike
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
# What is beyond training.
_UNTRAINED: dict[str, Any] = {"facecolor": "none", "edgecolor": "0.75", "hatch": "////", "linewidth": 0}


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

    def to_axis(self, values: ArrayLike) -> np.ndarray:
        """Return values as lengths along an axis; those that cannot be shown are at its end."""
        values = np.asarray(values, np.float64)
        return np.log(np.maximum(values, self.limits()[0])) if self.is_logarithmic else values

    def from_axis(self, lengths: np.ndarray) -> np.ndarray:
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

    @functools.cached_property
    def bounds(self) -> tuple[float, float]:
        """The limits of its axis."""
        widest = [self.row[f"{bound}_physical"] for bound in PERCENTILES[-1]]
        ends = self.scale.to_axis([*np.quantile(self.samples, (_TAIL, 1 - _TAIL)), *widest])
        margin = _MARGIN * np.ptp(ends)
        # Ages and masses are not negative.
        low = self.scale.to_axis(np.maximum(self.scale.from_axis(ends.min() - margin), 0.0))
        least = np.log(_LEAST_FACTOR) if self.scale.is_logarithmic else 1e-3 * self.scale.high
        high = np.maximum(ends.max() + margin, low + least)
        return float(self.scale.from_axis(low)), float(self.scale.from_axis(high))

    @functools.cached_property
    def below(self) -> float:
        """The fraction of its samples below a logarithmic axis."""
        return float((self.samples < self.bounds[0]).mean()) if self.scale.is_logarithmic else 0.0

    @property
    def median(self) -> float:
        """Its median, or the end of its axis that it is beyond."""
        return float(np.clip(self.row["prediction_physical"], *self.bounds))

    @property
    def edges(self) -> np.ndarray:
        """The edges of bins, as lengths along its axis."""
        low, high = self.scale.to_axis(self.bounds)
        return np.linspace(low, high, _NUM_BIN + 1)

    @property
    def untrained(self) -> list[tuple[float, float]]:
        """The parts of its axis that are beyond training, without those that are hardly visible."""
        low, high = self.bounds
        parts = [(low, min(self.known[0], high)), (max(self.known[1], low), high)]
        least = 0.02 * np.ptp(self.edges)
        return [part for part in parts if np.subtract(*self.scale.to_axis(part[::-1])) > least]

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
    def label(self) -> str:
        """Its name and unit, short enough for a small panel."""
        known = quantities.get(self.key)
        return f"{known.short_name} [{known.unit}]" if known.short_name else known.axis_label()


def draw_corner(figure: Figure, grid: GridSpecBase, targets: Sequence[Target]) -> None:
    """Draw the posterior of T targets and their pairs as a corner plot, in a grid (T, T) of the figure."""
    last = len(targets) - 1
    for j, i in itertools.combinations_with_replacement(range(len(targets)), 2):
        axes, x, y = figure.add_subplot(grid[i, j]), targets[j], targets[i]
        if i == j:
            _draw_one(axes, x)
            axes.set_ylim(0, (1.08 if last else 1.3) * axes.dataLim.y1)
            # Beside a title there is room: to the right of the first, to the left of the others.
            axes.set_title(x.title, loc="left" if i == 0 else "right", fontsize=9)
        else:
            _draw_pair(axes, x, y)
            y.scale.set_axis(axes, "y", y.bounds)
        x.scale.set_axis(axes, "x", x.bounds)
        axes.tick_params(labelbottom=i == last, labelleft=j == 0)
        axes.set(xlabel=x.label if i == last else "", ylabel=y.label if j == 0 < i else "")
    _draw_legend(figure, grid[0, last].get_position(figure), targets)


def _draw_legend(figure: Figure, corner: Bbox, targets: Sequence[Target]) -> None:
    """Draw the legend into the empty corner, or into the room above the only target."""
    entries: list[Patch | Line2D] = [
        Patch(color=color, label=f"{level} %, calibrated")
        for color, level in zip(style.REGIONS, LEVEL_NAMES, strict=True)
    ]
    entries.append(Line2D([], [], color=style.DARK, linewidth=2, label="median"))
    if any(one.untrained for one in targets):
        entries.append(Patch(**_UNTRAINED, label="beyond training"))
    figure.legend(
        handles=entries,
        loc="upper right",
        bbox_to_anchor=(corner.x1, corner.y1),
        ncols=len(entries) if len(targets) == 1 else 1,
        framealpha=1,
        edgecolor="none",
        fontsize=8,
    )


def _draw_one(axes: Axes, target: Target) -> None:
    """Draw the density of a target and its calibrated intervals, and hatch what is beyond training."""
    scale, edges = target.scale, target.edges
    shown = target.samples[target.samples >= target.bounds[0]]
    counts, _ = np.histogram(scale.to_axis(shown), edges)
    density = gaussian_filter(counts.astype(float), _SMOOTHING)
    middles = (edges[:-1] + edges[1:]) / 2
    intervals = scale.to_axis([[target.row[f"{bound}_physical"] for bound in pair] for pair in PERCENTILES])
    # To the ends of the axis, and of the intervals.
    along = np.unique([*edges, *np.clip(intervals.ravel(), edges[0], edges[-1])])
    height, values = np.interp(along, middles, density), scale.from_axis(along)
    for (low, high), color in zip(intervals[::-1], style.REGIONS[::-1], strict=True):
        inside = (along >= low) & (along <= high)
        axes.fill_between(values[inside], height[inside], color=color, linewidth=0, zorder=1)
    axes.plot(values, height, color="black", linewidth=1.2)
    at_median = np.interp(scale.to_axis(target.median), along, height)
    axes.plot(2 * [target.median], [0, at_median], color=style.DARK, linewidth=2)
    axes.set_yticks([])
    for part in target.untrained:
        axes.axvspan(*part, **_UNTRAINED, zorder=0)


def _draw_pair(axes: Axes, x: Target, y: Target) -> None:
    """Draw the smallest regions that contain the nominal fractions of the samples.

    They continue below axes that do not show all samples.
    """
    is_shown = (x.samples >= x.bounds[0]) & (y.samples >= y.bounds[0])
    along_x, along_y = (one.scale.to_axis(one.samples[is_shown]) for one in (x, y))
    counts, *_ = np.histogram2d(along_x, along_y, bins=[x.edges, y.edges])
    density = gaussian_filter(counts, _SMOOTHING)
    order = np.argsort(-density, axis=None)
    hidden = 1 - is_shown.mean()
    shares = [max((level - hidden) / (1 - hidden), 0.01) for level in LEVELS]
    # By the samples, since smoothing widens their distribution.
    enclosed = np.cumsum(counts.ravel()[order]) / counts.sum()
    thresholds = density.ravel()[order][np.searchsorted(enclosed, shares)]
    levels = [*thresholds[::-1], 1.01 * density.max()]
    middles = [one.scale.from_axis((one.edges[:-1] + one.edges[1:]) / 2) for one in (x, y)]
    axes.contourf(*middles, density.T, levels, colors=style.REGIONS[::-1])
    axes.contour(*middles, density.T, levels[:-1], colors=style.DARK, linewidths=0.8)
    axes.plot(x.median, y.median, "o", color=style.WARM, markeredgecolor="black", markersize=6)
