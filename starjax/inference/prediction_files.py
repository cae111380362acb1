"""What a prediction for observed clusters leaves behind: tables, figures, and what is printed."""

import io
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from astropy.table import Table
from rich.table import Table as ConsoleTable

from starjax import errors, quantities
from starjax.evaluation.posterior import PERCENTILES
from starjax.inference import cluster_figure
from starjax.inference.prediction_table import Prediction
from starjax.inference.predictor import Predictor
from starjax.io import files
from starjax.plotting import style
from starjax.runtime import log

# The answers three times, and the stars that they are from.
TABLES = ("prediction.parquet", "prediction.csv", "prediction.ecsv", "stars.parquet")
# Clusters without an answer and why, if there are such.
REFUSED = "refused.csv"
NAMES = (*TABLES, REFUSED)
OF_VIRIAL_MASSES = (
    "Classical masses assume equilibrium: unresolved binaries, leaving stars and uncertain distances raise them, by a half to "
    "three times in the packaged sample, and their errors say nothing of that."
)
COUNTS_ON_WHOLE_LISTS = (
    "This run takes lists to be whole: one that lacks stars, faint or others, is to it a cluster of less mass. Runs of "
    "--config=posterior_incomplete do not."
)
# Of the name of a figure, without its ending and a number; file systems allow 255.
_MAX_BYTES = 100


class PredictionFileError(errors.StarjaxError):
    """Files that a prediction would replace, with what to do."""


def check_free(out: Path, names: Iterable[str] = NAMES) -> None:
    """Refuses a folder that holds files of these names, or is none.

    Raises:
      PredictionFileError: names one of them.
    """
    if out.exists() and not out.is_dir():
        raise PredictionFileError(f"{out} is a file, and no folder to write to: name another --out")
    there = [name for name in names if (out / name).exists()]
    if there:
        raise PredictionFileError(
            f"the folder {out} holds {there[0]} already: name another --out, or replace it with --overwrite (in Python, "
            "overwrite=True)"
        )


def write_prediction(
    prediction: Prediction, run: Predictor, out: Path, *, overwrite: bool = False
) -> list[Path]:
    """Writes the table as Parquet, CSV and ECSV, the stars used, which clusters have no answer, and a figure of each that has one;
    returns what was written.

    Args:
      overwrite: in place of the prediction that is there, of which figures of other clusters, and reasons that hold no more, are
        removed.

    Raises:
      PredictionFileError: a file is there and not to be replaced, or is the member list itself.
    """
    table, names = prediction.table, _file_names(prediction.members)
    if not overwrite:
        check_free(out, [*NAMES, *names])
    listed = Path(table["catalog"].iloc[0]).resolve() if "catalog" in table else None
    for path in (out / name for name in (*NAMES, *names)):
        if path.resolve() == listed:
            raise PredictionFileError(f"{path} is the member list, and would be replaced: name another --out")
    left_over = _figures_of_before(out) - set(names)
    if not prediction.refused and (out / TABLES[0]).exists():
        left_over.add(REFUSED)
    stars = pd.concat(
        [one.table.assign(cluster=name) for name, one in prediction.members.items()], ignore_index=True
    )
    writers = (
        lambda path: table.to_parquet(path, index=False),
        lambda path: table.to_csv(path, index=False),
        lambda path: _write_ecsv(_with_units(table, run.target_keys), path),
        lambda path: stars.to_parquet(path, index=False),
    )
    for name, writer in zip(TABLES, writers, strict=True):
        with files.atomic_write(out / name) as temporary:
            writer(temporary)
    paths = [out / name for name in TABLES]
    if prediction.refused:
        with files.atomic_write(out / REFUSED) as temporary:
            pd.DataFrame(prediction.refused.items(), columns=["cluster", "reason"]).to_csv(
                temporary, index=False
            )
        paths.append(out / REFUSED)
    for old in left_over:
        (out / old).unlink(missing_ok=True)
    for number, (name, one) in enumerate(prediction.members.items()):
        path, is_flagged = out / names[number], bool(table["is_flagged"].iloc[number])
        style.save_figure(
            cluster_figure.draw_cluster(run, one, prediction.answer, name, number, is_flagged), path
        )
        paths.append(path)
    return paths


def _write_ecsv(table: Table, path: Path) -> None:
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    path.write_text(text.getvalue(), encoding="utf-8")  # whatever the locale's is


def _with_units(table: pd.DataFrame, target_keys: Sequence[str]) -> Table:
    found = Table.from_pandas(table)
    for name in found.colnames:
        of_target = next((key for key in target_keys if name == key or name.startswith(f"{key}_")), None)
        unit = quantities.get(of_target).unit if of_target else None
        unit = unit or next(
            (unit for ending, unit in (("_pc", "pc"), ("_kms", "km/s")) if ending in name), None
        )
        unit = "Msun" if name.startswith("mass_") else unit
        if unit and found[name].dtype.kind == "f":
            found[name].unit = unit
    return found


def _file_names(clusters: Iterable[str]) -> list[str]:
    """Of the figure of each cluster; numbered where names would be the same, on any file system."""
    found: list[str] = []
    for cluster in clusters:
        plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in cluster)
        plain = plain.encode()[:_MAX_BYTES].decode(errors="ignore")
        taken = {name.lower() for name in found}
        endings = itertools.chain([""], (f"-{i}" for i in itertools.count(2)))
        choices = (f"{plain}{ending}.png" for ending in endings)
        found.append(next(name for name in choices if name.lower() not in taken))
    return found


def _figures_of_before(out: Path) -> set[str]:
    """The figures of the prediction that a folder holds; none where its table cannot be read, or is another one."""
    try:
        before = pd.read_parquet(out / TABLES[0], columns=["cluster"])
        return set(_file_names(before["cluster"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException):
        return set()


def print_prediction(prediction: Prediction, run: Predictor) -> None:
    """Prints a short table, and what should be known about each cluster."""
    shown = ConsoleTable(title=f"{run.run_dir.name}: 68 % intervals", title_justify="left")
    for column in (
        "cluster",
        "stars",
        *(f"{quantities.short_name(k)} [{quantities.unit(k)}]" for k in run.target_keys),
    ):
        shown.add_column(column, justify="left" if column == "cluster" else "right")
    for column in ("virial mass [Msun]", "novelty", "flagged"):
        shown.add_column(column, justify="right")
    low, high = PERCENTILES[0]
    for row in prediction.table.to_dict("records"):
        values = [
            f"{row[key]:,.0f} ({row[f'{key}_{low}']:,.0f} to {row[f'{key}_{high}']:,.0f})"
            for key in run.target_keys
        ]
        virial = f"{row['mass_virial']:,.0f} ± {row['mass_virial_error']:,.0f}"
        virial = "–" if np.isnan(row["mass_virial"]) else virial
        flagged = "yes" if row["is_flagged"] else "no"
        shown.add_row(
            row["cluster"], f"{row['num_star']:,}", *values, virial, f"{row['novelty']:.2f}", flagged
        )
    log.console(110).print(shown)
    for row in prediction.table.to_dict("records"):
        if row["is_flagged"]:
            print(f"{row['cluster']}, flagged: {row['flags']}")
        if row["classical_note"]:
            print(f"{row['cluster']}, classical masses: {row['classical_note']}")
        for note in prediction.members[row["cluster"]].notes:
            print(f"{row['cluster']}: {note}")
    for name, why in prediction.refused.items():
        print(f"{name}, no answer: {why}")
    print(OF_VIRIAL_MASSES)
    if whole := run.run_dir.whole:
        print(
            f"This run is one fold of {whole.path}, with a part of its members and of its calibration: ask that."
        )
    if not run.config.data.faint_limit_range:
        print(COUNTS_ON_WHOLE_LISTS)
