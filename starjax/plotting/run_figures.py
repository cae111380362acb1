"""Figures of runs: the loss by epoch of one, and the test metrics of many by architecture."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from starjax import quantities
from starjax.plotting import style


@style.default_settings()
def training_curves(metrics: pd.DataFrame, best_epochs: Sequence[int], loss_name: str) -> Figure:
    """Return the loss by epoch of each ensemble member, with the best epochs marked.

    Args:
      metrics: the content of metrics.csv.
      best_epochs: the best epoch of each member.
      loss_name: label of the loss.
    """
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.subplots()
    labels = {"train": "training (stars dropped, dropout on)", "val": "validation"}
    # Thin lines, so that those of many members can be told apart.
    width = 1.5 if len(best_epochs) == 1 else 0.6
    for split, colour in (("train", "0.6"), ("val", "black")):
        for _, rows in metrics.groupby("member"):
            axes.plot(
                rows["epoch"],
                rows[f"{split}_loss"],
                color=colour,
                linewidth=width,
                label=labels.pop(split, None),  # of the first member only
            )
    is_best = metrics["epoch"] == metrics["member"].map(dict(enumerate(best_epochs)))
    label = f"best epoch, {best_epochs[0]}" if len(best_epochs) == 1 else "best epochs"
    best = metrics[is_best]
    axes.plot(best["epoch"], best["val_loss"], "o", color=style.WARM, markeredgecolor="black", label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel=loss_name)
    if metrics[["train_loss", "val_loss"]].min(axis=None) > 0:
        axes.set_yscale("log")
        style.plain_numbers(axes.yaxis, *axes.get_ylim())
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8, columnspacing=1)
    return figure


@style.default_settings()
def architectures(table: pd.DataFrame) -> Figure:
    """Return R² of every run against the size of its model, targets down and features across.

    Args:
      table: see `run_tables.read_runs`.
    """
    # All panels have the same models, so that one has the same marker everywhere.
    models, targets = sorted(table["model"].unique()), sorted(table["target"].unique())
    columns = sorted(table[["data_set", "features"]].drop_duplicates().itertuples(index=False, name=None))
    figure = Figure(figsize=(1 + 3.2 * len(columns), 0.8 + 2.9 * len(targets)), layout="constrained")
    panels = figure.subplots(len(targets), len(columns), sharex=True, sharey="row", squeeze=False)
    for axes_of_target, target in zip(panels, targets, strict=True):
        for axes, (data_set, features) in zip(axes_of_target, columns, strict=True):
            is_here = (table["target"] == target) & (table["features"] == features)
            rows = table[is_here & (table["data_set"] == data_set)]
            _dots_by_model(axes, rows, models)
            name = features
            if table["data_set"].nunique() > 1:
                path = table.loc[table["data_set"] == data_set, "config.data.dataset"].iloc[0]
                name = f"{features}\n{Path(path).name}, {data_set}"
            axes.set_title(f"{name}\n{'no run' if rows.empty else f'best: {_best_label(rows)}'}", fontsize=9)
        # A run table names a target by its set in a grid, or by its key.
        (key,) = quantities.sets("target").get(target, (target,))
        axes_of_target[0].set_ylabel(f"{quantities.get(key).label}: R² per snapshot\n(scaled units)")
    for axes in panels[-1]:
        axes.set(xlabel="learned parameters", xscale="log")
        style.plain_numbers(axes.xaxis, *axes.get_xlim())
    handles = [line for line in panels[0, 0].get_lines() if line.get_label() in models]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(models), frameon=False, fontsize=9)
    return figure


def _dots_by_model(axes, rows: pd.DataFrame, models: list[str]) -> None:
    """Draw a dot per run; models differ in shape and lightness, and can be distinguished without colours."""
    styles = itertools.cycle([("o", style.DARK), ("s", style.WARM), ("^", "#2a9d70"), ("D", "#b0b0b0")])
    for model, (marker, colour) in zip(models, styles, strict=False):
        of_model = rows[rows["model"] == model]
        axes.plot(
            of_model["num_params"],
            of_model["snapshot_scaled_r2"],
            marker,
            color=colour,
            markeredgecolor="black",
            markeredgewidth=0.5,
            markersize=6,
            alpha=0.9,
            label=model,
        )
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)


def _best_label(rows: pd.DataFrame) -> str:
    """Return architecture and R² of the best run."""
    # pandas finds no maximum if all values are NaN.
    best = rows.loc[rows["snapshot_scaled_r2"].fillna(-np.inf).idxmax()]
    return f"{best['architecture']}, {style.signed(best['snapshot_scaled_r2'], 2)}"
