"""Figures of the test snapshots: how errors depend on what a cluster is like, and whether intervals hold what they say."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from starjax import calibration, coverage, plots

# What errors are shown against, and its label.
AGAINST = {
    "num_star": "number of stars",
    "distance_pc": "distance [pc]",
    "time": "true age [Myr]",
    "total_mass_within_2x_r_tidal": f"true {plots.LABELS['mass']} [Msun]",
}


def errors(snapshots: pd.DataFrame) -> Figure:
    """Error of every test snapshot against what the cluster is like, targets down.

    Args:
      snapshots: as `snapshots.Judge.table` gives them.
    """
    by_target = dict(list(snapshots.groupby("target_key", sort=False)))
    against = {name: label for name, label in AGAINST.items() if _values(by_target, name) is not None}
    size = (1 + 3 * len(against), 0.6 + 2.8 * len(by_target))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(by_target), len(against), sharey="row", squeeze=False)
    for axes_of_target, (key, rows) in zip(panels, by_target.items(), strict=True):
        error, label = _error(rows, key)
        for axes, (name, name_label) in zip(axes_of_target, against.items(), strict=True):
            _error_panel(axes, np.asarray(_values(by_target, name)), error)
            if axes is panels[-1][list(against).index(name)]:
                axes.set_xlabel(name_label)
        axes_of_target[0].set_ylabel(label)
    handles = panels[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper left", ncols=2, frameon=False, fontsize=9)
    return figure


def _values(by_target: dict, name: str):
    """A property of each snapshot, in the order of the rows of a target; None where it is not known."""
    first = next(iter(by_target.values()))
    if name in by_target:
        return by_target[name]["target_physical"]
    column = "time_myr" if name == "time" else name
    return first[column] if column in first.columns else None


def _error(rows: pd.DataFrame, key: str) -> tuple[np.ndarray, str]:
    predicted, true = rows["prediction_physical"].to_numpy(), rows["target_physical"].to_numpy()
    label = plots.LABELS.get(key, key)
    if plots.is_logarithmic(key) and predicted.min() > 0 and true.min() > 0:
        return np.log10(predicted / true), f"{label}:\nlog10(predicted / true)"
    return predicted - true, f"{label}:\npredicted \N{MINUS SIGN} true [{plots.unit(key)}]"


def _error_panel(axes: Axes, values: np.ndarray, error: np.ndarray) -> None:
    axes.axhline(0, color="black", linewidth=0.8)
    axes.plot(values, error, ".", color="0.6", markersize=3, label="snapshot")
    middle, median, low, high = [], [], [], []
    for _, _, inside in coverage.bins(values):
        middle.append(np.median(values[inside]))
        for found, percentile in ((low, 16), (median, 50), (high, 84)):
            found.append(np.percentile(error[inside], percentile))
    bars = np.abs(np.array([low, high]) - median)
    axes.errorbar(
        middle,
        median,
        yerr=bars,
        fmt="s",
        color=plots.DARK,
        markersize=5,
        capsize=3,
        label="median and 16 to 84 % of a bin",
    )
    if values.min() > 0 and values.max() > 10 * values.min():
        axes.set_xscale("log")
        plots.plain_numbers(axes.xaxis, values.min(), values.max())


def calibration_curves(snapshots: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """One panel a target: how often the truth lies below each quantile, and how often in calibrated intervals.

    Args:
      snapshots: as `snapshots.Judge.table` gives them.
      table: as `coverage.by_bins` makes it of them.
    """
    by_target = dict(list(snapshots.groupby("target_key", sort=False)))
    figure = Figure(figsize=(0.6 + 3.9 * len(by_target), 4.3), layout="constrained")
    for axes, (key, rows) in zip(
        np.atleast_1d(figure.subplots(1, len(by_target))), by_target.items(), strict=True
    ):
        pit = np.sort(rows["pit"].to_numpy())
        share = np.arange(1, len(pit) + 1) / len(pit)
        axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1, label="ideal")
        axes.step(
            pit,
            share,
            where="post",
            color=plots.DARK,
            linewidth=1.5,
            label="truth below a quantile, before calibration",
        )
        overall = table[(table["target_key"] == key) & (table["by"] == "all")].iloc[0]
        names = [f"{100 * level:.0f}" for level in calibration.LEVELS]
        axes.errorbar(
            calibration.LEVELS,
            calibration.LEVELS,
            yerr=[overall[f"coverage_{name}_error"] for name in names],
            fmt="none",
            color="black",
            capsize=4,
            label="how far such shares scatter",
        )
        axes.plot(
            calibration.LEVELS,
            [overall[f"coverage_{name}"] for name in names],
            "o",
            color=plots.WARM,
            markeredgecolor="black",
            label="truth in calibrated intervals",
        )
        axes.set(xlim=(0, 1.02), ylim=(0, 1.05), aspect="equal", title=plots.LABELS.get(key, key))
        axes.set(xlabel="probability that is said", ylabel="share of test snapshots")
        axes.legend(loc="upper left", frameon=False, fontsize=8)
    return figure
