"""The summary of a finished run on the terminal."""

from collections.abc import Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table

from starjax import quantities
from starjax.evaluation.calibration import LEVEL_NAMES
from starjax.io import files
from starjax.runs import run_config
from starjax.runs.directory import RunDirectory
from starjax.runtime import log


def print_summary(run_dir: RunDirectory, best: RunDirectory | None = None) -> None:
    """Print the test metrics and the coverage of a finished run, and its files.

    Args:
      run_dir: the run.
      best: the best member of a sweep, as a run of its own.
    """
    content = files.read_json(run_dir.test_metrics)
    tested = f"epoch {content['best_epoch']} of {content['epochs']}"
    if content["members"] > 1:
        tested = f"mean of {content['members']} members"
    table = Table(title=f"test, {tested}", title_justify="left")
    for column in ("target", "units", "MAE", "RMSE", "R²"):
        table.add_column(column, justify="left" if column in ("target", "units") else "right")
    for key, by_units in content["test"].items():
        for units, values in by_units.items():
            unit = quantities.unit(key) if units == "physical" else "scaled"
            table.add_row(key, unit, *(f"{values[name]:.3f}" for name in ("mae", "rmse", "r2")))
    console = log.console(100)
    paths = [
        run_dir.test_table,
        run_dir.snapshots,
        run_dir.coverage,
        run_dir.metrics,
        run_dir.figures,
        run_dir.checkpoints,
        run_dir.events,
    ]
    if run_dir.members.exists():
        _print_members(console, pd.read_csv(run_dir.members), list(content["test"]))
        paths[1:1] = [run_dir.test_table_of_members, run_dir.members]  # after the other test table
    console.print(table)
    # Runs of earlier versions have no test of the joint posterior.
    _print_coverage(console, pd.read_csv(run_dir.coverage), content.get("joint"))
    print(f"run directory   {run_dir.path}")
    print("with            " + ", ".join(path.name for path in paths if path.exists()))
    if best and best.test_metrics.exists():
        print(f"best member     {best.path}, a run of its own")


def _print_coverage(console: Console, coverage: pd.DataFrame, joint: dict | None) -> None:
    """Print the coverage and the median width of calibrated intervals, and the joint coverage if known."""
    overall = coverage[coverage["by"] == "all"]
    num_snapshot, num_simulation = overall[["num_snapshot", "num_simulation"]].iloc[0]
    title = f"calibrated intervals on {num_snapshot:.0f} test snapshots of {num_simulation:.0f} simulations"
    table = Table(title=title, title_justify="left")
    table.add_column("target")
    for name in LEVEL_NAMES:
        table.add_column(f"coverage at {name} %", justify="right")
        table.add_column("width", justify="right")
    for row in overall.to_dict("records"):
        cells = []
        for name in LEVEL_NAMES:
            cells.append(f"{row[f'coverage_{name}']:.1%} ± {row[f'coverage_{name}_error']:.1%}")
            cells.append(f"{row[f'width_{name}']:,.0f} {quantities.unit(row['target_key'])}")
        table.add_row(row["target_key"], *cells)
    # A single target has the same coverage twice.
    if joint and len(overall) > 1:
        table.add_row(
            "all, in one ellipse",
            *(cell for name in LEVEL_NAMES for cell in (joint_cell(joint["ellipse"], name), "")),
        )
    console.print(table)


def joint_cell(tested: dict[str, float], name: str) -> str:
    """Return the coverage of a test of the joint posterior at a level, with its expected scatter."""
    return f"{tested[f'coverage_{name}']:.1%} ± {tested[f'coverage_{name}_error']:.1%}"


def _cell(name: str, value: float) -> str:
    """Format a number: integers and hyperparameters as given, measured values with four decimals."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f}" if name.startswith("val") else f"{value:.4g}"


def members_title(table: pd.DataFrame) -> str:
    """Return the title of the table of members, which tells their order."""
    if "fold" in table:
        return "members by left-out fold, each evaluated on that fold"
    return "members by validation loss, each evaluated on its validation samples"


def members_cells(table: pd.DataFrame, target_keys: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return the titles and the rows of cells of the table of members (see `write_results.members_table`)."""
    columns = {
        name: name.replace("_", " ")
        for name in ("member", "seed", "fold", *run_config.HPARAMS, "best_epoch", "val_loss")
    }
    for key in target_keys:
        name = quantities.short_name(key)
        columns[f"val_{key}_physical_mae"] = f"MAE {name} [{quantities.unit(key)}]"
        columns[f"val_{key}_scaled_r2"] = f"R² {name} (scaled)"
    # Runs without folds have no `fold`, and hyperparameters that members share no column.
    names = [name for name in columns if name in table]
    rows = []
    for row in table.to_dict("records"):
        undefined = "failed" if row["is_failed"] else "–"
        rows.append([undefined if pd.isna(row[name]) else _cell(name, row[name]) for name in names])
    return [columns[name] for name in names], rows


def _print_members(console: Console, table: pd.DataFrame, target_keys: Sequence[str]) -> None:
    """Print the table of members."""
    titles, rows = members_cells(table, target_keys)
    members = Table(title=members_title(table), title_justify="left")
    for title in titles:
        members.add_column(title, justify="right")
    for row in rows:
        members.add_row(*row)
    console.print(members)
