"""Figures of a run. Matplotlib is used without its global state, so that nothing needs a display."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from starjax import files

LABELS = {"time": "age", "total_mass_within_2x_r_tidal": r"mass within 2 $r_{\rm tidal}$"}
UNITS = {
    "time": "Myr",
    "total_mass": "Msun",
    "total_mass_within_r_tidal": "Msun",
    "total_mass_within_2x_r_tidal": "Msun",
    "r_tidal": "pc",
    "r_half_mass": "pc",
}


def unit(key: str) -> str:
    """The unit of a target, as far as it is known."""
    return UNITS.get(key, "physical")


def predicted_against_true(table: pd.DataFrame, metrics: dict) -> Figure:
    """Density of the test samples, predicted against true, one panel a target.

    Args:
      table: the test table, as `Evaluator.table` gives it.
      metrics: by target, as `Evaluator.metrics` gives them.
    """
    keys = list(metrics)
    figure = Figure(figsize=(5.2 * len(keys), 4.4), layout="constrained")
    for axes, key in zip(np.atleast_1d(figure.subplots(1, len(keys))), keys, strict=True):
        rows = table[table["target_key"] == key]
        true, predicted = rows["target_physical"].to_numpy(), rows["prediction_physical"].to_numpy()
        # Masses span two orders of magnitude; ages begin at zero.
        is_log = key != "time" and true.min() > 0 and predicted.min() > 0
        scale = "log" if is_log else "linear"
        low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
        density = axes.hexbin(
            true,
            predicted,
            gridsize=40,
            extent=np.log10((low, high, low, high)) if is_log else (low, high, low, high),
            xscale=scale,
            yscale=scale,
            norm=LogNorm(),
            cmap="viridis",
            mincnt=1,
            linewidths=0.1,
        )
        axes.plot(
            [low, high], [low, high], color="black", linewidth=1, linestyle="--", label="predicted = true"
        )
        label = f"{LABELS.get(key, key)} [{unit(key)}]"
        if is_log:
            # Plain numbers; a range of less than two decades needs more of them than the powers of ten.
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
                axis.set_major_formatter(ScalarFormatter())
                axis.set_minor_formatter(NullFormatter())
        axes.set(xlabel=f"true {label}", ylabel=f"predicted {label}")
        r2, mae = metrics[key]["scaled"]["r2"], metrics[key]["physical"]["mae"]
        axes.set_title(f"test: R² = {r2:.3f} (scaled), MAE = {mae:.1f} {unit(key)}", fontsize=10)
        axes.legend(loc="lower right", frameon=False, fontsize=9)
        figure.colorbar(density, ax=axes, label="samples")
    return figure


def training_curves(metrics: pd.DataFrame, best_epoch: int) -> Figure:
    """Loss by epoch, from the content of metrics.csv, with the epoch that was tested."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(
        metrics["epoch"], metrics["train_huber"], color="0.6", label="training (stars dropped, dropout on)"
    )
    axes.plot(metrics["epoch"], metrics["val_huber"], color="black", label="validation")
    axes.axvline(best_epoch, color="black", linestyle=":", linewidth=1, label=f"best epoch, {best_epoch}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="Huber loss [scaled units]", yscale="log")
    axes.legend(framealpha=1, edgecolor="none", fontsize=9)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG."""
    with files.written_whole(path) as temporary:
        figure.savefig(temporary, dpi=150)
