"""The ranking of architectures over many finished runs.

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

# Runs are compared with others of the same task: the same data set, features and target.
TASK = ["data_set", "features", "target"]
# Metrics by the end of their names, and whether larger values are better.
IS_LARGER_BETTER = {
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
    """Runs that cannot be summarized."""


def percentiles(table: pd.DataFrame, metrics: Sequence[str] = METRICS) -> pd.DataFrame:
    """Add the percentile rank of each run among the runs of its task, in columns `percentile_<metric>`.

    It is the percentage of the task's runs that the run is better than, counting ties and the run itself as
    half: 50 for a single run, 100 - 50 / n for the best of n. An undefined metric, such as the correlation of
    a constant prediction, is worse than any other. `percentile` is the mean over the metrics.
    """
    columns = {}
    for metric in metrics:
        by_task = table.groupby(TASK)[metric]
        position = by_task.rank(ascending=_is_larger_better(metric), na_option="top")  # 1 is the worst
        columns[f"percentile_{metric}"] = 100 * (position - 0.5) / by_task.transform("size")
    added = pd.DataFrame(columns)
    return pd.concat([table, added.assign(percentile=added.mean(axis=1))], axis=1)


def _is_larger_better(metric: str) -> bool:
    """Return whether larger values of a metric are better; its name ends with one of IS_LARGER_BETTER."""
    return next(is_better for name, is_better in IS_LARGER_BETTER.items() if metric.endswith(f"_{name}"))


def rank(table: pd.DataFrame) -> pd.DataFrame:
    """Return the architectures by their mean percentile over the tasks they have runs in, best first.

    Each task has the same weight, however many runs of the architecture it has.

    Args:
      table: the runs, with `percentiles`.
    """
    columns = [name for name in table if name.startswith("percentile")]
    by_task = table.groupby(["architecture", *TASK])[columns].mean()
    ranking = by_task.groupby("architecture").mean()
    runs = table.groupby("architecture")
    ranking.insert(0, "model", runs["model"].first())
    ranking.insert(1, "min_params", runs["num_params"].min())
    ranking.insert(2, "max_params", runs["num_params"].max())
    ranking.insert(3, "tasks", by_task.groupby("architecture").size())
    ranking.insert(4, "runs", runs["run"].nunique())
    # Ties are sorted by name, so that the order is reproducible.
    return ranking.reset_index().sort_values(
        ["percentile", "architecture"], ascending=[False, True], ignore_index=True
    )


def summarize(directories: Iterable[Path], out: Path, metrics: Sequence[str] = METRICS) -> pd.DataFrame:
    """Write and print the summary of run directories, and the reasons for those that are left out.

    Args:
      directories: the run directories.
      out: folder to write to.
      metrics: the metrics to rank by.

    Returns:
      The ranking (see `rank`).

    Raises:
      SummaryError: no run can be used, or a metric does not exist.
    """
    table, left_out = run_tables.read_runs(directories)
    for name, reason in left_out.items():
        print(f"left out: {name} ({reason})")
    if table.empty:
        raise SummaryError("no finished run: nothing to rank")
    known = [
        name
        for name in table
        if name.startswith(("sample_", "snapshot_"))
        and name.endswith(tuple(f"_{m}" for m in IS_LARGER_BETTER))
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
    print_ranking(ranking, metrics, len(table[TASK].drop_duplicates()))
    print(f"wrote {os.path.relpath(out)} with runs.csv, ranking.csv (and .parquet), architectures.png")
    return ranking


def print_ranking(ranking: pd.DataFrame, metrics: Sequence[str], num_task: int) -> None:
    """Print the ranking."""
    title = f"mean percentile over {num_task} task(s); 50 is the median of a task's runs"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("architecture", no_wrap=True)
    for column in ("parameters", "tasks", "runs", "all", *(m.replace("_", "\n", 2) for m in metrics)):
        table.add_column(column, justify="right")
    for position, row in enumerate(ranking.to_dict("records"), start=1):
        low, high = row["min_params"], row["max_params"]
        values = [row["percentile"], *(row[f"percentile_{metric}"] for metric in metrics)]
        table.add_row(
            str(position),
            row["architecture"],
            f"{low:,}" if low == high else f"{low:,}–{high:,}",
            str(row["tasks"]),
            str(row["runs"]),
            *(f"{value:.1f}" for value in values),
        )
    log.console(120).print(table)
    if (ranking["tasks"] < num_task).any():
        print("not every architecture has runs in every task: percentiles are among the runs of a task only")
