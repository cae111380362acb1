"""Print a prediction: a short table, flags, and notes."""

import dataclasses
from collections.abc import Mapping, Sequence

import pandas as pd
from rich.table import Table

from starjax import quantities
from starjax.catalogs.stated import cluster_names
from starjax.evaluation.calibration import LEVEL_NAMES, PERCENTILES
from starjax.inference.prediction_table import Prediction
from starjax.inference.predictor import Predictor
from starjax.runs import run_config
from starjax.runtime import log

NOTE_ON_COMPLETENESS = (
    "This run assumes complete member catalogues: where stars are missing, faint or others, it "
    "underestimates the mass. Runs of --config=posterior_incomplete do not assume that."
)
# Which notes are printed: those of each cluster, or their number only. All of them are in the tables.
NOTES = ("short", "full")
# Notes of more clusters are short unless asked for; the table and the notes on catalogues end after so many.
MAX_FULL, MAX_ROWS, MAX_NOTES = 10, 50, 10


@dataclasses.dataclass(frozen=True)
class PredictionSummary:
    """A prediction without its stars and distributions.

    Attributes:
      table: see `prediction_table.prediction_table`.
      notes: which columns of the catalogue were used, in sentences.
      notes_of_cluster: by cluster, how values were determined and which stars were left out.
      refused: by cluster, the reason why it cannot be predicted.
      unmatched: clusters of which something was stated, but of which the catalogue has no stars.
    """

    table: pd.DataFrame
    notes: Sequence[str]
    notes_of_cluster: Mapping[str, Sequence[str]]
    refused: Mapping[str, str]
    unmatched: Sequence[str]


def print_prediction(prediction: Prediction, run: Predictor, notes: str | None = None) -> None:
    """Print a short table, and the flags and notes of each cluster.

    Args:
      prediction: the prediction.
      run: the run that made it.
      notes: one of NOTES; None: full for up to MAX_FULL clusters.
    """
    notes_of_cluster = {name: one.notes for name, one in prediction.members.items()}
    summary = PredictionSummary(
        prediction.table, prediction.notes, notes_of_cluster, prediction.refused, prediction.unmatched
    )
    print_summary(summary, run, notes)


def print_summary(summary: PredictionSummary, run: Predictor, notes: str | None = None) -> None:
    """Print what `print_prediction` prints."""
    log.console(110).print(_console_table(summary.table[:MAX_ROWS], run))
    if len(summary.table) > MAX_ROWS:
        print(f"{len(summary.table) - MAX_ROWS:,} more clusters are in prediction.csv and the other tables.")
    for note in summary.notes[:MAX_NOTES]:
        print(note)
    if len(summary.notes) > MAX_NOTES:
        print(
            f"Column notes of the tables has {len(summary.notes) - MAX_NOTES:,} more notes on the catalogues."
        )
    is_short = (len(summary.table) > MAX_FULL) if notes is None else notes == "short"
    if is_short:
        _print_numbers(summary)
    else:
        _print_notes(summary)
    if summary.unmatched:
        print(cluster_names.describe_unmatched(summary.unmatched))
    if whole := run.run_dir.whole:
        print(
            f"This run is one fold of {whole.path}, with a part of its members and of its calibration data: "
            "use that run instead."
        )
    if not run.config.data.faint_limit_range and run_config.observer(run.config) is None:
        print(NOTE_ON_COMPLETENESS)


def _console_table(rows: pd.DataFrame, run: Predictor) -> Table:
    shown = Table(title=f"{run.run_dir.name}: {LEVEL_NAMES[0]} % intervals", title_justify="left")
    targets = [f"{quantities.short_name(key)} [{quantities.unit(key)}]" for key in run.target_keys]
    shown.add_column("cluster", justify="left")
    for column in ("stars", *targets, "novelty", "flagged"):
        shown.add_column(column, justify="right")
    low, high = PERCENTILES[0]
    for row in rows.to_dict("records"):
        values = [
            f"{row[key]:,.0f} ({row[f'{key}_{low}']:,.0f} to {row[f'{key}_{high}']:,.0f})"
            for key in run.target_keys
        ]
        flagged = "yes" if row["is_flagged"] else "no"
        shown.add_row(row["cluster"], f"{row['num_star']:,}", *values, f"{row['novelty']:.2f}", flagged)
    return shown


def _print_notes(summary: PredictionSummary) -> None:
    """Print the flags, notes and refusals of all clusters."""
    for row in summary.table.to_dict("records"):
        if row["is_flagged"]:
            print(f"{row['cluster']}, flagged: {row['flag_reasons']}")
        for note in summary.notes_of_cluster[row["cluster"]]:
            print(f"{row['cluster']}: {note}")
    for name, reason in summary.refused.items():
        print(f"{name}, no prediction: {reason}")


def _print_numbers(summary: PredictionSummary) -> None:
    """Print how many clusters are flagged or refused, and where their notes are."""
    num_flagged = int(summary.table["is_flagged"].sum())
    print(
        f"{num_flagged:,} of {len(summary.table):,} clusters are flagged (column flag_reasons of the tables; "
        "column notes has the notes on each cluster, which --notes=full prints)."
    )
    if summary.refused:
        name, reason = next(iter(summary.refused.items()))
        others = f" {len(summary.refused) - 1:,} more are in refused.csv." if len(summary.refused) > 1 else ""
        print(f"{name}, no prediction: {reason}.{others}")
