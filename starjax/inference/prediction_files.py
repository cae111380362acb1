"""Files of a prediction for observed clusters, tables and figures, and the printed summary."""

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from rich.table import Table as ConsoleTable

from starjax import errors, quantities
from starjax.catalogs import cluster_table
from starjax.evaluation.calibration import LEVEL_NAMES, PERCENTILES
from starjax.evaluation.posterior import NUM_SAMPLE
from starjax.inference import cluster_figure, table_formats
from starjax.inference.prediction_table import Prediction
from starjax.inference.predictor import Predictor
from starjax.inference.table_formats import REFUSED, SAMPLES, TABLES
from starjax.plotting import style
from starjax.runs import run_config
from starjax.runtime import log

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
    prediction: Prediction,
    run: Predictor,
    out: Path,
    *,
    overwrite: bool = False,
    num_sample: int = NUM_SAMPLE,
) -> list[Path]:
    """Write the tables of a prediction, and a figure for each cluster; return the files written.

    Args:
      prediction: the prediction.
      run: the run that made it.
      out: folder to write to.
      overwrite: replace the prediction in that folder, and remove those of its files that the new one does
        not have.
      num_sample: samples of the joint posterior of each cluster; 0: no file of samples.

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
    if (out / TABLES[0]).exists():
        outdated |= {REFUSED, SAMPLES}
    paths = table_formats.write_tables(prediction, out, num_sample)
    for path in {out / name for name in outdated}.difference(paths):
        path.unlink(missing_ok=True)
    for number, (cluster, members) in enumerate(prediction.members.items()):
        is_flagged = bool(prediction.table["is_flagged"].iloc[number])
        figure = cluster_figure.draw_cluster(run, members, prediction.posterior, cluster, number, is_flagged)
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
            print(f"{row['cluster']}, flagged: {row['flag_reasons']}")
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
