"""Figures of the test samples as a density: predicted against true, and how far off."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from starjax import plots


def predicted_against_true(table: pd.DataFrame, metrics: dict) -> Figure:
    """Density of the test samples, predicted against true, and their errors below, one column a target.

    Args:
      table: the test table, as `Evaluator.table` gives it.
      metrics: by target, as `Evaluator.metrics` gives them.
    """
    keys = list(metrics)
    figure = Figure(figsize=(5.2 * len(keys), 5.8), layout="constrained")
    panels = figure.subplots(2, len(keys), sharex="col", squeeze=False, height_ratios=(3, 1.2))
    for (above, below), key in zip(panels.T, keys, strict=True):
        rows = table[table["target_key"] == key]
        true, predicted = rows["target_physical"].to_numpy(), rows["prediction_physical"].to_numpy()
        is_log = plots.is_logarithmic(key) and true.min() > 0 and predicted.min() > 0
        norm = LogNorm()  # one for both panels, whose counts are beside them
        density = _against_true(above, true, predicted, is_log, norm)
        errors = _errors(below, true, predicted, is_log, norm)
        norm.autoscale(np.concatenate([density.get_array(), errors.get_array()]))
        label = f"{plots.LABELS.get(key, key)} [{plots.unit(key)}]"
        above.set_ylabel(f"predicted {label}")
        below.set_xlabel(f"true {label}")
        below.set_ylabel("log10(pred. / true)" if is_log else f"error [{plots.unit(key)}]")
        r2, mae = metrics[key]["scaled"]["r2"], metrics[key]["physical"]["mae"]
        title = f"test: R² = {plots.signed(r2, 3)} (scaled), MAE = {mae:.1f} {plots.unit(key)}"
        above.set_title(title, fontsize=10)
        bar = figure.colorbar(density, ax=(above, below), label="samples")
        plots.plain_numbers(bar.ax.yaxis, *density.get_clim())
    figure.align_ylabels()
    return figure


def _against_true(
    axes: Axes, true: np.ndarray, predicted: np.ndarray, is_log: bool, norm: LogNorm
) -> PolyCollection:
    low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
    scale, bounds = ("log", np.log10((low, high))) if is_log else ("linear", (low, high))
    scales = {"xscale": scale, "yscale": scale}
    density = _density(axes, true, predicted, (*bounds, *bounds), norm, gridsize=40, **scales)
    diagonal = [low, high]
    axes.plot(diagonal, diagonal, color="black", linewidth=1, linestyle="--", label="predicted = true")
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    if is_log:
        for axis in (axes.xaxis, axes.yaxis):
            plots.plain_numbers(axis, low, high)
    return density


def _errors(
    axes: Axes, true: np.ndarray, predicted: np.ndarray, is_log: bool, norm: LogNorm
) -> PolyCollection:
    """In dex where targets are shown by their logarithms."""
    error = np.log10(predicted / true) if is_log else predicted - true
    bounds = np.log10((true.min(), true.max())) if is_log else (true.min(), true.max())
    reach = 1.05 * np.abs(error).max() or 1.0  # of a perfect prediction
    scale = "log" if is_log else "linear"
    density = _density(axes, true, error, (*bounds, -reach, reach), norm, gridsize=(40, 12), xscale=scale)
    axes.axhline(0, color="black", linewidth=1, linestyle="--")
    axes.set_ylim(-reach, reach)
    if is_log:
        plots.plain_numbers(axes.xaxis, true.min(), true.max())
    return density


def _density(
    axes: Axes, x: np.ndarray, y: np.ndarray, extent: tuple, norm: LogNorm, **options
) -> PolyCollection:
    style = {"norm": norm, "cmap": "viridis", "mincnt": 1, "linewidths": 0.1}
    return axes.hexbin(x, y, extent=extent, **style, **options)
