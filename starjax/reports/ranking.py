"""Many run directories in, one ranking out.

starjax summary --runs=output/experiments
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from rich.table import Table

from starjax import errors
from starjax.io import files
from starjax.plotting import run_figures, style
from starjax.reports import run_tables
from starjax.runtime import log

# What a task is: runs of one task can be compared.
TASK = ["data_set", "features", "target"]
# Metrics by the end of their name, and whether more of it is better.
IS_MORE_BETTER = {
    "mae": False,
    "mse": False,
    "rmse": False,
    "median_error": False,
    "error_90": False,
    "r2": True,
    "pearson": True,
    "spearman": True,
    "spread_error_spearman": True,
}
METRICS = ("snapshot_scaled_mae", "snapshot_scaled_rmse", "snapshot_scaled_spearman")


class SummaryError(errors.StarjaxError):
    """Runs of which no summary can be made."""


def percentiles(table: pd.DataFrame, metrics: Sequence[str] = METRICS) -> pd.DataFrame:
    """How each run stands among the runs of its task, by each metric, in columns `percentile_<metric>`.

    The percentage of the task's runs that it is better than, ties and itself counted half: 50 for a run that is
    alone, 100 - 50 / n for the best of n. A metric that is not defined, such as the correlation of a constant
    prediction, is worse than any other. `percentile` is the mean over the metrics.
    """
    columns = {}
    for metric in metrics:
        by_task = table.groupby(TASK)[metric]
        position = by_task.rank(ascending=_is_more_better(metric), na_option="top")  # from 1, the worst
        columns[f"percentile_{metric}"] = 100 * (position - 0.5) / by_task.transform("size")
    found = pd.DataFrame(columns)
    return pd.concat([table, found.assign(percentile=found.mean(axis=1))], axis=1)


def _is_more_better(metric: str) -> bool:
    return next(is_more for name, is_more in IS_MORE_BETTER.items() if metric.endswith(f"_{name}"))


def rank(table: pd.DataFrame) -> pd.DataFrame:
    """The architectures by their mean percentile over the tasks they ran, best first.

    Each task counts once, however many runs of the architecture it has.

    Args:
      table: as `percentiles` gives it.
    """
    columns = [name for name in table if name.startswith("percentile")]
    by_task = table.groupby(["architecture", *TASK])[columns].mean()
    found = by_task.groupby("architecture").mean()
    of_architecture = table.groupby("architecture")
    found.insert(0, "model", of_architecture["model"].first())
    found.insert(1, "min_params", of_architecture["num_params"].min())
    found.insert(2, "max_params", of_architecture["num_params"].max())
    found.insert(3, "tasks", by_task.groupby("architecture").size())
    found.insert(4, "runs", of_architecture["run"].nunique())
    # Names decide between equals, so that the order is always the same.
    return found.reset_index().sort_values(
        ["percentile", "architecture"], ascending=[False, True], ignore_index=True
    )


def summarize(directories: Iterable[Path], out: Path, metrics: Sequence[str] = METRICS) -> pd.DataFrame:
    """Writes and prints the summary of run directories; what is no finished run is named and left out.

    Returns:
      the ranking.

    Raises:
      SummaryError: no run can be used, or a metric is not known.
    """
    table, left_out = run_tables.read_runs(directories)
    for name, reason in left_out.items():
        print(f"left out: {name} {reason}")
    if table.empty:
        raise SummaryError("no finished run: nothing to rank")
    known = [
        name
        for name in table
        if name.startswith(("sample_", "snapshot_")) and name.endswith(tuple(f"_{m}" for m in IS_MORE_BETTER))
    ]
    unknown = [name for name in metrics if name not in known]
    if unknown or not metrics:
        raise SummaryError(f"metrics {', '.join(unknown) or 'none'}: choose among {', '.join(known)}")
    table = percentiles(table, metrics)
    ranking = rank(table)
    for name, content in {"runs": table, "ranking": ranking}.items():
        with files.atomic_write(out / f"{name}.csv") as temporary:
            content.to_csv(temporary, index=False)
        with files.atomic_write(out / f"{name}.parquet") as temporary:
            content.to_parquet(temporary, index=False)
    style.save_figure(run_figures.architectures(table), out / "architectures.png")
    report(ranking, metrics, len(table[TASK].drop_duplicates()))
    print(f"wrote {os.path.relpath(out)} with runs.csv, ranking.csv (and .parquet), architectures.png")
    return ranking


def report(ranking: pd.DataFrame, metrics: Sequence[str], num_task: int) -> None:
    """Prints the ranking."""
    title = f"mean percentile over {num_task} task(s); 50 is the middle of each task's runs"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("architecture", no_wrap=True)
    for column in ("parameters", "tasks", "runs", "all", *(m.replace("_", "\n", 2) for m in metrics)):
        table.add_column(column, justify="right")
    for place, row in enumerate(ranking.to_dict("records"), start=1):
        low, high = row["min_params"], row["max_params"]
        values = [row["percentile"], *(row[f"percentile_{metric}"] for metric in metrics)]
        table.add_row(
            str(place),
            row["architecture"],
            f"{low:,}" if low == high else f"{low:,}–{high:,}",
            str(row["tasks"]),
            str(row["runs"]),
            *(f"{value:.1f}" for value in values),
        )
    log.console(120).print(table)
    if (ranking["tasks"] < num_task).any():
        print("not every architecture has runs in every task: places are among the runs of a task only")
