"""What a finished run says on the terminal."""

from collections.abc import Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table

from starjax import quantities
from starjax.evaluation import calibration
from starjax.io import files
from starjax.runs import run_config
from starjax.runs.directory import RunDirectory
from starjax.runtime import log


def print_summary(run_dir: RunDirectory, best: RunDirectory | None = None) -> None:
    """Prints the test metrics of a finished run, and where everything lies; of a sweep also where its best member is."""
    content = files.read_json(run_dir.test_metrics)
    what = f"epoch {content['best_epoch']} of {content['epochs']}"
    if content["members"] > 1:
        what = f"mean of {content['members']} members"
    table = Table(title=f"test, {what}", title_justify="left")
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
        _report_members(console, pd.read_csv(run_dir.members), list(content["test"]))
        paths[1:1] = [run_dir.test_table_of_members, run_dir.members]
    console.print(table)
    _report_coverage(console, pd.read_csv(run_dir.coverage))
    print(f"run directory   {run_dir.path}")
    print("with            " + ", ".join(path.name for path in paths if path.exists()))
    if best and best.test_metrics.exists():
        print(f"best member     {best.path}, a run of its own")


def _report_coverage(console: Console, coverage: pd.DataFrame) -> None:
    """How often calibrated intervals held the truth, and how wide they were."""
    overall = coverage[coverage["by"] == "all"]
    num_snapshot, num_simulation = overall[["num_snapshot", "num_simulation"]].iloc[0]
    title = f"calibrated intervals on {num_snapshot:.0f} test snapshots of {num_simulation:.0f} runs"
    table = Table(title=title, title_justify="left")
    table.add_column("target")
    for level in calibration.LEVELS:
        table.add_column(f"{level:.0%} hold", justify="right")
        table.add_column("width", justify="right")
    for row in overall.to_dict("records"):
        cells = []
        for name in (f"{100 * level:.0f}" for level in calibration.LEVELS):
            cells.append(f"{row[f'coverage_{name}']:.1%} ± {row[f'coverage_{name}_error']:.1%}")
            cells.append(f"{row[f'width_{name}']:,.0f} {quantities.unit(row['target_key'])}")
        table.add_row(row["target_key"], *cells)
    console.print(table)


def _cell(name: str, value: float) -> str:
    """Whole numbers and hyperparameters as they were given, what was measured with as many digits for all."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f}" if name.startswith("val") else f"{value:.4g}"


def members_title(table: pd.DataFrame) -> str:
    """In which order members stand in their table."""
    if "fold" in table:
        return "members by the fold that they left out, each on the samples of that"
    return "members by validation loss, each on the samples that it is validated on"


def members_cells(table: pd.DataFrame, target_keys: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """What is shown of a table of members (see `results.members_table`): titles of its columns, and rows of cells."""
    columns = {
        name: name.replace("_", " ")
        for name in ("member", "seed", "fold", *run_config.HPARAMS, "best_epoch", "val_loss")
    }
    for key in target_keys:
        name = quantities.short_name(key)
        columns[f"val_{key}_physical_mae"] = f"MAE {name} [{quantities.unit(key)}]"
        columns[f"val_{key}_scaled_r2"] = f"R² {name} (scaled)"
    shown = [name for name in columns if name in table]
    rows = []
    for row in table.to_dict("records"):
        undefined = "failed" if row["is_failed"] else "–"
        rows.append([undefined if pd.isna(row[name]) else _cell(name, row[name]) for name in shown])
    return [columns[name] for name in shown], rows


def _report_members(console: Console, table: pd.DataFrame, target_keys: Sequence[str]) -> None:
    titles, rows = members_cells(table, target_keys)
    shown = Table(title=members_title(table), title_justify="left")
    for title in titles:
        shown.add_column(title, justify="right")
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
