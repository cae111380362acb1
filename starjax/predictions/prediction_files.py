"""Files of a prediction for observed clusters: tables, stars, samples and figures."""

import dataclasses
import functools
import itertools
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from starjax import errors
from starjax.catalogs.stated import cluster_names
from starjax.catalogs.stated.view import View
from starjax.evaluation.posterior import NUM_SAMPLE
from starjax.inference import cluster_lists
from starjax.inference.cluster_lists import Catalog, OpenCatalog
from starjax.inference.prediction_table import Prediction
from starjax.inference.predictor import (
    DEFAULT_VIEW,
    NUM_DRAWS,
    Predictor,
    PredictorError,
    describe_refused,
)
from starjax.io import files
from starjax.predictions import prediction_parts, table_formats
from starjax.predictions.prediction_parts import PartStore
from starjax.predictions.prediction_summary import PredictionSummary
from starjax.predictions.table_formats import REFUSED, SAMPLES, STARS, TABLES
from starjax.runtime import log, progress_bar

NAMES = (*TABLES, STARS, SAMPLES, REFUSED)
# Which clusters get a figure, by a row of their table.
DRAWS = {"none": lambda row: False, "flagged": lambda row: row["is_flagged"], "all": lambda row: True}
FIGURES = tuple(DRAWS)
# More clusters get figures only if these are asked for: a figure takes a second.
MAX_FIGURES = 100
# Length of a figure's name without number and extension; file systems allow 255 bytes.
_MAX_BYTES = 100


class PredictionFileError(errors.StarjaxError):
    """Existing files that a prediction would replace."""


def check_free(out: Path, names: Iterable[str] = NAMES) -> None:
    """Raise PredictionFileError if `out` is a file, or a folder that contains one of these names."""
    if out.exists() and not out.is_dir():
        raise PredictionFileError(f"{out} is a file, and not a folder to write to: name another --out")
    if PartStore(out / prediction_parts.FOLDER).is_finishing:
        return  # the files are those of a command that was interrupted while it wrote them
    existing = [name for name in names if (out / name).exists()]
    if existing:
        raise PredictionFileError(
            f"the folder {out} contains {existing[0]} already: name another --out, or replace it with "
            "--overwrite (in Python, overwrite=True)"
        )


@dataclasses.dataclass(frozen=True)
class Request:
    """A catalogue to predict, and how.

    Attributes:
      catalog, view, num_draws, columns, views: as for `Predictor.predict`.
      num_samples: samples of the joint posterior of each cluster; 0: no file of samples.
      figures: one of FIGURES, the clusters that get a figure; None: all of up to MAX_FIGURES clusters, none
        of more.

    Raises:
      PredictorError: a number is too small.
    """

    catalog: Catalog
    view: View = DEFAULT_VIEW
    num_draws: int = NUM_DRAWS
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    views: Mapping[str, View] = dataclasses.field(default_factory=dict)
    num_samples: int = NUM_SAMPLE
    figures: str | None = None

    def __post_init__(self):
        for name, least in (("num_draws", 1), ("num_samples", 0)):
            if getattr(self, name) < least:
                raise PredictorError(f"{name}={getattr(self, name)} should be at least {least}")
        if self.figures not in (None, *FIGURES):
            raise PredictorError(f"figures={self.figures} should be one of {', '.join(FIGURES)}")


def predict_to_files(
    run: Predictor, request: Request, out: Path, *, overwrite: bool = False
) -> tuple[PredictionSummary, list[Path]]:
    """Predict the clusters of a catalogue and write the files, a part of the clusters at a time.

    Parts that an interrupted call has finished are not predicted again. Apart from the catalogue itself,
    memory does not grow with the number of clusters.

    Args:
      run: the run that predicts.
      request: what is to be predicted.
      out: folder to write to.
      overwrite: replace the prediction in that folder, and remove those of its files that the new one does
        not have.

    Returns:
      What is worth printing, and the files.

    Raises:
      PredictionFileError: a file exists and `overwrite` is False, or is the member catalogue itself.
      PartError: there are parts of another prediction.
      CatalogError, PathError, PredictorError: as from `Predictor.predict`.
    """
    # Before anything is predicted.
    check_free(out, () if overwrite else NAMES)
    opened = cluster_lists.open_catalog(request.catalog, request.columns)
    _check_kept(opened.files, out, NAMES)
    store = PartStore(out / prediction_parts.FOLDER)
    with store.locked():
        store.begin(_inputs(run, request, opened), overwrite=overwrite)
        if num_done := store.num_cluster():
            log.info(f"{store.folder}: resumed after {num_done:,} clusters")
        groups = cluster_lists.numbered_groups(opened.clusters, skip=store.numbers())
        with progress_bar.bar() as display:
            task = display.add_task("clusters", total=opened.num_expected, completed=num_done)
            for number, part in cluster_lists.derive_parts(
                groups, run.feature_keys, request.views, request.view
            ):
                prediction = run.predict_part(part, request.num_draws) if part.members else None
                num_cluster = len(part.members) + len(part.refused)
                is_few = number == 0 and num_cluster <= MAX_FIGURES
                choice = request.figures or ("all" if is_few else "none")
                store.write(number, run, prediction, part.refused, DRAWS[choice], request.num_samples)
                display.advance(task, num_cluster)
                if not (display.finished or progress_bar.is_terminal()):
                    log.info(f"{int(display.tasks[task].completed):,} clusters are done")
        return _finish(store, run, out, tuple(request.views), overwrite=overwrite)


def write_prediction(
    prediction: Prediction,
    run: Predictor,
    out: Path,
    *,
    overwrite: bool = False,
    num_samples: int = NUM_SAMPLE,
    figures: str = "all",
) -> list[Path]:
    """Write the tables of a prediction, and figures of its clusters; return the files written.

    Args:
      prediction: the prediction.
      run: the run that made it.
      out: folder to write to.
      overwrite, num_samples, figures: as for `predict_to_files` and `Request`.

    Raises:
      PredictionFileError: a file exists and `overwrite` is False, or is the member catalogue itself.
    """
    names = [*NAMES, *_figure_names(prediction.table["cluster"])]
    check_free(out, () if overwrite else names)
    if "catalog" in prediction.table:
        _check_kept(map(Path, prediction.table["catalog"].dropna().unique()), out, names)
    if not overwrite:
        PartStore(out / prediction_parts.FOLDER).check_empty()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".prediction-", dir=out) as folder:
        store = PartStore(Path(folder))
        store.write(0, run, prediction, prediction.refused, DRAWS[figures], num_samples)
        return _finish(store, run, out, prediction.unmatched, overwrite=overwrite)[1]


def _inputs(run: Predictor, request: Request, opened: OpenCatalog) -> dict:
    """Return what the parts of a prediction depend on, as JSON."""
    options = {
        field.name: repr(getattr(request, field.name))
        for field in dataclasses.fields(request)
        if field.name != "catalog"
    }
    versions = {key: run.provenance[key] for key in ("run_sha256", "versions")}
    return {"catalog": opened.version, "part_size": cluster_lists.PART_SIZE, **versions, **options}


def _finish(
    store: PartStore, run: Predictor, out: Path, described: Sequence[str], *, overwrite: bool
) -> tuple[PredictionSummary, list[Path]]:
    """Write the files of a prediction from its parts, and remove these.

    Args:
      described: the names of the clusters of which something was stated.
    """
    summary = _summary(store, described)
    if summary.table.empty:
        store.remove()
        raise PredictorError(describe_refused(summary.refused, summary.unmatched))
    writers = table_formats.table_writers(summary.table, run.target_keys)
    writers |= {name: functools.partial(store.write_joined, name) for name in store.joined_names()}
    if summary.refused:
        refused = pd.DataFrame(summary.refused.items(), columns=["cluster", "reason"])
        writers[REFUSED] = lambda path: refused.to_csv(path, index=False)
    clusters = list(summary.table["cluster"])
    names = dict(zip(clusters, _figure_names(clusters), strict=True))
    writers |= {names[one]: functools.partial(shutil.copyfile, path) for one, path in store.figures().items()}
    if not overwrite:
        check_free(out, writers)
    store.finish()
    # Before the table is replaced, which lists the clusters of the earlier prediction.
    outdated = _earlier_files(out).difference(writers)
    for name, write in writers.items():
        with files.atomic_write(out / name) as temporary:
            write(temporary)
    for name in outdated:
        (out / name).unlink(missing_ok=True)
    store.remove()
    return summary, [out / name for name in writers]


def _summary(store: PartStore, described: Sequence[str]) -> PredictionSummary:
    """Return what is worth printing of the parts of a prediction."""
    reports, table = store.reports(), store.table()
    notes = {name: one for report in reports for name, one in report["notes_of_cluster"].items()}
    refused = {name: reason for report in reports for name, reason in report["refused"].items()}
    matches = cluster_names.match_names({**notes, **refused}, described)
    return PredictionSummary(
        table,
        [
            *dict.fromkeys(note for report in reports for note in report["notes"]),
            *cluster_names.describe_matches(matches, described),
        ],
        notes,
        refused,
        [name for name in described if name not in matches.values()],
    )


def _check_kept(catalogs: Iterable[Path], out: Path, names: Iterable[str]) -> None:
    """Raise PredictionFileError if a file of the prediction has the path of a member catalogue."""
    written = {(out / name).resolve(): out / name for name in names}
    for path in catalogs:
        if path.resolve() in written:
            raise PredictionFileError(
                f"{written[path.resolve()]} is the member catalogue, and would be replaced: name another "
                "--out"
            )


def _figure_names(clusters: Iterable[str]) -> list[str]:
    """Return a file name for the figure of each cluster; equal names, if case is ignored, are numbered."""
    names: list[str] = []
    taken: set[str] = set()
    for cluster in clusters:
        plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in cluster)
        plain = plain.encode()[:_MAX_BYTES].decode(errors="ignore")
        endings = itertools.chain([""], (f"-{i}" for i in itertools.count(2)))
        choices = (f"{plain}{ending}.png" for ending in endings)
        names.append(next(name for name in choices if name.lower() not in taken))
        taken.add(names[-1].lower())
    return names


def _earlier_files(out: Path) -> set[str]:
    """Return the names of the files of the prediction in a folder; none if its table cannot be read."""
    try:
        earlier = pd.read_parquet(out / TABLES[0], columns=["cluster"])
        return {*NAMES, *_figure_names(earlier["cluster"])}
    # What pyarrow and pandas raise for damaged files.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException):
        return set()
