"""Figures of the evaluation on test clusters: predicted against true values, errors, and coverage."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from starjax import quantities
from starjax.evaluation import coverage
from starjax.evaluation.calibration import LEVEL_NAMES, LEVELS
from starjax.evaluation.joint_calibration import PERCENT, CoverageCurve
from starjax.plotting import style

# Errors are shown against the targets and these properties, if they are known.
AGAINST = ("num_star", "distance_pc", "time")
# Titles of the tests of the joint posterior, and what their curves show.
JOINT_TESTS = {
    "ellipse": ("ellipses about the mean", "true values in the ellipse"),
    "tarp": ("balls about random points (TARP)", "true values in the ball"),
}


@style.default_settings()
def predicted_against_true(table: pd.DataFrame, metrics: dict) -> Figure:
    """Return the density of the test samples, predicted against true, and of their errors below.

    Args:
      table: the test table (see `Evaluator.table`).
      metrics: test metrics by target (see `Evaluator.metrics`).
    """
    keys = list(metrics)
    figure = Figure(figsize=(5.2 * len(keys), 5.8), layout="constrained")
    panels = figure.subplots(2, len(keys), sharex="col", squeeze=False, height_ratios=(3, 1.2))
    for (above, below), key in zip(panels.T, keys, strict=True):
        rows = table[table["target_key"] == key]
        true, predicted = rows["target_physical"].to_numpy(), rows["prediction_physical"].to_numpy()
        is_log = quantities.get(key).is_logarithmic and true.min() > 0 and predicted.min() > 0
        norm = LogNorm()  # shared by both panels, which have one colour bar
        density = _against_true(above, true, predicted, is_log, norm)
        errors = _error_density(below, true, predicted, is_log, norm)
        norm.autoscale(np.concatenate([density.get_array(), errors.get_array()]))
        label = quantities.get(key).axis_label()
        above.set_ylabel(f"predicted {label}")
        below.set_xlabel(f"true {label}")
        below.set_ylabel("log10(pred. / true)" if is_log else f"error [{quantities.unit(key)}]")
        r2, mae = metrics[key]["scaled"]["r2"], metrics[key]["physical"]["mae"]
        title = f"test: R² = {style.signed(r2, 3)} (scaled), MAE = {mae:.1f} {quantities.unit(key)}"
        above.set_title(title, fontsize=10)
        bar = figure.colorbar(density, ax=(above, below), label="samples")
        style.plain_numbers(bar.ax.yaxis, *density.get_clim())
    figure.align_ylabels()
    return figure


def _against_true(
    axes: Axes, true: np.ndarray, predicted: np.ndarray, is_log: bool, norm: LogNorm
) -> PolyCollection:
    """Draw predicted against true values."""
    low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
    scale, bounds = ("log", np.log10((low, high))) if is_log else ("linear", (low, high))
    scales = {"xscale": scale, "yscale": scale}
    density = _density(axes, true, predicted, (*bounds, *bounds), norm, gridsize=40, **scales)
    diagonal = [low, high]
    axes.plot(diagonal, diagonal, color="black", linewidth=1, linestyle="--", label="predicted = true")
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    if is_log:
        for axis in (axes.xaxis, axes.yaxis):
            style.plain_numbers(axis, low, high)
    return density


def _error_density(
    axes: Axes, true: np.ndarray, predicted: np.ndarray, is_log: bool, norm: LogNorm
) -> PolyCollection:
    """Draw errors against true values; errors are in dex if the target has a logarithmic axis."""
    error = np.log10(predicted / true) if is_log else predicted - true
    bounds = np.log10((true.min(), true.max())) if is_log else (true.min(), true.max())
    reach = 1.05 * np.abs(error).max() or 1.0  # an axis needs a width even if all predictions are perfect
    scale = "log" if is_log else "linear"
    density = _density(axes, true, error, (*bounds, -reach, reach), norm, gridsize=(40, 12), xscale=scale)
    axes.axhline(0, color="black", linewidth=1, linestyle="--")
    axes.set_ylim(-reach, reach)
    if is_log:
        style.plain_numbers(axes.xaxis, true.min(), true.max())
    return density


def _density(
    axes: Axes, x: np.ndarray, y: np.ndarray, extent: tuple, norm: LogNorm, **options
) -> PolyCollection:
    """Draw the number of samples in hexagons; `extent` is in log10 on logarithmic axes."""
    return axes.hexbin(x, y, extent=extent, norm=norm, cmap="viridis", mincnt=1, linewidths=0.1, **options)


@style.default_settings()
def errors_by_property(snapshots: pd.DataFrame) -> Figure:
    """Return the errors of the test snapshots against properties of the clusters, one row per target.

    Args:
      snapshots: see `SnapshotEvaluator.table`.
    """
    by_target = dict(list(snapshots.groupby("target_key", sort=False)))
    wanted = dict.fromkeys([*AGAINST, *by_target])
    against = [name for name in wanted if _values(by_target, name) is not None]
    size = (1 + 3 * len(against), 0.6 + 2.8 * len(by_target))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(by_target), len(against), sharey="row", squeeze=False)
    for axes_of_target, (key, rows) in zip(panels, by_target.items(), strict=True):
        error, label = _error(rows, key)
        for axes, name in zip(axes_of_target, against, strict=True):
            _error_panel(axes, np.asarray(_values(by_target, name)), error)
        axes_of_target[0].set_ylabel(label)
    for axes, name in zip(panels[-1], against, strict=True):
        known = quantities.get(name)
        axes.set_xlabel(f"true {known.axis_label()}" if known.kind == "target" else known.axis_label())
    handles = panels[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper left", ncols=2, frameon=False, fontsize=9)
    return figure


def _values(by_target: dict, name: str):
    """Return a property of the snapshots, in the order of the rows of a target; None if it is not known."""
    first = next(iter(by_target.values()))
    if name in by_target:
        return by_target[name]["target_physical"]
    # Also where `time` is no target: data sets have the time of a snapshot in a column of another name.
    column = "time_myr" if name == "time" else name
    return first[column] if column in first.columns else None


def _error(rows: pd.DataFrame, key: str) -> tuple[np.ndarray, str]:
    """Return the errors of a target and their label; errors are in dex if its axes are logarithmic."""
    predicted, true = rows["prediction_physical"].to_numpy(), rows["target_physical"].to_numpy()
    label = quantities.get(key).label
    if quantities.get(key).is_logarithmic and predicted.min() > 0 and true.min() > 0:
        return np.log10(predicted / true), f"{label}:\nlog10(predicted / true)"
    return predicted - true, f"{label}:\npredicted \N{MINUS SIGN} true [{quantities.unit(key)}]"


def _error_panel(axes: Axes, values: np.ndarray, error: np.ndarray) -> None:
    """Draw errors against a property: all snapshots, and median and 16 to 84 % range in bins."""
    axes.axhline(0, color="black", linewidth=0.8)
    axes.plot(values, error, ".", color="0.6", markersize=3, label="snapshot")
    middle: list[float] = []
    low: list[float] = []
    median: list[float] = []
    high: list[float] = []
    for _, _, inside in coverage.bins(values):
        middle.append(np.median(values[inside]))
        for values_of_bins, percentile in ((low, 16), (median, 50), (high, 84)):
            values_of_bins.append(np.percentile(error[inside], percentile))
    # matplotlib takes lengths of error bars, not their ends.
    bars = np.abs(np.array([low, high]) - median)
    axes.errorbar(
        middle,
        median,
        yerr=bars,
        fmt="s",
        color=style.DARK,
        markersize=5,
        capsize=3,
        label="median and 16 to 84 % of a bin",
    )
    if values.min() > 0 and values.max() > 10 * values.min():
        axes.set_xscale("log")
        style.plain_numbers(axes.xaxis, values.min(), values.max())


@style.default_settings()
def calibration_curves(snapshots: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """Return, for each target, the distribution of the PIT and the coverage of calibrated intervals.

    Args:
      snapshots: see `SnapshotEvaluator.table`.
      table: see `coverage.coverage_table`.
    """
    by_target = dict(list(snapshots.groupby("target_key", sort=False)))
    figure = Figure(figsize=(0.6 + 3.9 * len(by_target), 4.3), layout="constrained")
    (panels,) = figure.subplots(1, len(by_target), squeeze=False)
    for axes, (key, rows) in zip(panels, by_target.items(), strict=True):
        # The empirical distribution function shows all values; a histogram would depend on its bins.
        pit = np.sort(rows["pit"].to_numpy())
        share = np.arange(1, len(pit) + 1) / len(pit)
        axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1, label="ideal")
        axes.step(
            pit,
            share,
            where="post",
            color=style.DARK,
            linewidth=1.5,
            label="true value below quantile, before calibration",
        )
        overall = table[(table["target_key"] == key) & (table["by"] == "all")].iloc[0]
        axes.errorbar(
            LEVELS,
            LEVELS,
            yerr=[overall[f"coverage_{name}_error"] for name in LEVEL_NAMES],
            fmt="none",
            color="black",
            capsize=4,
            label="expected scatter of the coverage",
        )
        axes.plot(
            LEVELS,
            [overall[f"coverage_{name}"] for name in LEVEL_NAMES],
            "o",
            color=style.WARM,
            markeredgecolor="black",
            label="true value in calibrated interval",
        )
        axes.set(xlim=(0, 1.02), ylim=(0, 1.05), aspect="equal", title=quantities.get(key).label)
        axes.set(xlabel="nominal probability", ylabel="fraction of test snapshots")
        axes.legend(loc="upper left", frameon=False, fontsize=8)
    return figure


@style.default_settings()
def joint_calibration_curves(curves: Mapping[str, CoverageCurve]) -> Figure:
    """Return the coverage of the joint posterior with its expected scatter, one panel for each test.

    Args:
      curves: see `joint_calibration.coverage_curves`.
    """
    figure = Figure(figsize=(0.6 + 3.9 * len(curves), 4.3), layout="constrained")
    (panels,) = figure.subplots(1, len(curves), squeeze=False)
    nominal = PERCENT / 100
    for axes, (test, curve) in zip(panels, curves.items(), strict=True):
        title, label = JOINT_TESTS[test]
        for number, alpha in ((2, 0.12), (1, 0.2)):
            axes.fill_between(
                nominal,
                nominal - number * curve.error,
                nominal + number * curve.error,
                color="black",
                alpha=alpha,
                linewidth=0,
                label=f"expected within {number} standard deviation{'s' if number > 1 else ''}",
            )
        axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1, label="ideal")
        axes.plot(nominal, curve.coverage, color=style.DARK, linewidth=1.5, label=label)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.05), aspect="equal")
        axes.set_title(f"{title}: p = {curve.p_value:.2g}", fontsize=10)
        axes.set(xlabel="nominal probability", ylabel="fraction of test snapshots")
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], labels[::-1], loc="lower right", frameon=False, fontsize=8)
    return figure
