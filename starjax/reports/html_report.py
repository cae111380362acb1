"""A finished run as one HTML page that needs nothing beside it.

starjax report --run=RUN_DIR
"""

import base64
import dataclasses
import importlib.resources
import json
from collections.abc import Sequence

import jinja2
import markdown_it
import markupsafe
import numpy as np
import pandas as pd
from flax.traverse_util import flatten_dict

from starjax import errors, quantities
from starjax.datasets.dataset import CONFIG_FILE
from starjax.datasets.load import dataset_directory
from starjax.evaluation import calibration, out_of_distribution
from starjax.evaluation import coverage as coverage_lib
from starjax.io import files
from starjax.reports import console_summary
from starjax.runs.directory import RunDirectory
from starjax.runs.state import read_finished_record

# The figures of a run, and what they show.
CAPTIONS = {
    "predicted-against-true": "Predicted against true, test samples.",
    "errors": "Errors of the test snapshots, by what the clusters are like.",
    "calibration": "How often the truth of a test snapshot lies below each predicted quantile, and in calibrated intervals.",
    "training-curves": "Loss by epoch.",
}


class ReportError(errors.StarjaxError):
    """A run of which no page can be made."""


@dataclasses.dataclass(frozen=True)
class HtmlTable:
    """Text in rows and columns, and what they are."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A PNG in base64, and its caption."""

    content: str
    caption: str


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page, called `key` in links to it."""

    key: str
    title: str
    text: str = ""
    tables: Sequence[HtmlTable] = ()
    figures: Sequence[Figure] = ()
    card: str | markupsafe.Markup = ""


def html_page(run_dir: RunDirectory) -> str:
    """The page of a finished run.

    Raises:
      ReportError, ExperimentError: the directory holds no finished run, or a file of it is missing or damaged.
    """
    record = read_finished_record(run_dir)
    try:
        tested = files.read_json(run_dir.test_metrics)
        coverage, history = pd.read_csv(run_dir.coverage), pd.read_csv(run_dir.metrics)
        sections = [
            _results(run_dir, tested),
            _calibration(run_dir, coverage),
            _training(run_dir, history),
            _config(record),
            _data_card(record, out_of_distribution.load(run_dir.training_set)),
        ]
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, errors.StarjaxError):
            raise
        raise ReportError(f"{run_dir.path}: {error}: restore the file, or train the run again") from error
    config = record["config"]
    summary = f"{config['model']['name']}, trained on the data set {record['dataset']['name']}, starjax {record['versions']['starjax']}"
    source = importlib.resources.files("starjax.reports").joinpath("report.html").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)
    return template.render(name=run_dir.name, summary=summary, sections=sections)


def _results(run_dir: RunDirectory, tested: dict) -> Section:
    rows = [
        [
            quantities.short_name(key),
            quantities.unit(key) if units == "physical" else "scaled",
            *(f"{values[m]:.3f}" for m in ("mae", "rmse", "r2")),
        ]
        for key, by_units in tested["test"].items()
        for units, values in by_units.items()
    ]
    num_member = tested["members"]
    text = f"Test samples; best epoch {tested['best_epoch']} of {tested['epochs']}."
    if num_member > 1:
        text = f"Test samples; mean of {num_member} members, each at its best of {tested['epochs']} epochs."
    tables = [HtmlTable(("target", "units", "MAE", "RMSE", "R²"), rows)]
    if run_dir.members.exists():
        of_members = pd.read_csv(run_dir.members)
        cells = console_summary.members_cells(of_members, list(tested["test"]))
        tables.append(HtmlTable(*cells, console_summary.members_title(of_members)))
    return Section("results", "Results", text, tables, _figures(run_dir, "predicted-against-true", "errors"))


def _calibration(run_dir: RunDirectory, coverage: pd.DataFrame) -> Section:
    names = [f"{100 * level:.0f}" for level in calibration.LEVELS]
    of_levels = [title for name in names for title in (f"{name} % hold", "width")]
    columns = ["target", "by", "range", "snapshots", "runs", *of_levels, "MAE", "CRPS"]
    rows = []
    for row in coverage.to_dict("records"):
        ends = [f"{row[end]:z,.0f}" for end in ("low", "high") if not np.isnan(row[end])]
        unit = quantities.unit(row["target_key"])
        cells = [
            quantities.short_name(row["target_key"]),
            _binned_by(row["by"]),
            " to ".join(dict.fromkeys(ends)),
            f"{row['num_snapshot']}",
            f"{row['num_simulation']}",
        ]
        for name in names:
            cells.append(f"{row[f'coverage_{name}']:.3f} ± {row[f'coverage_{name}_error']:.3f}")
            cells.append(f"{row[f'width_{name}']:,.1f} {unit}")
        rows.append([*cells, f"{row['mae']:,.1f} {unit}", f"{row['crps_scaled']:.3f}"])
    text = (
        "How often calibrated intervals hold the truth of a test snapshot, ± by how much such a share scatters about its level "
        "from one set of runs to another, and how wide they are; MAE is that of medians, CRPS in scaled units. In bins of a truth the lowest and "
        "highest values are held less often by any model, since what it predicts of them lies nearer to the middle."
    )
    return Section(
        "calibration", "Calibration", text, [HtmlTable(columns, rows)], _figures(run_dir, "calibration")
    )


def _training(run_dir: RunDirectory, history: pd.DataFrame) -> Section:
    shown = ["member", "epoch", "learning_rate", "train_loss", "val_loss"]
    best = history.loc[history.groupby("member")["val_loss"].idxmin()]
    rows = [[f"{row[name]:.6g}" for name in shown] for row in best.to_dict("records")]
    text = f"{history['epoch'].max()} epochs; the best of each member:"
    return Section(
        "training", "Training", text, [HtmlTable(shown, rows)], _figures(run_dir, "training-curves")
    )


def _config(record: dict) -> Section:
    fields = flatten_dict(record["config"], sep=".")
    rows = [[f"config.{name}", json.dumps(value)] for name, value in fields.items()]
    rows += [[f"version of {name}", version] for name, version in record["versions"].items()]
    return Section("config", "Config", tables=[HtmlTable(("field", "value"), rows)])


def _data_card(record: dict, reference: out_of_distribution.TrainingReference) -> Section:
    """What the data set says of itself, where it still is, and the ranges that were trained on."""
    rows = [
        [_titled(key), f"{low:z,.0f}", f"{high:z,.0f}"]
        for key, (low, high) in zip(reference.range_keys, reference.ranges, strict=True)
    ]
    text = f"Data set {record['dataset']['name']}, fingerprint {record['dataset']['fingerprint'][:16]}…; the clusters learned from have:"
    directory = dataset_directory(record["dataset"]["name"])
    readme, made_by = directory / "README.md", directory / CONFIG_FILE
    card = ""
    if readme.exists():
        # Neither HTML nor images of its own: the page needs nothing beside it.
        reader = markdown_it.MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
        card = markupsafe.Markup(reader.render(readme.read_text(encoding="utf-8")))
    elif made_by.exists():
        card = markupsafe.Markup("<pre>{}</pre>").format(made_by.read_text(encoding="utf-8"))
    return Section("data", "Data card", text, [HtmlTable(("", "least", "most"), rows)], card=card)


def _titled(key: str) -> str:
    """Return a quantity as a table calls it, with its unit."""
    known = quantities.get(key)
    return f"{quantities.short_name(key)} [{known.unit}]" if known.unit else quantities.short_name(key)


def _binned_by(by: str) -> str:
    """Return what the column `by` of a table of coverage means."""
    key = by.removeprefix(coverage_lib.PREDICTED)
    if quantities.get(key).kind != "target" or by == "all":
        return _titled(by)
    return f"{'true' if by == key else 'predicted'} {_titled(key)}"


def _figures(run_dir: RunDirectory, *names: str) -> list[Figure]:
    return [
        Figure(base64.b64encode((run_dir.figures / f"{name}.png").read_bytes()).decode(), CAPTIONS[name])
        for name in names
    ]
