"""Files of a prediction for observed clusters, tables and figures, and the printed summary."""

import io
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from astropy.table import Table
from rich.table import Table as ConsoleTable

from starjax import errors, quantities
from starjax.catalogs import cluster_table
from starjax.evaluation.calibration import LEVEL_NAMES, PERCENTILES
from starjax.inference import cluster_figure
from starjax.inference.prediction_table import Prediction
from starjax.inference.predictor import Predictor
from starjax.io import files
from starjax.plotting import style
from starjax.runs import run_config
from starjax.runtime import log

# The prediction in three formats, and the stars that it is based on.
TABLES = ("prediction.parquet", "prediction.csv", "prediction.ecsv", "stars.parquet")
# Clusters without a prediction, and the reasons; written only if there are any.
REFUSED = "refused.csv"
NAMES = (*TABLES, REFUSED)
NOTE_ON_CLASSICAL_MASSES = (
    "Classical masses assume equilibrium. Unresolved binaries, escaping stars and uncertain distances raise "
    "them, by 50 % to a factor of 3 in the packaged sample; their errors do not include that."
)
NOTE_ON_COMPLETENESS = (
    "This run assumes complete member catalogues: where stars are missing, faint or others, it "
    "underestimates the mass. Runs of --config=posterior_incomplete do not assume that."
)
# Length of a figure's name without number and extension; file systems allow 255 bytes.
_MAX_BYTES = 100


class PredictionFileError(errors.StarjaxError):
    """Existing files that a prediction would replace."""


def check_free(out: Path, names: Iterable[str] = NAMES) -> None:
    """Raise PredictionFileError if `out` is a file, or a folder that contains one of these names."""
    if out.exists() and not out.is_dir():
        raise PredictionFileError(f"{out} is a file, and not a folder to write to: name another --out")
    existing = [name for name in names if (out / name).exists()]
    if existing:
        raise PredictionFileError(
            f"the folder {out} contains {existing[0]} already: name another --out, or replace it with "
            "--overwrite (in Python, overwrite=True)"
        )


def write_prediction(
    prediction: Prediction, run: Predictor, out: Path, *, overwrite: bool = False
) -> list[Path]:
    """Write the tables of a prediction, and a figure for each cluster; return the files written.

    Args:
      prediction: the prediction.
      run: the run that made it.
      out: folder to write to.
      overwrite: replace the prediction in that folder, and remove those of its files that the new one does
        not have.

    Raises:
      PredictionFileError: a file exists and `overwrite` is False, or is the member catalogue itself.
    """
    figure_names = _figure_names(prediction.members)
    if not overwrite:
        check_free(out, [*NAMES, *figure_names])
    _check_catalog_is_kept(prediction.table, out, figure_names)
    # Before the table is replaced, which lists the clusters of the earlier prediction.
    outdated = _earlier_figures(out) - set(figure_names)
    # Without an earlier prediction, a file of this name is none of ours.
    if not prediction.refused and (out / TABLES[0]).exists():
        outdated.add(REFUSED)
    paths = _write_tables(prediction, run.target_keys, out)
    for name in outdated:
        (out / name).unlink(missing_ok=True)
    for number, (cluster, members) in enumerate(prediction.members.items()):
        is_flagged = bool(prediction.table["is_flagged"].iloc[number])
        figure = cluster_figure.draw_cluster(run, members, prediction.posterior, cluster, is_flagged)
        style.save_figure(figure, out / figure_names[number])
        paths.append(out / figure_names[number])
    return paths


def _check_catalog_is_kept(table: pd.DataFrame, out: Path, figure_names: Iterable[str]) -> None:
    """Raise PredictionFileError if a file of the prediction has the path of its member catalogue."""
    if "catalog" not in table:
        return
    catalog = Path(table["catalog"].iloc[0]).resolve()
    for path in (out / name for name in (*NAMES, *figure_names)):
        if path.resolve() == catalog:
            raise PredictionFileError(
                f"{path} is the member catalogue, and would be replaced: name another --out"
            )


def _write_tables(prediction: Prediction, target_keys: Sequence[str], out: Path) -> list[Path]:
    """Write TABLES and REFUSED; return those written."""
    table = prediction.table
    stars = pd.concat(
        [one.table.assign(cluster=name) for name, one in prediction.members.items()], ignore_index=True
    )
    refused = pd.DataFrame(prediction.refused.items(), columns=["cluster", "reason"])
    writers: list[Callable[[Path], None]] = [
        lambda path: table.to_parquet(path, index=False),
        lambda path: table.to_csv(path, index=False),
        lambda path: _write_ecsv(_with_units(table, target_keys), path),
        lambda path: stars.to_parquet(path, index=False),
    ]
    if prediction.refused:
        writers.append(lambda path: refused.to_csv(path, index=False))
    # REFUSED is the last name, and is left out if no cluster was refused.
    paths = [out / name for name, _ in zip(NAMES, writers, strict=False)]
    for path, writer in zip(paths, writers, strict=True):
        with files.atomic_write(path) as temporary:
            writer(temporary)
    return paths


def _write_ecsv(table: Table, path: Path) -> None:
    """Write a table in UTF-8, whatever the encoding of the locale."""
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    path.write_text(text.getvalue(), encoding="utf-8")


def _with_units(table: pd.DataFrame, target_keys: Sequence[str]) -> Table:
    """Return an astropy table with the units of its columns, which follow from their names."""
    with_units = Table.from_pandas(table)
    for name in with_units.colnames:
        of_target = next((key for key in target_keys if name == key or name.startswith(f"{key}_")), None)
        unit = quantities.get(of_target).unit if of_target else None
        unit = unit or next(
            # Not only at the end: `_error` may follow.
            (unit for part, unit in (("_pc", "pc"), ("_kms", "km/s")) if part in name),
            None,
        )
        unit = "Msun" if name.startswith("mass_") else unit
        if unit and with_units[name].dtype.kind == "f":  # not text, such as notes
            with_units[name].unit = unit
    return with_units


def _figure_names(clusters: Iterable[str]) -> list[str]:
    """Return a file name for the figure of each cluster; equal names, if case is ignored, are numbered."""
    names: list[str] = []
    for cluster in clusters:
        plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in cluster)
        plain = plain.encode()[:_MAX_BYTES].decode(errors="ignore")
        taken = {name.lower() for name in names}
        endings = itertools.chain([""], (f"-{i}" for i in itertools.count(2)))
        choices = (f"{plain}{ending}.png" for ending in endings)
        names.append(next(name for name in choices if name.lower() not in taken))
    return names


def _earlier_figures(out: Path) -> set[str]:
    """Return the names of the figures of the prediction in a folder; none if its table cannot be read."""
    try:
        earlier = pd.read_parquet(out / TABLES[0], columns=["cluster"])
        return set(_figure_names(earlier["cluster"]))
    # What pyarrow and pandas raise for damaged files.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException):
        return set()


def print_prediction(prediction: Prediction, run: Predictor) -> None:
    """Print a short table, and the flags and notes of each cluster."""
    summary = ConsoleTable(title=f"{run.run_dir.name}: {LEVEL_NAMES[0]} % intervals", title_justify="left")
    for column in (
        "cluster",
        "stars",
        *(f"{quantities.short_name(k)} [{quantities.unit(k)}]" for k in run.target_keys),
    ):
        summary.add_column(column, justify="left" if column == "cluster" else "right")
    for column in ("virial mass [Msun]", "novelty", "flagged"):
        summary.add_column(column, justify="right")
    low, high = PERCENTILES[0]
    for row in prediction.table.to_dict("records"):
        values = [
            f"{row[key]:,.0f} ({row[f'{key}_{low}']:,.0f} to {row[f'{key}_{high}']:,.0f})"
            for key in run.target_keys
        ]
        virial = f"{row['mass_virial']:,.0f} ± {row['mass_virial_error']:,.0f}"
        virial = "–" if np.isnan(row["mass_virial"]) else virial
        flagged = "yes" if row["is_flagged"] else "no"
        summary.add_row(
            row["cluster"], f"{row['num_star']:,}", *values, virial, f"{row['novelty']:.2f}", flagged
        )
    log.console(110).print(summary)
    for note in prediction.notes:
        print(note)
    for row in prediction.table.to_dict("records"):
        if row["is_flagged"]:
            print(f"{row['cluster']}, flagged: {row['flags']}")
        if row["classical_note"]:
            print(f"{row['cluster']}, classical masses: {row['classical_note']}")
        for note in prediction.members[row["cluster"]].notes:
            print(f"{row['cluster']}: {note}")
    for name, reason in prediction.refused.items():
        print(f"{name}, no prediction: {reason}")
    if prediction.unmatched:
        print(cluster_table.describe_unmatched(prediction.unmatched))
    print(NOTE_ON_CLASSICAL_MASSES)
    if whole := run.run_dir.whole:
        print(
            f"This run is one fold of {whole.path}, with a part of its members and of its calibration data: "
            "use that run instead."
        )
    if not run.config.data.faint_limit_range and run_config.observer(run.config) is None:
        print(NOTE_ON_COMPLETENESS)
